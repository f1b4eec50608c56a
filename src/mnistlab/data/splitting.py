"""Which images are for validation, in which fold, or left out.

Sides and folds are decided by the images themselves: so equal images are on one side, a file that
is renamed stays where it is, and images that are added move no other.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from mnistlab.data.inputs import SUFFIXES
from mnistlab.data.scan import fault_in
from mnistlab.data.store import BETWEEN, ImageData, Split
from mnistlab.errors import DataError
from mnistlab.files import user_path
from mnistlab.names import printable

_WHOLE = 2**64
_HEADINGS = ("file", "name")  # of the column that lists images to leave out


def split_by_digest(labels: Sequence[str], digests: Sequence[bytes], share: float) -> list[bool]:
    """Whether each image is for validation: where its digest, as a fraction, is below `share`.

    A class that would have none on one side gives it the image whose digest is nearest; it needs
    two different images for that, else all are on one side.
    """
    places, by_class = _places(labels, digests)
    limits = {
        label: min(max(share * _WHOLE, own[0] + 1), own[-1]) for label, own in by_class.items()
    }
    return [place < limits[label] for label, place in zip(labels, places, strict=True)]


def split_into_folds(labels: Sequence[str], digests: Sequence[bytes], n_folds: int) -> list[int]:
    """The fold of each image, 0 to n_folds - 1: the digest, as a fraction, times n_folds.

    A class that would have none in some fold is dealt out in the order of its digests instead, as
    evenly as it can be. Raises DataError where it has fewer different images than n_folds.
    """
    places, by_class = _places(labels, digests)
    if faults := [
        f"the class {printable(label)} has {len(own)} different images; {n_folds} folds need "
        f"{n_folds}"
        for label, own in by_class.items()
        if len(own) < n_folds
    ]:
        raise DataError("--folds", faults)
    folds: dict[tuple[str, int], int] = {}
    for label, own in by_class.items():
        chosen = [place * n_folds // _WHOLE for place in own]
        if len({*chosen}) < n_folds:
            chosen = [i * n_folds // len(own) for i in range(len(own))]
        folds |= {(label, place): fold for place, fold in zip(own, chosen, strict=True)}
    return [folds[key] for key in zip(labels, places, strict=True)]


def _places(
    labels: Sequence[str], digests: Sequence[bytes]
) -> tuple[list[int], dict[str, list[int]]]:
    """Each digest as an integer below `_WHOLE`, and the different ones of each class, in order."""
    places = [int.from_bytes(digest[:8], "big") for digest in digests]
    by_class = defaultdict(set)
    for label, place in zip(labels, places, strict=True):
        by_class[label].add(place)
    return places, {label: sorted(own) for label, own in by_class.items()}


@dataclass(frozen=True)
class Folds:
    """All images of train and valid, and which fold each is in.

    images: as one split; its files are paths below the folder of the data.
    """

    data: ImageData
    images: Split
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
    digests = [digest for split in splits for digest in split.digests()]
    pixels, labels = (torch.cat([split.ds.tensors[i] for split in splits]) for i in (0, 1))
    together = replace(
        data.train,
        ds=TensorDataset(pixels, labels),
        joined=BETWEEN.join(paths),
        prefix="",
        skipped=data.skipped,
        notes={key: note for key, note in data.train.notes.items() if key != "digests"},
    )
    by_row = labels.tolist()
    order = sorted(range(len(paths)), key=lambda i: (by_row[i], base_name(paths[i]), paths[i]))
    images = together.take(order)
    digests = [digests[i] for i in order]
    return Folds(data, images, split_into_folds(images.labels(), digests, n_folds))


def base_name(path: str) -> str:
    """The name of the file at `path`, with the ending of an image."""
    name = path.rpartition("/")[2]
    return name if os.path.splitext(name)[1].lower() in SUFFIXES else f"{name}.png"


def leave_out(
    splits: Mapping[str, Split], listed: str, *, all_known: bool = True
) -> dict[str, Split]:
    """`splits` without the images, or the bad files, that the file `listed` names.

    Names are those of `Split.path_of`. all_known: every one of them must be in one of the splits.
    Raises DataError for a name that is not there, and where a class would have no image left.
    """
    path = user_path(listed)
    names = dict.fromkeys(_names_in(path))
    where = f"--exclude {printable(path)}"
    known = {name: 0 for split in splits.values() for name in (*split.paths(), *split.skipped)}
    faults = [f"{where}: {printable(name)}: no such image" for name in names if name not in known]
    if faults and all_known:
        example = next(iter(known), "")
        advice = f"{len(faults)} of {len(names)} names; they are written as {printable(example)}"
        raise DataError(where, faults, advice)
    left = {}
    for role, split in splits.items():
        rows = [row for row, name in enumerate(split.paths()) if name not in names]
        skipped = {file: why for file, why in split.skipped.items() if file not in names}
        kept = split.take(rows) if len(rows) < len(split.ds) else split
        left[role] = replace(kept, skipped=skipped)
        if gone := [name for name, n in left[role].counts.items() if n == 0 < split.counts[name]]:
            raise fault_in(path, f"--exclude leaves no image of the class {gone[0]} in {role}")
    return left


def _names_in(path: Path) -> list[str]:
    """The images of a list: the column `file` of a CSV file, else its first, or plain lines."""
    from mnistlab.data.tables import rows_of  # most runs leave nothing out

    with rows_of(path) as (_, rows):
        lines = [[cell.strip() for cell in row] for row in rows if any(map(str.strip, row))]
    heading = [cell.lower() for cell in lines[0]] if lines else []
    column = next((heading.index(name) for name in _HEADINGS if name in heading), None)
    if column is not None:
        lines = lines[1:]
    return [line[column or 0] for line in lines if len(line) > (column or 0)]
