"""The files of published datasets → images and labels; and these → folders of PNG files.

MNIST and its relatives are IDX files, as the page of the MNIST database describes them: a
big-endian magic number (two zero bytes, the type, the number of dimensions), the sizes, then the
values. EMNIST has them in a zip archive, its images on their side; USPS is text.
"""

import bz2
import contextlib
import gzip
import hashlib
import io
import math
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mnistlab.data.datasets import DATASETS, Dataset
from mnistlab.data.folders import SPLITS, ImageData, Progress, require_folder
from mnistlab.data.store import finish_store, new_store, open_store
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.files import temporary_beside
from mnistlab.names import natural_key, nearest, printable
from mnistlab.system import move

Array = np.ndarray[Any, np.dtype[Any]]

_DTYPES = {8: "u1", 12: ">i4"}  # by the code in the magic number
_MAX_LINE = 2**14  # bytes; a line of USPS has 256 pixels of about ten
# What damage leads the readers of zip, gzip and bzip2 to; also locked members, unknown methods.
_DAMAGE = (*(OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error),)


def import_idx(
    source: Path,
    target: Path,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[str, int]]:
    """Turn MNIST-format files in `source` into `target/train/<class>/<index>.png` and `valid/…`.

    A file's name is the image's index in the source. `classes` keeps only those labels. Returns the
    counts by split and class. Raises DataError for bad input, RunError where `target` cannot be
    written.
    """
    require_new(target)
    mnist = DATASETS["mnist"]
    paths = find_files([source], mnist.published)
    splits = {}
    for split, (of_images, of_labels) in mnist.files.items():
        images, labels = read_idx(paths[of_images]), read_idx(paths[of_labels])
        if images.ndim != 3 or images.dtype != np.uint8 or not images.size:
            raise _fault(paths[of_images], f"holds no images, but {_sizes(images)}")
        if labels.shape != images.shape[:1]:
            why = f"holds {_sizes(labels)} for the {len(images)} images of {paths[of_images].name}"
            raise _fault(paths[of_labels], why)
        splits[split] = images, labels
    present = {str(label) for _, labels in splits.values() for label in np.unique(labels)}
    known = sorted(present, key=natural_key)
    names = known if classes is None else sorted(set(classes), key=natural_key)
    faults = [
        f"--classes: no images of class {printable(name)}{nearest(name, known)}"
        for name in names
        if name not in known
    ]
    if faults:
        raise DataError(printable(source), faults)
    return write_folders(splits, {name: int(name) for name in names}, target, progress)


def load_dataset(dataset: Dataset) -> ImageData:
    """The dataset from its stores; where they are missing or damaged, from its published files.

    Raises DataError or DamagedFileError, both with what to do, where these are not here either.
    """
    damage = ""
    try:
        train, valid = (open_store(dataset.folder / f"{split}.store") for split in SPLITS)
        if train.signature.startswith(f"{dataset.name} ") and train.signature == valid.signature:
            return ImageData(dataset.folder, dataset.name, train, valid)
        damage = f"{printable(dataset.folder)}: the stores of another dataset"
    except (FileNotFoundError, NotADirectoryError):
        pass  # they were not made yet
    except (OSError, DamagedFileError) as error:
        damage = str(error)
    if all(path.exists() for path in dataset.originals.values()):
        return store_dataset(dataset, dataset.originals)
    command = f"mnistlab data download {dataset.name}"
    if damage:
        raise DamagedFileError(f"{damage}\nmake it again with: {command}")
    size = f"{dataset.packed} MB" if dataset.packed < 100 else f"{dataset.packed} MB, once"
    fault = f"--data {dataset.name}: not here yet; get it ({size}) with: {command}"
    if Path(dataset.name).is_dir():
        fault += f"\nthe folder of that name is --data ./{dataset.name}"
    raise DataError(dataset.name, [fault], dataset.how_to_bring())


def store_dataset(dataset: Dataset, originals: Mapping[str, Path]) -> ImageData:
    """Make the stores of `dataset` from its published files, and load them.

    Raises DataError where the files are not as published, OSError where the disk fails.
    """
    signature = dataset.name
    for path in originals.values():
        with path.open("rb") as file:
            signature += f" {hashlib.file_digest(file, 'sha256').hexdigest()}"
    contents = {split: read_dataset(dataset, split, originals) for split in SPLITS}
    stored = []
    for split, (images, labels) in contents.items():
        path = dataset.folder / f"{split}.store"
        by_name = np.array(sorted(range(len(labels)), key=str))  # 10.png stands before 2.png
        counts, names = {}, []
        with new_store(path) as store:
            for name, label in dataset.labels.items():
                indices = by_name[labels[by_name] == label]
                store.write(images[indices].tobytes())
                counts[name] = len(indices)
                names += [f"{name}/{index}.png" for index in indices]
            size, about = images.shape[1:], f"{dataset.name}, {split}"
            stored.append(
                finish_store(store, path, size, counts, names, signature=signature, about=about)
            )
    return ImageData(dataset.folder, dataset.name, *stored)


def read_dataset(dataset: Dataset, split: str, paths: Mapping[str, Path]) -> tuple[Array, Array]:
    """One split of `dataset` from its files as published, `paths` by name.

    Returns images uint8 (n, side, side), upright, and labels (n,) as the files have them.
    Raises DataError where a file is damaged or has other content than the dataset.
    """
    names, labelled = dataset.files[split], sorted(dataset.labels.values())
    n, side = dataset.images[SPLITS.index(split)], dataset.side
    archive = paths.get(dataset.archive)
    where = [archive or paths[name] for name in names]
    if dataset.source == "USPS":
        images, labels = _read_usps(where[0], n, side)
    elif archive is not None:
        images, labels = (read_idx(archive, f"gzip/{name}", n * side**2) for name in names)
    else:
        images, labels = (read_idx(paths[name], "", n * side**2) for name in names)
    if images.shape != (n, side, side) or images.dtype != np.uint8:
        why = f"{_sizes(images)}, and {dataset.name} has {n} x {side} x {side} bytes"
        raise _fault(where[0], f"the images of {split} are {why}")
    if labels.ndim == 2:  # QMNIST: the other columns say where an image comes from
        labels = labels[:, :1].reshape(-1)
    if labels.shape != (n,) or np.unique(labels).tolist() != labelled:
        why = f"{n} in all, from {labelled[0]} to {labelled[-1]}"
        raise _fault(where[-1], f"the labels of {split} are not those of {dataset.name}: {why}")
    return images.transpose(0, 2, 1) if dataset.source == "EMNIST" else images, labels


def read_idx(path: Path, member: str = "", most: int = 2**32) -> Array:
    """The values of one IDX file, or of a `member` of a zip archive, gzipped or not.

    Unsigned bytes or 32-bit integers, in the shape that the file says; at most `most` of them.
    Raises DataError.
    """
    where = path / member
    with unpacked(path, member) as file:
        head = file.read(4)
        if not re.fullmatch(rb"\x00\x00[\x08\x0c][\x01-\x03]", head):
            raise _fault(where, "not an IDX file of bytes or integers in up to 3 dimensions")
        dtype = np.dtype(_DTYPES[head[2]])
        sizes = np.frombuffer(file.read(4 * head[3]), ">u4", count=head[3]).tolist()
        count = math.prod(sizes)
        if count > most:
            raise _fault(where, f"claims {count:,} values; at most {most:,} are possible")
        # In pieces: a header that is wrong about the size must not cost the memory that it claims.
        size = count * dtype.itemsize
        content = bytearray()
        while len(content) <= size and (piece := file.read(min(size + 1 - len(content), 2**20))):
            content += piece
    if len(content) != size:
        follow = "more follow" if len(content) > size else f"{len(content):,} bytes follow"
        raise _fault(where, f"its header promises {count:,} values, but {follow}")
    return np.frombuffer(content, dtype).reshape(sizes)


def _read_usps(path: Path, n: int, side: int) -> tuple[Array, Array]:
    """The images and labels of lines `label index:value …`, at most `n`; values from -1 to 1."""
    images = bytearray()
    labels: list[int] = []
    with unpacked(path) as file:
        while line := file.readline(_MAX_LINE):
            number = len(labels) + 1
            try:
                label, *pairs = line.split()
                labels.append(int(label))
                values = np.array([float(pair.partition(b":")[2]) for pair in pairs])
            except ValueError as error:
                raise _fault(path, f"line {number}: {error}") from error
            if len(values) != side**2 or not (np.abs(values) <= 1).all():  # nor is NaN
                why = f"not a label and {side**2} values from -1 to 1"
                raise _fault(path, f"line {number}: {why}")
            if number > n:
                raise _fault(path, f"line {number}: more than the {n:,} images that belong in it")
            # -1 … 1 to 0 … 255, rounded down: the pixels that torchvision's class gives
            images += ((values.astype(np.float32) + 1) / 2 * 255).astype(np.uint8).tobytes()
    return np.frombuffer(images, np.uint8).reshape(-1, side, side), np.array(labels)


@contextlib.contextmanager
def unpacked(path: Path, member: str = "") -> Iterator[io.BufferedIOBase]:
    """The content of a file, or of the `member` of a zip archive, gzip or bzip2 undone.

    Nothing is unpacked to disk. Raises DataError, also while the content is read.
    """
    try:
        with contextlib.ExitStack() as stack:
            raw: Any = stack.enter_context(open(path, "rb"))
            if member:
                archive = stack.enter_context(zipfile.ZipFile(raw))
                method = archive.getinfo(member).compress_type
                if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    # zipfile unpacks bzip2 and LZMA without a limit: a small file fills the memory
                    raise _fault(path / member, f"is packed by method {method}; use deflate")
                raw = stack.enter_context(archive.open(member))
            begin = raw.peek(3)
            if begin.startswith(b"\x1f\x8b"):
                raw = stack.enter_context(gzip.GzipFile(fileobj=raw))
            elif begin.startswith(b"BZh"):
                raw = stack.enter_context(bz2.BZ2File(raw))
            yield raw
    except KeyError as error:
        raise _fault(path, f"no {member} in it") from error
    except _DAMAGE as error:
        why = getattr(error, "strerror", None) or f"damaged: {error}"
        raise _fault(path / member, f"cannot be read: {why}") from error


def find_files(places: Sequence[Path], names: Iterable[str], advice: str = "") -> dict[str, Path]:
    """Where each of the files (`x-idx3-ubyte.gz`) is, in the first of `places` that has it.

    Also unpacked, or `x.idx3-ubyte`, as some copies write it. Raises DataError with all that are
    missing, and `advice`.
    """
    require_folder(places[0], ", ".join(names))
    paths, missing = {}, []
    for name in names:
        stem, packing = os.path.splitext(name)
        stems = (stem, stem.replace("-idx", ".idx"))
        candidates = [
            place / f"{stem}{end}" for place in places for stem in stems for end in (packing, "")
        ]
        readable = (path for path in candidates if path.is_file() and os.access(path, os.R_OK))
        if path := next(readable, None):
            paths[name] = path
        else:
            missing.append(f"{printable(places[0])}: no {name} in it that can be read")
    if missing:
        raise DataError(printable(places[0]), missing, advice)
    return paths


def require_new(target: Path) -> None:
    """Raise DataError if there is anything at `target`."""
    if os.path.lexists(target):
        raise DataError(
            str(target), [f"{printable(target)}: exists already; name a new folder, or remove it"]
        )


def write_folders(
    splits: Mapping[str, tuple[Array, Array]],
    classes: Mapping[str, int],
    target: Path,
    progress: Progress | None = None,
) -> dict[str, dict[str, int]]:
    """Write `target/<split>/<class>/<index>.png` and `labels.csv`, completely or not at all.

    `splits` are images uint8 (n, H, W) and labels (n,); `classes` maps each class, in the order of
    `labels.csv`, to its label. Returns the counts by split and class. Raises RunError where
    `target` cannot be written.
    """
    counts: dict[str, dict[str, int]] = {split: {} for split in splits}
    rows = ["name,label"]
    temporary = temporary_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for split, (images, labels) in splits.items():
            done, total = 0, int(np.isin(labels, list(classes.values())).sum())
            for position, (name, label) in enumerate(classes.items()):
                folder = temporary / split / name
                folder.mkdir(parents=True)
                indices = np.flatnonzero(labels == label)
                counts[split][name] = len(indices)
                for index in indices:
                    if progress is not None and done % 64 == 0:
                        progress(split, done, total)
                    image = Image.fromarray(images[index])
                    image.save(folder / f"{index}.png", compress_level=9)
                    rows.append(f"{split}/{name}/{index}.png,{position}")
                    done += 1
        (temporary / "labels.csv").write_bytes(("\n".join(rows) + "\n").encode())
        move(temporary, target)
    except OSError as error:
        raise RunError(f"{printable(target)}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return counts


def _sizes(array: Array) -> str:
    return f"{' x '.join(map(str, array.shape))} values of {array.dtype.name}"


def _fault(where: Path, why: str) -> DataError:
    return DataError(str(where), [f"{printable(where)}: {printable(why)}"])
