"""Folds: all images of train and valid, dealt out by their pixels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.data import TensorDataset

from mnistlab.data.inputs import SUFFIXES
from mnistlab.data.splitting import split_into_folds
from mnistlab.data.store import ImageData, Split
from mnistlab.errors import DataError
from mnistlab.names import printable

_NAME = 200  # characters of a file name that are kept where it gets a number


@dataclass(frozen=True)
class Folds:
    """All images of train and valid, and which fold each is in.

    images: as one split; its files are paths below the folder of the data. names: what the files
    are called in a tree. fold_of: the fold of each image.
    """

    data: ImageData
    images: Split
    names: Sequence[str]
    fold_of: Sequence[int]

    def rows(self, fold: int, part: str) -> list[int]:
        """The images of `part` (train or valid) of one fold: for valid those that are in it."""
        return [i for i, own in enumerate(self.fold_of) if (own == fold) == (part == "valid")]

    def data_of(self, fold: int) -> ImageData:
        """Train and valid of one fold."""
        train, valid = (self.images.take(self.rows(fold, part)) for part in ("train", "valid"))
        return replace(self.data, train=train, valid=valid)


def folds_of(data: ImageData, n_folds: int) -> Folds:
    """Put train and valid of `data` together and deal them out by their pixels.

    Raises DataError for a class with fewer different images than folds.
    """
    splits = (data.train, data.valid)
    paths = [path for split in splits for path in split.paths()]
    labels = torch.cat([split.ds.tensors[1] for split in splits]).tolist()
    digests = [digest for split in splits for digest in split.digests()]
    order = sorted(range(len(paths)), key=lambda i: (labels[i], base_name(paths[i]), paths[i]))
    pixels = torch.cat([split.ds.tensors[0] for split in splits])
    joined = replace(
        data.train,
        ds=TensorDataset(pixels[order], torch.tensor(labels, dtype=torch.int64)[order]),
        counts={name: data.train.counts[name] + data.valid.counts[name] for name in data.classes},
        files=[paths[i] for i in order],
        prefix="",
        skipped=data.skipped,
        notes={k: v for k, v in data.train.notes.items() if k != "digests"},
    )
    fold_of, few = split_into_folds(joined.labels(), [digests[i] for i in order], n_folds)
    if few:
        faults = [
            f"{printable(data.name)}: the class {printable(name)} has {n} different images; "
            f"{n_folds} folds need {n_folds}"
            for name, n in few.items()
        ]
        raise DataError(printable(data.name), faults)
    return Folds(data, joined, file_names(joined), fold_of)


def base_name(path: str) -> str:
    """The name of the file at `path`, with the ending of an image."""
    name = path.rpartition("/")[2]
    return name if os.path.splitext(name)[1].lower() in SUFFIXES else f"{name}.png"


def file_names(split: Split) -> list[str]:
    """What the images are called in a folder for each class: in the order that they have here.

    A class whose names are in another order, or not all different, gets numbers before them.
    """
    names: list[str] = []
    for count in split.counts.values():
        own = [base_name(file) for file in split.files[len(names) : len(names) + count]]
        if own != sorted(own) or len({name.casefold() for name in own}) < count:
            digits = len(str(count))
            own = [f"{i:0{digits}d}-{name[-_NAME:]}" for i, name in enumerate(own, 1)]
        names += own
    return names
