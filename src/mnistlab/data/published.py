"""The files of published datasets → images and labels; and these → folders of PNG files.

MNIST and its relatives are IDX files. EMNIST has them in a zip archive, its images on their side;
USPS is text.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mnistlab.data.datasets import DATASETS, Dataset
from mnistlab.data.idx import Array, find_files, read_idx, unpacked
from mnistlab.data.scan import SPLITS, fault_in
from mnistlab.data.store import ImageData, Progress, Split, finish_store, new_store, open_store
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.files import remove, temporary_beside
from mnistlab.names import natural_key, nearest, printable
from mnistlab.system import move

_MAX_LINE = 2**14  # bytes; a line of USPS has 256 pixels of about ten


def import_idx(
    source: Path,
    target: Path,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[str, int]]:
    """Turn MNIST-format files in `source` into `target/train/<class>/<index>.png` and `valid/…`.

    A file's name is the image's index in the source. `classes` keeps only those labels. Returns the
    counts by split and class. Raises DataError, RunError.
    """
    require_new(target)
    mnist = DATASETS["mnist"]
    paths = find_files([source], mnist.published)
    splits = {}
    for split, (of_images, of_labels) in mnist.files.items():
        images, labels = read_idx(paths[of_images]), read_idx(paths[of_labels])
        if images.ndim != 3 or images.dtype != np.uint8 or not images.size:
            raise fault_in(paths[of_images], f"holds no images, but {_sizes(images)}")
        if labels.shape != images.shape[:1]:
            why = f"holds {_sizes(labels)} for the {len(images)} images of {paths[of_images].name}"
            raise fault_in(paths[of_labels], why)
        splits[split] = images, labels
    present = {str(label) for _, labels in splits.values() for label in np.unique(labels)}
    known = sorted(present, key=natural_key)
    names = known if classes is None else sorted({*classes}, key=natural_key)
    if faults := [
        f"--classes: no images of class {printable(name)}{nearest(name, known)}"
        for name in names
        if name not in known
    ]:
        raise DataError(printable(source), faults)
    return write_folders(splits, {name: int(name) for name in names}, target, progress)


def load_dataset(dataset: Dataset) -> ImageData:
    """The dataset from its stores; where they are missing or damaged, from its published files.

    Raises DataError or DamagedFileError, both with what to do, where these are not here either.
    """
    command = f"mnistlab data download {dataset.name}"
    try:
        train, valid = (open_store(dataset.folder / f"{split}.store") for split in SPLITS)
        if train.signature.startswith(f"{dataset.name} ") and train.signature == valid.signature:
            return _as_data(dataset, train, valid)
        raise DamagedFileError(f"{printable(dataset.folder)}: the stores of another dataset")
    except (OSError, DamagedFileError) as error:
        if all(path.exists() for path in dataset.originals.values()):
            return store_dataset(dataset, dataset.originals)
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):  # they were made
            raise DamagedFileError(f"{error}\nmake it again with: {command}") from error
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
    stored: list[Split] = []
    for split, (images, labels) in contents.items():
        path, about = dataset.folder / f"{split}.store", f"{dataset.name}, {split}"
        by_name = np.array(sorted(range(len(labels)), key=str))  # 10.png stands before 2.png
        rows = {name: by_name[labels[by_name] == label] for name, label in dataset.labels.items()}
        counts = {name: len(indices) for name, indices in rows.items()}
        names = [f"{name}/{index}.png" for name, indices in rows.items() for index in indices]
        with new_store(path) as store:
            for indices in rows.values():
                store.write(images[indices].tobytes())
            size = images.shape[1:]
            stored.append(
                finish_store(store, path, size, counts, names, signature=signature, about=about)
            )
    return _as_data(dataset, *stored)


def _as_data(dataset: Dataset, train: Split, valid: Split) -> ImageData:
    train, valid = replace(train, prefix="train/"), replace(valid, prefix="valid/")
    return ImageData(dataset.folder, dataset.name, train, valid)


def read_dataset(dataset: Dataset, split: str, paths: Mapping[str, Path]) -> tuple[Array, Array]:
    """One split of `dataset` from its files as published, `paths` by name.

    Returns images uint8 (n, side, side), upright, and labels (n,) as the files have them.
    Raises DataError where a file is damaged or has other content than the dataset.
    """
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
        why = f"{_sizes(images)}, and {dataset.name} has {n} x {side} x {side} bytes"
        raise fault_in(where[0], f"the images of {split} are {why}")
    if labels.ndim == 2:  # QMNIST: the other columns say where an image comes from
        labels = labels[:, :1].reshape(-1)
    if labels.shape != (n,) or np.unique(labels).tolist() != labelled:
        why = f"{n} in all, from {labelled[0]} to {labelled[-1]}"
        raise fault_in(where[-1], f"the labels of {split} are not those of {dataset.name}: {why}")
    return images.transpose(0, 2, 1) if dataset.source == "EMNIST" else images, labels


def _read_usps(path: Path, n: int, side: int) -> tuple[Array, Array]:
    """The images and labels of lines `label index:value …`, at most `n`; values from -1 to 1."""
    images = bytearray()
    labels: list[int] = []
    with unpacked(path) as file:
        for number, line in enumerate(iter(partial(file.readline, _MAX_LINE), b""), 1):
            try:
                label, *pairs = line.split()
                labels.append(int(label))
                values = np.array([float(pair.partition(b":")[2]) for pair in pairs])
                if len(values) != side**2 or not (np.abs(values) <= 1).all():  # nor is NaN
                    raise ValueError(f"not a label and {side**2} values from -1 to 1")
                if number > n:
                    raise ValueError(f"more than the {n:,} images that belong in it")
            except ValueError as error:
                raise fault_in(path, f"line {number}: {error}") from error
            # -1 … 1 to 0 … 255, rounded down: the pixels that torchvision's class gives
            images += ((values.astype(np.float32) + 1) / 2 * 255).astype(np.uint8).tobytes()
    return np.frombuffer(images, np.uint8).reshape(-1, side, side), np.array(labels)


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

    `splits` are images uint8 (n, H, W) and labels (n,); `classes` maps each class to its label.
    Returns the counts by split and class. Raises RunError.
    """
    from PIL import Image  # only here: to train on a dataset shall be quick

    counts: dict[str, dict[str, int]] = {}
    rows = ["name,label"]
    temporary = temporary_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for split, (images, labels) in splits.items():
            counts[split] = {name: int((labels == value).sum()) for name, value in classes.items()}
            done, total = 0, sum(counts[split].values())
            for position, (name, label) in enumerate(classes.items()):
                (temporary / split / name).mkdir(parents=True)
                for index in np.flatnonzero(labels == label):
                    if progress is not None and done % 64 == 0:
                        progress(split, done, total)
                    file = f"{split}/{name}/{index}.png"
                    Image.fromarray(images[index]).save(temporary / file, compress_level=9)
                    rows.append(f"{file},{position}")
                    done += 1
        (temporary / "labels.csv").write_bytes(("\n".join(rows) + "\n").encode())
        move(temporary, target)
    except OSError as error:
        raise RunError(f"{printable(target)}: cannot be written: {error.strerror}") from error
    finally:
        remove(temporary)
    return counts


def _sizes(array: Array) -> str:
    return f"{' x '.join(map(str, array.shape))} values of {array.dtype.name}"
