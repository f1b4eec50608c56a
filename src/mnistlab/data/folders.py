"""`train/<class>/*` and `valid/<class>/*` → two TensorDatasets.

fastbook ch. 4 stacks each folder by hand and joins them (`train_x`, `train_y`, `dset`); this is
`load_folders`.
"""

import shlex
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

from mnistlab.data import cache
from mnistlab.data.cache import DecodedSplit
from mnistlab.data.images import UndecodableError, UnreadableError, decode_grey, quiet_pillow
from mnistlab.data.tree import (
    SPLITS,
    SplitTree,
    class_faults,
    name_faults,
    require_folder,
    scan_split,
)
from mnistlab.errors import DataError
from mnistlab.names import printable

MAX_DECODED_BYTES = 16 * 2**30

Progress = Callable[[str, int, int], None]
"""Called as progress(split, done, total) while images are decoded."""


@dataclass(frozen=True)
class Split:
    """One split: `ds` yields (image uint8 (H, W), label); `files[i]` is `class/name` of item i."""

    ds: TensorDataset
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    files: list[str]
    fingerprint: str
    skipped: dict[str, str]
    hidden: int

    @property
    def counts(self) -> dict[str, int]:
        """Images of each class."""
        found = Counter(self.ds.tensors[1].tolist())
        return {name: found[label] for label, name in enumerate(self.classes)}


@dataclass(frozen=True)
class ImageData:
    """A training and a validation split with the same classes, in the order of training.

    train_ds, valid_ds: TensorDataset of images uint8 (n, H, W) and labels int64 (n,).
    """

    root: Path
    train: Split
    valid: Split

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
    def fingerprint(self) -> str:
        """Identifies all pixels, labels and class names, whatever the files are called."""
        return f"{self.train.fingerprint[:32]}{self.valid.fingerprint[:32]}"

    @property
    def skipped(self) -> dict[str, str]:
        """Files of both splits that were left out: `split/class/name` → why."""
        return {**self.train.skipped, **self.valid.skipped}

    def describe(self) -> dict[str, Any]:
        """What a run notes of its data, as plain data."""
        return {
            "path": str(self.root),
            "fingerprint": self.fingerprint,
            "train": self.train.counts,
            "valid": self.valid.counts,
            "skipped": self.skipped,
        }


def load_folders(
    root: str | Path, *, skip_bad: bool = False, progress: Progress | None = None
) -> ImageData:
    """Load `root/train` and `root/valid`, from the cache where nothing has changed.

    Classes are folder names in natural order; images are 8-bit grey, all of one size. With
    `skip_bad`, files that cannot be used are left out and named in `skipped`.
    Raises DataError with all faults of both splits.
    """
    train, valid = load_splits(Path(root), SPLITS, skip_bad=skip_bad, progress=progress)
    return ImageData(Path(root), train, valid)


def load_splits(
    root: Path,
    splits: tuple[str, ...],
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> list[Split]:
    """Load the named splits of `root`; their classes and image sizes must agree.

    Raises DataError with all faults found.
    """
    require_folder(root)
    entries = [cache.entry_path(root, split) for split in splits]
    # Reading and hashing the cache runs beside listing the folder; one thread, as more of them
    # only take turns with the listing.
    with ThreadPoolExecutor(1) as pool:
        reading = [pool.submit(cache.read_entry, entry) for entry in entries]
        trees = [scan_split(root, split) for split in splits]
        kept = [future.result() for future in reading]
    faults = [fault for tree in trees for fault in tree.faults] + class_faults(trees)
    decoded = []
    for tree, entry, path in zip(trees, kept, entries, strict=True):
        if entry is not None and entry[0] == tree.signature():
            decoded.append(entry[1])
            continue
        settled = cache.wait_until_settled(tree)
        split, final = _decode(tree, progress)
        # Only what stayed the same while it was read may be kept.
        if settled and final and scan_split(root, tree.split).signature() == tree.signature():
            cache.store_entry(path, tree, split)
        decoded.append(split)
    bad = [
        f"{printable(tree.folder / file)}: {why}"
        for tree, split in zip(trees, decoded, strict=True)
        for file, why in split.skipped.items()
    ]
    if not skip_bad:
        faults += bad
    faults += _emptied(trees, decoded, skip_bad) + _size_faults(trees, decoded)
    if faults:
        advice = f"see everything with: mnistlab data check {printable(shlex.quote(str(root)))}"
        if bad and len(faults) == len(bad):
            advice += "; go on without the bad files with --skip-bad"
        raise DataError(printable(root), faults, advice)
    return [_dataset(tree, split) for tree, split in zip(trees, decoded, strict=True)]


def _decode(tree: SplitTree, progress: Progress | None) -> tuple[DecodedSplit, bool]:
    """The images of `tree`, and whether a second attempt would find the same."""
    skipped = name_faults(tree)
    files = tree.files()
    # (height, width) → the files of that size, their pixels one after the other. Written straight
    # into one buffer, as a second copy of everything would double the memory it takes.
    found: dict[tuple[int, int], tuple[list[str], bytearray]] = {}
    total = 0
    final = True
    with quiet_pillow():
        for position, file in enumerate(files):
            if progress is not None and position % 64 == 0:
                progress(tree.split, position, len(files))
            if file in skipped:
                continue
            try:
                image = decode_grey(tree.folder / file)
            except UndecodableError as fault:
                skipped[file] = str(fault)
                final = final and not isinstance(fault, UnreadableError)
                continue
            names, buffer = found.setdefault((image.height, image.width), ([], bytearray()))
            names.append(file)
            buffer += image.tobytes()
            total += image.height * image.width
            if total > MAX_DECODED_BYTES:
                raise DataError(
                    printable(tree.root),
                    [f"{printable(tree.folder)}: over {MAX_DECODED_BYTES // 2**30} GiB decoded"],
                )
    if progress is not None:
        progress(tree.split, len(files), len(files))
    common = max(found, key=lambda size: len(found[size][0]), default=(0, 0))
    usable, pixels = found.pop(common, ([], bytearray()))
    for (height, width), (names, _) in found.items():
        for file in names:
            skipped[file] = (
                f"{width} x {height} pixels where most images of {tree.split} have "
                f"{common[1]} x {common[0]}; all must have one size"
            )
    skipped = {file: skipped[file] for file in files if file in skipped}
    # torch refuses an empty buffer
    flat = torch.frombuffer(pixels, dtype=torch.uint8) if pixels else torch.tensor([]).byte()
    images = flat.reshape(len(usable), *common)
    by_class = Counter(file.split("/", 1)[0] for file in usable)
    counts = {label: by_class[label] for label in tree.classes}
    return DecodedSplit(images, counts, skipped, cache.fingerprint(images, counts)), final


def _emptied(trees: list[SplitTree], decoded: list[DecodedSplit], skip_bad: bool) -> list[str]:
    return [
        f"{printable(tree.folder / label)}: no image is left of the class {printable(label)}"
        for tree, split in zip(trees, decoded, strict=True)
        for label, count in split.counts.items()
        if skip_bad and count == 0 and tree.names[label]
    ]


def _size_faults(trees: list[SplitTree], decoded: list[DecodedSplit]) -> list[str]:
    sizes = {
        tree.split: f"{split.images.shape[2]} x {split.images.shape[1]}"
        for tree, split in zip(trees, decoded, strict=True)
        if len(split.images)
    }
    if len(set(sizes.values())) < 2:
        return []
    told = ", ".join(f"{split} has {size}" for split, size in sizes.items())
    return [f"{printable(trees[0].root)}: the splits differ in image size: {told} pixels"]


def _dataset(tree: SplitTree, split: DecodedSplit) -> Split:
    counts = torch.tensor([split.counts[label] for label in tree.classes])
    labels = torch.arange(len(tree.classes)).repeat_interleave(counts)
    files = [file for file in tree.files() if file not in split.skipped]
    height, width = split.images.shape[1:]
    return Split(
        TensorDataset(split.images, labels),
        tuple(tree.classes),
        (height, width),
        files,
        split.fingerprint,
        {f"{tree.split}/{file}": why for file, why in split.skipped.items()},
        tree.hidden,
    )
