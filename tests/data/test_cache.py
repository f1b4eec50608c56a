"""The cache: never stale, never corrupt, never in the way."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from mnistlab.data import folders, images
from mnistlab.data import scan as data_scan
from mnistlab.data.folders import load_folders, store_path
from mnistlab.data.images import decode
from mnistlab.data.scan import Scan, scan_folder
from mnistlab.data.store import ImageData
from mnistlab.errors import RunError
from tests import needs
from tests.command import Result

Seen = list[Path]
REAL_AGE = data_scan.YOUNG_NS


@pytest.fixture(autouse=True)
def small(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test, and files that are old after 20 ms."""
    monkeypatch.setattr(data_scan, "YOUNG_NS", 20_000_000)
    return own_cache


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Every file that is decoded from now on."""
    seen: Seen = []

    def noted(path: Path) -> images.Decoded:
        seen.append(path)
        return decode(path)

    monkeypatch.setattr(images, "decode", noted)
    return seen


def stores(own_cache: Path) -> list[Path]:
    return sorted((own_cache / "decoded").glob("*"))


def load(root: Path) -> ImageData:
    """Load files that are no longer young; what is loaded is what the files hold."""
    time.sleep(0.03)
    loaded = load_folders(root)
    files = sorted((root / "train").glob("*/*.png"), key=lambda p: (p.parent.name, p.name))
    truth = [np.asarray(Image.open(path)).tolist() for path in files]
    assert loaded.train_ds.tensors[0].tolist() == truth
    return loaded


def test_every_file_is_decoded_once(tiny: Path, decoded: Seen, small: Path) -> None:
    first = load(tiny)
    assert sorted(decoded) == sorted(tiny.rglob("*.png"))
    assert len(stores(small)) == 2
    decoded.clear()
    again = load(tiny)
    assert again.describe() == first.describe()
    assert again.train.files == first.train.files
    assert decoded == []


def test_skipped_files_are_remembered_with_their_reason(tiny: Path, decoded: Seen) -> None:
    (tiny / "train" / "dark" / "3.png").write_bytes(b"")
    time.sleep(0.03)
    first = load_folders(tiny, skip_bad=True).train
    decoded.clear()
    again = load_folders(tiny, skip_bad=True).train
    assert decoded == []
    assert first.skipped == again.skipped == {"train/dark/3.png": "empty file (zero bytes)"}
    assert first.files == again.files


@needs.symlinks
@pytest.mark.parametrize("name", [b"link", b"\xff\xfe"])
def test_a_folder_has_one_store_whatever_path_leads_to_it(
    tiny: Path, decoded: Seen, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    load(tiny)
    decoded.clear()
    other = Path(os.fsdecode(os.fsencode(tiny.parent) + b"/" + name))
    other.symlink_to(tiny)
    monkeypatch.chdir(tiny)
    load(other)
    load(Path())
    assert decoded == []


def _edit(root: Path) -> None:
    Image.new("L", (4, 4), 200).save(root / "train" / "dark" / "3.png")


def _edit_keeping_size_and_mtime(root: Path) -> None:
    paths = [root / "train" / "dark" / name for name in ("3.png", "4.png")]
    before = [path.stat() for path in paths]
    contents = [path.read_bytes() for path in paths]
    for path, old, content in zip(paths, before, reversed(contents), strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
        new = path.stat()
        for field in ("st_mtime_ns", "st_size", "st_ino"):  # only the ctime is another one
            assert getattr(new, field) == getattr(old, field)


@pytest.mark.parametrize(
    "change", [_edit, pytest.param(_edit_keeping_size_and_mtime, marks=needs.ctimes)]
)
def test_no_change_goes_unseen(tiny: Path, decoded: Seen, change: Callable[[Path], object]) -> None:
    for name in ("3", "4"):  # of one size, whatever their pixels: what follows IEND is ignored
        path = tiny / "train" / "dark" / f"{name}.png"
        path.write_bytes(path.read_bytes().ljust(200, b"\0"))
    load(tiny)
    decoded.clear()
    change(tiny)
    load(tiny)
    assert decoded
    assert all(path.is_relative_to(tiny / "train") for path in decoded)  # valid is as it was
    decoded.clear()
    load(tiny)
    assert decoded == []


def test_a_file_changed_while_it_is_decoded_is_not_kept(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, small: Path
) -> None:
    def noted(path: Path) -> images.Decoded:
        image = decode(path)
        if path == tiny / "train" / "dark" / "3.png":
            _edit(tiny)
        return image

    time.sleep(0.03)
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", noted)
        load_folders(tiny)
    assert len(stores(small)) == 1  # of valid only
    load(tiny)


def test_nothing_is_kept_while_a_file_is_young(
    tiny: Path, decoded: Seen, monkeypatch: pytest.MonkeyPatch, small: Path
) -> None:
    assert REAL_AGE == 2_000_000_000
    monkeypatch.setattr(data_scan, "YOUNG_NS", REAL_AGE)
    path = tiny / "train" / "dark" / "3.png"
    for level in range(8):  # also in the same tick of the clock
        Image.new("L", (4, 4), level).save(path)
        assert load_folders(tiny).train_ds[5][0][0, 0] == level  # 0 1 10 11 2 3
    assert stores(small) == []
    monkeypatch.setattr(data_scan, "YOUNG_NS", 20_000_000)
    later = time.time() + 3600  # stamps from the future, where a clock was set back
    os.utime(path, (later, later))
    decoded.clear()
    load(tiny)
    load(tiny)
    assert len([path for path in decoded if "train" in path.parts]) == 2 * 24
    assert len([path for path in decoded if "valid" in path.parts]) == 8


@pytest.mark.parametrize("stamp", [10**18, 10**18 + 3 * 10**7])  # FAT and sshfs; exFAT
def test_nothing_is_kept_of_a_file_system_without_ctimes(
    tiny: Path, decoded: Seen, monkeypatch: pytest.MonkeyPatch, small: Path, stamp: int
) -> None:
    def scan(folder: Path, split: str) -> Scan:
        scanned = scan_folder(folder, split)
        for place in range(2, len(scanned.stamps), 5):
            scanned.stamps[place] = scanned.stamps[place + 1] = stamp
        return scanned

    monkeypatch.setattr(folders, "scan_folder", scan)
    load(tiny)
    load(tiny)
    assert len(decoded) == 2 * 32
    assert stores(small) == []


def test_what_another_decoder_made_is_decoded_again(
    tiny: Path, decoded: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PIL.__version__ in data_scan.DECODER
    load(tiny)
    monkeypatch.setattr(data_scan, "DECODER", "mnistlab 1, Pillow 99")
    decoded.clear()
    load(tiny)
    assert len(decoded) == 32


@needs.shell
@pytest.mark.parametrize("command", ["truncate -s -1", "cp /etc/hostname", "rm $1; mkfifo"])
def test_a_damaged_store_is_made_again(
    tiny: Path, decoded: Seen, small: Path, command: str
) -> None:
    before = load(tiny).fingerprint
    for path in stores(small):
        subprocess.run(["sh", "-c", f"{command} $1", "sh", path], check=True)
    decoded.clear()
    assert load(tiny).fingerprint == load(tiny).fingerprint == before
    assert len(decoded) == 32


@pytest.mark.parametrize("obstacle", ["a file", "a full disk", "no home"])
def test_a_cache_that_cannot_be_written_is_done_without(
    tiny: Path, decoded: Seen, small: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    def homeless() -> Path:
        raise RunError("no home folder")

    if obstacle == "a file":
        small.write_text("a file where the cache should be", encoding="utf-8")
    elif obstacle == "a full disk":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(folders, "cache_folder", homeless)
    load(tiny)
    decoded.clear()
    load(tiny)
    assert len(set(decoded)) == 32
    assert small.is_file() or not stores(small)


def test_what_a_killed_process_left_goes_away_in_time(tiny: Path, small: Path) -> None:
    (small / "decoded").mkdir(parents=True)
    old, new = (small / "decoded" / f".{name}.0.mnistlab-tmp" for name in "xy")
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    load(tiny)
    assert not old.exists()
    assert new.exists()  # perhaps of a process that is still writing


def test_data_where_lists_the_cache_and_data_clear_empties_it_but_for_downloads(
    tiny: Path, small: Path, mnistlab: Callable[..., Result], decoded: Seen
) -> None:
    assert f"0.0 MB in {small}\n" in mnistlab("data", "where").ok().out
    data = load(tiny)
    (small / "datasets" / "originals" / "mnist").mkdir(parents=True)
    (small / "datasets" / "originals" / "mnist" / "images.gz").write_bytes(bytes(2_000_000))
    (small / "decoded" / ".x.0.mnistlab-tmp").write_bytes(b"another process writes")
    [train, valid] = [store_path(tiny / split, split) for split in ("train", "valid")]
    listed = mnistlab("data", "where", "--json").ok().json
    assert listed["cache"] == str(small)
    assert {(entry["kind"], entry["path"], entry["about"]) for entry in listed["entries"]} == {
        ("decoded", str(train), str(tiny / "train")),
        ("decoded", str(valid), str(tiny / "valid")),
        ("download", str(small / "datasets" / "originals"), ""),
    }
    assert sum(entry["bytes"] for entry in listed["entries"]) >= 2_000_000
    assert str(tiny / "train") in mnistlab("data", "where").ok().out
    if needs.WINDOWS:  # what is mapped stays there
        document = mnistlab("data", "clear", "--json").ok().json
        assert [entry["kind"] for entry in document["left"]] == ["decoded", "decoded", "download"]
        del data
    result = mnistlab("data", "clear").ok()
    assert "downloads stay, 2.0 MB; --all removes them too" in result.err
    assert [path.name for path in stores(small)] == [".x.0.mnistlab-tmp"]
    if not needs.WINDOWS:
        assert data.train_ds[0][0].sum() > 0  # who has it open keeps it
    decoded.clear()
    load(tiny)
    assert len(decoded) == 32
    document = mnistlab("data", "clear", "--all", "--json").ok().json
    assert len(document["removed"]) == 3
    assert document["left"] == []
    assert mnistlab("data", "where", "--json").ok().json["entries"] == []
