"""The bundled data: exactly MNIST_SAMPLE, verified, unpacked once and whole."""

import atexit
import contextlib
import csv
import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mnistlab.data import bundled
from mnistlab.data.bundled import extract_checked, mnist_sample
from mnistlab.data.folders import ImageData, load_folders
from mnistlab.data.named import load_data
from mnistlab.errors import DamagedFileError, LockedError, RunError
from mnistlab.files import packaged
from tests.command import Result

COUNTS = {"train/3": 6131, "train/7": 6265, "valid/3": 1010, "valid/7": 1028}


@pytest.fixture(scope="session")
def unpacked(sample: ImageData) -> Path:
    """The unpacked tree of the session's cache; not to be changed."""
    return sample.root


def archive_of(*members: tuple[tarfile.TarInfo, bytes], **options: object) -> bytes:
    unzipped = io.BytesIO()
    with tarfile.open(fileobj=unzipped, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(unzipped.getvalue(), 1, mtime=0)


def file(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(member, key, value)
    return member, content


GOOD = file("mnist_sample/train/3/7.png", b"seven")


# What is in it


def test_the_archive_matches_its_checksum_file_and_the_constant() -> None:
    archive = packaged("data") / bundled.ARCHIVE
    content = archive.read_bytes()
    digest, name = archive.with_name(archive.name + ".sha256").read_text().split()
    assert hashlib.sha256(content).hexdigest() == digest == bundled.ARCHIVE_SHA256
    assert name == archive.name
    assert len(content) <= 4_500_000


def test_the_archive_has_its_licence_and_attribution_beside_it() -> None:
    told = (packaged("data") / "README.md").read_text()
    for word in ("LeCun", "Cortes", "Burges", "Attribution-Share Alike 3.0"):
        assert word in told
    assert (packaged("data") / "LICENSE").is_file()


def test_the_tree_has_the_chapters_counts(unpacked: Path) -> None:
    found = {
        f"{folder.parent.name}/{folder.name}": len(list(folder.iterdir()))
        for folder in unpacked.glob("*/*")
    }
    assert found == COUNTS
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


def test_the_order_is_the_chapters_string_order(sample: ImageData) -> None:
    assert sample.train.files[:3] == ["3/10.png", "3/10000.png", "3/10011.png"]
    assert sample.train.files[6131].startswith("7/")
    assert sample.train.files == sorted(sample.train.files)


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


def test_the_stacked_tensors_have_the_chapters_shapes(sample: ImageData) -> None:
    images, labels = sample.train_ds.tensors
    assert images.shape == (12_396, 28, 28)
    assert labels.tolist() == [0] * 6131 + [1] * 6265
    assert sample.valid_ds.tensors[0].shape == (2038, 28, 28)
    assert sample.valid.counts == {"3": 1010, "7": 1028}
    assert sample.classes == ("3", "7")
    assert sample.fingerprint == bundled.FINGERPRINT


# How it gets there


class Unpacking:
    """A tiny archive in place of the real one, so that unpacking takes no time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.archive = folder / bundled.ARCHIVE
        self.monkeypatch = monkeypatch
        folder.mkdir()
        monkeypatch.setattr(bundled, "packaged", lambda name: folder)
        members = []
        for split in ("train", "valid"):
            for k, label in enumerate(("3", "7")):
                for i in range(3):
                    png = io.BytesIO()
                    Image.new("L", (2, 2), 50 * k + i).save(png, "PNG")
                    members.append(file(f"mnist_sample/{split}/{label}/{i}.png", png.getvalue()))
        members.append(file("mnist_sample/labels.csv", b"name,label\n"))
        self.names = {member.name.removeprefix("mnist_sample/") for member, _ in members}
        self.ship(archive_of(*members))

    def ship(self, content: bytes) -> None:
        self.archive.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        self.monkeypatch.setattr(bundled, "ARCHIVE_SHA256", digest)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path) -> Unpacking:
    """A small archive in place of the real one, and an empty cache."""
    small = Unpacking(monkeypatch, tmp_path / "shipped")
    monkeypatch.setattr(bundled, "FINGERPRINT", load_folders(mnist_sample()).fingerprint)
    shutil.rmtree(own_cache)
    return small


def listing(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_it_is_unpacked_once_into_the_cache(small: Unpacking, own_cache: Path) -> None:
    folder = mnist_sample()
    assert folder.is_relative_to(own_cache)
    assert listing(folder) == small.names
    small.archive.unlink()  # not needed again
    assert mnist_sample() == folder
    assert list((own_cache / "data").iterdir()) == [folder]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_archive_is_refused_before_anything_is_written(
    small: Unpacking, own_cache: Path, damage: str, mnistlab: Callable[..., Result]
) -> None:
    content = small.archive.read_bytes()
    small.archive.write_bytes(
        {"flip": content[:-1] + b"\xff", "cut": content[:99], "empty": b""}[damage]
    )
    with pytest.raises(DamagedFileError, match="SHA-256 is not the expected one; install mnistlab"):
        mnist_sample()
    assert list((own_cache / "data").iterdir()) == []
    result = mnistlab("train")
    assert result.code == 1
    assert "SHA-256" in result.err


def test_a_missing_archive_is_told(small: Unpacking, own_cache: Path) -> None:
    small.archive.unlink()
    with pytest.raises(RunError, match="cannot be unpacked: No such file"):
        mnist_sample()


def test_a_full_disk_is_told_and_leaves_nothing(
    small: Unpacking, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="No space left on device; set MNISTLAB_CACHE to a folder"):
        mnist_sample()
    assert list((own_cache / "data").iterdir()) == []


def _edit(folder: Path) -> None:
    Image.new("L", (2, 2), 200).save(folder / "train" / "3" / "1.png")


def _break(folder: Path) -> None:
    (folder / "train" / "3" / "1.png").write_bytes(b"gone")


def _delete(folder: Path) -> None:
    (folder / "train" / "3" / "1.png").unlink()


def _delete_class(folder: Path) -> None:
    shutil.rmtree(folder / "valid" / "7")


def _add(folder: Path) -> None:
    Image.new("L", (2, 2), 200).save(folder / "train" / "3" / "9.png")


def _resize(folder: Path) -> None:
    Image.new("L", (3, 3), 200).save(folder / "train" / "3" / "1.png")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def _dangling(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("nowhere")


@pytest.mark.parametrize(
    "tamper",
    [_edit, _break, _delete, _delete_class, _add, _resize, _empty, _file, _dangling],
)
def test_a_copy_that_somebody_changed_is_unpacked_again(
    small: Unpacking, own_cache: Path, tamper: Callable[[Path], None]
) -> None:
    folder = load_data().root
    tamper(folder)
    again = load_data()
    assert again.root == folder
    assert again.fingerprint == bundled.FINGERPRINT
    assert listing(folder) == small.names
    beside = {path.name for path in (own_cache / "data").iterdir() if path != folder}
    assert beside == {".mnist_sample.lock"}


def test_a_good_copy_is_not_touched(small: Unpacking, own_cache: Path) -> None:
    inode = mnist_sample().stat().st_ino
    load_data()
    assert load_data().root.stat().st_ino == inode


def test_a_copy_made_meanwhile_is_left_alone_since_somebody_may_be_reading_it(
    small: Unpacking, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bundled.extract_checked
    other: list[int] = []

    def slow(content: bytes, folder: Path, allowed: "re.Pattern[str]") -> None:
        real(content, folder, allowed)
        if not other:  # another process comes first
            other.append(0)
            other[0] = mnist_sample().stat().st_ino

    monkeypatch.setattr(bundled, "extract_checked", slow)
    assert mnist_sample().stat().st_ino == other[0]
    assert len(list((own_cache / "data").iterdir())) == 1


def test_many_threads_unpacking_at_once_agree(small: Unpacking, own_cache: Path) -> None:
    found: list[str] = []
    together = threading.Barrier(6)

    def load() -> None:
        together.wait()
        found.append(load_data().fingerprint)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [bundled.FINGERPRINT] * 6
    beside = {path.name for path in (own_cache / "data").iterdir()} - {mnist_sample().name}
    assert beside <= {".mnist_sample.lock"}  # which a late one may have taken


def test_a_copy_that_another_process_renewed_meanwhile_is_left_alone(
    small: Unpacking, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mnist_sample()
    _edit(folder)
    judged = bundled._copy_at(folder)
    renewed = mnist_sample(judged).stat()  # the other one is first
    assert mnist_sample(judged).stat().st_ino == renewed.st_ino  # it may be reading it
    assert load_data().root.stat().st_ino == renewed.st_ino
    assert listing(folder) == small.names


def test_many_threads_renewing_at_once_agree(small: Unpacking, own_cache: Path) -> None:
    found: list[str] = []
    together = threading.Barrier(6)

    def load() -> None:
        together.wait()
        found.append(load_data().fingerprint)

    _edit(mnist_sample())
    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [bundled.FINGERPRINT] * 6
    assert listing(mnist_sample()) == small.names


def test_a_copy_that_is_changed_again_and_again_is_never_used(
    small: Unpacking, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bundled.extract_checked

    def meddled(content: bytes, folder: Path, allowed: "re.Pattern[str]") -> None:
        real(content, folder, allowed)
        _edit(folder / "mnist_sample")

    monkeypatch.setattr(bundled, "extract_checked", meddled)
    with pytest.raises(RunError, match="not the bundled data, however often it is unpacked"):
        load_data()


def test_a_process_that_unpacks_for_too_long_is_told(
    small: Unpacking, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _edit(mnist_sample())
    monkeypatch.setattr(bundled, "_PATIENCE", 0.01)
    with (
        FileLock(own_cache / "data" / ".mnist_sample.lock"),
        pytest.raises(LockedError, match="another process is unpacking the bundled data; stop it"),
    ):
        load_data()


@pytest.mark.parametrize("obstacle", ["file", "read-only"])
def test_without_a_cache_it_goes_to_a_temporary_folder(
    small: Unpacking,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    obstacle: str,
    tmp_path: Path,
) -> None:
    if obstacle == "file":
        own_cache.write_text("in the way")
    else:
        monkeypatch.setattr(os, "access", lambda *_: False)
    ends: list[tuple[object, ...]] = []
    monkeypatch.setattr(atexit, "register", lambda *a, **k: ends.append(a))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    loaded = load_data()
    assert not loaded.root.is_relative_to(own_cache)
    assert loaded.root.is_relative_to(tmp_path)
    assert loaded.fingerprint == bundled.FINGERPRINT
    assert ends == [(shutil.rmtree, loaded.root.parent)]  # and goes when the process ends


def test_a_crash_while_unpacking_leaves_no_half_a_copy(
    small: Unpacking, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: object, target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mnist_sample()
    assert list((own_cache / "data").iterdir()) == []
    assert listing(mnist_sample()) == small.names


def test_what_a_killed_process_left_goes_away_in_time(small: Unpacking, own_cache: Path) -> None:
    left = own_cache / "data" / ".mnist_sample-x.0.mnistlab-tmp"
    (left / "mnist_sample").mkdir(parents=True)
    os.utime(left, (0, 0))
    folder = mnist_sample()
    assert list((own_cache / "data").iterdir()) == [folder]


def test_what_a_killed_process_left_goes_away_even_if_the_next_one_unpacked_at_once(
    small: Unpacking, own_cache: Path
) -> None:
    left = own_cache / "data" / ".mnist_sample-x.0.mnistlab-tmp"
    left.mkdir(parents=True)
    folder = mnist_sample()
    assert left.exists()  # perhaps somebody is unpacking there
    os.utime(left, (0, 0))
    assert mnist_sample() == folder
    assert not left.exists()


def test_a_rename_that_fails_for_another_reason_is_told(
    small: Unpacking, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(RunError, match="Input/output error"):
        mnist_sample()


# What an archive may hold

HOSTILE = [
    file("/mnist_sample/train/3/1.png"),
    file("/etc/passwd"),
    file("mnist_sample/../mnist_sample/train/3/1.png"),
    file("../train/3/1.png"),
    file("mnist_sample/train/3/../../../../1.png"),
    file("mnist_sample/train/3/./1.png"),
    file("mnist_sample//train/3/1.png"),
    file("mnist_sample\\train\\3\\1.png"),
    file("mnist_sample/train/3/1.png\n"),
    file("mnist_sample/train/3/01.png"),
    file("mnist_sample/train/3/100000.png"),
    file("mnist_sample/train/3/١.png"),  # a digit, but no ASCII one
    file("mnist_sample/train/8/1.png"),
    file("mnist_sample/test/3/1.png"),
    file("mnist_sample/train/3/1.PNG"),
    file("mnist_sample/train/3/1.png.exe"),
    file("mnist_sample/train/3/.png"),
    file("mnist_sample/labels,csv"),
    file("other/labels.csv"),
    file("mnist_sample/train/3/7.png"),  # GOOD once more
    file("mnist_sample/train/3/1.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    file("mnist_sample/train/3", b"", type=tarfile.SYMTYPE, linkname="/tmp"),
    file(
        "mnist_sample/train/3/1.png", b"", type=tarfile.LNKTYPE, linkname="mnist_sample/labels.csv"
    ),
    file("mnist_sample/train/3/1.png", b"", type=tarfile.FIFOTYPE),
    file("mnist_sample/train/3/1.png", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    file("mnist_sample/train/3/1.png", b"", type=tarfile.BLKTYPE),
    file("mnist_sample/train/3/1.png", b"", type=tarfile.GNUTYPE_SPARSE),
    # a name that only the extended header has
    file("mnist_sample/train/3/1.png", pax_headers={"path": "../../escaped"}),
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda pair: ascii(pair[0].name))
def test_a_hostile_member_is_refused_and_nothing_leaves_the_folder(
    tmp_path: Path, hostile: tuple[tarfile.TarInfo, bytes]
) -> None:
    inner = tmp_path / "a" / "b" / "target"
    inner.mkdir(parents=True)
    with pytest.raises(DamagedFileError, match="unexpected member") as fault:
        extract_checked(archive_of(GOOD, hostile), inner, bundled._MEMBER)
    assert str(fault.value).isprintable()
    assert listing(tmp_path) == {"a/b/target/mnist_sample/train/3/7.png"}
    assert (inner / "mnist_sample/train/3/7.png").read_bytes() == b"seven"


def test_a_good_archive_gives_its_files_and_ignores_its_folders(tmp_path: Path) -> None:
    folders = [file(name, b"", type=tarfile.DIRTYPE) for name in ("mnist_sample", "/etc", "../up")]
    members = [*folders, GOOD, file("mnist_sample/labels.csv", b"a", mode=0o4777)]
    extract_checked(archive_of(*members), tmp_path / "t", bundled._MEMBER)
    assert listing(tmp_path) == {"t/mnist_sample/train/3/7.png", "t/mnist_sample/labels.csv"}
    assert not (tmp_path / "up").exists()
    assert (tmp_path / "t/mnist_sample/labels.csv").stat().st_mode & 0o7111 == 0


def test_a_large_member_is_refused(tmp_path: Path) -> None:
    bomb = archive_of(file("mnist_sample/train/3/1.png", bytes(1_000_001)))
    assert len(bomb) < 10_000
    with pytest.raises(DamagedFileError, match="unpacks to more than it should"):
        extract_checked(bomb, tmp_path / "t", bundled._MEMBER)
    assert listing(tmp_path) == set()


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_MAX_MEMBERS", 3)
    members = [file(f"mnist_sample/train/3/{i}.png") for i in range(4)]
    extract_checked(archive_of(*members[:3]), tmp_path / "a", bundled._MEMBER)
    with pytest.raises(DamagedFileError, match="unpacks to more than it should"):
        extract_checked(archive_of(*members), tmp_path / "b", bundled._MEMBER)


def test_a_bomb_in_a_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_MAX_UNZIPPED_BYTES", 2**20)
    bomb = archive_of(file("mnist_sample/train/3/1.png", pax_headers={"comment": "x" * 2**21}))
    assert len(bomb) < 20_000
    with pytest.raises(DamagedFileError, match="unpacks to more than it should"):
        extract_checked(bomb, tmp_path, bundled._MEMBER)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an archive",
        gzip.compress(b"not a tar file" * 99, mtime=0),
        archive_of(GOOD)[:60],
        archive_of(GOOD)[:-4],
        archive_of(GOOD)[:-8] + b"\0\0\0\0" + archive_of(GOOD)[-4:],  # another checksum
        gzip.compress(tarfile.TarInfo("x").create_pax_global_header({"a": "b"}) * 2000, mtime=0),
    ],
)
def test_a_damaged_archive_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DamagedFileError, match="archive is damaged"):
        extract_checked(content, tmp_path, bundled._MEMBER)


@settings(max_examples=120, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_mangled_archive_never_writes_a_name_that_is_not_allowed(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("mangled")
    unzipped = bytearray(gzip.decompress(archive_of(GOOD, file("mnist_sample/labels.csv", b"a"))))
    for place, value in edits:
        unzipped[place % len(unzipped)] = value
    with contextlib.suppress(DamagedFileError):
        extract_checked(gzip.compress(bytes(unzipped), 1, mtime=0), folder / "in", bundled._MEMBER)
    for name in listing(folder):
        assert bundled._MEMBER.fullmatch(name.removeprefix("in/")), name
