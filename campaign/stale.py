"""Stale or damaged caches and data are never used: what is loaded is what the files hold.

Every way in which a folder changes (`stale_ways.py`), every way in which a cache file or a kept
dataset is damaged (`stale_damage.py`), and tampering with the unpacked bundled data
(`stale_bundled.py`). What was loaded is compared with decoding the same files without a cache.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from unittest import mock

from PIL import Image

from campaign.stale_bundled import renewed_at_once, renewed_by_processes, tampered
from campaign.stale_damage import DAMAGE
from campaign.stale_kept import damaged_datasets
from campaign.stale_ways import STALE, edit_keeping_size_and_time, make_padded
from campaign.tally import Tally
from mnistlab.data import cache, folders
from mnistlab.data.folders import load_folders
from mnistlab.data.images import decode_grey
from mnistlab.errors import DataError


def quick(folder: Path) -> Tally:
    """Every way once."""
    return _row(folder, times=1, rounds=2)


def full(folder: Path) -> Tally:
    """Every way many times, and processes that renew the bundled data at once."""
    tally = _row(folder, times=12, rounds=40)
    tally.add(renewed_by_processes(folder / "processes", rounds=2))
    return tally


def _row(folder: Path, times: int, rounds: int) -> Tally:
    tally, random = Tally(), Random(4)
    with _cache_in(folder / "cache"), _decodes() as seen:
        for _ in range(times):
            for way in STALE:
                with _tree(folder / "data") as root:
                    fault = _changed(root, seen, partial(way, root, random))
                    tally.check(fault is None, f"{way.__name__}: {fault}")
            with _tree(folder / "data") as root:
                fault = _changed_while_read(root, random)
                tally.check(fault is None, f"changed while it was read: {fault}")
            with _tree(folder / "data") as root:
                fault = _another_decoder(root, seen)
                tally.check(fault is None, f"another decoder: {fault}")
        stale = tally.tried
        tally.add(_damaged_entries(folder, 3 * times, random, seen))
    with _cache_in(folder / "kept"):
        tally.add(damaged_datasets(3 * times, random))
    with _cache_in(folder / "bundled"):
        tally.add(tampered(folder / "shipped", times, random))
        tally.add(renewed_at_once(folder / "shipped", rounds, random))
    tally.notes.append(f"{stale} changes, {tally.tried - stale} damaged or tampered files")
    return tally


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    with mock.patch.dict("os.environ", MNISTLAB_CACHE=str(folder)):
        yield


@contextlib.contextmanager
def _tree(root: Path) -> Iterator[Path]:
    """A new folder of images at `root`, which always has the same name: the same cache file."""
    try:
        yield make_padded(root)
    finally:
        shutil.rmtree(root)


@contextlib.contextmanager
def _decodes() -> Iterator[list[Path]]:
    """Every file that is decoded from now on."""
    seen: list[Path] = []

    def decode(path: Path) -> Image.Image:
        seen.append(path)
        return decode_grey(path)

    with mock.patch.object(folders, "decode_grey", decode):
        yield seen


def _loaded(root: Path) -> object:
    """All that loading `root` gives, or all that is wrong with it."""
    try:
        data = load_folders(root, skip_bad=True)
    except DataError as error:
        return error.faults
    except Exception as error:  # what is not ours is a fault
        return repr(error)
    return [
        (
            *(split.classes, split.image_size, split.files, split.skipped, split.fingerprint),
            *(tensor.tolist() for tensor in split.ds.tensors),
        )
        for split in (data.train, data.valid)
    ]


def _truth(root: Path) -> object:
    with mock.patch.object(cache, "entry_path", return_value=None):
        return _loaded(root)


def _warm(root: Path, seen: list[Path]) -> str | None:
    """Load `root` twice; what is wrong unless the second time takes it from the cache."""
    _loaded(root)
    seen.clear()
    _loaded(root)
    return "the cache is not used even where nothing has changed" if seen else None


def _changed(root: Path, seen: list[Path], change: Callable[[], object]) -> str | None:
    """What is wrong if `root` is changed after it was loaded."""
    if fault := _warm(root, seen):
        return fault
    change()
    seen.clear()
    found, decoded = _loaded(root), len(seen)
    if found != _truth(root):
        return "a stale read"
    if not decoded:
        return "nothing was decoded again"
    return None if _loaded(root) == found else "a stale read at the second look"


def _changed_while_read(root: Path, random: Random) -> str | None:
    """A file changes, with its size and time kept, while the files are decoded."""
    moment = random.randrange(16)

    def decode(path: Path) -> Image.Image:
        nonlocal moment
        moment -= 1
        if moment == 0:
            edit_keeping_size_and_time(root, random)
        return decode_grey(path)

    with mock.patch.object(folders, "decode_grey", decode):
        _loaded(root)
    return None if _loaded(root) == _truth(root) else "a stale read"


def _another_decoder(root: Path, seen: list[Path]) -> str | None:
    if fault := _warm(root, seen):
        return fault
    for decoder in ("mnistlab 1", cache.DECODER.replace("Pillow ", "Pillow 1")):
        with mock.patch.object(cache, "DECODER", decoder):
            seen.clear()
            _loaded(root)
            if len(seen) != len(list(root.rglob("*.png"))):
                return f"what another decoder than {decoder!r} made was used"
    return None


def _damaged_entries(folder: Path, times: int, random: Random, seen: list[Path]) -> Tally:
    """Cache files that are not what was written: never used, and made again."""
    tally = Tally()
    with _tree(folder / "data") as root, _tree(folder / "other") as other:
        truth = _truth(root)
        edit_keeping_size_and_time(other, random)
        _loaded(other)
        theirs = cache.entry_path(other, "train")
        assert theirs is not None
        for _ in range(times):
            for name, damage in DAMAGE.items():
                fault = _warm(root, seen)
                split = random.choice(("train", "valid"))
                path = cache.entry_path(root, split)
                assert path is not None
                damage(path, theirs, random)
                seen.clear()
                if _loaded(root) != truth:
                    fault = "was used"
                elif len(seen) != len(list((root / split).rglob("*.png"))):
                    fault = "not every file was decoded again"
                if path.is_dir():
                    path.rmdir()
                tally.check(fault is None, f"a cache file, {name}: {fault}")
    return tally
