"""A folder of images, every file opened: what `data check` reports."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mnistlab.data.datasets import NAMED
from mnistlab.data.folders import Reading, read_splits
from mnistlab.data.layouts import LoadOptions
from mnistlab.data.named import load_data
from mnistlab.data.scan import SPLITS, is_hidden
from mnistlab.data.store import Progress
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


def audit(
    data: str, options: LoadOptions = LoadOptions(), progress: Progress | None = None
) -> tuple[Audit, LoadOptions | None]:
    """What is in `data`, and the options that `train` needs for it.

    These are `options`, with `skip_bad` where nothing else helps; None where that does not either.
    Every file is opened. Duplicates are images whose pixels are equal after decoding, whatever
    their file formats are. Raises DataError if there is nothing that is understood.
    """
    if data in NAMED:
        named = load_data(data, progress=progress)
        found = Audit(data, "a dataset by its name", reads=["layout  a dataset by its name"])
        found.counts = named.counts
        size = "{1} x {0}".format(*named.image_size)
        found.sizes[size] = len(named.train_ds) + len(named.valid_ds)
        return found, options
    splits = (*SPLITS, "test")
    reading = read_splits(Path(data), splits, options, progress=progress, fresh=True)
    found = _audit(data, reading)

    def try_to_use(splits: Sequence[str], needed: LoadOptions) -> tuple[str, ...] | None:
        """How `splits` are read; None where there are faults, which are noted."""
        try:
            return reading.usable(splits, needed)[1]
        except DataError as error:
            found.faults += [fault for fault in error.faults if fault not in found.faults]
            return None

    if "test" in reading.loaded:
        try_to_use(("test",), options)
    for needed in dict.fromkeys((options, replace(options, skip_bad=True))):
        lines = try_to_use(SPLITS, needed)
        if lines is not None:
            if not needed.skip_bad:  # what is wrong is in no split that train uses
                found.notes, found.faults = found.notes + found.faults, []
            found.reads = [*lines] or [f"layout  {found.layout}"]
            return found, needed
    return found, None


def _audit(data: str, reading: Reading) -> Audit:
    """What is in the files, usable or not."""
    layout, root = reading.layout, reading.root
    audit = Audit(data, layout=layout.line or "train/, valid/", split_here=reading.split_here)
    places = layout.sources.values()
    if root.is_dir() and root not in places:
        used = {place.relative_to(root).parts[0] for place in places if root in place.parents}
        beside = sorted(entry.name for entry in root.iterdir() if entry.name not in used)
        audit.foreign = [printable(name) for name in beside if not is_hidden(name)]
        audit.hidden = sum(map(is_hidden, beside))
    for role, scan in reading.scans.items():
        audit.hidden += scan.hidden
        audit.foreign += [f"{role}/{printable(name)}" for name in sorted(scan.loose)]
        notes = reading.loaded[role].notes  # of both splits, where they are made here
        audit.modes.update(notes["modes"])
        audit.sizes.update({f"{width} x {height}": n for height, width, n in notes["sizes"]})
    # digest of size and pixels → file, split, class of each image
    groups: dict[bytes, list[tuple[str, str, str]]] = defaultdict(list)
    for split, images in reading.loaded.items():
        audit.counts[split] = images.counts
        usable = [count for count in images.counts.values() if count]
        if usable and max(usable) >= IMBALANCE * min(usable):
            audit.notes.append(
                f"{split} is imbalanced: {max(usable)} images of the largest class, "
                f"{min(usable)} of the smallest; read balanced_accuracy beside accuracy"
            )
        prefix = "" if reading.split_here else f"{split}/"
        rows = zip(images.digests(), images.files, images.labels(), strict=True)
        for digest, file, label in rows:
            groups[digest].append((prefix + file, split, label))
    for group in groups.values():
        names, splits, labels = map(list, zip(*group, strict=True))
        if len(group) > 1:
            within = len({*splits}) == 1
            (audit.duplicates_within if within else audit.duplicates_across).append(names)
        if len({*labels}) > 1:
            audit.notes.append(f"the same image in two classes: {', '.join(names)}")
    return audit
