"""Images in folders, tables or arrays → two TensorDatasets, or three with a test split.

fastbook ch. 4 stacks each folder by hand and joins them (`train_x`, `train_y`, `dset`); this is
`load_folders`. `find_layout` says where the images are, `scan_folder` lists names and stamps of the
files, none of which is opened; if a store in the cache was made of exactly these files, it is
mapped; else every image is decoded, once, into a new store (`_decode`).
"""

import contextlib
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mnistlab.data.archives import is_archive, unpacked_folder
from mnistlab.data.colour import Colours
from mnistlab.data.layouts import Layout, LoadOptions, find_layout
from mnistlab.data.scan import SPLITS, Scan, class_faults, fault_in, require_exists, scan_folder
from mnistlab.data.splitting import leave_out, split_by_digest
from mnistlab.data.store import (
    ImageData,
    Progress,
    Split,
    finish_store,
    image_digest,
    new_store,
    open_store,
)
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.files import cache_folder, user_path
from mnistlab.names import printable
from mnistlab.system import quoted

DEFAULT_SIZE = (28, 28)  # of images that come in several sizes


def load_folders(
    root: str | os.PathLike[str],
    options: LoadOptions = LoadOptions(),
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> ImageData:
    """Load the images of a folder, a table or a file of arrays, however they are laid out.

    `changes` are fields of `LoadOptions`. Images come from the cache where nothing has changed.
    Classes are in natural order; images are 8-bit grey, of one size. Raises DataError with all
    faults of both splits.
    """
    path, options = user_path(root), replace(options, **changes)
    (train, valid), notes = read_splits(path, SPLITS, options, progress=progress).usable(
        SPLITS, options
    )
    return ImageData(path, str(path.absolute()), train, valid, notes)


def read_splits(
    root: Path,
    splits: Sequence[str],
    options: LoadOptions = LoadOptions(),
    *,
    progress: Progress | None = None,
    keep_young: bool = False,
    fresh: bool = False,
) -> "Reading":
    """Read those of the named splits that `root` has, and all that is wrong with them.

    `keep_young`: the files were written a moment ago and their content is known, so what is decoded
    is kept all the same. `fresh`: every file is opened, whatever is in the cache. Raises DataError
    where nothing can be read.
    """
    require_exists(root)
    if is_archive(root):
        root, keep_young = unpacked_folder(root), True
    layout = find_layout(root, options)
    scans, split_here = scan_layout(layout, splits, options)
    loaded: dict[str, Split] = {}
    for role, scan in scans.items():
        source = layout.sources.get(role, layout.sources.get("train", root))
        paths = {part: store_path(source, part) for part in (SPLITS if split_here else (role,))}
        own = None if fresh else _stored(paths, scan, options)
        if own is None:
            keep = keep_young or scan.shows_every_edit()
            try:
                own = _decode(scan, paths, progress, keep, layout, options)
            except OSError:  # no room on the disk, or no permission
                own = _decode(scan, dict.fromkeys(paths), progress, keep, layout, options)
        first = next(iter(own.values()))
        scan.classes = scan.classes or [*first.classes]
        prefix = ""
        if scan.folder != root and scan.folder.is_relative_to(root):
            prefix = f"{scan.folder.relative_to(root).as_posix()}/"
        elif scan.folder not in (root, root.parent):  # --valid DIR
            prefix = f"{scan.folder.absolute().as_posix()}/"
        for part in [split for split in splits if split in own]:
            skipped = {f"{prefix}{file}": why for file, why in own[part].skipped.items()}
            loaded[part] = replace(own[part], skipped=skipped, prefix=prefix)
        if options.image_size is None and any(first.image_size):
            options = replace(options, image_size=first.image_size)  # the other splits follow
    return Reading(root, layout, scans, loaded, split_here)


def _stored(
    paths: Mapping[str, Path | None], scan: Scan, options: LoadOptions
) -> dict[str, Split] | None:
    """What is stored at `paths`, if it was made of the files of `scan` as they are, as options ask.

    None lets go of old stores: Windows replaces no file that is mapped.
    """
    stored = {}
    for part, path in paths.items():
        if path is None or not path.is_file():  # a pipe would be waited for
            return None
        try:
            split = open_store(path)
        except (OSError, DamagedFileError):
            return None
        if split.signature != scan.signature():
            return None
        own = tuple(split.notes["own_size"] or ())
        size = options.image_size or own or DEFAULT_SIZE
        fits = (own == size and options.fit != "ink") or split.notes["fit"] == options.fit
        if split.image_size != size or not fits:
            return None
        stored[part] = split
    return stored


@dataclass(frozen=True)
class Reading:
    """Splits of a folder as they were read, whether they can be used or not.

    split_here: train and valid are made here, of the scan of train.
    """

    root: Path
    layout: Layout
    scans: Mapping[str, Scan]
    loaded: Mapping[str, Split]
    split_here: bool

    def usable(
        self, splits: Sequence[str], options: LoadOptions = LoadOptions()
    ) -> tuple[list[Split], tuple[str, ...]]:
        """The named splits, and what was done to make them, a line each.

        Raises DataError with all that keeps them from being used.
        """
        if absent := {*splits} - {*self.loaded}:
            has = ", ".join(self.layout.sources)
            raise fault_in(self.root, f"has no split {min(absent)}, but {has}")
        loaded = {split: self.loaded[split] for split in splits}
        if options.exclude:
            loaded = leave_out(loaded, options.exclude, all_known={*SPLITS} <= {*splits})
        scans = [scan for role, scan in self.scans.items() if self.split_here or role in splits]
        root, faults = self.root, [fault for scan in scans for fault in scan.faults]
        faults += class_faults(scans)
        bad = [
            f"{printable(root / file)}: {why}"
            for split in loaded.values()
            for file, why in split.skipped.items()
        ]
        empty = [
            (root / split.prefix, name)
            for split in loaded.values()
            for name, count in split.counts.items()
            if count == 0
        ]
        if not options.skip_bad:
            faults += bad
        if self.split_here or (bad and options.skip_bad):
            few = "has fewer than two different images; a split needs two"
            why = few if self.split_here else "has no image left"
            faults += dict.fromkeys(
                f"{printable(place)}: the class {printable(name)} {why}" for place, name in empty
            )
        if faults:
            advice = f"see everything with: mnistlab data check {printable(quoted(root))}"
            # not where it was given already, and only where an image of each class would be left
            if not (options.skip_bad or empty) and len(faults) == len(bad):
                advice += "; go on without the bad files with --skip-bad"
            raise DataError(printable(root), faults, advice)
        return [*loaded.values()], tuple(self._notes(scans, loaded, options))

    def _notes(
        self, scans: Sequence[Scan], loaded: Mapping[str, Split], options: LoadOptions
    ) -> Iterator[str]:
        how = "".join(scan.note for scan in scans)
        if self.split_here:
            share = f"{100 * options.valid_fraction:g} %"
            how += f"; {share} are for validation, chosen by their pixels (--valid-fraction)"
        if self.layout.line:
            yield f"layout  {self.layout.line}{how}"
        for name, split in loaded.items():
            if len(split.ds) and split.notes["own_size"] != [*split.image_size]:
                height, width = split.image_size
                (own_height, own_width, n), *others = split.notes["sizes"]
                sizes = f"{own_width} x {own_height}"
                if others:
                    sizes = f"{len(others) + 1} sizes, most often {sizes} ({n} images),"
                how = f"--fit {split.notes['fit']}; --image-size for another size"
                yield f"sizes   {name}: {sizes} brought to {width} x {height} ({how})"
        # of one split: the others are of the same kind
        coloured = [split.notes for split in loaded.values() if split.notes.get("coloured")]
        yield from colour_lines(coloured[0] if coloured else {})


def colour_lines(notes: Mapping[str, Any]) -> Iterator[str]:
    """What `Colours.notes` says, for a person."""
    if notes.get("coloured"):
        yield f"colour is turned into grey ({notes['coloured']:,} images have colour)"
    if pairs := notes.get("alike"):
        names = ", ".join(" and ".join(map(printable, pair)) for pair in pairs)
        more = notes["n_alike"] - len(pairs)
        others = f", and {more} more pairs" if more else ""
        yield (
            f"warning: these classes differ in colour and hardly in grey: {names}{others}; a model "
            "sees no colour and will hardly tell them apart"
        )


def scan_layout(
    layout: Layout, splits: Sequence[str], options: LoadOptions = LoadOptions()
) -> tuple[dict[str, Scan], bool]:
    """List the files of the named splits, or of the images that are to be split here.

    Returns the scans by split, and whether the split is made here of the only one.
    Raises DataError for a table that cannot be read.
    """
    alone = [*layout.sources] == ["train"]
    scans: dict[str, Scan] = {}
    for split, path in layout.sources.items():
        if os.path.isfile(path):
            from mnistlab.data.arrays import scan_file  # folders need none of it

            scans |= scan_file(path, split, transpose=options.transpose)
        elif split in splits or alone:
            scans[split] = scan_folder(path, split)
    alone = alone and [*scans] == ["train"]
    if "test" in scans and "valid" not in {*scans, *layout.sources}:
        scan = scans["valid"] = scans.pop("test")
        scan.split, scan.note = "valid", "; test scores, as there is no valid"
    if alone:
        scans["train"].salt += f" {options.valid_fraction}"
    return {split: scan for split, scan in scans.items() if split in splits or alone}, alone


def store_path(place: Path, part: str) -> Path | None:
    """Where the decoded images of `place` are stored; None where there is no place for a cache."""
    text = os.fsencode(os.path.realpath(place)) + b"\0" + part.encode()
    with contextlib.suppress(RunError):
        return cache_folder() / "decoded" / f"{hashlib.sha256(text).hexdigest()[:24]}.store"
    return None


def _decode(
    scan: Scan,
    paths: Mapping[str, Path | None],
    progress: Progress | None,
    keep: bool,
    layout: Layout,
    options: LoadOptions,
    size: tuple[int, int] | None = None,
) -> dict[str, Split]:
    """The images of `scan`, decoded into a store at each of `paths`; in memory where that is None.

    Where there are two paths, the images are split. size: height and width of the images; by
    default those of the first image, and where others turn up, or one that is too large to go in as
    it is, all files are decoded once more with `DEFAULT_SIZE`.
    """
    from mnistlab.data import images  # a warm start does without them
    from mnistlab.data.fit import fitted

    scan.open()
    split_here = len(paths) > 1
    skipped = scan.unusable()
    usable: list[int] = []
    digests: list[bytes] = []
    files, labels = scan.every_file(), scan.labels()
    size = options.image_size or size or (DEFAULT_SIZE if options.fit == "ink" else None)
    fixed = size is not None
    own_sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    colours, large = Colours(), False
    with images.quiet_pillow(), new_store(next(iter(paths.values()))) as store:
        for position, image in images.read_all(scan, files, skipped):
            file = files[position]
            if progress is not None and (position % 64 == 0 or large):
                progress(scan.split, position, len(files))
            try:
                if isinstance(image, images.UndecodableError):
                    raise image
                own = image.own_size
                large = math.prod(own) > images.WHOLE_PIXELS
                size = own if size is None and not large else size
                if size is None or (own != size and not fixed):
                    return _decode(scan, paths, progress, keep, layout, options, DEFAULT_SIZE)
                small = fitted(image.grey, size, options.fit)
            except images.UndecodableError as fault:
                skipped[file] = str(fault)
                # the next attempt may be able to read it: this result is not for the cache
                keep = keep and not isinstance(fault, images.UnreadableError)
                continue
            own_sizes[own] += 1
            modes[image.kind] += 1
            colours.add(labels[position], image.colour)
            store.write(small.tobytes())
            usable.append(position)
            if split_here or fixed:  # of the image itself, whatever becomes of it
                digests.append(image_digest(own, image.grey.tobytes()))
        if progress is not None:
            progress(scan.split, len(files), len(files))
        # Only what stayed the same while it was read may be kept.
        again = scan_layout(layout, (scan.split,), options)[0].get(scan.split)
        keep = keep and again is not None and again.signature() == scan.signature()
        only = next(iter(own_sizes)) if len(own_sizes) == 1 else ()
        notes = {
            "fit": options.fit,
            "own_size": [*only] if only and math.prod(only) <= images.WHOLE_PIXELS else None,
            "sizes": [[*each, n] for each, n in own_sizes.most_common()],
            "modes": modes,
            **colours.notes(),
        }
        chosen = [False] * len(usable)
        if split_here:
            chosen = split_by_digest([labels[i] for i in usable], digests, options.valid_fraction)
        height, width = size = size or (0, 0)
        splits = {}
        for number, (part, path) in enumerate(paths.items()):
            rows = [row for row, is_second in enumerate(chosen) if is_second == bool(number)]
            counts = Counter(labels[usable[row]] for row in rows)
            if notes["own_size"] != [*size] or options.fit == "ink":  # else the pixels say it
                notes["digests"] = b"".join(digests[row] for row in rows).hex()
            with new_store(path) if split_here else nullcontext(store) as pixels:
                for row in rows if split_here else ():
                    store.seek(row * height * width)
                    pixels.write(store.read(height * width))
                splits[part] = finish_store(
                    pixels,
                    path if keep else None,
                    size,
                    {label: counts[label] for label in scan.classes},
                    [files[usable[row]] for row in rows],
                    signature=scan.signature(),
                    about=printable(scan.folder.absolute()),
                    skipped={} if number else skipped,
                    notes=notes,
                )
        return splits
