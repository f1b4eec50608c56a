"""The cache: never stale, never corrupt, never in the way."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnistlab.data import cache, folders
from mnistlab.data.folders import ImageData, load_folders
from mnistlab.data.images import decode_grey
from mnistlab.data.tree import STAMPS, SplitTree, scan_split
from mnistlab.errors import RunError
from mnistlab.storage import read_tensors, write_tensors
from tests.conftest import make_tree

Decoded = list[Path]


@pytest.fixture(autouse=True)
def small(own_cache: Path) -> Path:
    """A cache of its own for every test here."""
    return own_cache


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """Every file that is decoded from now on."""
    seen: Decoded = []
    real = decode_grey

    def decode(path: Path) -> Image.Image:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(folders, "decode_grey", decode)
    return seen


def entries(cache_folder: Path) -> list[Path]:
    return sorted((cache_folder / "decoded").glob("*"))


def truth(root: Path) -> list[list[list[int]]]:
    """The pixels of train, straight from the files."""
    files = sorted((root / "train").glob("*/*.png"), key=lambda p: (p.parent.name, p.name))
    return [np.asarray(Image.open(path)).tolist() for path in files]


def agrees(root: Path) -> ImageData:
    loaded = load_folders(root)
    assert loaded.train_ds.tensors[0].tolist() == truth(root)
    return loaded


def test_every_file_is_decoded_exactly_once(tiny: Path, decoded: Decoded, small: Path) -> None:
    first = agrees(tiny)
    assert sorted(decoded) == sorted(tiny.rglob("*.png"))
    assert len(entries(small)) == 2
    decoded.clear()
    for _ in range(2):
        again = agrees(tiny)
        assert again.fingerprint == first.fingerprint
        assert again.train.files == first.train.files
        assert again.train.counts == first.train.counts
        assert torch.equal(again.valid_ds.tensors[1], first.valid_ds.tensors[1])
    assert decoded == []


def test_one_changed_split_leaves_the_other_alone(tiny: Path, decoded: Decoded) -> None:
    load_folders(tiny)
    decoded.clear()
    Image.new("L", (4, 4), 1).save(tiny / "valid" / "dark" / "0.png")
    load_folders(tiny)
    assert len(decoded) == 8
    assert all(path.is_relative_to(tiny / "valid") for path in decoded)


def _edit(root: Path) -> None:
    Image.new("L", (4, 4), 200).save(root / "train" / "dark" / "3.png")


def _edit_in_place(root: Path) -> None:
    # the same files, sizes and mtimes: only ctime tells
    paths = [root / "train" / "dark" / name for name in ("3.png", "4.png")]
    before = [path.stat() for path in paths]
    _swap(*paths)
    for path, old in zip(paths, before, strict=True):
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
        new = path.stat()
        assert (new.st_mtime_ns, new.st_size, new.st_ino) == (
            old.st_mtime_ns,
            old.st_size,
            old.st_ino,
        )


def _swap(one: Path, two: Path) -> None:
    a, b = one.read_bytes(), two.read_bytes()
    longest = max(len(a), len(b))
    one.write_bytes(b.ljust(longest, b"\0"))  # what follows IEND does not matter
    two.write_bytes(a.ljust(longest, b"\0"))


def _add(root: Path) -> None:
    Image.new("L", (4, 4), 200).save(root / "train" / "dark" / "30.png")


def _delete(root: Path) -> None:
    (root / "train" / "dark" / "3.png").unlink()


def _rename(root: Path) -> None:
    (root / "train" / "dark" / "3.png").rename(root / "train" / "dark" / "99.png")


def _exchange(root: Path) -> None:
    folder = root / "train" / "dark"
    (folder / "3.png").rename(folder / "x")
    (folder / "4.png").rename(folder / "3.png")
    (folder / "x").rename(folder / "4.png")


def _move_to_the_other_class(root: Path) -> None:
    (root / "train" / "dark" / "3.png").rename(root / "train" / "light" / "30.png")


def _exchange_classes(root: Path) -> None:
    (root / "train" / "dark").rename(root / "x")
    (root / "train" / "light").rename(root / "train" / "dark")
    (root / "x").rename(root / "train" / "light")


def _replace_tree(root: Path) -> None:
    (root / "train").rename(root / "old")
    (make_tree(root / "new", ("light", "dark")) / "train").rename(root / "train")


def _replace_by_link(root: Path) -> None:
    path = root / "train" / "dark" / "3.png"
    path.unlink()
    path.symlink_to("4.png")


CHANGES = [
    _edit,
    _edit_in_place,
    _add,
    _delete,
    _rename,
    _exchange,
    _move_to_the_other_class,
    _exchange_classes,
    _replace_tree,
    _replace_by_link,
]


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_goes_unseen(
    tiny: Path, decoded: Decoded, change: Callable[[Path], None]
) -> None:
    for name in ("3", "4"):  # of one size, whatever their pixels
        path = tiny / "train" / "dark" / f"{name}.png"
        path.write_bytes(path.read_bytes().ljust(200, b"\0"))
    agrees(tiny)
    decoded.clear()
    change(tiny)
    agrees(tiny)
    assert decoded
    decoded.clear()
    agrees(tiny)
    assert decoded == []


def test_an_edit_in_the_same_tick_as_the_first_load_is_seen(tiny: Path) -> None:
    path = tiny / "train" / "dark" / "3.png"
    for level in range(8):
        Image.new("L", (4, 4), level).save(path)
        assert load_folders(tiny).train_ds[5][0][0, 0] == level  # 0 1 10 11 2 3


def test_a_file_changed_while_it_is_decoded_is_not_kept(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, small: Path
) -> None:
    real = decode_grey
    hit = tiny / "train" / "dark" / "3.png"

    def decode(path: Path) -> Image.Image:
        image = real(path)
        if path == hit:
            Image.new("L", (4, 4), 222).save(path)
        return image

    monkeypatch.setattr(folders, "decode_grey", decode)
    load_folders(tiny)
    assert len(entries(small)) == 1  # valid only
    monkeypatch.setattr(folders, "decode_grey", real)
    agrees(tiny)


def test_another_decoder_decodes_again(
    tiny: Path, decoded: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_folders(tiny)
    decoded.clear()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "DECODER", "mnistlab 1, Pillow 99")
        load_folders(tiny)
        assert len(decoded) == 32
        load_folders(tiny)
        assert len(decoded) == 32
    load_folders(tiny)
    assert len(decoded) == 64


def test_the_decoder_is_named_with_its_version() -> None:
    import PIL

    assert PIL.__version__ in cache.DECODER


def test_any_damaged_byte_of_an_entry_is_noticed(tmp_path: Path, small: Path) -> None:
    make_tree(tmp_path / "t", train=1, valid=1)
    load_folders(tmp_path / "t")
    path = entries(small)[0]
    content = path.read_bytes()
    assert cache.read_entry(path) is not None
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(content):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << place % 8]), place)
            assert cache.read_entry(path) is None, place
            os.pwrite(file.fileno(), bytes([byte]), place)
        assert cache.read_entry(path) is not None
        for length in reversed(range(len(content))):
            file.truncate(length)
            assert cache.read_entry(path) is None, length
    path.write_bytes(content + b"\0")
    assert cache.read_entry(path) is None
    path.write_bytes(content)
    assert cache.read_entry(path) is not None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder", "foreign", "bare"])
def test_a_damaged_entry_is_made_again(
    tiny: Path, decoded: Decoded, small: Path, damage: str
) -> None:
    before = agrees(tiny).fingerprint
    for path in entries(small):
        content = path.read_bytes()
        if damage == "flip":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif damage == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "foreign":
            path.write_bytes(b"hello")
        elif damage == "bare":
            write_tensors(path, {}, [])
        else:
            path.unlink()
            path.mkdir()
    decoded.clear()
    assert agrees(tiny).fingerprint == before
    assert len(decoded) == 32
    decoded.clear()
    assert agrees(tiny).fingerprint == before
    assert decoded == [] or damage == "folder"


def test_a_cache_that_cannot_be_written_is_done_without(
    tiny: Path, small: Path, decoded: Decoded
) -> None:
    small.write_text("a file where the cache should be")
    for times in (1, 2):
        agrees(tiny)
        assert len(decoded) == 32 * times
    assert small.read_text() == "a file where the cache should be"


def test_a_full_disk_is_done_without(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, small: Path
) -> None:
    def fsync(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    agrees(tiny)
    assert entries(small) == []


def test_no_home_is_done_without(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RunError("no home folder")

    monkeypatch.setattr(cache, "cache_folder", nowhere)
    assert cache.entry_path(tiny, "train") is None
    assert cache.read_entry(None) is None
    agrees(tiny)


def test_stamps_in_the_future_are_decoded_every_time(tiny: Path, decoded: Decoded) -> None:
    later = time.time() + 3600
    os.utime(tiny / "train" / "dark" / "3.png", (later, later))
    for times in (1, 2):
        agrees(tiny)
        assert len([path for path in decoded if "train" in path.parts]) == 24 * times
    assert len([path for path in decoded if "valid" in path.parts]) == 8  # the others are kept


def test_a_clock_set_back_does_not_hold_anything_up(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = scan_split(tiny, "train")
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    newest = tree.newest_ns()
    assert newest == max(
        max(p.stat().st_mtime_ns, p.stat().st_ctime_ns) for p in tiny.glob("train/*/*")
    )
    monkeypatch.setattr(time, "time_ns", lambda: newest - 10**10)
    assert not cache.wait_until_settled(tree)
    assert slept == []
    monkeypatch.setattr(time, "time_ns", lambda: newest + 10**10)
    assert cache.wait_until_settled(tree)
    assert slept == []


def test_a_fresh_stamp_is_waited_for_longer_where_the_clock_is_coarse(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = scan_split(tiny, "train")
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for newest, longest in ((5_000_000_001, 0.05), (5_000_000_000, 2.1)):
        for place in range(2, len(tree.stamps), 5):
            tree.stamps[place], tree.stamps[place + 1] = newest - 1, newest
        monkeypatch.setattr(time, "time_ns", lambda now=newest: now)
        assert cache.wait_until_settled(tree)
        assert slept.pop() == pytest.approx(longest)


@pytest.mark.parametrize("stamp", [10**18, 10**18 + 3 * 10**7])  # FAT and sshfs; exFAT
def test_a_folder_without_a_ctime_of_its_own_is_decoded_every_time(
    tiny: Path, decoded: Decoded, monkeypatch: pytest.MonkeyPatch, small: Path, stamp: int
) -> None:
    for name in ("3", "4"):  # of one size, whatever their pixels
        path = tiny / "train" / "dark" / f"{name}.png"
        path.write_bytes(path.read_bytes().ljust(200, b"\0"))
    real = scan_split

    def scan(root: Path, split: str) -> SplitTree:
        tree = real(root, split)
        for place in range(2, len(tree.stamps), STAMPS):
            tree.stamps[place] = tree.stamps[place + 1] = stamp  # and `cp -p` can say so
        return tree

    monkeypatch.setattr(folders, "scan_split", scan)
    for _ in range(2):
        agrees(tiny)
        _edit_in_place(tiny)
    agrees(tiny)
    assert len(decoded) == 3 * 32
    assert entries(small) == []


def test_a_link_to_nowhere_is_looked_at_every_time(tiny: Path) -> None:
    link = tiny / "train" / "dark" / "3.png"
    link.unlink()
    for to, why in (("nowhere", "not there"), ("3.png", "cannot be reached")):
        link.unlink(missing_ok=True)
        link.symlink_to(to)
        assert why in load_folders(tiny, skip_bad=True).skipped["train/dark/3.png"]


def test_an_empty_split_is_settled(tmp_path: Path) -> None:
    tree = scan_split(tmp_path, "train")
    assert tree.newest_ns() == 0
    assert cache.wait_until_settled(tree)


def test_skipped_files_are_remembered_with_their_reason(tiny: Path, decoded: Decoded) -> None:
    (tiny / "train" / "dark" / "3.png").write_bytes(b"")
    first = load_folders(tiny, skip_bad=True).train
    decoded.clear()
    again = load_folders(tiny, skip_bad=True).train
    assert decoded == []
    assert first.skipped == again.skipped == {"train/dark/3.png": "empty file (zero bytes)"}
    assert first.files == again.files


def test_the_same_folder_by_another_path_uses_the_same_entry(
    tiny: Path, decoded: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_folders(tiny)
    decoded.clear()
    (tiny.parent / "link").symlink_to(tiny)
    monkeypatch.chdir(tiny)
    load_folders(tiny.parent / "link")
    load_folders(".")
    assert decoded == []


def test_two_folders_never_share_an_entry(tmp_path: Path, small: Path) -> None:
    one, two = make_tree(tmp_path / "one"), make_tree(tmp_path / "two", ("dark", "white"))
    agrees(one)
    agrees(two)
    assert len(entries(small)) == 4
    agrees(one)


def test_a_folder_whose_name_is_not_utf_8_is_kept_too(tmp_path: Path, decoded: Decoded) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    make_tree(root)
    load_folders(root)
    decoded.clear()
    load_folders(root)
    assert decoded == []


def test_leftovers_of_a_crash_go_away_in_time(tiny: Path, small: Path) -> None:
    (small / "decoded").mkdir(parents=True)
    old = small / "decoded" / ".x.0.mnistlab-tmp"
    new = small / "decoded" / ".y.0.mnistlab-tmp"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    load_folders(tiny)
    assert not old.exists()
    assert new.exists()  # perhaps of a process that is still writing


def test_loading_from_many_threads_at_once_agrees(tiny: Path) -> None:
    found: list[str] = []

    def load() -> None:
        found.append(load_folders(tiny).fingerprint)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    agrees(tiny)


def test_an_entry_says_what_it_is_of(tiny: Path, small: Path) -> None:
    load_folders(tiny)
    path = cache.entry_path(tiny, "train")
    assert path in entries(small)
    assert path is not None
    tensors, meta = read_tensors(path)
    assert tensors["images"].shape == (24, 4, 4)
    assert meta["root"] == str(tiny.resolve())
    assert (meta["split"], meta["counts"]) == ("train", {"dark": 12, "light": 12})


def test_what_nobody_uses_goes_away_in_time(tmp_path: Path, small: Path) -> None:
    unused, used, new = (make_tree(tmp_path / name) for name in ("unused", "used", "new"))
    for root in (unused, used):
        load_folders(root)
    assert len(entries(small)) == 4
    long_ago = time.time() - 31 * 86_400
    for path in entries(small):
        os.utime(path, (long_ago, long_ago))
    load_folders(used)
    load_folders(new)
    kept = {cache.entry_path(root, split) for root in (used, new) for split in ("train", "valid")}
    assert set(entries(small)) == kept


def test_beyond_a_size_the_longest_unused_goes_but_nothing_of_today(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = {}
    for age in (3, 2, 0):  # days
        load_folders(make_tree(tmp_path / f"{age}"))
        days[age] = {cache.entry_path(tmp_path / f"{age}", split) for split in ("train", "valid")}
    for age in (3, 2):
        for path in days[age]:
            assert path is not None
            os.utime(path, (time.time() - age * 86_400,) * 2)
    total = sum(path.stat().st_size for path in entries(small))
    monkeypatch.setattr(cache, "_KEEP_BYTES", total)
    load_folders(make_tree(tmp_path / "8"))
    left = set(entries(small))
    assert days[2] | days[0] < left
    assert not days[3] & left
    monkeypatch.setattr(cache, "_KEEP_BYTES", 0)
    load_folders(make_tree(tmp_path / "9"))
    left = set(entries(small))
    assert days[0] < left
    assert not days[2] & left


def test_a_cache_that_may_not_be_searched_is_done_without(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree(tmp_path / "tree")
    expected = load_folders(tree).fingerprint
    real = os.stat

    def stat(path: object, *rest: object, **named: object) -> object:
        if "decoded" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", stat)
    assert load_folders(tree).fingerprint == expected
