"""A folder of images, every file opened: what `data check` reports."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mnistlab.data.archives import is_archive, unpacked_folder
from mnistlab.data.datasets import NAMED
from mnistlab.data.folders import scan_layout
from mnistlab.data.images import UndecodableError, quiet_pillow, read_all
from mnistlab.data.layouts import LoadOptions, find_layout
from mnistlab.data.named import load_data
from mnistlab.data.scan import SPLITS, class_faults, is_hidden, require_exists
from mnistlab.data.store import ImageData, Progress, image_digest
from mnistlab.errors import DataError
from mnistlab.names import printable

IMBALANCE = 3.0  # of the largest to the smallest class of a split: noted from here on


@dataclass
class Audit:
    """What is in `data` and how it is read. `faults` keep it from being used, `notes` do not."""

    data: str
    layout: str = ""
    split_here: bool = False
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # split → class → usable
    sizes: Counter[str] = field(default_factory=Counter)  # "28 x 28" → images
    modes: Counter[str] = field(default_factory=Counter)  # "PNG L" → images
    hidden: int = 0
    foreign: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    duplicates_within: list[list[str]] = field(default_factory=list)  # groups of equal images
    duplicates_across: list[list[str]] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)  # how train reads it, a line each

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return vars(self) | {"usable": not self.faults}


def audit_folder(
    root: Path, options: LoadOptions = LoadOptions(), progress: Progress | None = None
) -> Audit:
    """Open every image of `root`, however it is laid out.

    Duplicates are images whose pixels are equal after decoding, whatever their file formats are.
    Raises DataError if there is no root, or nothing in it that is understood.
    """
    require_exists(root)
    name = str(root)
    if is_archive(root):
        root = unpacked_folder(root)
    layout = find_layout(root, options)
    scans, split_here = scan_layout(layout, (*SPLITS, "test"), options)
    audit = Audit(name, layout=layout.line or "train/, valid/", split_here=split_here)
    places = layout.sources.values()
    if root.is_dir() and root not in places:
        used = {place.relative_to(root).parts[0] for place in places if root in place.parents}
        beside = sorted(entry.name for entry in root.iterdir() if entry.name not in used)
        audit.foreign = [printable(name) for name in beside if not is_hidden(name)]
        audit.hidden = sum(map(is_hidden, beside))
    # digest of size and pixels → file, split, class of each image
    groups: dict[bytes, list[tuple[str, str, str]]] = defaultdict(list)
    for split, scan in scans.items():
        scan.open()
        prefix = "" if split_here else f"{split}/"
        audit.hidden += scan.hidden
        audit.foreign += [f"{split}/{printable(name)}" for name in sorted(scan.loose)]
        audit.faults += scan.faults
        faults: dict[str, object] = {**scan.unusable()}
        files, labels = scan.every_file(), scan.labels()
        counts = dict.fromkeys(scan.classes, 0)
        with quiet_pillow():
            for position, image in read_all(scan, files, {*faults}):
                if progress is not None and position % 64 == 0:
                    progress(split, position, len(files))
                file, label = files[position], labels[position]
                if isinstance(image, UndecodableError):
                    faults[file] = image
                    continue
                audit.modes[image.kind] += 1
                audit.sizes["{1} x {0}".format(*image.own_size)] += 1
                counts[label] += 1
                digest = image_digest(image.own_size, image.grey.tobytes())
                groups[digest].append((prefix + file, split, label))
        audit.faults += [f"{printable(scan.folder / file)}: {why}" for file, why in faults.items()]
        audit.counts[split] = counts
        usable = [count for count in counts.values() if count]
        if usable and max(usable) >= IMBALANCE * min(usable):
            audit.notes.append(
                f"{split} is imbalanced: {max(usable)} images of the largest class, "
                f"{min(usable)} of the smallest; read balanced_accuracy beside accuracy"
            )
    audit.faults += class_faults([scan for split, scan in scans.items() if split in SPLITS])
    for group in groups.values():
        names, splits, labels = map(list, zip(*group, strict=True))
        if len(group) > 1:
            within = len({*splits}) == 1
            (audit.duplicates_within if within else audit.duplicates_across).append(names)
        if len({*labels}) > 1:
            audit.notes.append(f"the same image in two classes: {', '.join(names)}")
    return audit


def audit(
    data: str, options: LoadOptions, progress: Progress | None = None
) -> tuple[Audit, ImageData | None, LoadOptions]:
    """What is in `data`, what `train` makes of it, and the options that it needs for that.

    These are `options`, with `skip_bad` where nothing else helps; no images where that does not.
    Raises as `audit_folder`, and what a dataset by name raises that is not here.
    """
    if data in NAMED:
        named = load_data(data, progress=progress)
        found = Audit(data, "a dataset by its name", reads=["layout  a dataset by its name"])
        found.counts = {"train": named.train.counts, "valid": named.valid.counts}
        size = "{1} x {0}".format(*named.image_size)
        found.sizes[size] = len(named.train_ds) + len(named.valid_ds)
        return found, named, options
    found = audit_folder(Path(data), options, progress)
    for needed in dict.fromkeys((options, replace(options, skip_bad=True))):
        try:
            loaded = load_data(data, needed, progress=progress)
        except DataError as error:
            found.faults += [fault for fault in error.faults if fault not in found.faults]
            continue
        if not needed.skip_bad:  # what is wrong is in no split that train uses
            found.notes, found.faults = found.notes + found.faults, []
        found.reads = [*loaded.notes] or [f"layout  {found.layout}"]
        if found.split_here:
            found.counts = {"train": loaded.train.counts, "valid": loaded.valid.counts}
        return found, loaded, needed
    return found, None, options
