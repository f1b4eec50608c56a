"""The files of published datasets → images and labels.

MNIST and its relatives are IDX files; MNIST may also be one file of 8 MB, `mnist.npz`. EMNIST has
them in a zip archive, its images on their side; USPS is text.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from mnistlab.data.archives import Array, read_idx, unpacked
from mnistlab.data.datasets import Dataset
from mnistlab.data.scan import SPLITS, fault_in
from mnistlab.data.store import ImageData, Split, finish_store, new_store, open_store
from mnistlab.errors import DamagedFileError, DataError
from mnistlab.names import printable

DIGITS_SHA256 = "a3b5edae345eda2e1c5964b6c8ef42e6271f6e09bdeb7b1b886fe9338ecb7071"
_MAX_LINE = 2**14  # bytes; a line of USPS has 256 pixels of about ten


def load_dataset(dataset: Dataset) -> ImageData:
    """The dataset from its stores; where they are missing or damaged, from its files on the disk.

    Raises DataError or DamagedFileError, both with what to do, where these are not here either.
    """
    command = f"mnistlab data download {dataset.name}"
    try:
        train, valid = (open_store(dataset.folder / f"{split}.store") for split in SPLITS)
        if train.signature.startswith(f"{dataset.name} ") and train.signature == valid.signature:
            return _as_data(dataset, train, valid)
        raise DamagedFileError(f"{printable(dataset.folder)}: the stores of another dataset")
    except (OSError, DamagedFileError) as error:
        published = all(path.exists() for path in dataset.originals.values())
        if sources := dataset.originals if published else dataset.bundled:
            try:
                return store_dataset(dataset, sources)
            except OSError:  # a cache that cannot be written is done without
                return store_dataset(dataset, sources, keep=False)
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):  # they were made
            raise DamagedFileError(f"{error}\nmake it again with: {command}") from error
    size = f"{dataset.packed} MB" if dataset.packed < 100 else f"{dataset.packed} MB, once"
    fault = f"--data {dataset.name}: not here yet; get it ({size}) with: {command}"
    if dataset.bundle:
        fault += "\nor install it (8 MB) with: pip install mnistlab-digits"
    if Path(dataset.name).is_dir():
        fault += f"\nthe folder of that name is --data ./{dataset.name}"
    raise DataError(dataset.name, [fault], dataset.how_to_bring())


def store_dataset(dataset: Dataset, originals: Mapping[str, Path], keep: bool = True) -> ImageData:
    """Make the stores of `dataset` from its files, and load them; in memory unless `keep`.

    Raises DataError where the files are not as published, OSError where the disk fails.
    """
    signature = dataset.name
    for path in originals.values():
        with path.open("rb") as file:
            signature += f" {hashlib.file_digest(file, 'sha256').hexdigest()}"
    contents = {split: read_dataset(dataset, split, originals) for split in SPLITS}
    stored = []
    for split, arrays in contents.items():
        store = dataset.folder / f"{split}.store" if keep else None
        about = f"{dataset.name}, {split}"
        stored.append(store_arrays(*arrays, dataset.labels, store, signature, about))
    return _as_data(dataset, *stored)


def store_arrays(
    images: Array,
    labels: Array,
    classes: Mapping[str, int],
    path: Path | None = None,
    signature: str = "",
    about: str = "",
) -> Split:
    """The split of images uint8 (n, H, W) and labels (n,), stored at `path` unless that is None.

    `classes` maps each class to its label; images are called `class/index.png`. Raises OSError.
    """
    by_name = np.array(sorted(range(len(labels)), key=str))  # 10.png stands before 2.png
    rows = {name: by_name[labels[by_name] == label] for name, label in classes.items()}
    counts = {name: len(indices) for name, indices in rows.items()}
    names = [f"{name}/{index}.png" for name, indices in rows.items() for index in indices]
    with new_store(path) as store:
        for indices in rows.values():
            store.write(images[indices].tobytes())
        size = images.shape[1:]
        return finish_store(store, path, size, counts, names, signature=signature, about=about)


def _as_data(dataset: Dataset, train: Split, valid: Split) -> ImageData:
    train, valid = replace(train, prefix="train/"), replace(valid, prefix="valid/")
    return ImageData(dataset.folder, dataset.name, train, valid)


def read_dataset(dataset: Dataset, split: str, paths: Mapping[str, Path]) -> tuple[Array, Array]:
    """One split of `dataset` from its files as published, `paths` by name.

    Returns images uint8 (n, side, side), upright, and labels (n,) as the files have them.
    Raises DataError where a file is damaged or has other content, DamagedFileError as read_digits.
    """
    if dataset.bundle in paths:
        return read_digits(paths[dataset.bundle], split)
    names, labelled = dataset.files[split], sorted(dataset.labels.values())
    n, side = dataset.images[SPLITS.index(split)], dataset.side
    archive = paths.get(dataset.archive)
    parts = [(archive, f"gzip/{name}") if archive else (paths[name], "") for name in names]
    where = [path for path, _ in parts]
    if dataset.source == "USPS":
        images, labels = _read_usps(where[0], n, side)
    else:
        images, labels = (read_idx(path, member, n * side**2) for path, member in parts)
    if images.shape != (n, side, side) or images.dtype != np.uint8:
        why = f"{sizes_of(images)}, and {dataset.name} has {n} x {side} x {side} bytes"
        raise fault_in(where[0], f"the images of {split} are {why}")
    if labels.ndim == 2:  # QMNIST: the other columns say where an image comes from
        labels = labels[:, :1].reshape(-1)
    if labels.shape != (n,) or np.unique(labels).tolist() != labelled:
        why = f"{n} in all, from {labelled[0]} to {labelled[-1]}"
        raise fault_in(where[-1], f"the labels of {split} are not those of {dataset.name}: {why}")
    return images.transpose(0, 2, 1) if dataset.source == "EMNIST" else images, labels


def _read_usps(path: Path, n: int, side: int) -> tuple[Array, Array]:
    """The images and labels of lines `label index:value …`, at most `n`; values from -1 to 1."""
    with unpacked(path) as file:
        lines = islice(iter(partial(file.readline, _MAX_LINE), b""), n + 1)
        cells = ([cell.rpartition(b":")[2] for cell in line.split()] for line in lines)
        table = np.array([np.array(row, np.float64) for row in cells]).reshape(-1, side**2 + 1)
    labels, values = table[:, 0], table[:, 1:]
    if len(table) > n or not (np.abs(values) <= 1).all():  # nor is NaN
        raise fault_in(path, f"is not at most {n:,} lines, each a label and values from -1 to 1")
    # -1 … 1 to 0 … 255, rounded down: the pixels that torchvision's class gives
    pixels = ((values.astype(np.float32) + 1) / 2 * 255).astype(np.uint8)
    return pixels.reshape(-1, side, side), labels


def sizes_of(array: Array) -> str:
    return f"{' x '.join(map(str, array.shape))} values of {array.dtype.name}"


def read_digits(path: Path, split: str) -> tuple[Array, Array]:
    """The images uint8 (n, 28, 28) and labels (n,) of a split, as MNIST's own files have them.

    Of the one file that `data/pack_digits.py` made. Three arrays for each split: `labels` (n,) in
    MNIST's order; `ink` (n, 28, 28), the pixels that are not 0, with the images sorted by label;
    `grey` (k,), the values of these pixels, sorted by `places`. Inside a stroke nearly all are 253
    or 254, at its edge all differ: like beside like packs better.
    Raises DamagedFileError where it is another file, OSError.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != DIGITS_SHA256:
        remedy = "install mnistlab-digits again, or get MNIST with: mnistlab data download mnist"
        raise DamagedFileError(f"{printable(path)}: not the file that was made; {remedy}")
    with zipfile.ZipFile(path) as archive:
        labels, ink, grey = (
            np.lib.format.read_array(archive.open(f"{split}-{part}.npy"), allow_pickle=False)
            for part in ("labels", "ink", "grey")
        )
    pixels = np.zeros(ink.shape, np.uint8)
    pixels.reshape(-1)[places(ink)] = grey
    images = np.empty_like(pixels)
    images[np.argsort(labels, kind="stable")] = pixels
    return images, labels


def places(ink: Array) -> Array:
    """The places of all pixels of `ink` bool (n, H, W) as `grey` has them: indices of `ink.flat`.

    Sorted by the pattern around a pixel: of its eight neighbours, which have ink.
    """
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[ink]
    neighbours = np.delete(around.reshape(-1, 9), 4, axis=1)  # without the pixel itself
    return np.flatnonzero(ink)[np.argsort(np.packbits(neighbours), kind="stable")]
