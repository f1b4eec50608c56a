"""`--data NAME|DIR`; and the bundled data: exactly MNIST_SAMPLE, verified, unpacked once."""

import csv
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from mnistlab.data import named
from mnistlab.data.folders import load_folders
from mnistlab.data.layouts import LoadOptions
from mnistlab.data.named import load_data, load_split, mnist_sample
from mnistlab.data.store import ImageData
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.files import packaged
from tests import needs
from tests.command import Result
from tests.conftest import make_tree

# Names and folders

KNOWN = (
    "; known: mnist_sample, mnist, fashion-mnist, kmnist, qmnist, emnist-digits, emnist-letters, "
    "usps"
)


def test_a_folder_is_itself_and_a_known_name_wins_over_a_folder_of_that_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, sample: ImageData
) -> None:
    monkeypatch.chdir(tiny.parent)
    assert load_data("tiny").classes == load_data("./tiny").classes == ("dark", "light")
    tiny.rename(tiny.parent / "mnist_sample")
    assert load_data("mnist_sample").root == sample.root
    assert load_data("./mnist_sample").classes == ("dark", "light")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mnist_smaple", "; did you mean mnist_sample?"),
        ("fashon-mnist", "; did you mean fashion-mnist?"),
        ("imagenet", KNOWN),
        ("x" * 300, KNOWN),
        ("a\0b", KNOWN),
        ("", KNOWN),
    ],
)
def test_an_unknown_name_is_told_with_what_is_known(name: str, hint: str) -> None:
    with pytest.raises(DataError, match="no such folder or dataset") as fault:
        load_data(name)
    assert str(fault.value).endswith(hint)
    assert str(fault.value).isprintable()


def test_a_path_that_is_not_there_is_told_as_a_folder(tmp_path: Path) -> None:
    for name in ("./none", str(tmp_path / "none"), "a/b", str(tmp_path / ("x" * 300)), "a/\0"):
        with pytest.raises(DataError, match="expected train/<class>"):
            load_data(name)
        with pytest.raises(DataError, match="expected train/<class>"):
            load_split(name, "valid")
    with pytest.raises(DataError, match=r"--data d.*: the path is not UTF-8"):
        load_data("d\udcff")


def test_one_split_of_a_folder_needs_no_other(tiny: Path) -> None:
    (tiny / "train").rename(tiny / "elsewhere")
    (tiny / "valid" / "dark" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        load_split(str(tiny), "valid")
    split = load_split(str(tiny), "valid", LoadOptions(skip_bad=True))
    assert split.counts == {"dark": 3, "light": 4}
    assert [*split.skipped] == ["valid/dark/0.png"]


@pytest.mark.parametrize(
    ("split", "hint"),
    [("vaild", "; did you mean valid?"), ("other", "; known: train, valid, test")],
)
def test_an_unknown_split_is_told(split: str, hint: str) -> None:
    with pytest.raises(DataError) as fault:
        load_split("mnist_sample", split)
    assert str(fault.value) == f"--split {split}: unknown{hint}"


# What is in the bundled data


@pytest.fixture(scope="session")
def unpacked(sample: ImageData) -> Path:
    """The unpacked tree of the session's cache; not to be changed."""
    return sample.root


def test_the_archive_matches_its_checksum_file_and_the_constant() -> None:
    archive = packaged("data") / named.ARCHIVE
    content = archive.read_bytes()
    digest, name = archive.with_name(archive.name + ".sha256").read_text().split()
    assert hashlib.sha256(content).hexdigest() == digest == named.ARCHIVE_SHA256
    assert name == archive.name
    assert len(content) <= 4_500_000


def test_the_archive_has_its_licence_and_attribution_beside_it() -> None:
    told = (packaged("data") / "README.md").read_text()
    for word in ("LeCun", "Cortes", "Burges", "Attribution-Share Alike 3.0"):
        assert word in told
    assert (packaged("data") / "LICENSE").is_file()


def test_the_tree_has_the_chapters_counts(unpacked: Path) -> None:
    counts = {
        folder.relative_to(unpacked).as_posix(): len(list(folder.iterdir()))
        for folder in unpacked.glob("*/*")
    }
    assert counts == {"train/3": 6131, "train/7": 6265, "valid/3": 1010, "valid/7": 1028}
    assert sorted(p.name for p in unpacked.iterdir()) == ["labels.csv", "train", "valid"]


def test_labels_csv_lists_every_file_with_its_class_index(unpacked: Path) -> None:
    with (unpacked / "labels.csv").open(newline="") as text:
        rows = list(csv.reader(text))
    assert rows[0] == ["name", "label"]
    labels = dict(rows[1:])
    assert len(labels) == len(rows) - 1 == 14_434
    assert set(labels) == {
        path.relative_to(unpacked).as_posix() for path in unpacked.glob("*/*/*.png")
    }
    assert all(label == {"3": "0", "7": "1"}[name.split("/")[1]] for name, label in labels.items())


def test_the_second_three_has_the_chapters_pixels(sample: ImageData, unpacked: Path) -> None:
    expected = [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 29],
        [0, 0, 0, 48, 166, 224],
        [0, 93, 244, 249, 253, 187],
        [0, 107, 253, 253, 230, 48],
        [0, 3, 20, 20, 15, 0],
    ]
    image, label = sample.train_ds[1]
    assert label == 0
    assert image[4:10, 4:10].tolist() == expected
    with Image.open(unpacked / "train" / "3" / "10000.png") as opened:
        assert opened.mode == "L"
        assert np.asarray(opened)[4:10, 4:10].tolist() == expected


def test_the_stacked_tensors_have_the_chapters_shapes_and_string_order(sample: ImageData) -> None:
    images, labels = sample.train_ds.tensors
    assert images.shape == (12_396, 28, 28)
    assert labels.tolist() == [0] * 6131 + [1] * 6265
    assert sample.valid_ds.tensors[0].shape == (2038, 28, 28)
    assert sample.train.files[:3] == ["3/10.png", "3/10000.png", "3/10011.png"]
    assert sample.train.files == sorted(sample.train.files)
    assert (sample.classes, sample.fingerprint) == (("3", "7"), named.FINGERPRINT)


# How it gets there


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path) -> Path:
    """A small archive in place of the real one, and an empty cache."""
    tree = make_tree(tmp_path / "made" / "mnist_sample", ("3", "7"), train=3, valid=3)
    (tree / "labels.csv").write_text("name,label\n")
    archive = tmp_path / named.ARCHIVE
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree, "mnist_sample")
    monkeypatch.setattr(named, "packaged", lambda name: tmp_path)
    monkeypatch.setattr(named, "FINGERPRINT", load_folders(tree).fingerprint)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(named, "ARCHIVE_SHA256", digest)
    named._temporary_home.cache_clear()
    shutil.rmtree(own_cache, ignore_errors=True)
    return archive


def listing(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


NAMES = {f"{s}/{k}/{i}.png" for s in ("train", "valid") for k in "37" for i in range(3)}
NAMES |= {"labels.csv"}


def beside(folder: Path) -> set[str]:
    return {path.name for path in folder.parent.iterdir()} - {folder.name}


def test_it_is_unpacked_once_and_decoded_once(archive: Path, own_cache: Path) -> None:
    folder = mnist_sample()
    assert folder.is_relative_to(own_cache)
    assert listing(folder) == NAMES
    archive.unlink()  # not needed again
    inode = mnist_sample().stat().st_ino
    seen: list[str] = []
    for _ in range(2):  # although the files are young
        data = load_data(progress=lambda split, done, total: seen.append(split))
        assert data.root == folder
        assert data.root.stat().st_ino == inode
        assert data.fingerprint == named.FINGERPRINT
    assert seen == ["train", "train", "valid", "valid"]
    assert beside(folder) <= {".mnist_sample.lock"}


def test_a_python_without_filters_for_archives_unpacks_it_too(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(tar: tarfile.TarFile, path: Path) -> None:
        for member in tar.getmembers():
            target = path / member.name
            if member.isdir():
                target.mkdir(parents=True)
            elif content := tar.extractfile(member):
                target.write_bytes(content.read())

    monkeypatch.setattr(tarfile.TarFile, "extractall", older)
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    assert listing(mnist_sample()) == NAMES


def test_a_damaged_archive_is_refused_before_anything_is_written(
    archive: Path, own_cache: Path, mnistlab: Callable[..., Result]
) -> None:
    archive.write_bytes(archive.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DamagedFileError, match="SHA-256 is not the expected one; install mnistlab"):
        mnist_sample()
    result = mnistlab("train")
    assert result.code == 1
    assert "SHA-256" in result.err
    archive.unlink()
    with pytest.raises(RunError, match="cannot be unpacked: No such file"):
        mnist_sample()
    assert listing(own_cache) <= {"data/.mnist_sample.lock"}


def test_a_full_disk_leaves_nothing(
    archive: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile, "copyfileobj", full)
    with pytest.raises(RunError, match="No space left on device; set MNISTLAB_CACHE to a folder"):
        mnist_sample()
    assert listing(own_cache) <= {"data/.mnist_sample.lock"}


TAMPERING = [  # shell commands
    "printf 'P5 4 4 255 %16s' > train/3/1.png",
    "echo gone > train/3/1.png",
    "rm -r valid/7",
    "rm -r *",
    "rm -r $PWD; touch $PWD",
    "rm -r $PWD; ln -s nowhere $PWD",
]


@needs.shell
@pytest.mark.parametrize("command", TAMPERING)
def test_files_that_somebody_changed_are_unpacked_again(archive: Path, command: str) -> None:
    folder = load_data().root
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)
    again = load_data()
    assert again.root == folder
    assert again.fingerprint == named.FINGERPRINT
    assert listing(folder) == NAMES
    assert beside(folder) <= {".mnist_sample.lock"}


def test_threads_that_unpack_at_once_agree(archive: Path) -> None:
    (mnist_sample() / "train" / "3" / "1.png").write_bytes(b"changed")
    with ThreadPoolExecutor(6) as pool:
        loaded = list(pool.map(lambda _: load_data().fingerprint, range(6)))
    assert loaded == [named.FINGERPRINT] * 6
    assert beside(mnist_sample()) <= {".mnist_sample.lock"}


def test_data_that_is_not_the_bundled_data_when_unpacked_again_is_never_used(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "FINGERPRINT", "another")
    with pytest.raises(RunError, match="not the bundled data, although it was unpacked again"):
        load_data()


def test_a_process_that_unpacks_for_too_long_is_an_error(
    archive: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "PATIENCE", 0.01)
    (own_cache / "data").mkdir(parents=True)
    with (
        FileLock(own_cache / "data" / ".mnist_sample.lock"),
        pytest.raises(RunError, match=r"mnist_sample\.lock.*set MNISTLAB_CACHE"),
    ):
        load_data()


@pytest.mark.parametrize("obstacle", ["file", "read-only"])
def test_without_a_cache_it_goes_to_one_temporary_folder(
    archive: Path,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    obstacle: str,
    tmp_path: Path,
) -> None:
    if obstacle == "file":
        own_cache.write_text("in the way", encoding="utf-8")
    else:
        monkeypatch.setattr(named, "is_writable", lambda _: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    loaded = load_data()
    assert not loaded.root.is_relative_to(own_cache)
    assert loaded.root.is_relative_to(tmp_path)
    assert loaded.fingerprint == named.FINGERPRINT
    assert load_data().root == loaded.root
    shutil.rmtree(loaded.root.parent)
    named._temporary_home.cache_clear()


def test_what_a_killed_process_left_goes_when_it_is_unpacked(
    archive: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(source: object, target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            mnist_sample()
    left = {path.name for path in (own_cache / "data").iterdir()} - {".mnist_sample.lock"}
    assert len(left) == 1
    folder = mnist_sample()
    assert listing(folder) == NAMES
    assert beside(folder) <= {".mnist_sample.lock"}
