"""MNIST's own file format (IDX) → folders of PNG files.

The format is described on the page of the MNIST database: a big-endian magic number (two zero
bytes, the type, the number of dimensions), the sizes, then the values.
"""

import gzip
import io
import math
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipExtFile

from PIL import Image

from mnistlab.data.folders import Progress
from mnistlab.data.tree import require_folder
from mnistlab.errors import DataError, RunError
from mnistlab.files import temporary_beside
from mnistlab.names import natural_key, nearest, printable

_STEMS = {"train": "train", "valid": "t10k"}  # our split → MNIST's
BYTE, INT = 8, 12  # the format's codes of its types: unsigned bytes, 32-bit integers
_WIDTHS = {BYTE: 1, INT: 4}
_NAMES = {BYTE: "unsigned bytes", INT: "32-bit integers"}
_MAX_VALUES = 2**32


@dataclass(frozen=True)
class IdxSplit:
    """One split as read: `pixels` holds n images of height x width bytes, `labels` n bytes."""

    pixels: bytes | bytearray
    labels: bytes | bytearray
    height: int
    width: int

    def image(self, index: int) -> Image.Image:
        """Image `index` in mode L."""
        size = self.height * self.width
        chunk = self.pixels[index * size : (index + 1) * size]
        return Image.frombytes("L", (self.width, self.height), bytes(chunk))


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
    require_new(target)
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
    return write_folders(splits, {name: int(name) for name in names}, target, progress)


def require_new(target: Path) -> None:
    """Raise DataError if there is anything at `target`."""
    if os.path.lexists(target):
        raise DataError(
            str(target), [f"{printable(target)}: exists already; name a new folder, or remove it"]
        )


def write_folders(
    splits: Mapping[str, IdxSplit],
    classes: Mapping[str, int],
    target: Path,
    progress: Progress | None = None,
) -> dict[str, dict[str, int]]:
    """Write `target/<split>/<class>/<index>.png` and `labels.csv`, whole or not at all.

    `classes` maps each class, in the order of `labels.csv`, to its label in `splits`. Returns the
    counts by split and class. Raises RunError where `target` cannot be written.
    """
    temporary = temporary_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        counts = _write_tree(splits, classes, temporary, progress)
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


def read_idx(path: Path, dimensions: int, kind: int = BYTE) -> tuple[tuple[int, ...], bytearray]:
    """The sizes and the values (bytes, or big-endian INT) of one IDX file, gzipped or not.

    Raises DataError.
    """
    try:
        with path.open("rb") as raw:
            return read_idx_stream(path, raw, dimensions, kind)
    except OSError as error:
        raise _fault(path, f"cannot be read: {error.strerror or error}") from error


def read_idx_stream(
    where: Path,
    raw: "io.BufferedReader | ZipExtFile",
    dimensions: int,
    kind: int = BYTE,
    most: int = _MAX_VALUES,
) -> tuple[tuple[int, ...], bytearray]:
    """As `read_idx`, from an open stream of at most `most` values; `where` is what an error names.

    Raises DataError, and OSError where the stream cannot be read.
    """
    try:
        if not raw.peek(2).startswith(b"\x1f\x8b"):
            return _parse(where, raw, dimensions, kind, most)
        with gzip.GzipFile(fileobj=raw) as file:
            return _parse(where, file, dimensions, kind, most)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _fault(where, f"damaged gzip data: {error}") from error


def _parse(
    path: Path, file: io.BufferedIOBase, dimensions: int, kind: int, most: int
) -> tuple[tuple[int, ...], bytearray]:
    head = file.read(4 + 4 * dimensions)
    if len(head) < 4 + 4 * dimensions or head[:2] != b"\0\0":
        raise _fault(path, "not an IDX file")
    if head[2] != kind or head[3] != dimensions:
        raise _fault(path, f"not an IDX file of {_NAMES[kind]} in {dimensions} dimension(s)")
    sizes = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
    count = math.prod(sizes)
    if count > most:
        raise _fault(path, f"claims {count:,} values, more than any such dataset")
    # Read in pieces: a header that lies about the size must not cost the memory it claims.
    values = bytearray()
    promised = count * _WIDTHS[kind]
    while len(values) <= promised and (piece := file.read(min(promised + 1 - len(values), 2**20))):
        values += piece
    if len(values) != promised:
        found = "more" if len(values) > promised else f"{len(values) // _WIDTHS[kind]:,}"
        raise _fault(path, f"its header promises {count:,} values, but {found} follow")
    return sizes, values


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
    splits: Mapping[str, IdxSplit],
    classes: Mapping[str, int],
    folder: Path,
    progress: Progress | None,
) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    rows = ["name,label"]
    for split_name, split in splits.items():
        counts[split_name] = {}
        done, total = 0, sum(split.labels.count(value) for value in classes.values())
        for position, (name, value) in enumerate(classes.items()):
            (folder / split_name / name).mkdir(parents=True)
            indices = [i for i, label in enumerate(split.labels) if label == value]
            counts[split_name][name] = len(indices)
            for index in indices:
                if progress is not None and done % 64 == 0:
                    progress(split_name, done, total)
                file = f"{split_name}/{name}/{index}.png"
                # into memory first, which is a quarter faster than Pillow's own writing
                encoded = io.BytesIO()
                split.image(index).save(encoded, "PNG", compress_level=9)
                with open(f"{folder}/{file}", "xb", buffering=0) as written:
                    written.write(encoded.getbuffer())
                rows.append(f"{file},{position}")
                done += 1
    (folder / "labels.csv").write_bytes(("\n".join(rows) + "\n").encode())
    return counts


def _fault(path: Path, why: str) -> DataError:
    return DataError(str(path), [f"{printable(path)}: {why}"])
