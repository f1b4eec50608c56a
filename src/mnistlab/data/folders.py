"""`train/<class>/*` and `valid/<class>/*` → two TensorDatasets.

fastbook ch. 4 stacks each folder by hand and joins them (`train_x`, `train_y`, `dset`); this is
`load_folders`.
"""

import shlex
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

from mnistlab.data import cache
from mnistlab.data.images import UndecodableError, UnreadableError, decode_grey, quiet_pillow
from mnistlab.data.store import Split, StoreWriter
from mnistlab.data.tree import (
    SPLITS,
    Scan,
    class_faults,
    name_faults,
    require_folder,
    scan_split,
)
from mnistlab.errors import DataError
from mnistlab.names import printable

Progress = Callable[[str, int, int], None]
"""Called as progress(split, done, total) while images are decoded."""


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
    keep_young: bool = False,
) -> list[Split]:
    """Load the named splits of `root`; their classes and image sizes must agree.

    `keep_young`: the files were written a moment ago and their content is known, so what is
    decoded is kept all the same. Raises DataError with all faults.
    """
    require_folder(root)
    with ThreadPoolExecutor(1) as pool:  # stores are verified while the folders are listed
        opening = [pool.submit(cache.open_cached, root, name) for name in splits]
        scans = [scan_split(root, name) for name in splits]
        cached = [future.result() for future in opening]
    loaded = [
        entry[1]
        if entry is not None and entry[0] == cache.signature(scan)
        else _decode(scan, progress, keep_young)
        for scan, entry in zip(scans, cached, strict=True)
    ]
    faults = [fault for scan in scans for fault in scan.faults] + class_faults(scans)
    bad = [
        f"{printable(root / file)}: {why}"
        for split in loaded
        for file, why in split.skipped.items()
    ]
    if not skip_bad:
        faults += bad
    for scan, split in zip(scans, loaded, strict=True):
        for label, count in split.counts.items():
            if skip_bad and count == 0 and scan.names[label]:
                faults.append(
                    f"{printable(scan.folder / label)}: no image is left of the class "
                    f"{printable(label)}"
                )
    sizes = {
        scan.split: "{1} x {0}".format(*split.image_size)
        for scan, split in zip(scans, loaded, strict=True)
        if len(split.ds)
    }
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{split} has {size}" for split, size in sizes.items())
        faults.append(f"{printable(root)}: the splits differ in image size: {each} pixels")
    if faults:
        advice = f"see everything with: mnistlab data check {printable(shlex.quote(str(root)))}"
        if bad and len(faults) == len(bad):
            advice += "; go on without the bad files with --skip-bad"
        raise DataError(printable(root), faults, advice)
    return [replace(split, hidden=scan.hidden) for scan, split in zip(scans, loaded, strict=True)]


def _decode(scan: Scan, progress: Progress | None, keep_young: bool) -> Split:
    """The images of `scan`, written into a store; in memory where none can be written."""
    keep = keep_young or cache.shows_every_edit(scan)
    try:
        return _decode_into(cache.store_path(scan.root, scan.split), scan, progress, keep)
    except OSError:
        return _decode_into(None, scan, progress, keep)


def _decode_into(
    path: Path | None,
    scan: Scan,
    progress: Progress | None,
    keep: bool,
    size: tuple[int, int] | None = None,
) -> Split:
    """Images of `size` (height, width); it is that of the first image until another is known."""
    skipped = name_faults(scan)
    files, usable = scan.files(), []
    sizes: Counter[tuple[int, int]] = Counter()
    with quiet_pillow(), StoreWriter(path) as store:
        for position, file in enumerate(files):
            if progress is not None and position % 64 == 0:
                progress(scan.split, position, len(files))
            if file in skipped:
                continue
            try:
                image = decode_grey(scan.folder / file)
            except UndecodableError as fault:
                skipped[file] = str(fault)
                # of what could not be read, another attempt may make something else
                keep = keep and not isinstance(fault, UnreadableError)
                continue
            size = size or (image.height, image.width)
            sizes[image.height, image.width] += 1
            if (image.height, image.width) == size:
                store.add(image.tobytes())
                usable.append(file)
            else:
                skipped[file] = (
                    f"{image.width} x {image.height} pixels where most images of {scan.split} "
                    f"have {size[1]} x {size[0]}; all must have one size"
                )
        most = max(sizes, key=lambda each: sizes[each], default=size)
        if most != size:
            return _decode_into(path, scan, progress, keep, most)
        if progress is not None:
            progress(scan.split, len(files), len(files))
        by_class = Counter(file.split("/", 1)[0] for file in usable)
        signed = cache.signature(scan)
        # Only what stayed the same while it was read may be kept.
        keep = keep and cache.signature(scan_split(scan.root, scan.split)) == signed
        return store.finish(
            size or (0, 0),
            {label: by_class[label] for label in scan.classes},
            usable,
            signature=signed,
            about=printable(scan.folder.absolute()),
            skipped={f"{scan.split}/{file}": skipped[file] for file in files if file in skipped},
            keep=keep,
        )


_EVEN = 0.1  # standard deviation of the border, of 0…1


def even_background(images: torch.Tensor) -> float | None:
    """The mean level along the border of images uint8 (n, H, W), 0…1; None if it is not even.

    It is what a new image must be given around its ink to look like them. MNIST's digits stand on
    black, 0.0; photographs, or clothes that fill the frame, on nothing even.
    """
    images = images[:: max(1, len(images) // 1000)]  # a thousand are enough, in a millisecond
    edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
    border = torch.cat([edge.flatten() for edge in edges]).float() / 255
    return round(float(border.mean()), 6) if float(border.std(correction=0)) < _EVEN else None
