"""Folders of images: what is loaded, what is refused and with which words."""

import os
import shutil
import subprocess
import tempfile
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mnistlab.data import scan
from mnistlab.data.audit import audit
from mnistlab.data.folders import load_folders, read_splits
from mnistlab.errors import FAULTS_SHOWN, DataError
from mnistlab.names import natural_key
from tests import needs
from tests.command import Result
from tests.conftest import make_tree


def save(path: Path, rows: list[list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(rows, dtype=np.uint8)).save(path)


def refused(root: Path, *, skip_bad: bool = False) -> DataError:
    with pytest.raises(DataError) as fault:
        load_folders(root, skip_bad=skip_bad)
    assert fault.value.exit_code == 2
    return fault.value


def only_fault(root: Path, *, skip_bad: bool = False) -> str:
    """The one fault of `root`, with the path of `root` cut off."""
    [fault] = refused(root, skip_bad=skip_bad).faults
    return fault.replace(f"{root}{os.sep}", "", 1).replace(os.sep, "/")


# What is loaded


def test_pixels_labels_and_files_stand_in_the_order_of_class_and_name(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        save(tmp_path / split / "b" / "2.png", [[1, 2, 3], [4, 5, 6]])
        save(tmp_path / split / "b" / "10.png", [[9, 9, 9], [8, 8, 8]])
        save(tmp_path / split / "a" / "z.png", [[0, 50, 100], [150, 200, 250]])
    loaded = load_folders(tmp_path)
    images, labels = loaded.train_ds.tensors
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    # file names as strings, as the chapter sorts them: 10 before 2
    assert loaded.train.files == ["a/z.png", "b/10.png", "b/2.png"]
    assert images.tolist() == [
        [[0, 50, 100], [150, 200, 250]],
        [[9, 9, 9], [8, 8, 8]],
        [[1, 2, 3], [4, 5, 6]],
    ]
    assert labels.tolist() == [0, 1, 1]
    assert loaded.classes == loaded.train.classes == loaded.valid.classes == ("a", "b")
    assert loaded.image_size == (2, 3)
    assert loaded.train.counts == {"a": 1, "b": 2}
    assert len(loaded.valid_ds) == 3
    assert loaded.root == tmp_path
    assert loaded.train.skipped == {}


def test_classes_are_in_natural_order_and_may_have_odd_names(tmp_path: Path) -> None:
    names = ("1", "9", "10", "a b", "größe", "img2", "img12", "日本")
    make_tree(tmp_path, names[::-1], train=1, valid=1)
    os.rename(tmp_path / "train/a b/0.png", tmp_path / "train/a b/-x\u00a0y.PNG")
    found = load_folders(tmp_path).classes
    if needs.MACOS:  # which may write an accent as a character of its own
        found = tuple(unicodedata.normalize("NFC", name) for name in found)
    assert found == names


def test_hidden_files_and_folders_are_ignored_and_counted(tiny: Path) -> None:
    (tiny / "labels.csv").write_text("name,label\n")
    (tiny / "train" / "notes.txt").write_text("beside the classes")
    (tiny / "train" / ".ipynb_checkpoints").mkdir()
    (tiny / "train" / ".DS_Store").write_bytes(b"x")
    (tiny / "train" / "dark" / ".hidden.png").write_bytes(b"not an image")
    (tiny / "valid" / "light" / "._0.png").write_bytes(b"x")
    loaded = load_folders(tiny)
    assert loaded.classes == ("dark", "light")
    assert audit(str(tiny))[0].hidden == 4
    assert len(loaded.train_ds) == 24


@needs.symlinks
def test_links_to_images_and_to_class_folders_are_followed(tiny: Path) -> None:
    (tiny / "train" / "dark" / "link.png").symlink_to(tiny / "train" / "dark" / "0.png")
    (tiny / "elsewhere").mkdir()
    (tiny / "train" / "light").rename(tiny / "elsewhere" / "light")
    (tiny / "train" / "light").symlink_to(tiny / "elsewhere" / "light")
    assert load_folders(tiny).train.counts == {"dark": 13, "light": 12}


def test_progress_counts_up_to_the_number_of_files(tmp_path: Path) -> None:
    make_tree(tmp_path, train=70, valid=1)
    told: list[tuple[str, int, int]] = []
    load_folders(tmp_path, progress=lambda *step: told.append(step))
    train = [(done, total) for split, done, total in told if split == "train"]
    assert train == [(0, 140), (64, 140), (128, 140), (140, 140)]
    assert told[-1] == ("valid", 2, 2)


def test_the_fingerprint_is_of_pixels_labels_and_classes_not_of_files(tmp_path: Path) -> None:
    one = load_folders(make_tree(tmp_path / "one")).fingerprint
    two = make_tree(tmp_path / "two")
    for path in list(two.rglob("*.png")):
        image = Image.open(path)
        image.load()
        path.unlink()
        image.save(path.with_suffix(".bmp"))
    assert load_folders(two).fingerprint == one
    assert len(one) == 64
    assert load_folders(make_tree(tmp_path / "three", ("dark", "lighter"))).fingerprint != one
    assert load_folders(make_tree(tmp_path / "four", train=11)).fingerprint != one
    save(two / "valid" / "dark" / "0.bmp", [[0] * 4] * 4)
    assert load_folders(two).fingerprint != one


# What is refused


def test_a_root_that_is_no_folder(tmp_path: Path, mnistlab: Callable[..., Result]) -> None:
    (tmp_path / "file").write_text("x")
    reasons = {"none": "no such folder", "file": "not a table"}
    if needs.SYMLINKS:
        (tmp_path / "loop").symlink_to("loop")
        reasons["loop"] = "not a folder"
    for name, why in reasons.items():
        assert refused(tmp_path / name).faults[0].startswith(f"{tmp_path / name}: {why}")
    # Windows does not tell a name that is too long from one that is not there
    too_long = "no such folder" if needs.WINDOWS else "File name too long"
    assert too_long in refused(tmp_path / ("x" * 300)).faults[0]
    result = mnistlab("train", "--data", tmp_path / "none")
    assert (result.code, result.out) == (2, "")
    assert f"{tmp_path / 'none'}: no such folder; expected train/<class>/*.png and" in result.err


def spoil(folder: Path, command: str) -> None:
    """Run a shell command in `folder`."""
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)


NAME = "the class name has control characters or is not UTF-8; rename the folder"
ONE = "only one class (light); a classifier needs two or more"
EXPECTED = "expected train/<class>/*.png and valid/<class>/*.png"
LOOP = "cannot be listed: Too many levels of symbolic links"
BAD_TREES = {  # shell command → faults
    "rm -r train": [f"train: no such folder; {EXPECTED}"],
    "rm -r train; touch train": [
        "train: not a table or a file of arrays that is known: .csv, .npz or IDX"
    ],
    "rm -r train; ln -s train train": [f"train: {LOOP}"],
    "rm -r train/*": ["train: no class folders; expected train/<class>/*.png"],
    "rm -r valid/*; touch valid/x.png": ["valid: no class folders; expected valid/<class>/*.png"],
    "rm train/dark/*; touch train/dark/.keep": ["train/dark: no images; expected train/dark/*.png"],
    "cp -r train/dark train/odd": [
        "valid/odd: missing; the class odd is only in the other split",
    ],
    "cp -r valid/dark valid/odd": [
        "train/odd: missing; the class odd is only in the other split",
    ],
    "rm -r */dark": [f"train: {ONE}"],
    "mv train/dark train/$(printf '\\033[2J\\377'); rm -r valid/dark": [
        f"train/\\x1b[2J\\udcff: {NAME}",
        f"train: {ONE}",
    ],
    "ln -s loop train/loop; ln -s loop valid/loop": [f"train/loop: {LOOP}", f"valid/loop: {LOOP}"],
    "ln -s none train/odd; ln -s none valid/odd": [
        f"{split}/odd: cannot be listed: No such file or directory" for split in ("train", "valid")
    ],
}


@needs.shell
@pytest.mark.parametrize(
    ("command", "faults"),
    [
        pytest.param(*tree, marks=needs.any_name if "printf '\\033" in tree[0] else ())
        for tree in BAD_TREES.items()
    ],
)
def test_a_tree_that_cannot_be_used_says_why(tiny: Path, command: str, faults: list[str]) -> None:
    spoil(tiny, command)
    refusal = refused(tiny)
    assert [fault.removeprefix(str(tiny)).removeprefix("/") for fault in refusal.faults] == faults
    assert all(line.isprintable() for line in str(refusal).splitlines())


BAD_FILES = {  # shell command in the folder of 2.png → why it cannot be used
    "> 2.png": "empty file (zero bytes)",
    "truncate -s -30 2.png": "damaged or truncated image: its rows end early",
    "echo name,label > 2.png": "not an image in a known format",
    "echo P4 20000 20000 > 2.png": "absurdly large (at most 110 megapixels)",
    "printf 'P4 1 70000 %70000s' > 2.png": "absurdly large: 1 x 70000 pixels "
    "(at most 110 megapixels)",
    "ln -sfn .. 2.png": "a link to a folder; only images and folders of images belong here",
    "rm 2.png; mkfifo 2.png": "not a regular file",
    "ln -sf /dev/null 2.png": "not a regular file",
    "rm 2.png; ln -s 2.png 2.png": "cannot be reached: a link to nowhere, or removed a moment ago",
    "ln -sf none.png 2.png": "cannot be reached: a link to nowhere, or removed a moment ago",
}


@needs.shell
@pytest.mark.parametrize(("command", "why"), BAD_FILES.items())
def test_a_bad_file_is_named_and_can_be_skipped(tiny: Path, command: str, why: str) -> None:
    bad = tiny / "train" / "dark" / "2.png"
    spoil(bad.parent, command)
    fault = refused(tiny)
    assert fault.faults == [f"{bad}: {why}"]
    assert str(fault).splitlines() == [
        f"{bad}: {why}",
        f"see everything with: mnistlab data check {tiny}; "
        "go on without the bad files with --skip-bad",
    ]
    loaded = load_folders(tiny, skip_bad=True)
    assert loaded.train.skipped == {"train/dark/2.png": why}
    assert loaded.train.counts == {"dark": 11, "light": 12}
    assert "dark/2.png" not in loaded.train.files
    assert len(loaded.train.files) == len(loaded.train_ds) == 23


BAD_NAMES = [b"a\nb.png", b"\x1b[2J.png", b"\xff\xfe.png", "line\u2028end.png".encode(), b"\x7f"]


@needs.any_name
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_file_name_is_told_without_its_power(tiny: Path, name: bytes) -> None:
    folder = os.fsencode(tiny / "train" / "dark")
    os.rename(folder + b"/2.png", folder + b"/" + name)
    fault = refused(tiny)
    assert len(fault.faults) == 1
    assert "control characters or is not UTF-8; rename it" in fault.faults[0]
    for line in str(fault).splitlines():
        assert line.isprintable()
    assert len(str(fault).splitlines()) == 2
    str(fault).encode()  # no lone surrogates
    assert load_folders(tiny, skip_bad=True).train.counts == {"dark": 11, "light": 12}
    # and once more, from the cache
    assert [*load_folders(tiny, skip_bad=True).train.skipped] == [f"train/dark/{os.fsdecode(name)}"]


@needs.shell
def test_a_class_folder_that_links_to_its_own_parent_does_not_run_for_ever(tiny: Path) -> None:
    spoil(tiny, "ln -s . train/again; ln -s . valid/again")
    faults = refused(tiny).faults
    assert len(faults) == 2  # again/again, twice
    assert all("a link to a folder" in fault for fault in faults)


def test_an_unreadable_file_is_named_and_tried_again_although_its_stamps_are_the_same(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opening(self: Path, mode: str) -> object:
        if self == tiny / "train" / "dark" / "2.png":
            raise PermissionError(13, "Permission denied")
        return open(self, mode)

    monkeypatch.setattr(scan, "YOUNG_NS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opening)
        assert only_fault(tiny) == "train/dark/2.png: cannot be read: Permission denied"
    assert load_folders(tiny).train.counts == {"dark": 12, "light": 12}


def test_folders_that_may_not_be_listed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir, splits = os.listdir, {str(tiny / "train"), str(tiny / "valid")}

    def refuse(folder: str | Path) -> list[str]:
        if str(folder) in splits:
            return listdir(folder)
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        assert refused(tiny).faults == [
            f"{tiny / split / name}: cannot be listed: Permission denied"
            for split in ("train", "valid")
            for name in ("dark", "light")
        ]
    splits.clear()
    monkeypatch.setattr(os, "listdir", refuse)
    assert refused(tiny).faults == [
        f"{tiny / split}: cannot be listed: Permission denied" for split in ("train", "valid")
    ]


def test_all_faults_come_together_twenty_in_the_message_then_a_count(tmp_path: Path) -> None:
    make_tree(tmp_path, ("a", "b", "c"), train=12, valid=12)
    for i in range(12):
        (tmp_path / "train" / "a" / f"{i}.png").write_bytes(b"")
        (tmp_path / "valid" / "b" / f"{i}.png").write_bytes(b"?")
    (tmp_path / "valid" / "c").rename(tmp_path / "valid" / "d")
    fault = refused(tmp_path)
    assert len(fault.faults) == 2 + 24
    lines = str(fault).splitlines()
    assert lines[0] == f"{tmp_path}: 26 faults"
    assert len(lines) == 1 + FAULTS_SHOWN + 1 + 1
    assert FAULTS_SHOWN == 20
    assert lines[-2] == "  ... and 6 more"
    assert lines[-1] == f"see everything with: mnistlab data check {tmp_path}"
    assert any("the class d is only in the other split" in line for line in lines)
    assert any("the class c is only in the other split" in line for line in lines)


@needs.shell
def test_the_command_line_says_the_same_and_exits_with_2(
    tiny: Path, mnistlab: Callable[..., Result]
) -> None:
    spoil(tiny / "train" / "dark", "> 1.png; echo text > 2.png")
    result = mnistlab("train", "--data", tiny, "--json")
    assert (result.code, result.out) == (2, "")
    assert f"{tiny}: 2 faults" in result.err
    assert "--skip-bad" in result.err
    result = mnistlab("train", "--data", tiny, "--skip-bad", "--epochs", "1").ok()
    assert str(Path("train/dark/1.png")) in result.err
    assert str(Path("train/dark/2.png")) in result.err


def test_skip_bad_cannot_do_without_a_whole_class(tiny: Path) -> None:
    for path in (tiny / "valid" / "light").iterdir():
        path.write_bytes(b"")
    assert only_fault(tiny, skip_bad=True) == "valid: the class light has no image left"


def test_one_split_alone_needs_no_other_nor_all_classes(tiny: Path) -> None:
    (tiny / "train").rename(tiny / "old")
    (tiny / "valid" / "dark").rename(tiny / "dark")
    # scoring a model on one class makes sense
    [valid], _ = read_splits(tiny, ("valid",)).usable(("valid",))
    assert valid.counts == {"light": 4}


@needs.deleting
def test_pixels_take_no_memory_while_they_are_decoded(tmp_path: Path) -> None:
    make_tree(tmp_path, size=(512, 512), train=24, valid=1)
    load_folders(tmp_path)  # numpy, plugins, …
    tracemalloc.start()
    try:
        size = load_folders(tmp_path).train_ds.tensors[0].numel()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 48 * 2**18
    assert peak < size / 3  # a buffer to write and two to read, of a megabyte each


# Any tree of grey images comes back as it was written.

GREY = st.integers(0, 255)
CLASS = st.text("abz019 é", min_size=1, max_size=4).filter(needs.can_be_a_name)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, list[np.ndarray]]:
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    names = draw(st.lists(CLASS, min_size=2, max_size=4, unique=True))
    image = st.lists(GREY, min_size=height * width, max_size=height * width).map(
        lambda values: np.array(values, dtype=np.uint8).reshape(height, width)
    )
    return {name: draw(st.lists(image, min_size=1, max_size=3)) for name in names}


@settings(max_examples=20, deadline=None)
@given(content=trees(), kinds=st.lists(st.sampled_from(["png", "bmp", "tif", "pgm"]), min_size=1))
def test_any_tree_of_grey_images_comes_back(
    content: dict[str, list[np.ndarray]], kinds: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for split in ("train", "valid"):
            for name, pictures in content.items():
                (root / split / name).mkdir(parents=True)
                for i, picture in enumerate(pictures):
                    path = root / split / name / f"{i}.{kinds[i % len(kinds)]}"
                    Image.fromarray(picture).save(path)
        cold, warm = load_folders(root), load_folders(root)
    expected = sorted(content, key=lambda name: (natural_key(name), name))
    for loaded in (cold, warm):
        assert loaded.classes == tuple(expected)
        for ds in (loaded.train_ds, loaded.valid_ds):
            pictures = [picture for name in expected for picture in content[name]]
            assert torch.equal(ds.tensors[0], torch.from_numpy(np.stack(pictures)))
            labels = [k for k, name in enumerate(expected) for _ in content[name]]
            assert ds.tensors[1].tolist() == labels
    assert cold.fingerprint == warm.fingerprint


def test_skip_bad_is_advised_only_where_it_helps(tiny: Path) -> None:
    skip, every = "--skip-bad", tiny / "valid" / "dark"
    (every / "0.png").write_bytes(b"broken")
    assert skip in str(refused(tiny))
    for path in every.iterdir():
        path.write_bytes(b"broken")
    for skip_bad in (True, False):  # no image would be left of the class
        assert skip not in str(refused(tiny, skip_bad=skip_bad))
    shutil.rmtree(every)
    # given already: the faults of folders are as many as the bad files
    (tiny / "train" / "dark" / "0.png").write_bytes(b"broken")
    assert "only in the other split" in only_fault(tiny, skip_bad=True)
    assert skip not in str(refused(tiny, skip_bad=True))
