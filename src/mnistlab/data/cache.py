"""Decoded folders, kept in stores so that a second start need not decode; what is in the cache.

A cache can cost time, never truth: a store is used only if its signature is that of the folder now
(names, sizes, mtimes, ctimes and inodes of all files, and the decoder). An edit that restores size
and mtime still moves ctime, which no program can set. One thing no stamp shows: a program that has
an image file mapped into its memory and goes on writing there.
"""

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import PIL
from PIL import features

from mnistlab.data.store import Split, describe_store, open_store
from mnistlab.data.tree import STAMPS, Scan
from mnistlab.errors import DamagedFileError, RunError
from mnistlab.files import cache_folder, remove, remove_leftovers

# Pillow's own packages bring their libraries along; those of a distribution or of conda are
# updated without it, and what they make of lossy formats may change.
_LIBRARIES = ", ".join(
    f"{name} {features.version(name)}" for name in ("jpg", "libjpeg_turbo", "webp", "avif")
)
DECODER = f"mnistlab 3, Pillow {PIL.__version__}, {_LIBRARIES}"
YOUNG_NS = 2_000_000_000
_FINEST_WITHOUT_CTIME = 10_000_000  # nanoseconds: exFAT; FAT has two seconds, sshfs one


def shows_every_edit(scan: Scan) -> bool:
    """Whether any edit from now on must change a stamp: only then may a store be kept.

    Not where a file is younger than two seconds (or from the future): it could be written again
    within the same tick of the file system's clock. Not where a ctime is the mtime, in whole
    hundredths of a second: FAT, sshfs and squashfs have no ctime and show the mtime in its place,
    which every tool that keeps times can set.
    """
    mtimes, ctimes = scan.stamps[2::STAMPS], scan.stamps[3::STAMPS]
    if max(mtimes + ctimes, default=0) > time.time_ns() - YOUNG_NS:
        return False
    pairs = zip(mtimes, ctimes, strict=True)
    return not any(m == c and m % _FINEST_WITHOUT_CTIME == 0 for m, c in pairs)


def signature(scan: Scan) -> str:
    """Changes whenever a file is edited, added, deleted, renamed or replaced."""
    parts = [DECODER]
    for label in scan.classes:
        parts += [label, str(len(scan.names[label])), *scan.names[label]]
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape"))
    digest.update(scan.stamps.tobytes())
    return digest.hexdigest()


def store_path(root: Path, split: str) -> Path | None:
    """Where the decoded `split` of `root` is kept; None where there is no place for a cache."""
    place = hashlib.sha256(os.fsencode(os.path.realpath(root)) + b"\0" + split.encode())
    with contextlib.suppress(RunError):
        return cache_folder() / "decoded" / f"{place.hexdigest()[:24]}.store"
    return None


def open_cached(root: Path, split: str) -> tuple[str, Split] | None:
    """The signature of what was kept of this split, and the split; None if there is no sound one.

    It may be of files that have changed since.
    """
    path = store_path(root, split)
    with contextlib.suppress(OSError, DamagedFileError):
        if path is not None and path.is_file():  # a pipe would be waited for
            signed = describe_store(path)["signature"]
            return signed, open_store(path, signed)
    return None


@dataclass(frozen=True)
class CacheEntry:
    """One entry of the cache. `kind`: decoded, bundled or download; `about`: what it was made of;
    `size`: bytes on the disk."""

    kind: str
    path: Path
    about: str
    size: int

    def as_dict(self) -> dict[str, str | int]:
        """Plain data for JSON."""
        return {
            "kind": self.kind,
            "about": self.about,
            "path": str(self.path),
            "bytes": self.size,
        }


_KINDS = {"decoded": "decoded", "data": "bundled", "datasets": "download"}


def list_cache() -> list[CacheEntry]:
    """What the cache holds: stores of folders, the bundled data, datasets that were downloaded.

    Raises RunError where there is no place for a cache.
    """
    entries = []
    for folder, kind in _KINDS.items():
        with contextlib.suppress(OSError):  # not there, or not to be listed
            for path in sorted((cache_folder() / folder).iterdir()):
                if path.name.startswith("."):  # a lock, or what is being written
                    continue
                about = ""
                with contextlib.suppress(OSError, DamagedFileError):
                    about = describe_store(path)["about"]
                size = sum(each.lstat().st_blocks * 512 for each in [path, *path.rglob("*")])
                entries.append(CacheEntry(kind, path, about, size))
    return entries


def clear(*, downloads: bool = False) -> tuple[list[CacheEntry], list[CacheEntry]]:
    """Remove what can be made again without a network; also `downloads` if that is asked for.

    Who works with some of it keeps what is open. Returns what is gone, and what is left. Raises
    RunError where there is no place for a cache.
    """
    entries = list_cache()
    for folder in _KINDS:
        remove_leftovers(cache_folder() / folder, older_than=3600)
    for entry in entries:
        if downloads or entry.kind != "download":
            remove(entry.path)
    left = [entry for entry in entries if os.path.lexists(entry.path)]
    return [entry for entry in entries if entry not in left], left
