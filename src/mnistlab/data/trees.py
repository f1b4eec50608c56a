"""Trees of images that `data split` writes.

What is trained on a tree must be the same images in the same order as what it was made of, as the
order decides the batches: so files get names whose order, in a folder, is that of the images.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from PIL import Image

from mnistlab.data.archives import is_archive, unpacked
from mnistlab.data.folders import scan_layout
from mnistlab.data.folds import file_names, folds_of
from mnistlab.data.layouts import LoadOptions, find_layout
from mnistlab.data.named import load_data, load_split
from mnistlab.data.published import require_new
from mnistlab.data.scan import is_hidden
from mnistlab.data.splitting import split_by_digest
from mnistlab.data.store import ImageData, Progress, Split
from mnistlab.errors import DataError, RunError
from mnistlab.files import cache_folder, remove, temporary_beside
from mnistlab.names import printable
from mnistlab.system import move

Part = tuple[Split, Sequence[str], Sequence[int]]
"""Images, what the files of all of them are called in a tree, and those that are meant."""


def split_data(
    source: str,
    target: Path,
    options: LoadOptions = LoadOptions(),
    *,
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
    path = Path(source)
    if is_archive(path):
        source = str(unpacked(path))
    data = load_data(source, options, progress=progress)
    parts: dict[str, Part] = {}
    if folds:
        pool = folds_of(data, folds)
        for fold in range(folds):
            for part in ("train", "valid"):
                parts[f"fold-{fold}/{part}"] = pool.images, pool.names, pool.rows(fold, part)
    else:
        splits = {"train": data.train, "valid": data.valid}
        if data.name == str(data.root.absolute()) and _has_test(data.root, options):
            if test_fraction:
                fault = f"--test-fraction: {printable(source)} has a test split already"
                raise DataError(source, [fault])
            splits["test"] = load_split(
                source, "test", replace(options, image_size=data.image_size), progress=progress
            )
        elif test_fraction:
            splits |= _test_from(data.train, test_fraction)
        for part, split in splits.items():
            parts[part] = split, file_names(split), range(len(split.ds))
    return _write(data, parts, target, copy, progress), data


def _has_test(root: Path, options: LoadOptions) -> bool:
    return "test" in scan_layout(find_layout(root, options), ("train", "valid", "test"), options)[0]


def _test_from(train: Split, share: float) -> dict[str, Split]:
    """Train without the images whose digests are highest, and these as test."""
    kept = split_by_digest(train.labels(), train.digests(), 1 - share)
    splits = {
        part: train.take([row for row, here in enumerate(kept) if here == (part == "train")])
        for part in ("train", "test")
    }
    faults = [
        f"--test-fraction: the class {printable(name)} has {train.counts[name]:,} images in train, "
        "or the same one again; it needs two different ones"
        for name, count in splits["train"].counts.items()
        if count == 0
    ]
    if faults:
        raise DataError("--test-fraction", faults)
    return splits


def _write(
    data: ImageData,
    parts: Mapping[str, Part],
    target: Path,
    copy: bool,
    progress: Progress | None,
) -> dict[str, dict[str, int]]:
    """Write the images of `parts` below `target`, whole or not at all; how many of each class."""
    if faults := [
        f"{printable(data.name)}: the class {printable(repr(name))} cannot be the name of a folder"
        for name in data.classes
        if not name or {"/", "\\"} & {*name} or is_hidden(name)
    ]:
        raise DataError(printable(data.name), faults)
    base = data.root if data.root.is_dir() else data.root.parent
    with suppress(RunError):  # what is ours may change: nobody's links into it
        copy = copy or base.resolve().is_relative_to(cache_folder().resolve())
    counts = {part: dict.fromkeys(data.classes, 0) for part in parts}
    building = temporary_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for part, (split, names, rows) in parts.items():
            for label in split.classes:
                (building / part / label).mkdir(parents=True)
            pixels, labels, paths = split.ds.tensors[0], split.labels(), split.paths()
            for done, row in enumerate(rows):
                if progress is not None and done % 64 == 0:
                    progress(part, done, len(rows))
                counts[part][labels[row]] += 1
                source, place = base / paths[row], building / part / labels[row] / names[row]
                if source.is_file():
                    _link(source, place, copy)
                else:
                    Image.fromarray(pixels[row].numpy()).save(place)
            if progress is not None:
                progress(part, len(rows), len(rows))
        move(building, target)
    except OSError as error:
        why = error.strerror or error
        raise RunError(f"{printable(target)}: cannot be written: {why}") from error
    finally:
        remove(building)
    return counts


def _link(source: Path, place: Path, copy: bool) -> None:
    """A hard link, or a copy where the file systems know none. Raises OSError."""
    if not copy:
        with suppress(OSError):
            os.link(source.resolve(), place)
            return
    shutil.copyfile(source, place)
