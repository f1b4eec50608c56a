"""The store: one file that holds the images of one split as they are trained on.

The pixels come first, uint8 (n, H, W) and nothing else, so that the file is mapped into memory as
it is; then a description in JSON (shape, classes, names, signature, checksums), then the
description's own SHA-256, its length and a mark. A store is written beside its place, renamed, and
never written again. Its pages are read as they are needed, so it may be larger than memory; the
mapping is copy-on-write, so nobody who writes into the images writes into the file.
"""

import contextlib
import hashlib
import io
import json
import math
import mmap
import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch.utils.data import TensorDataset

from mnistlab.errors import DamagedFileError
from mnistlab.files import remove_leftovers, temporary_beside
from mnistlab.names import printable

CHECKED_AT_ONCE = 2**30  # bytes; of a larger store, each block is checked when it is first read
BLOCK = 2**20  # bytes under one checksum
_TAIL = struct.Struct("<32sQ8s")  # SHA-256 of the description, its length, the mark
_MARK = b"mnist-s1"  # another one where the content is arranged differently
# MAP_NORESERVE, which Python names from 3.13 on: no memory is set aside for private copies of all
# pages; else the system refuses to map a file that is larger than memory.
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


@dataclass(frozen=True)
class Split:
    """One split: `ds` yields (image uint8 (H, W), label); `files[i]` is `class/name` of item i.

    `signature` says what it was made from. `skipped` maps `split/class/name` of a file that could
    not be used to the reason; `hidden` counts files whose names begin with a dot.
    """

    ds: TensorDataset
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    files: list[str]
    fingerprint: str
    signature: str
    skipped: dict[str, str] = field(default_factory=dict)
    hidden: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Images of each class."""
        counted = self.ds.tensors[1].bincount(minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counted, strict=True))


@contextlib.contextmanager
def new_store(path: Path | None) -> Iterator[BinaryIO]:
    """A file for the pixels of a store at `path`; in memory where that is None.

    Images are written one after the other, row by row, 8 bits a pixel; then `finish_store` makes
    the split of them. Where it is left without that, nothing stays. Raises OSError.
    """
    if path is None:
        yield io.BytesIO()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, older_than=3600)
    temporary = temporary_beside(path)
    try:
        with open(temporary, "x+b", buffering=BLOCK) as file:
            yield file
    finally:
        with contextlib.suppress(OSError):  # renamed, or gone
            temporary.unlink()


def finish_store(
    file: BinaryIO,
    path: Path | None,
    image_size: tuple[int, int],
    counts: Mapping[str, int],
    names: Sequence[str],
    *,
    signature: str,
    about: str,
    skipped: Mapping[str, str] | None = None,
) -> Split:
    """The split that was written to `file`, mapped; stored at `path` unless that is None.

    The images were written class by class: `counts[class]` of each, `names` for all of them
    (`class/name`). `signature` says what they were made from, `about` tells a person.
    Raises OSError.
    """
    file.flush()
    shape = (len(names), *image_size)
    pixels = _mapped(file, shape)
    flat = pixels.numpy().reshape(-1).data
    description = {
        "shape": shape,
        "counts": dict(counts),
        "names": list(names),
        "skipped": dict(skipped or {}),
        "fingerprint": fingerprint(pixels, dict(counts)),
        "blocks": [
            hashlib.sha256(flat[start : start + BLOCK]).hexdigest()
            for start in range(0, len(flat), BLOCK)
        ],
        "signature": signature,
        "about": about,
    }
    if path is not None:
        text = json.dumps(description).encode()
        file.seek(pixels.nbytes)
        file.write(text + _TAIL.pack(hashlib.sha256(text).digest(), len(text), _MARK))
        file.flush()
        os.fsync(file.fileno())
        os.replace(file.name, path)
    return _split(pixels, description)


def open_store(path: Path) -> Split:
    """The split that was stored at `path`.

    Up to `CHECKED_AT_ONCE` every byte is verified here, beyond that each block when it is first
    read. Raises FileNotFoundError, OSError, and DamagedFileError where the file is not a complete
    store.
    """
    with open(path, "rb") as file:
        description = read_description(file)
        pixels = _mapped(file, description["shape"])
    blocks = _Blocks(pixels, description["blocks"], path)
    if pixels.nbytes > CHECKED_AT_ONCE:
        pixels = pixels.as_subclass(_CheckedImages)
        pixels.unchecked = blocks
    else:
        blocks.check()
    return _split(pixels, description)


def read_description(file: BinaryIO) -> dict[str, Any]:
    """The description of a store: shape, counts, names, signature, about, ….

    Its pixels are not read. Raises OSError, DamagedFileError.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - _TAIL.size))
    tail = file.read()
    if len(tail) == _TAIL.size:
        digest, length, mark = _TAIL.unpack(tail)
        if mark == _MARK and length + _TAIL.size <= size:
            file.seek(size - _TAIL.size - length)
            text = file.read(length)
            if hashlib.sha256(text).digest() == digest:
                description: dict[str, Any] = json.loads(text)
                if math.prod(description["shape"]) + length + _TAIL.size == size:
                    return description
    raise DamagedFileError(f"{printable(file.name)}: damaged, or not a store of mnistlab")


def fingerprint(images: torch.Tensor, counts: Mapping[str, int]) -> str:
    """SHA-256 of what training sees: classes, counts, size and every pixel, in order."""
    digest = hashlib.sha256(repr((sorted(counts.items()), tuple(images.shape))).encode())
    digest.update(images.numpy().data)
    return digest.hexdigest()


def _mapped(file: BinaryIO, shape: Sequence[int]) -> torch.Tensor:
    size = math.prod(shape)
    if not size:  # neither mmap nor torch takes an empty buffer
        return torch.empty(tuple(shape), dtype=torch.uint8)
    if isinstance(file, io.BytesIO):
        buffer: Any = file.getbuffer()
    else:
        buffer = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE | _NO_RESERVE)
    return torch.frombuffer(buffer, dtype=torch.uint8, count=size).reshape(tuple(shape))


def _split(pixels: torch.Tensor, description: Mapping[str, Any]) -> Split:
    counts: dict[str, int] = description["counts"]
    # filled class by class: repeat_interleave wakes all threads, which costs more than the labels
    by_class = [torch.full((count,), label) for label, count in enumerate(counts.values())]
    labels = torch.cat([torch.empty(0, dtype=torch.int64), *by_class])
    return Split(
        TensorDataset(pixels, labels),
        tuple(counts),
        (description["shape"][1], description["shape"][2]),
        description["names"],
        description["fingerprint"],
        description["signature"],
        description["skipped"],
    )


class _Blocks:
    """The checksums of `pixels`, block by block, and which of them are still to be compared."""

    def __init__(self, pixels: torch.Tensor, checksums: list[str], path: Path) -> None:
        self.pixels, self.checksums, self.path = pixels, checksums, path
        self.left = set(range(len(checksums)))

    def check(self, rows: Iterable[int] | None = None) -> None:
        """Verify the blocks of these images, None for all, that were not read before.

        Raises DamagedFileError.
        """
        blocks = set(self.left)
        if rows is not None and blocks:
            size = self.pixels[0].nbytes
            touched = ((row * size // BLOCK, (row * size + size - 1) // BLOCK) for row in rows)
            blocks &= {block for first, last in touched for block in range(first, last + 1)}
        flat = self.pixels.numpy().reshape(-1).data
        for block in sorted(blocks):
            content = flat[block * BLOCK : (block + 1) * BLOCK]
            if hashlib.sha256(content).hexdigest() != self.checksums[block]:
                raise DamagedFileError(
                    f"{printable(self.path)}: damaged: bytes from {block * BLOCK:,} on are not "
                    "what was written; remove this file and start again"
                )
            self.left.remove(block)


class _CheckedImages(torch.Tensor):
    """The images of a large store: an operation on some of them verifies their blocks first.

    What an operation gives is an ordinary tensor.
    """

    unchecked: _Blocks

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            for value in (*args, *kwargs.values()):
                for images in value if isinstance(value, list | tuple) else (value,):
                    if isinstance(images, cls) and images.unchecked.left:
                        images.unchecked.check(_rows_read(func, len(images), args))
            return func(*args, **kwargs)


_OF_SHAPE = {torch.Tensor.size, torch.Tensor.dim, torch.Tensor.__len__}
_OF_SHAPE |= {getattr(torch.Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim")}


def _rows_read(func: Callable[..., Any], n: int, args: tuple[Any, ...]) -> Iterable[int] | None:
    """Which of `n` images `func` reads; None for all, or where that is not known."""
    if func in _OF_SHAPE:
        return ()
    if func == torch.Tensor.__getitem__ and type(args[1]) in (int, slice):
        return range(n)[args[1]] if type(args[1]) is slice else (range(n)[args[1]],)
    if func == torch.Tensor.index_select and len(args) == 3 and args[1] == 0:
        return cast("list[int]", args[2].tolist())
    return None
