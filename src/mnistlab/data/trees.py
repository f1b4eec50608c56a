"""Trees of images: what `data split`, `data import-idx` and `data download --to` write.

What is trained on a tree must be the same images in the same order as what it was made of, as the
order decides the batches: so files get names whose order, in a folder, is that of the images.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mnistlab.data.archives import find_files, is_archive, read_idx, unpacked_folder
from mnistlab.data.datasets import DATASETS, NAMED
from mnistlab.data.folders import scan_layout
from mnistlab.data.layouts import LoadOptions, find_layout
from mnistlab.data.named import load_data, load_split
from mnistlab.data.published import sizes_of, store_arrays
from mnistlab.data.scan import SPLITS, fault_in, is_hidden
from mnistlab.data.splitting import base_name, folds_of, split_by_digest
from mnistlab.data.store import ImageData, Progress, Split
from mnistlab.errors import DataError, RunError
from mnistlab.files import building, cache_folder
from mnistlab.names import natural_key, nearest, printable
from mnistlab.system import move

_NAME = 200  # characters of a file name that are kept where it gets a number


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
        fits = images.ndim == 3 and images.dtype == np.uint8 and images.size
        if not fits or labels.shape != images.shape[:1]:
            why = f"holds no images with labels, but {sizes_of(images)} with {sizes_of(labels)}"
            raise fault_in(paths[of_images], why)
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
    numbers = {name: int(name) for name in names}
    parts = {split: store_arrays(*arrays, numbers) for split, arrays in splits.items()}
    return write_folders(parts.items(), target, progress)


def split_data(
    source: str,
    target: Path,
    options: LoadOptions = LoadOptions(),
    folds: int = 0,
    test_fraction: float = 0.0,
    copy: bool = False,
    progress: Progress | None = None,
) -> tuple[dict[str, dict[str, int]], ImageData]:
    """Write what `--data source` reads as `target/train/<class>/…` and `target/valid/…`.

    Also `test`, where there is one or `test_fraction` takes it from train; with `folds` such a tree
    as `target/fold-0` and so on. Files are linked where that is possible and `copy` is not set;
    images that are in no file of their own become PNG. `target` appears whole or not at all.
    Returns the counts by part and class, and what was read. Raises DataError, RunError.
    """
    require_new(target)
    if is_archive(Path(source)):
        source = str(unpacked_folder(Path(source)))
    data = load_data(source, options, progress=progress)
    if faults := [
        f"{printable(data.name)}: the class {printable(repr(name))} cannot be the name of a folder"
        for name in data.classes
        if not name or {"/", "\\"} & {*name} or is_hidden(name)
    ]:
        raise DataError(printable(data.name), faults)
    base = data.root if data.root.is_dir() else data.root.parent
    with suppress(RunError):  # what is ours may change: nobody's links into it
        copy = copy or base.resolve().is_relative_to(cache_folder().resolve())
    if folds:
        pool = folds_of(data, folds)
        parts = (
            (f"fold-{fold}/{part}", pool.images.take(pool.rows(fold, part)))
            for fold in range(folds)
            for part in SPLITS
        )
        return write_folders(parts, target, progress, base, copy), data
    splits = {"train": data.train, "valid": data.valid}
    is_own = data.name not in NAMED
    if is_own and "test" in scan_layout(find_layout(data.root, options), ("test",), options)[0]:
        if test_fraction:
            fault = f"--test-fraction: {printable(source)} has a test split already"
            raise DataError(source, [fault])
        options = replace(options, image_size=data.image_size)
        splits["test"] = load_split(source, "test", options, progress=progress)
    elif test_fraction:
        splits |= _test_from(data.train, test_fraction)
    return write_folders(splits.items(), target, progress, base, copy), data


def _test_from(train: Split, share: float) -> dict[str, Split]:
    """Train without the images whose digests are highest, and these as test."""
    kept = split_by_digest(train.labels(), train.digests(), 1 - share)
    splits = {
        part: train.take([row for row, here in enumerate(kept) if here == (part == "train")])
        for part in ("train", "test")
    }
    for name, n in train.counts.items():
        if 0 in (splits["train"].counts[name], splits["test"].counts[name]):
            own = f"the class {printable(name)} has {n:,} images in train, or the same one again"
            fault = f"--test-fraction: {own}; it needs two different ones"
            raise DataError("--test-fraction", [fault])
    return splits


def require_new(target: Path) -> None:
    """Raise DataError if there is anything at `target`."""
    if os.path.lexists(target):
        raise fault_in(target, "exists already; name a new folder, or remove it")


def write_folders(
    parts: Iterable[tuple[str, Split]],
    target: Path,
    progress: Progress | None = None,
    source: Path | None = None,
    copy: bool = False,
) -> dict[str, dict[str, int]]:
    """Write `target/<part>/<class>/…`, completely or not at all; how many there are of each class.

    Images that are files below `source` are linked, or copied. Where that is None, `labels.csv`
    lists all. Raises RunError.
    """
    counts, rows = {}, ["name,label"]
    try:
        with building(target) as folder:
            for part, split in parts:
                counts[part] = split.counts
                for label in split.classes:
                    (folder / part / label).mkdir(parents=True)
                (pixels, numbers), paths = split.ds.tensors, split.paths()
                places = zip(split.labels(), _names(split), strict=True)
                for row, (label, name) in enumerate(places):
                    if progress is not None and row % 64 == 0:
                        progress(part, row, len(paths))
                    place = folder / part / label / name
                    if source and (source / paths[row]).is_file():
                        _link(source / paths[row], place, copy)
                    else:
                        Image.fromarray(pixels[row].numpy()).save(place, compress_level=9)
                if source is None:
                    keys = map(natural_key, split.files)
                    order = zip(numbers.tolist(), keys, split.files, strict=True)
                    rows += [f"{part}/{file},{number}" for number, _, file in sorted(order)]
            if source is None:
                (folder / "labels.csv").write_bytes(("\n".join(rows) + "\n").encode())
            move(folder, target)
    except OSError as error:
        why = error.strerror or error
        raise RunError(f"{printable(target)}: cannot be written: {why}") from error
    return counts


def _names(split: Split) -> list[str]:
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


def _link(source: Path, place: Path, copy: bool) -> None:
    """A hard link, or a copy where the file systems know none. Raises OSError."""
    if not copy:
        with suppress(OSError):
            os.link(source.resolve(), place)
            return
    shutil.copyfile(source, place)
