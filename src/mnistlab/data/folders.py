"""`train/<class>/*` and `valid/<class>/*` → two TensorDatasets.

fastbook ch. 4 stacks each folder by hand and joins them (`train_x`, `train_y`, `dset`); this is
`load_folders`.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from mnistlab.data import cache
from mnistlab.data.cache import DecodedSplit
from mnistlab.data.images import UndecodableError, decode_grey, quiet_pillow
from mnistlab.data.tree import SPLITS, SplitTree, name_faults, scan_split
from mnistlab.errors import DataError
from mnistlab.names import natural_key, printable

MAX_DECODED_BYTES = 16 * 2**30

Progress = Callable[[str, int, int], None]
"""Called as progress(split, done, total) while images are decoded."""


@dataclass(frozen=True)
class ImageSplit:
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
class ImageFolders:
    """A training and a validation split with the same classes, in the order of training.

    train_ds, valid_ds: TensorDataset of images uint8 (n, H, W) and labels int64 (n,).
    """

    root: Path
    train: ImageSplit
    valid: ImageSplit

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


def load_folders(
    root: str | Path, *, skip_bad: bool = False, progress: Progress | None = None
) -> ImageFolders:
    """Load `root/train` and `root/valid`, from the cache where nothing has changed.

    Classes are folder names in natural order; images are 8-bit grey, all of one size. With
    `skip_bad`, files that cannot be used are left out and named in `skipped`.
    Raises DataError with all faults of both splits.
    """
    train, valid = load_splits(Path(root), SPLITS, skip_bad=skip_bad, progress=progress)
    return ImageFolders(Path(root), train, valid)


def load_splits(
    root: Path,
    splits: tuple[str, ...],
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> list[ImageSplit]:
    """Load the named splits of `root`; their classes and image sizes must agree.

    Raises DataError with all faults found.
    """
    _require_folder(root)
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
        split = _decode(tree, progress)
        # Only what stayed the same while it was read may be kept.
        if settled and scan_split(root, tree.split).signature() == tree.signature():
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
        advice = f"see everything with: mnistlab data check {printable(root)}"
        if bad and len(faults) == len(bad):
            advice += "; go on without the bad files with --skip-bad"
        raise DataError(printable(root), faults, advice)
    return [_dataset(tree, split) for tree, split in zip(trees, decoded, strict=True)]


def _require_folder(root: Path) -> None:
    try:
        if root.is_dir():
            return
        why = "not a folder" if root.exists() else "no such folder"
    except (OSError, ValueError) as error:
        why = f"cannot be reached: {error}"
    raise DataError(
        printable(root),
        [f"{printable(root)}: {why}; expected train/<class>/*.png and valid/<class>/*.png"],
    )


def class_faults(trees: list[SplitTree]) -> list[str]:
    """Too few classes, or a class that only one of the splits has; one line each."""
    listed = [tree for tree in trees if tree.classes]
    faults = [
        f"{printable(tree.folder)}: "
        + (f"only one class ({printable(tree.classes[0])})" if tree.classes else "no class folders")
        + "; a classifier needs two or more"
        for tree in trees
        if len(tree.classes) < 2 and tree.folder.is_dir() and tree.split == SPLITS[0]
    ]
    everywhere = {name for tree in listed for name in tree.classes}
    for tree in listed:
        for name in sorted(everywhere - set(tree.classes), key=natural_key):
            faults.append(
                f"{printable(tree.folder / name)}: missing; the class {printable(name)} is only "
                "in the other split"
            )
    return faults


def _decode(tree: SplitTree, progress: Progress | None) -> DecodedSplit:
    skipped = name_faults(tree)
    files = tree.files()
    pixels: dict[str, bytes] = {}
    sizes: dict[str, tuple[int, int]] = {}  # (height, width)
    total = 0
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
                continue
            pixels[file] = image.tobytes()
            sizes[file] = (image.height, image.width)
            total += len(pixels[file])
            if total > MAX_DECODED_BYTES:
                raise DataError(
                    printable(tree.root),
                    [f"{printable(tree.folder)}: over {MAX_DECODED_BYTES // 2**30} GiB decoded"],
                )
    if progress is not None:
        progress(tree.split, len(files), len(files))
    common = Counter(sizes.values()).most_common(1)[0][0] if sizes else (0, 0)
    for file, (height, width) in sizes.items():
        if (height, width) != common:
            skipped[file] = (
                f"{width} x {height} pixels where most images of {tree.split} have "
                f"{common[1]} x {common[0]}; all must have one size"
            )
    order = {file: place for place, file in enumerate(files)}
    skipped = dict(sorted(skipped.items(), key=lambda item: order[item[0]]))
    usable = [file for file in files if file not in skipped]
    buffer = bytearray()
    for file in usable:
        buffer += pixels.pop(file)  # moved, not copied: the pixels stand in memory about once
    images = torch.frombuffer(buffer, dtype=torch.uint8) if buffer else torch.empty(0)
    images = images.to(torch.uint8).reshape(len(usable), *common)
    by_class = Counter(file.split("/", 1)[0] for file in usable)
    counts = {label: by_class[label] for label in tree.classes}
    return DecodedSplit(images, counts, skipped, cache.fingerprint(images, counts))


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


def _dataset(tree: SplitTree, split: DecodedSplit) -> ImageSplit:
    counts = torch.tensor([split.counts[label] for label in tree.classes])
    labels = torch.arange(len(tree.classes)).repeat_interleave(counts)
    files = [file for file in tree.files() if file not in split.skipped]
    height, width = split.images.shape[1:]
    return ImageSplit(
        TensorDataset(split.images, labels),
        tuple(tree.classes),
        (height, width),
        files,
        split.fingerprint,
        {f"{tree.split}/{file}": why for file, why in split.skipped.items()},
        tree.hidden,
    )
