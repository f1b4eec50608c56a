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
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch.utils.data import TensorDataset

from mnistlab import system
from mnistlab.errors import DamagedFileError
from mnistlab.files import building, remove_leftovers
from mnistlab.names import printable
from mnistlab.system import flush, map_private, move

CHECKED_AT_ONCE = 2**30  # bytes; of a larger store, each block is checked when it is first read
BLOCK = 2**20  # bytes under one checksum
_TAIL = struct.Struct("<32sQ8s")  # SHA-256 of the description, its length, the mark
_MARK = b"mnist-s2"  # another one where the content is arranged differently
_OLD_MARK = b"mnist-s1"  # with the names of the files as a list
BETWEEN = "\0"  # names: what no file has in its name


Progress = Callable[[str, int, int], None]
"""Called as progress(split, done, total) while images are decoded."""


@dataclass(frozen=True)
class Split:
    """One split: `ds` yields (image uint8 (H, W), label); `files[i]` is `class/name` of item i.

    `joined`: these names in one text: a million texts need six times the memory.
    `counts[class]` images of each class follow one another, in the order of the labels.
    `signature` says what it was made from. `skipped` maps the name of a file that could not be used
    to the reason. `prefix` stands before the names where they are below another folder. `notes`:
    what the images were before (`folders.py`).
    """

    ds: TensorDataset
    counts: dict[str, int]
    image_size: tuple[int, int]
    joined: str
    fingerprint: str
    signature: str
    skipped: dict[str, str] = field(default_factory=dict)
    prefix: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.counts)

    @cached_property
    def files(self) -> list[str]:
        return self.joined.split(BETWEEN) if self.joined else []

    def path_of(self, index: int) -> str:
        """The file of item `index`, below the folder of the data."""
        return f"{self.prefix}{self.files[index]}"

    def paths(self) -> list[str]:
        """The files of all items, below the folder of the data."""
        return [f"{self.prefix}{file}" for file in self.files]

    def labels(self) -> list[str]:
        """The class of each item."""
        return [label for label, count in self.counts.items() for _ in range(count)]

    def digests(self) -> list[bytes]:
        """The `image_digest` of each image as it was before it was brought to a size."""
        if text := self.notes.get("digests", ""):
            return [bytes.fromhex(text[i : i + 16]) for i in range(0, len(text), 16)]
        images = self.ds.tensors[0]
        return [
            image_digest(self.image_size, images[i].numpy().tobytes()) for i in range(len(images))
        ]

    def take(self, rows: Sequence[int]) -> "Split":
        """A split with the images at `rows`, which ascend, and without the others."""
        images, labels = (
            tensor[torch.tensor(rows, dtype=torch.int64)] for tensor in self.ds.tensors
        )
        found = labels.bincount(minlength=len(self.counts)).tolist()
        counts = dict(zip(self.counts, found, strict=True))
        fingerprint = _fingerprint_of(counts, (len(rows), *self.image_size))
        fingerprint.update(images.numpy().data)
        notes = dict(self.notes)
        if text := notes.get("digests", ""):
            notes["digests"] = "".join(text[16 * row : 16 * row + 16] for row in rows)
        return replace(
            self,
            ds=TensorDataset(images, labels),
            counts=counts,
            joined=BETWEEN.join(self.files[row] for row in rows),
            fingerprint=fingerprint.hexdigest(),
            notes=notes,
        )


@dataclass(frozen=True)
class ImageData:
    """A training and a validation split with the same classes, in the order of training.

    name: how `--data` names it, whatever the current folder is: a dataset's name, an absolute path.
    train_ds, valid_ds: TensorDataset of images uint8 (n, H, W) and labels int64 (n,). notes: what
    was done to make them of the files, a line each.
    """

    root: Path
    name: str
    train: Split
    valid: Split
    notes: tuple[str, ...] = ()

    @property
    def train_ds(self) -> TensorDataset:
        return self.train.ds

    @property
    def valid_ds(self) -> TensorDataset:
        return self.valid.ds

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    @property
    def image_size(self) -> tuple[int, int]:
        return self.train.image_size

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        return {"train": self.train.counts, "valid": self.valid.counts}

    @property
    def fingerprint(self) -> str:
        """Identifies all pixels, labels and class names of both, whatever the files are called."""
        return f"{self.train.fingerprint[:32]}{self.valid.fingerprint[:32]}"

    @property
    def fit(self) -> str | None:
        """How the training images were brought to one size; None if they have it of themselves."""
        notes = self.train.notes
        if not notes or (notes["own_size"] == [*self.image_size] and notes["fit"] != "ink"):
            return None
        return str(notes["fit"])

    @property
    def skipped(self) -> dict[str, str]:
        """Files of both splits that were left out: `split/class/name` → why."""
        return {**self.train.skipped, **self.valid.skipped}

    def describe(self) -> dict[str, Any]:
        """What a run notes of its data, as plain data."""
        return {
            "path": str(self.root),
            "fingerprint": self.fingerprint,
            **self.counts,
            "skipped": self.skipped,
        }


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
    with building(path) as temporary, open(temporary, "x+b", buffering=BLOCK) as file:
        yield file


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
    notes: Mapping[str, Any] | None = None,
) -> Split:
    """The split that was written to `file`, mapped; stored at `path` unless that is None.

    The images were written class by class: `counts[class]` of each, `names` for all of them
    (`class/name`). `signature` says what they were made from, `about` tells a person.
    Raises OSError.
    """
    shape = (len(names), *image_size)
    fingerprint = _fingerprint_of(counts, shape)
    blocks = []
    file.seek(0)
    while block := file.read(BLOCK):
        fingerprint.update(block)
        blocks.append(hashlib.sha256(block).hexdigest())
    description = {
        "shape": shape,
        "counts": dict(counts),
        "files": BETWEEN.join(names),
        "skipped": dict(skipped or {}),
        "fingerprint": fingerprint.hexdigest(),
        "blocks": blocks,
        "signature": signature,
        "about": about,
        "notes": dict(notes or {}),
    }
    if path is None:
        if system.WINDOWS:  # `new_store` is about to delete it, and cannot while it is mapped
            file.seek(0)
            file = io.BytesIO(file.read())
        return _split(_mapped(file, shape), description)
    text = json.dumps(description).encode()
    file.write(text + _TAIL.pack(hashlib.sha256(text).digest(), len(text), _MARK))
    file.flush()
    flush(file.fileno())
    file.close()  # Windows renames no file that is open or mapped
    move(file.name, path)
    return open_store(path)


def image_digest(image_size: tuple[int, int], pixels: bytes) -> bytes:
    """What tells an image from others, 8 bytes: of its grey pixels and its (H, W)."""
    return hashlib.sha256(repr(image_size).encode() + pixels).digest()[:8]


def _fingerprint_of(counts: Mapping[str, int], shape: tuple[int, ...]) -> "hashlib._Hash":
    """SHA-256 of what training sees: classes, counts, size; every pixel, in order, is to follow."""
    return hashlib.sha256(repr((sorted(counts.items()), shape)).encode())


def open_store(path: Path) -> Split:
    """The split that was stored at `path`.

    Up to `CHECKED_AT_ONCE` every byte is verified here, beyond that each block when it is first
    read. Raises FileNotFoundError, OSError, and DamagedFileError where the file is not a complete
    store.
    """
    with open(path, "rb") as file:
        description = read_description(file)
        pixels = _mapped(file, description["shape"])
    flat, checksums = pixels.numpy().reshape(-1).data, description["blocks"]
    unchecked, size = set(range(len(checksums))), math.prod(description["shape"][1:])

    def verify(rows: Iterable[int] | None = None) -> None:
        """Check the blocks of these images, None for all, that were not read before."""
        blocks = unchecked
        if rows is not None:
            ends = ((row * size // BLOCK, (row * size + size - 1) // BLOCK) for row in rows)
            blocks = unchecked & {i for first, last in ends for i in range(first, last + 1)}
        for block in sorted(blocks):
            content = flat[block * BLOCK : (block + 1) * BLOCK]
            if hashlib.sha256(content).hexdigest() != checksums[block]:
                raise DamagedFileError(
                    f"{printable(path)}: damaged: bytes from {block * BLOCK:,} on are not what was "
                    "written; remove this file and start again"
                )
            unchecked.remove(block)

    if pixels.nbytes > CHECKED_AT_ONCE:
        pixels = checked = pixels.as_subclass(CheckedImages)
        checked.verify = verify
    else:
        verify()
    return _split(pixels, description)


class CheckedImages(torch.Tensor):
    """Images uint8 (n, H, W): an operation on some of them verifies their part of the file first.

    What an operation gives is an ordinary tensor.
    """

    verify: Callable[[Iterable[int] | None], None]

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
                    if isinstance(images, cls):
                        images.verify(_rows_read(func, len(images), args))
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


def read_description(file: BinaryIO) -> dict[str, Any]:
    """The description of a store: shape, counts, names, signature, about, ….

    Its pixels are not read. Raises OSError, DamagedFileError.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - _TAIL.size))
    tail = file.read()
    if len(tail) == _TAIL.size:
        digest, length, mark = _TAIL.unpack(tail)
        if mark in (_MARK, _OLD_MARK) and length + _TAIL.size <= size:
            file.seek(size - _TAIL.size - length)
            text = file.read(length)
            if hashlib.sha256(text).digest() == digest:
                description: dict[str, Any] = json.loads(text)
                if math.prod(description["shape"]) + length + _TAIL.size == size:
                    return description
    raise DamagedFileError(f"{printable(file.name)}: damaged, or not a store of mnistlab")


def _mapped(file: BinaryIO, shape: Sequence[int]) -> torch.Tensor:
    size = math.prod(shape)
    if not size:  # neither mmap nor torch takes an empty buffer
        return torch.empty(tuple(shape), dtype=torch.uint8)
    if isinstance(file, io.BytesIO):
        buffer: Any = file.getbuffer()
    else:
        buffer = map_private(file.fileno(), size)
    return torch.frombuffer(buffer, dtype=torch.uint8, count=size).reshape(tuple(shape))


def _split(pixels: torch.Tensor, description: Mapping[str, Any]) -> Split:
    counts: dict[str, int] = description["counts"]
    # filled class by class: repeat_interleave wakes all threads, which costs more than the labels
    by_class = [torch.full((count,), label) for label, count in enumerate(counts.values())]
    labels = torch.cat([torch.empty(0, dtype=torch.int64), *by_class])
    return Split(
        TensorDataset(pixels, labels),
        counts,
        (description["shape"][1], description["shape"][2]),
        description["files"] if "files" in description else BETWEEN.join(description["names"]),
        description["fingerprint"],
        description["signature"],
        description["skipped"],
        notes=description.get("notes", {}),
    )
