"""Folders of images: what is loaded, what is refused and with which words."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mnistlab.data import cache, folders
from mnistlab.data.folders import ImageData, load_folders, load_splits
from mnistlab.data.images import UndecodableError
from mnistlab.errors import FAULTS_SHOWN, DataError
from mnistlab.names import natural_key
from tests.command import Result
from tests.conftest import make_tree

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(autouse=True)
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel ticks slower than 10 ms; the product waits longer, to be sure."""
    monkeypatch.setattr(cache, "_FINE_NS", 12_000_000)


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
    return fault.replace(f"{root}/", "", 1)


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


def test_a_label_is_the_place_of_the_name_whatever_the_folders_order(tmp_path: Path) -> None:
    # written so that the two splits list their folders in different orders
    for split, order in (("train", "cab"), ("valid", "bca")):
        for name in order:
            save(tmp_path / split / name / "0.png", [[ord(name)]])
    loaded = load_folders(tmp_path)
    for ds in (loaded.train_ds, loaded.valid_ds):
        assert ds.tensors[0].flatten().tolist() == [97, 98, 99]
        assert ds.tensors[1].tolist() == [0, 1, 2]


def test_classes_are_in_natural_order(tmp_path: Path) -> None:
    make_tree(tmp_path, ("10", "9", "1", "img2", "img12", "Z"), train=1, valid=1)
    assert load_folders(tmp_path).classes == ("1", "9", "10", "Z", "img2", "img12")


def test_hidden_files_and_folders_are_ignored_and_counted(tiny: Path) -> None:
    (tiny / "train" / ".ipynb_checkpoints").mkdir()
    (tiny / "train" / ".DS_Store").write_bytes(b"x")
    (tiny / "train" / "dark" / ".hidden.png").write_bytes(b"not an image")
    (tiny / "valid" / "light" / "._0.png").write_bytes(b"x")
    loaded = load_folders(tiny)
    assert loaded.classes == ("dark", "light")
    assert (loaded.train.hidden, loaded.valid.hidden) == (3, 1)
    assert len(loaded.train_ds) == 24


def test_files_beside_the_class_folders_are_ignored(tiny: Path) -> None:
    (tiny / "labels.csv").write_text("name,label\n")
    (tiny / "models").mkdir()
    (tiny / "train" / "notes.txt").write_text("x")
    assert load_folders(tiny).train.counts == {"dark": 12, "light": 12}


def test_a_text_argument_is_a_folder_too(tiny: Path) -> None:
    assert load_folders(str(tiny)).classes == ("dark", "light")


def test_links_to_images_and_to_class_folders_are_followed(tiny: Path) -> None:
    (tiny / "train" / "dark" / "link.png").symlink_to(tiny / "train" / "dark" / "0.png")
    (tiny / "elsewhere").mkdir()
    (tiny / "train" / "light").rename(tiny / "elsewhere" / "light")
    (tiny / "train" / "light").symlink_to(tiny / "elsewhere" / "light")
    assert load_folders(tiny).train.counts == {"dark": 13, "light": 12}


def test_odd_but_harmless_names_are_accepted(tmp_path: Path) -> None:
    make_tree(tmp_path, ("größe", "a b", "日本"), train=1, valid=1)
    os.rename(tmp_path / "train" / "a b" / "0.png", tmp_path / "train" / "a b" / "-x\u00a0y.PNG")
    assert set(load_folders(tmp_path).classes) == {"größe", "a b", "日本"}


def test_progress_counts_up_to_the_number_of_files(tmp_path: Path) -> None:
    make_tree(tmp_path, train=70, valid=1)
    told: list[tuple[str, int, int]] = []
    load_folders(tmp_path, progress=lambda *step: told.append(step))
    train = [(done, total) for split, done, total in told if split == "train"]
    assert train == [(0, 140), (64, 140), (128, 140), (140, 140)]
    assert told[-1] == ("valid", 2, 2)
    told.clear()
    load_folders(tmp_path, progress=lambda *step: told.append(step))
    assert told == []  # nothing is decoded again


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


def test_the_same_pixels_in_another_shape_or_class_have_another_fingerprint() -> None:
    wide = torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3)
    tall = wide.reshape(2, 3, 2)
    prints = {
        cache.fingerprint(wide, {"a": 1, "b": 1}),
        cache.fingerprint(tall, {"a": 1, "b": 1}),
        cache.fingerprint(wide, {"a": 2, "b": 0}),
        cache.fingerprint(wide, {"a": 1, "c": 1}),
        cache.fingerprint(wide.reshape(1, 4, 3), {"a": 1, "b": 1}),
    }
    assert len(prints) == 5


# What is refused


def test_no_such_folder(tmp_path: Path, mnistlab: Callable[..., Result]) -> None:
    expected = "no such folder; expected train/<class>/*.png and valid/<class>/*.png"
    assert only_fault(tmp_path / "none") == f"{tmp_path}/none: {expected}"
    result = mnistlab("train", "--data", tmp_path / "none")
    assert result.code == 2
    assert result.out == ""
    assert f"{tmp_path}/none: {expected}" in result.err
    assert "Traceback" not in result.err


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert ": not a folder; expected" in only_fault(tmp_path / "file")


def test_a_root_that_is_a_looping_link(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert ": not a folder; expected" in only_fault(tmp_path / "loop")


def test_a_root_whose_name_is_too_long(tmp_path: Path) -> None:
    assert "File name too long" in refused(tmp_path / ("x" * 300)).faults[0]


@pytest.mark.parametrize("split", ["train", "valid"])
def test_no_train_or_no_valid(tiny: Path, split: str) -> None:
    (tiny / split).rename(tiny / "other")
    assert only_fault(tiny) == (
        f"{split}: no such folder; expected train/<class>/*.png and valid/<class>/*.png"
    )


def test_neither_train_nor_valid_is_told_of_both(tmp_path: Path) -> None:
    assert [fault.split(":")[0] for fault in refused(tmp_path).faults] == [
        f"{tmp_path}/train",
        f"{tmp_path}/valid",
    ]


def test_train_is_a_file(tiny: Path) -> None:
    (tiny / "train").rename(tiny / "other")
    (tiny / "train").write_text("x")
    assert only_fault(tiny) == "train: cannot be listed: Not a directory"


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_split_without_class_folders(tiny: Path, split: str) -> None:
    (tiny / split).rename(tiny / "other")
    (tiny / split).mkdir()
    assert f"{split}: no class folders; expected {split}/<class>/*.png" in only_fault(tiny)


def test_one_class(tmp_path: Path) -> None:
    make_tree(tmp_path, ("dark",))
    assert only_fault(tmp_path) == ("train: only one class (dark); a classifier needs two or more")


@pytest.mark.parametrize("split", ["train", "valid"])
def test_an_empty_class(tiny: Path, split: str) -> None:
    for path in (tiny / split / "dark").iterdir():
        path.unlink()
    (tiny / split / "dark" / ".keep").write_text("")
    assert only_fault(tiny) == f"{split}/dark: no images; expected {split}/dark/*.png"


@pytest.mark.parametrize(("split", "other"), [("train", "valid"), ("valid", "train")])
def test_a_class_only_in_one_split(tmp_path: Path, split: str, other: str) -> None:
    make_tree(tmp_path, ("a", "b", "c"), train=1, valid=1)
    (tmp_path / split / "c").rename(tmp_path / "c")
    assert only_fault(tmp_path) == (
        f"{split}/c: missing; the class c is only in the other split"
    ), other


def test_mixed_sizes_name_the_odd_ones(tiny: Path) -> None:
    save(tiny / "train" / "dark" / "3.png", [[0] * 5] * 6)
    assert only_fault(tiny) == (
        "train/dark/3.png: 5 x 6 pixels where most images of train have 4 x 4; "
        "all must have one size"
    )


def test_splits_of_different_sizes(tmp_path: Path) -> None:
    make_tree(tmp_path / "a", size=(4, 4))
    make_tree(tmp_path / "b", size=(6, 5))
    (tmp_path / "a" / "valid").rename(tmp_path / "old")
    (tmp_path / "b" / "valid").rename(tmp_path / "a" / "valid")
    assert only_fault(tmp_path / "a") == (
        f"{tmp_path}/a: the splits differ in image size: train has 4 x 4, valid has 6 x 5 pixels"
    )


def _zero(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])  # within the pixels


def _text(path: Path) -> None:
    path.write_text("name,label\n")


def _huge(path: Path) -> None:
    path.write_bytes(b"P4 20000 20000\n")


def _large(path: Path) -> None:
    Image.new("L", (1, 5000)).save(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _mutual_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("..png"))
    path.with_name("..png").symlink_to(path)


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def _parent(path: Path) -> None:
    path.unlink()
    path.symlink_to("..")


BAD_FILES: list[tuple[Callable[[Path], None], str]] = [
    (_zero, "empty file (zero bytes)"),
    (_cut, "damaged or truncated image: its rows end early"),
    (_text, "not an image in a known format"),
    (_huge, "absurdly large (at most 4096 x 4096 pixels)"),
    (_large, "absurdly large: 1 x 5000 pixels (at most 4096 x 4096)"),
    (_folder, "a folder inside a class folder; only images belong here"),
    (_fifo, "not a regular file"),
    (_device, "not a regular file"),
    (_loop, "cannot be reached: Too many levels of symbolic links"),
    (_mutual_loop, "cannot be reached: Too many levels of symbolic links"),
    (_dangling, "a link to a file that is not there"),
    (_parent, "a folder inside a class folder; only images belong here"),
]


@pytest.mark.parametrize(("spoil", "why"), BAD_FILES)
def test_a_bad_file_is_named_and_can_be_skipped(
    tiny: Path, spoil: Callable[[Path], None], why: str
) -> None:
    bad = tiny / "train" / "dark" / "2.png"
    spoil(bad)
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


@pytest.mark.parametrize("name", [b"a\nb", b"\x1b[2J", b"\xff\xfe"])
def test_a_bad_class_name_is_refused_even_with_skip_bad(tiny: Path, name: bytes) -> None:
    for split in (b"train", b"valid"):
        parent = os.fsencode(tiny) + b"/" + split + b"/"
        os.mkdir(parent + name)
        os.link(parent + b"dark/0.png", parent + name + b"/0.png")
    fault = refused(tiny, skip_bad=True)
    assert len(fault.faults) == 2
    for line in fault.faults:
        assert "the class name has control characters or is not UTF-8; rename the folder" in line
        assert line.isprintable()


def test_a_class_folder_that_is_a_looping_link(tiny: Path) -> None:
    for split in ("train", "valid"):
        (tiny / split / "loop").symlink_to("loop")
    assert [fault.replace(f"{tiny}/", "") for fault in refused(tiny).faults] == [
        f"{split}/loop: cannot be listed: Too many levels of symbolic links"
        for split in ("train", "valid")
    ]


def test_a_class_folder_that_links_to_its_own_parent_does_not_run_for_ever(tiny: Path) -> None:
    for split in ("train", "valid"):
        (tiny / split / "again").symlink_to(".")
    faults = refused(tiny).faults
    assert len(faults) == 6  # again/again, again/dark, again/light, twice
    assert all(
        fault.endswith("a folder inside a class folder; only images belong here")
        for fault in faults
    )


def test_a_split_that_is_a_looping_link(tiny: Path) -> None:
    (tiny / "valid").rename(tiny / "old")
    (tiny / "valid").symlink_to("valid")
    assert only_fault(tiny) == "valid: cannot be listed: Too many levels of symbolic links"


def test_an_unreadable_file_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse_open(monkeypatch, tiny / "train" / "dark" / "2.png")
    fault = only_fault(tiny)
    assert fault == "train/dark/2.png: cannot be read: Permission denied"
    assert load_folders(tiny, skip_bad=True).train.skipped == {
        "train/dark/2.png": "cannot be read: Permission denied"
    }


def test_an_unreadable_file_is_tried_again_although_its_stamps_are_the_same(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _refuse_open(patch, tiny / "train" / "dark" / "2.png")
        refused(tiny)
    assert load_folders(tiny).train.counts == {"dark": 12, "light": 12}


def _refuse_open(patch: pytest.MonkeyPatch, path: Path) -> None:
    real = Path.open

    def opening(self: Path, mode: str) -> object:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return real(self, mode)

    patch.setattr(Path, "open", opening)


@pytest.mark.skipif(AS_ROOT, reason="permissions do not bind root")
def test_real_permissions_are_told(tiny: Path) -> None:  # pragma: no cover - not as root
    (tiny / "train" / "dark" / "2.png").chmod(0)
    (tiny / "valid" / "light").chmod(0)
    try:
        faults = [fault.replace(f"{tiny}/", "") for fault in refused(tiny).faults]
    finally:
        (tiny / "valid" / "light").chmod(0o755)
    assert faults == [
        "valid/light: cannot be listed: Permission denied",
        "train/dark/2.png: cannot be read: Permission denied",
    ]


def test_a_class_folder_that_may_not_be_listed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listing(folder: int) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", listing)
    faults = refused(tiny).faults
    assert len(faults) == 8  # cannot be listed, and no images: two classes, two splits
    assert f"{tiny}/train/dark: cannot be listed: Permission denied" in faults


def test_a_root_that_may_not_be_entered(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scanning(folder: Path) -> object:
        raise PermissionError(13, "Permission denied")

    def looking(self: Path) -> bool:
        if self != tiny:
            raise PermissionError(13, "Permission denied")
        return True

    monkeypatch.setattr(os, "scandir", scanning)
    monkeypatch.setattr(Path, "is_dir", looking)
    assert refused(tiny).faults == [
        f"{tiny}/{split}: cannot be listed: Permission denied" for split in ("train", "valid")
    ]


def test_all_faults_are_told_together_twenty_shown_then_a_count(tmp_path: Path) -> None:
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


def test_the_command_line_says_the_same_and_exits_with_2(
    tiny: Path, mnistlab: Callable[..., Result]
) -> None:
    for spoil, name in ((_zero, "1"), (_text, "2"), (_cut, "3"), (_fifo, "4"), (_loop, "5")):
        spoil(tiny / "train" / "dark" / f"{name}.png")
    result = mnistlab("train", "--data", tiny, "--json")
    assert result.code == 2
    assert result.out == ""
    assert f"{tiny}: 5 faults" in result.err
    assert "--skip-bad" in result.err
    result = mnistlab("train", "--data", tiny, "--skip-bad", "--epochs", "1").ok()
    for name in "12345":
        assert f"train/dark/{name}.png" in result.err


def test_skip_bad_cannot_do_without_a_whole_class(tiny: Path) -> None:
    for path in (tiny / "valid" / "light").iterdir():
        path.write_bytes(b"")
    assert only_fault(tiny, skip_bad=True) == ("valid/light: no image is left of the class light")


def test_a_split_without_a_single_good_image(tiny: Path) -> None:
    for path in (tiny / "valid").rglob("*.png"):
        path.write_bytes(b"")
    assert len(refused(tiny).faults) == 8
    assert len(refused(tiny, skip_bad=True).faults) == 2  # from the cache now


def test_skip_bad_keeps_the_size_that_most_images_have(tiny: Path) -> None:
    for name in ("0", "1"):
        save(tiny / "train" / "dark" / f"{name}.png", [[0] * 5] * 5)
    loaded = load_folders(tiny, skip_bad=True)
    assert loaded.image_size == (4, 4)
    assert loaded.train.counts == {"dark": 10, "light": 12}
    assert [*loaded.train.skipped] == ["train/dark/0.png", "train/dark/1.png"]


def test_more_pixels_than_any_memory_are_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MAX_DECODED_BYTES", 16 * 24 - 1)
    with pytest.raises(DataError, match="train: over 0 GiB decoded"):
        load_folders(tiny)
    monkeypatch.setattr(folders, "MAX_DECODED_BYTES", 16 * 24)
    load_folders(tiny)


def test_one_split_alone_needs_no_other(tiny: Path) -> None:
    (tiny / "train").rename(tiny / "old")
    [valid] = load_splits(tiny, ("valid",))
    assert valid.counts == {"dark": 4, "light": 4}
    (tiny / "valid" / "dark").rename(tiny / "dark")
    [valid] = load_splits(tiny, ("valid",))  # scoring a model on one class makes sense
    assert valid.counts == {"light": 4}


def test_pixels_stand_in_memory_once_while_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tracemalloc

    make_tree(tmp_path, size=(256, 256), train=24, valid=1)
    monkeypatch.setattr(cache, "store_entry", lambda *_: None)
    load_folders(tmp_path)  # numpy, plugins, …
    tracemalloc.start()
    try:
        size = load_folders(tmp_path).train_ds.tensors[0].numel()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 48 * 2**16
    assert peak < 1.5 * size  # a growing buffer has up to an eighth to spare


# Any tree of grey images comes back as it was written.

GREY = st.integers(0, 255)
CLASS = st.text("abz019 é", min_size=1, max_size=4).filter(lambda name: name.strip() != "")


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


def test_a_fault_of_decoding_is_no_other_error(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> Image.Image:
        raise UndecodableError("made up")

    monkeypatch.setattr(folders, "decode_grey", fail)
    assert len(refused(tiny).faults) == 32


def test_the_bundled_folders_are_two_views_of_one_thing(sample: ImageData) -> None:
    assert sample.train_ds is sample.train.ds
    assert sample.valid_ds is sample.valid.ds
    assert sample.train.counts == {"3": 6131, "7": 6265}
