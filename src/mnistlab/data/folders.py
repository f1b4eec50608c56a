"""`train/<class>/*` and `valid/<class>/*` → two TensorDatasets.

fastbook ch. 4 stacks each folder by hand and joins them (`train_x`, `train_y`, `dset`); this is
`load_folders`. First the names and stamps of all files are listed, and no file is opened
(`scan_split`); if a store in the cache was made of exactly these files, it is mapped; else every
image is decoded, once, into a new store (`_decode`).

A cache can cost time, never truth: a store is used only if its signature is that of the folder now
(names, sizes, mtimes, ctimes and inodes of all files, and the decoder). An edit that restores size
and mtime still moves ctime, which no program can set. Two edits no stamp shows: that of a program
which has an image file mapped into its memory and goes on writing there; and on Windows, where
ctime is the time of creation, one that keeps the size and sets back the mtime.
"""

import contextlib
import hashlib
import math
import os
import stat
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import PIL
import torch
from PIL import features
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.data.store import Split, finish_store, new_store, open_store
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.files import cache_folder, user_path
from mnistlab.names import is_clean, natural_key, printable
from mnistlab.system import quoted

SPLITS = ("train", "valid")
EXPECTED = "train/<class>/*.png and valid/<class>/*.png"
Progress = Callable[[str, int, int], None]
"""Called as progress(split, done, total) while images are decoded."""

# Pillow's own packages contain these libraries; a Linux distribution or conda updates them
# separately, and then lossy formats may be decoded a little differently.
_LIBRARIES = ", ".join(
    f"{name} {features.version(name)}" for name in ("jpg", "libjpeg_turbo", "webp", "avif")
)
DECODER = f"mnistlab 3, Pillow {PIL.__version__}, {_LIBRARIES}"
YOUNG_NS = 2_000_000_000
_FINEST_WITHOUT_CTIME = 10_000_000  # nanoseconds: exFAT; FAT has two seconds, sshfs one
_EVEN = 0.1  # standard deviation of the border, of 0…1
_BARE = 0.1  # of the strongest contrast in an image: what differs less is ground
_FILLED = 0.85  # of a square
_THINGS = 0.75  # of the images: if more have a filled square, they show things, not ink


@dataclass(frozen=True)
class ImageData:
    """A training and a validation split with the same classes, in the order of training.

    name: how `--data` names it, whatever the current folder is: a dataset's name, an absolute path.
    train_ds, valid_ds: TensorDataset of images uint8 (n, H, W) and labels int64 (n,).
    """

    root: Path
    name: str
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
    root = user_path(root)
    train, valid = load_splits(root, SPLITS, skip_bad=skip_bad, progress=progress)
    return ImageData(root, str(root.absolute()), train, valid)


def load_splits(
    root: Path,
    splits: Sequence[str],
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
    paths = [store_path(root, split) for split in splits]
    with ThreadPoolExecutor(1) as pool:  # stores are verified while the folders are listed
        stored = pool.map(_open_sound_store, paths)
        scans = [scan_split(root, split) for split in splits]
    loaded, faults, bad, sizes = [], [], [], {}
    for scan, path in zip(scans, paths, strict=True):
        split = next(stored)
        if split is None or split.signature != scan.signature():
            split = None  # lets go of an old store: Windows replaces no file that is mapped
            keep = keep_young or scan.shows_every_edit()
            try:
                split = _decode(scan, path, progress, keep)
            except OSError:  # no room on the disk, or no permission
                split = _decode(scan, None, progress, keep)
        loaded.append(replace(split, hidden=scan.hidden))
        faults += scan.faults
        for file, why in split.skipped.items():
            bad.append(f"{printable(root / file)}: {why}")
        if len(split.ds):
            sizes[scan.split] = "{1} x {0}".format(*split.image_size)
    faults += class_faults(scans)
    if not skip_bad:
        faults += bad
    elif bad:
        faults += [
            f"{printable(scan.folder / label)}: no image is left of the class {printable(label)}"
            for scan, split in zip(scans, loaded, strict=True)
            for label, count in split.counts.items()
            if count == 0 and scan.names[label]
        ]
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{split} has {size}" for split, size in sizes.items())
        faults.append(f"{printable(root)}: the splits differ in image size: {each} pixels")
    if faults:
        advice = f"see everything with: mnistlab data check {printable(quoted(root))}"
        # not where it was given already, and only where an image of each class would be left
        left = all(all(split.counts.values()) for split in loaded)
        if not skip_bad and left and len(faults) == len(bad):
            advice += "; go on without the bad files with --skip-bad"
        raise DataError(printable(root), faults, advice)
    return loaded


def require_folder(root: Path, expected: str = EXPECTED) -> None:
    """Raise DataError, saying what was `expected` in it, unless `root` is a folder."""
    try:
        if root.is_dir():
            return
        why = "not a folder" if os.path.lexists(root) else "no such folder"
    except (OSError, ValueError) as error:
        why = f"cannot be reached: {error}"
    raise DataError(printable(root), [f"{printable(root)}: {why}; expected {expected}"])


def store_path(root: Path, split: str) -> Path | None:
    """Where the decoded `split` of `root` is stored; None where there is no place for a cache."""
    place = hashlib.sha256(os.fsencode(os.path.realpath(root)) + b"\0" + split.encode())
    with contextlib.suppress(RunError):
        return cache_folder() / "decoded" / f"{place.hexdigest()[:24]}.store"
    return None


def _open_sound_store(path: Path | None) -> Split | None:
    """What is stored at `path`, perhaps of files that have changed since; None if it is damaged."""
    with contextlib.suppress(OSError, DamagedFileError):
        if path is not None and path.is_file():  # a pipe would be waited for
            return open_store(path)
    return None


@dataclass
class Scan:
    """The files of one split: what stands in `folder`, which is `<root>/<split>`.

    `names[class]` are the visible file names, sorted as strings (the chapter's order); `stamps`
    has five integers for each of them (mode, size, mtime, ctime, inode), class by class, all zero
    where a file cannot be reached. `classes` is in natural order. `faults` are those of folders.
    `loose` are visible files beside the class folders.
    """

    folder: Path
    split: str
    classes: list[str] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    stamps: "array[int]" = field(default_factory=lambda: array("q"))
    hidden: int = 0
    loose: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def files(self) -> list[str]:
        """Every file as `class/name`, in the order of the dataset."""
        return [f"{label}/{name}" for label in self.classes for name in self.names[label]]

    def signature(self) -> str:
        """Changes whenever a file is edited, added, deleted, renamed or replaced."""
        parts = [DECODER]
        for label in self.classes:
            parts += [label, str(len(self.names[label])), *self.names[label]]
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape"))
        digest.update(self.stamps.tobytes())
        return digest.hexdigest()

    def shows_every_edit(self) -> bool:
        """Whether any edit from now on must change a stamp: only then a store may be kept.

        Not where a file is younger than two seconds (or from the future): it could be written
        again within the same tick of the file system's clock. Not where a ctime is the mtime, in
        hundredths of a second and no finer: FAT, sshfs and squashfs have no ctime and show the
        mtime in its place, which every tool that preserves times can set.
        """
        mtimes, ctimes = self.stamps[2::5], self.stamps[3::5]
        if max(mtimes + ctimes, default=0) > time.time_ns() - YOUNG_NS:
            return False
        pairs = zip(mtimes, ctimes, strict=True)
        return not any(m == c and m % _FINEST_WITHOUT_CTIME == 0 for m, c in pairs)


def scan_split(root: Path, split: str) -> Scan:
    """List one split of `root`. Never raises for what is in it: faults are collected."""
    scan = Scan(root / split, split)
    try:
        listed = os.listdir(scan.folder)
    except OSError as error:
        why = f"cannot be listed: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            why = f"no such folder; expected {EXPECTED}"
        scan.faults.append(f"{printable(scan.folder)}: {why}")
        return scan
    for name in listed:
        if name.startswith("."):
            scan.hidden += 1
        elif os.path.isfile(scan.folder / name):
            scan.loose.append(name)
        elif not is_clean(name):
            scan.faults.append(
                f"{printable(scan.folder / name)}: the class name has control characters or is "
                "not UTF-8; rename the folder"
            )
        else:
            scan.classes.append(name)
    scan.classes.sort(key=lambda name: (natural_key(name), name))
    for label in scan.classes:
        scan.names[label] = []
        try:
            _add_class(scan, label)
        except OSError as error:
            where = printable(scan.folder / label)
            scan.faults.append(f"{where}: cannot be listed: {error.strerror}")
    if not (scan.classes or scan.faults):
        scan.faults.append(
            f"{printable(scan.folder)}: no class folders; expected {split}/<class>/*.png"
        )
    return scan


def _add_class(scan: Scan, label: str) -> None:
    """List the files of one class. Raises OSError."""
    # This is the cost of a warm start, so a file costs few calls: no Path is made of its name.
    folder = os.path.join(scan.folder, label, "")
    listed = os.listdir(folder)
    names = sorted([name for name in listed if name[0] != "."])
    add, status = scan.stamps.extend, os.stat
    for name in names:
        try:
            s = status(folder + name)
        except OSError:
            add((0, 0, 0, 0, 0))
        else:
            add((s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino))
    scan.names[label] = names
    scan.hidden += len(listed) - len(names)
    if not names:
        scan.faults.append(
            f"{printable(scan.folder / label)}: no images; expected "
            f"{scan.split}/{printable(label)}/*.png"
        )


def class_faults(scans: Sequence[Scan]) -> list[str]:
    """Too few classes to train on, or a class that only one of the splits has; one line each."""
    faults = []
    for scan in scans:
        if len(scan.classes) == 1 and scan.split == SPLITS[0]:
            faults.append(
                f"{printable(scan.folder)}: only one class ({printable(scan.classes[0])}); a "
                "classifier needs two or more"
            )
    everywhere = {name for scan in scans for name in scan.classes}
    for scan in scans:
        for name in sorted(everywhere.difference(scan.classes), key=natural_key):
            if scan.classes:
                faults.append(
                    f"{printable(scan.folder / name)}: missing; the class {printable(name)} is "
                    "only in the other split"
                )
    return faults


def name_faults(scan: Scan) -> dict[str, str]:
    """Files that cannot be used, seen from name and stamps alone: `class/name` → why."""
    faults = {}
    for file, mode in zip(scan.files(), scan.stamps[::5], strict=True):
        if not is_clean(file):
            faults[file] = "the name has control characters or is not UTF-8; rename it"
        elif mode == 0:
            try:
                (scan.folder / file).stat()
                faults[file] = "changed while it was read"
            except FileNotFoundError:
                faults[file] = "a link to a file that is not there, or removed a moment ago"
            except OSError as error:
                faults[file] = f"cannot be reached: {error.strerror}"
        elif stat.S_ISDIR(mode):
            faults[file] = "a folder inside a class folder; only images belong here"
        elif not stat.S_ISREG(mode):
            faults[file] = "not a regular file"
    return faults


def _decode(
    scan: Scan,
    path: Path | None,
    progress: Progress | None,
    keep: bool,
    size: tuple[int, int] | None = None,
) -> Split:
    """The images of `scan`, decoded into a store at `path`; in memory where that is None.

    size: height and width of the images to take, those of the first image by default. Where another
    size turns out to be more common, all files are decoded once more, with that size.
    """
    from mnistlab.data import images  # a warm start does without it

    skipped = name_faults(scan)
    files, usable = scan.files(), []
    sizes: Counter[tuple[int, int]] = Counter()
    others: dict[str, str] = {}  # of another size
    with images.quiet_pillow(), new_store(path) as store:
        for position, file in enumerate(files):
            if progress is not None and position % 64 == 0:
                progress(scan.split, position, len(files))
            if file in skipped:
                continue
            try:
                image = images.decode_grey(scan.folder / file)
            except images.UndecodableError as fault:
                skipped[file] = str(fault)
                # the next attempt may be able to read it: this result is not for the cache
                keep = keep and not isinstance(fault, images.UnreadableError)
                continue
            size = size or (image.height, image.width)
            sizes[image.height, image.width] += 1
            if (image.height, image.width) == size:
                store.write(image.tobytes())
                usable.append(file)
            else:
                others[file] = f"{image.width} x {image.height} pixels"
        most = max(sizes, key=lambda each: sizes[each], default=size)
        if most != size:
            return _decode(scan, path, progress, keep, most)
        skipped |= {file: f"{own} {_about(sizes, scan.split)}" for file, own in others.items()}
        if progress is not None:
            progress(scan.split, len(files), len(files))
        by_class = Counter(file.split("/", 1)[0] for file in usable)
        signature = scan.signature()
        # Only what stayed the same while it was read may be kept.
        keep = keep and scan_split(scan.folder.parent, scan.split).signature() == signature
        return finish_store(
            store,
            path if keep else None,
            size or (0, 0),
            {label: by_class[label] for label in scan.classes},
            usable,
            signature=signature,
            about=printable(scan.folder.absolute()),
            skipped={f"{scan.split}/{file}": skipped[file] for file in files if file in skipped},
        )


def _about(sizes: Counter[tuple[int, int]], split: str) -> str:
    """What is wrong with an image whose size is not the most common one of `sizes`."""
    (size, count), total = sizes.most_common(1)[0], sizes.total()
    smallest, largest, most = (
        f"{width} x {height}"
        for height, width in (*(f(sizes, key=math.prod) for f in (min, max)), size)
    )
    if 2 * count > total:
        return f"where most images of {split} have {most}; all must have one size"
    return (
        f"where all must have one size; those of {split} have {len(sizes)} sizes, from {smallest} "
        f"to {largest}; the most common is {most}, {count} of {total}"
    )


def even_background(images: torch.Tensor) -> float | None:
    """The mean level along the border of images of ink, uint8 (n, H, W), 0…1; None if it is not
    even, or if what stands on it is no ink.

    It is what a new image must be given around its ink to look like them. MNIST's digits stand on
    black, 0.0; photographs, or clothes that fill the frame, on nothing even; and a photograph of a
    thing on an even ground is not made of strokes.
    """
    images = images[:: max(1, len(images) // 1000)]  # a thousand are enough, in a millisecond
    edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
    border = torch.cat([edge.flatten() for edge in edges]).float() / 255
    if float(border.std(correction=0)) >= _EVEN:
        return None
    ground = round(float(border.mean()), 6)
    some = images[:: max(1, len(images) // 100), None].float() / 255
    contrast = (some - ground).abs()
    marked = (contrast > _BARE * contrast.amax((2, 3), keepdim=True)).float()
    # strokes fill no square of a third of the side; nearly every thing fills one
    square = min(min(some.shape[2:]), max(some.shape[2:]) // 3 + 2)
    filled = nn.functional.avg_pool2d(marked, square, stride=1).amax((1, 2, 3)) > _FILLED
    return None if float(filled.float().mean()) > _THINGS else ground
