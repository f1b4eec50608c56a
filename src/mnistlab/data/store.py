"""A named dataset as it is kept: both splits in one sealed file, ready to train on.

It holds exactly what `load_folders` makes of the same images as folders of PNG files (`data
download NAME --to DIR`): the same order, labels, names and fingerprint, without the files.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

from mnistlab.data.cache import fingerprint
from mnistlab.data.datasets import Dataset
from mnistlab.data.folders import ImageData, Split
from mnistlab.data.idx import IdxSplit
from mnistlab.data.published import Found
from mnistlab.data.tree import SPLITS
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.files import remove_leftovers
from mnistlab.names import printable
from mnistlab.storage import read_tensors, write_tensors

_KIND = "dataset 1"  # another number where the content of the file is arranged differently


def store_dataset(
    dataset: Dataset, splits: dict[str, IdxSplit], found: Sequence[Found]
) -> dict[str, dict[str, int]]:
    """Write the file of `dataset`, whole or not at all; the counts by split and class.

    Takes the splits out of `splits`, as each of them is needed only until it is sorted.

    Raises RunError where it cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    meta: dict[str, Any] = {
        "kind": _KIND,
        "name": dataset.name,
        "files": [one.as_dict() for one in found],
    }
    for split in SPLITS:
        given = splits.pop(split)
        order, counts = _order(dataset, given)
        flat = torch.frombuffer(given.pixels, dtype=torch.uint8)
        images = flat.reshape(-1, given.height, given.width).index_select(0, order)
        del given, flat  # so that at most one split is there twice
        tensors[f"{split}_images"] = images
        tensors[f"{split}_index"] = order.to(torch.int32)
        meta[split] = {"counts": counts, "fingerprint": fingerprint(images, counts)}
    path = dataset.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, older_than=3600)
        write_tensors(path, tensors, meta)
    except OSError as error:
        raise unwritable(path, error) from error
    return {split: meta[split]["counts"] for split in SPLITS}


def _order(dataset: Dataset, split: IdxSplit) -> tuple[torch.Tensor, dict[str, int]]:
    """The indices in the order of `class/<index>.png`, names sorted as strings; the counts."""
    labels = torch.frombuffer(split.labels, dtype=torch.uint8).long()
    by_name = torch.tensor(sorted(range(len(labels)), key=str))
    place = torch.full((256,), -1)
    place[[dataset.labels[name] for name in dataset.classes]] = torch.arange(len(dataset.labels))
    order = by_name[place[labels[by_name]].argsort(stable=True)]
    found = labels.bincount(minlength=256).tolist()
    return order, {name: found[dataset.labels[name]] for name in dataset.classes}


def load_dataset(dataset: Dataset) -> ImageData:
    """The dataset as it is kept, every byte verified.

    Raises DataError, with what to do, where it has not been downloaded; DamagedFileError, with what
    to do, where its file is not what was written or cannot be read.
    """
    path = dataset.path
    try:
        # not Path's own, which raise where a folder may not be searched
        if os.path.exists(path) and not os.path.isfile(path):
            raise DamagedFileError(f"{printable(path)}: not a file; remove it")
        tensors, meta = read_tensors(path)
        if meta["kind"] != _KIND or meta["name"] != dataset.name:
            raise DamagedFileError(f"{printable(path)}: the file of something else")
        train, valid = (_split(dataset, split, tensors, meta[split]) for split in SPLITS)
    except FileNotFoundError:
        raise absent(dataset) from None
    except (RunError, KeyError, TypeError, ValueError, RuntimeError) as error:
        why = error if isinstance(error, RunError) else f"{printable(path)}: damaged"
        raise DamagedFileError(
            f"{why}\nmake it again with: mnistlab data download {dataset.name} --force"
        ) from error
    return ImageData(path, train, valid)


def _split(
    dataset: Dataset, name: str, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]
) -> Split:
    images, index = tensors[f"{name}_images"], tensors[f"{name}_index"]
    n, height, width = images.shape
    classes = tuple(meta["counts"])
    if classes != dataset.classes or len(index) != n or images.dtype != torch.uint8:
        raise ValueError
    counts = torch.tensor([int(meta["counts"][label]) for label in classes])
    if int(counts.sum()) != n:
        raise ValueError
    labels = torch.arange(len(classes)).repeat_interleave(counts)
    files: list[str] = []
    numbers = index.tolist()
    for label, count in zip(classes, counts.tolist(), strict=True):
        start = len(files)
        files += [f"{label}/{number}.png" for number in numbers[start : start + count]]
    return Split(
        TensorDataset(images, labels),
        classes,
        (height, width),
        files,
        str(meta["fingerprint"]),
        {},
        0,
    )


def absent(dataset: Dataset) -> DataError:
    """The error for a dataset that is known, but not here."""
    size = f"{dataset.packed} MB" if dataset.packed < 100 else f"{dataset.packed} MB, once"
    faults = [
        f"--data {dataset.name}: not here yet; get it ({size}) with: "
        f"mnistlab data download {dataset.name}"
    ]
    if Path(dataset.name).is_dir():
        faults[0] += f"\nthe folder of that name is --data ./{dataset.name}"
    return DataError(dataset.name, faults, dataset.how_to_bring())


def unwritable(path: Path, error: OSError) -> RunError:
    """The error where datasets cannot be kept."""
    return RunError(
        f"{printable(path)}: cannot be written: {error.strerror or error}; set MNISTLAB_CACHE to "
        "another folder"
    )
