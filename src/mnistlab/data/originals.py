"""The published files of a named dataset → images and labels of both splits, checked to fit.

MNIST's family is in its own format (`idx.py`), EMNIST's in a zip of it, with the images on their
side; USPS is text.
"""

import bz2
import contextlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mnistlab.data.datasets import Dataset
from mnistlab.data.idx import BYTE, INT, IdxSplit, read_idx_stream
from mnistlab.data.published import Found
from mnistlab.data.tree import SPLITS
from mnistlab.errors import DataError
from mnistlab.names import natural_key, printable

_MAX_MEMBER = 2**29  # bytes of one file in an archive
# Whatever damage leads zipfile to: also locked members, unknown methods, names that are no UTF-8.
_ZIP_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, RuntimeError, ValueError),
)
_MAX_LINE = 2**14  # bytes; a line of USPS has 256 pixels of about ten
_TURNED_AT_ONCE = 4096  # images


def read_originals(dataset: Dataset, found: Sequence[Found]) -> dict[str, IdxSplit]:
    """The splits of `dataset` from the files `found`.

    Labels are those of the files. Raises DataError where the content is not what the dataset has;
    how many images there are is looked at only where a file could not be checked.
    """
    paths = {one.name: one.path for one in found}
    sure = all(one.checked != "no" for one in found)
    read = _read_usps if dataset.source == "USPS" else _read_idx
    splits = {}
    for split, published in zip(SPLITS, dataset.images, strict=True):
        where, made = read(dataset, dataset.files[split], paths)
        _require_fitting(dataset, where, made, None if sure else published)
        splits[split] = made
    return splits


def _require_fitting(dataset: Dataset, where: Path, split: IdxSplit, images: int | None) -> None:
    known, found = set(dataset.labels.values()), set(split.labels)
    side, n = dataset.side, len(split.labels)
    if (split.height, split.width) != (side, side):
        why = f"images of {split.width} x {split.height} pixels; {dataset.name} has {side} x {side}"
    elif images is not None and n != images:
        why = f"{n:,} images; {dataset.name} has {images:,}"
    elif found - known:
        why = f"label {min(found - known)}; {dataset.name} has {min(known)} to {max(known)}"
    elif known - found:
        lacking = sorted((k for k, v in dataset.labels.items() if v not in found), key=natural_key)
        why = f"no images of {', '.join(lacking)}"
    else:
        return
    raise _fault(where, why)


def _read_idx(
    dataset: Dataset, names: Sequence[str], paths: dict[str, Path]
) -> tuple[Path, IdxSplit]:
    most = 2 * max(dataset.images) * dataset.side**2  # a file that unpacks to more is not ours
    with _opened(dataset, names[0], paths) as (where, stream):
        (n, height, width), pixels = read_idx_stream(where, stream, 3, BYTE, most)
    with _opened(dataset, names[1], paths) as (label_file, stream):
        if "idx2-int" in names[1]:
            (rows, columns), values = read_idx_stream(label_file, stream, 2, INT, most)
            labels = _first_column(label_file, rows, columns, values)
        else:
            (rows,), labels = read_idx_stream(label_file, stream, 1, BYTE, most)
    if rows != n:
        raise _fault(label_file, f"{rows} labels for the {n} images of {where.name}")
    if dataset.mirrored:
        images = np.frombuffer(pixels, np.uint8).reshape(n, height, width)
        if height == width:
            for start in range(0, n, _TURNED_AT_ONCE):  # in place: no second copy of everything
                part = images[start : start + _TURNED_AT_ONCE]
                part[:] = part.transpose(0, 2, 1).copy()
    return where, IdxSplit(pixels, labels, height, width)


def _first_column(where: Path, rows: int, columns: int, values: bytearray) -> bytearray:
    if not columns:
        raise _fault(where, "holds no labels")
    first = np.frombuffer(values, ">i4").reshape(rows, columns)[:, 0]
    if rows and not 0 <= first.min() <= first.max() <= 255:
        raise _fault(where, "its first column are no labels")
    return bytearray(first.astype(np.uint8).tobytes())


@contextlib.contextmanager
def _opened(
    dataset: Dataset, name: str, paths: dict[str, Path]
) -> "Iterator[tuple[Path, io.BufferedReader | zipfile.ZipExtFile]]":
    """One file of `dataset`, wherever it lies, and what to call it. Raises DataError."""
    archive = paths.get(dataset.archive)
    where = archive / name if archive else paths[name]
    try:
        if archive is None:
            with open(where, "rb") as raw:
                yield where, raw
            return
        # A member is found by its exact name and read where it lies: nothing is unpacked to disk.
        with zipfile.ZipFile(archive) as zipped:
            info = zipped.getinfo(dataset.folder + name)
            if info.file_size > _MAX_MEMBER:
                raise _fault(where, "larger than any file of this dataset")
            with zipped.open(info) as member:
                assert isinstance(member, zipfile.ZipExtFile)
                yield where, member
    except KeyError as error:
        raise _fault(archive or where, f"no {name} in it") from error
    except _ZIP_FAULTS as error:
        raise _fault(where, f"damaged zip data: {error}") from error
    except OSError as error:
        raise _fault(where, f"cannot be read: {error.strerror or error}") from error


def _read_usps(
    dataset: Dataset, names: Sequence[str], paths: dict[str, Path]
) -> tuple[Path, IdxSplit]:
    path, size = paths[names[0]], dataset.side**2
    most = 2 * max(dataset.images)
    pixels, labels = bytearray(), bytearray()
    try:
        with path.open("rb") as raw:
            zipped = raw.peek(3).startswith(b"BZh")
            with bz2.BZ2File(raw) if zipped else raw as file:
                while line := file.readline(_MAX_LINE):
                    if len(labels) == most or len(line) == _MAX_LINE:
                        raise _fault(path, f"line {len(labels) + 1}: more than {dataset.name} has")
                    try:
                        label, image = _parse_line(line, size)
                    except (ValueError, OverflowError) as error:
                        raise _fault(path, f"line {len(labels) + 1}: {error}") from error
                    labels.append(label)
                    pixels += image
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise _fault(path, f"cannot be read: {why}") from error
    return path, IdxSplit(pixels, labels, dataset.side, dataset.side)


def _parse_line(line: bytes, size: int) -> tuple[int, bytes]:
    """`label index:value …` → the label and `size` pixels; what is not listed is 0, mid-grey."""
    words = line.replace(b":", b" ").split()
    if len(words) % 2 == 0 or len(words) != 2 * line.count(b":") + 1:
        raise ValueError("not a label and pairs of index and value")
    label = int(words[0])
    if not 0 <= label <= 255:
        raise ValueError("not a label")
    index = np.array(words[1::2]).astype(np.int64) - 1
    value = np.array(words[2::2]).astype(np.float64)
    if len(index) and (index[0] < 0 or index[-1] >= size or (np.diff(index) < 1).any()):
        raise ValueError(f"its indices are not 1 to {size} in order")
    if not (np.abs(value) <= 1).all():  # not a number neither
        raise ValueError("a value that is not from -1 to 1")
    image = np.zeros(size, np.float32)
    image[index] = value
    # -1 … 1 to 0 … 255, rounded down: the pixels that torchvision's class gives
    return label, ((image + 1) / 2 * 255).astype(np.uint8).tobytes()


def _fault(where: Path, why: str) -> DataError:
    return DataError(str(where), [f"{printable(where)}: {printable(why)}"])
