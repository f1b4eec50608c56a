"""Decoded images, kept so that a second start need not decode.

One sealed file per split, named by the folder it came from. It is used only if the folder's
signature (names, sizes, mtime, ctime, inode of every file), the decoder and the versions of Pillow
and of its libraries for lossy formats are those it was made with, and its seal holds. Otherwise it
is made again: a cache can cost time, never truth. It does not grow for ever: what was not used for
long goes.

One thing no stamp shows: a program that has an image file mapped into its memory and goes on
writing there. The system stamps the file at the first of these writes, and again only after it has
written the page to the disk.
"""

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL
import torch
from PIL import features

from mnistlab.data.tree import SplitTree
from mnistlab.errors import RunError
from mnistlab.files import cache_folder, remove, remove_leftovers
from mnistlab.storage import read_tensors, write_tensors

# Pillow's own packages bring their libraries along; those of a distribution or of conda are
# updated without it, and what they make of lossy formats may change.
_LIBRARIES = ", ".join(
    f"{name} {features.version(name)}" for name in ("jpg", "libjpeg_turbo", "webp", "avif")
)
DECODER = f"mnistlab 3, Pillow {PIL.__version__}, {_LIBRARIES}"
_KEEP_DAYS = 30
_KEEP_BYTES = 4 * 2**30
_DAY = 86_400
_COARSE_NS = 2_100_000_000  # file systems that stamp in whole (or two) seconds
_FINE_NS = 50_000_000  # the others stamp by the kernel's tick, 10 ms at most


@dataclass
class DecodedSplit:
    """The images of one split as the cache holds them.

    images: uint8 (n, H, W), classes one after the other; `counts[class]` says how many of each.
    `skipped` maps `class/name` to the reason why it could not be used.
    """

    images: torch.Tensor
    counts: dict[str, int]
    skipped: dict[str, str]
    fingerprint: str


def entry_path(root: Path, split: str) -> Path | None:
    """Where the decoded `split` of `root` is kept; None where there is no place for a cache."""
    if os.name == "nt":  # pragma: no cover - ctime is the time of creation there
        return None
    try:
        key = hashlib.sha256(os.fsencode(root.resolve()) + b"\0" + split.encode()).hexdigest()
        return cache_folder() / "decoded" / f"{key[:24]}.safetensors"
    except (RunError, OSError, RuntimeError):
        return None


def read_entry(path: Path | None) -> tuple[str, DecodedSplit] | None:
    """The signature and the content of a cache file, or None if it is not whole and sound."""
    # a pipe would be waited for; and unlike Path.is_file this never raises
    if path is None or not os.path.isfile(path):
        return None
    try:
        tensors, meta = read_tensors(path)
        if meta["decoder"] != DECODER:
            return None
        images = tensors["images"]
        split = DecodedSplit(images, meta["counts"], meta["skipped"], meta["fingerprint"])
        with contextlib.suppress(OSError):
            os.utime(path)  # when it was used last
        return str(meta["signature"]), split
    except (OSError, RunError, KeyError, TypeError):
        return None


def store_entry(path: Path | None, tree: SplitTree, split: DecodedSplit) -> None:
    """Keep `split` for the next start. A cache that cannot be written is no reason to fail."""
    if path is None:
        return
    meta: dict[str, Any] = {
        "decoder": DECODER,
        "signature": tree.signature(),
        "root": str(tree.root.resolve()).encode("utf-8", "backslashreplace").decode(),
        "split": tree.split,
        "counts": split.counts,
        "skipped": split.skipped,
        "fingerprint": split.fingerprint,
    }
    with contextlib.suppress(OSError, RunError):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, older_than=3600)
        _forget_unused(path.parent)  # the disk may be full of them
        write_tensors(path, {"images": split.images}, meta)
        _forget_unused(path.parent)


def _forget_unused(folder: Path) -> None:
    """Delete what nobody has used for 30 days, and beyond 4 GiB what was unused the longest.

    What was used within a day stays in any case. Raises OSError.
    """
    stats = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process was faster
                if entry.is_file():
                    stats.append((entry.path, entry.stat()))
    total = sum(stat.st_size for _, stat in stats)
    for path, stat in sorted(stats, key=lambda item: item[1].st_mtime):
        unused = time.time() - stat.st_mtime
        if unused > _KEEP_DAYS * _DAY or (total > _KEEP_BYTES and unused > _DAY):
            remove(Path(path))
            total -= stat.st_size


def wait_until_settled(tree: SplitTree) -> bool:
    """Wait until an edit made from now on must change a stamp; False if that takes too long, or
    never comes.

    A file written a moment ago could be written again within the same tick of the file system's
    clock, with the same stamps. Reading begins only after that tick. Stamps that lie in the
    future (a clock that was set back) never settle: such a tree is decoded, but not kept.
    """
    if not tree.shows_every_edit():
        return False
    newest = tree.newest_ns()
    tick = _COARSE_NS if newest % 1_000_000_000 == 0 else _FINE_NS
    wait = newest + tick - time.time_ns()
    if wait > _COARSE_NS:
        return False
    if wait > 0:
        time.sleep(wait / 1e9)
    return True


def fingerprint(images: torch.Tensor, counts: dict[str, int]) -> str:
    """SHA-256 of what training sees: classes, counts, size and every pixel, in order."""
    digest = hashlib.sha256(repr((sorted(counts.items()), tuple(images.shape))).encode())
    digest.update(images.numpy().data)
    return digest.hexdigest()
