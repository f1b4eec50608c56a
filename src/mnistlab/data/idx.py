"""MNIST's own file format (IDX) → folders of PNG files.

The format is described on the page of the MNIST database: a big-endian magic number (two zero
bytes, the type, the number of dimensions), the sizes, then the values.
"""

import gzip
import math
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from mnistlab.data.folders import Progress
from mnistlab.data.tree import require_folder
from mnistlab.errors import DataError, RunError
from mnistlab.files import temporary_beside
from mnistlab.names import natural_key, nearest, printable

_STEMS = {"train": "train", "valid": "t10k"}  # our split → MNIST's
_UNSIGNED_BYTE = 8
_MAX_VALUES = 2**32


@dataclass(frozen=True)
class IdxSplit:
    """One split as read: `pixels` holds n images of height x width bytes, `labels` n bytes."""

    pixels: bytes
    labels: bytes
    height: int
    width: int

    def image(self, index: int) -> Image.Image:
        """Image `index` in mode L."""
        size = self.height * self.width
        chunk = self.pixels[index * size : (index + 1) * size]
        return Image.frombytes("L", (self.width, self.height), chunk)


def import_idx(
    source: Path,
    target: Path,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[str, int]]:
    """Turn MNIST-format files in `source` into `target/train/<class>/<index>.png` and `valid/…`.

    A file's name is the image's index in the source; `labels.csv` lists every file with the index
    of its class. `classes` keeps only those labels. The tree appears whole or not at all, and an
    existing `target` is never touched. Returns the counts by split and class.
    Raises DataError for bad input, RunError where `target` cannot be written.
    """
    if os.path.lexists(target):
        raise DataError(
            str(target), [f"{printable(target)}: exists already; name a new folder, or remove it"]
        )
    splits = {split: read_split(source, split) for split in _STEMS}
    present = {str(label) for split in splits.values() for label in split.labels}
    names = sorted(present if classes is None else set(classes), key=natural_key)
    absent = [name for name in names if name not in present]
    if absent:
        known = sorted(present, key=natural_key)
        raise DataError(
            str(source),
            [f"--classes: no images of class {printable(n)}{nearest(n, known)}" for n in absent],
        )
    temporary = temporary_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        counts = _write_tree(splits, names, temporary, progress)
        os.rename(temporary, target)
    except OSError as error:
        raise RunError(f"{printable(target)}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return counts


def read_split(source: Path, split: str) -> IdxSplit:
    """Read `train-images…`/`train-labels…` (or `t10k-…` for valid), gzipped or not.

    Raises DataError that names the file and what is wrong with it.
    """
    stem = _STEMS[split]
    images = _find(source, f"{stem}-images", "idx3-ubyte")
    labels = _find(source, f"{stem}-labels", "idx1-ubyte")
    (n_images, height, width), pixels = read_idx(images, 3)
    (n_labels,), classes = read_idx(labels, 1)
    if n_images != n_labels:
        raise _fault(labels, f"{n_labels} labels for the {n_images} images of {images.name}")
    if not n_images or not height or not width:
        raise _fault(images, "holds no pixels")
    return IdxSplit(pixels, classes, height, width)


def read_idx(path: Path, dimensions: int) -> tuple[tuple[int, ...], bytes]:
    """The sizes and the values (unsigned bytes) of one IDX file. Raises DataError."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if zipped:
                with gzip.GzipFile(fileobj=raw) as file:
                    return _parse(path, file, dimensions)
            return _parse(path, raw, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _fault(path, f"damaged gzip data: {error}") from error
    except OSError as error:
        raise _fault(path, f"cannot be read: {error.strerror or error}") from error


def _parse(
    path: Path, file: "IO[bytes] | gzip.GzipFile", dimensions: int
) -> tuple[tuple[int, ...], bytes]:
    head = file.read(4 + 4 * dimensions)
    if len(head) < 4 + 4 * dimensions or head[:2] != b"\0\0":
        raise _fault(path, "not an IDX file")
    if head[2] != _UNSIGNED_BYTE or head[3] != dimensions:
        raise _fault(path, f"not an IDX file of unsigned bytes in {dimensions} dimension(s)")
    sizes = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
    count = math.prod(sizes)
    if count > _MAX_VALUES:
        raise _fault(path, f"claims {count:,} values, more than any such dataset")
    # Read in pieces: a header that lies about the size must not cost the memory it claims.
    pieces, missing = [], count + 1
    while missing > 0 and (piece := file.read(min(missing, 2**24))):
        pieces.append(piece)
        missing -= len(piece)
    if missing != 1:
        found = "more" if missing < 1 else f"{count + 1 - missing:,}"
        raise _fault(path, f"its header promises {count:,} values, but {found} follow")
    return sizes, b"".join(pieces)


def _find(source: Path, stem: str, kind: str) -> Path:
    require_folder(source, "MNIST's four files, as in train-images-idx3-ubyte.gz")
    names = [f"{stem}{dot}{kind}{zipped}" for dot in "-." for zipped in ("", ".gz")]
    for name in names:
        if os.path.isfile(source / name):
            return source / name
    raise DataError(
        str(source), [f"{printable(source)}: no {stem}-{kind} or {stem}-{kind}.gz in it"]
    )


def _write_tree(
    splits: dict[str, IdxSplit], names: list[str], folder: Path, progress: Progress | None
) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    rows = ["name,label"]
    for split_name, split in splits.items():
        counts[split_name] = {}
        done, total = 0, sum(str(value) in names for value in split.labels)
        for label, name in enumerate(names):
            (folder / split_name / name).mkdir(parents=True)
            indices = [i for i, value in enumerate(split.labels) if str(value) == name]
            counts[split_name][name] = len(indices)
            for index in indices:
                if progress is not None and done % 64 == 0:
                    progress(split_name, done, total)
                file = f"{split_name}/{name}/{index}.png"
                split.image(index).save(folder / file, "PNG", compress_level=9)
                rows.append(f"{file},{label}")
                done += 1
    (folder / "labels.csv").write_bytes(("\n".join(rows) + "\n").encode())
    return counts


def _fault(path: Path, why: str) -> DataError:
    return DataError(str(path), [f"{printable(path)}: {why}"])
