"""A folder of images, every file opened: what `data check` reports."""

import hashlib
import io
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from mnistlab.data.folders import (
    SPLITS,
    Progress,
    class_faults,
    name_faults,
    require_folder,
    scan_split,
)
from mnistlab.data.images import (
    UndecodableError,
    decode_grey_bytes,
    quiet_pillow,
    read_image_file,
)
from mnistlab.names import printable

_LISTED = 6  # of the sizes and formats of images
IMBALANCE = 3.0  # of the largest to the smallest class of a split: noted from here on


@dataclass
class Audit:
    """What is in the folder `data`. `faults` keep it from being used, `notes` do not."""

    data: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # split → class → usable
    sizes: Counter[str] = field(default_factory=Counter)  # "28 x 28" → images
    modes: Counter[str] = field(default_factory=Counter)  # "PNG L" → images
    hidden: int = 0
    foreign: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    duplicates_within: list[list[str]] = field(default_factory=list)  # groups of equal images
    duplicates_across: list[list[str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return vars(self) | {"usable": not self.faults}


def audit_folder(root: Path, progress: Progress | None = None) -> Audit:
    """Open every file below `root/train` and `root/valid`. Raises DataError if there is no root.

    Duplicates are images whose pixels are equal after decoding, whatever their file formats are.
    """
    require_folder(root)
    beside = sorted(entry.name for entry in root.iterdir() if entry.name not in SPLITS)
    audit = Audit(str(root))
    audit.foreign = [printable(name) for name in beside if not name.startswith(".")]
    audit.hidden = len(beside) - len(audit.foreign)
    groups: dict[bytes, list[str]] = defaultdict(list)  # digest of size and pixels → files
    trees = [scan_split(root, split) for split in SPLITS]
    for tree in trees:
        audit.hidden += tree.hidden
        audit.foreign += [f"{tree.split}/{printable(name)}" for name in sorted(tree.loose)]
        audit.faults += tree.faults
        unusable, files = name_faults(tree), tree.files()
        counts = dict.fromkeys(tree.classes, 0)
        for position, file in enumerate(files):
            if progress is not None and position % 64 == 0:
                progress(tree.split, position, len(files))
            try:
                if file in unusable:
                    raise UndecodableError(unusable[file])
                content = read_image_file(tree.folder / file)
                with quiet_pillow():
                    grey = decode_grey_bytes(content)
                    with Image.open(io.BytesIO(content)) as header:  # only the header is read
                        audit.modes[f"{header.format} {header.mode}"] += 1
            except UndecodableError as fault:
                audit.faults.append(f"{printable(tree.folder / file)}: {fault}")
                continue
            audit.sizes[f"{grey.width} x {grey.height}"] += 1
            counts[file.split("/")[0]] += 1
            digest = hashlib.sha256(repr(grey.size).encode() + grey.tobytes()).digest()
            groups[digest].append(f"{tree.split}/{file}")
        audit.counts[tree.split] = counts
        usable = [count for count in counts.values() if count]
        if usable and max(usable) >= IMBALANCE * min(usable):
            audit.notes.append(
                f"{tree.split} is imbalanced: {max(usable)} images of the largest class, "
                f"{min(usable)} of the smallest; read balanced_accuracy beside accuracy"
            )
    audit.faults += class_faults(trees)
    for group in groups.values():
        if len(group) == 1:
            continue
        splits = {file.split("/")[0] for file in group}
        (audit.duplicates_within if len(splits) == 1 else audit.duplicates_across).append(group)
        if len({file.split("/")[1] for file in group}) > 1:
            audit.notes.append(f"the same image in two classes: {', '.join(group)}")
    if len(audit.sizes) > 1:
        sizes = listed(audit.sizes, "{1} of {0}")
        audit.faults.append(f"{printable(root)}: images of more than one size: {sizes}")
    return audit


def listed(counts: Counter[str], pattern: str) -> str:
    """The most common of `counts`, and how many more there are."""
    texts = [pattern.format(*item) for item in counts.most_common(_LISTED)]
    more = len(counts) - len(texts)
    return ", ".join(texts) + (f", and {more} more" if more else "")
