"""A folder of images, looked at in full: what `data check` tells."""

import hashlib
import io
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from mnistlab.data.folders import Progress
from mnistlab.data.images import (
    UndecodableError,
    decode_grey_bytes,
    quiet_pillow,
    read_image_file,
)
from mnistlab.data.tree import (
    SPLITS,
    SplitTree,
    class_faults,
    name_faults,
    require_folder,
    scan_split,
)
from mnistlab.names import printable

IMBALANCE = 3.0  # told when the largest class of a split is this many times the smallest


@dataclass
class Audit:
    """All that is worth knowing of a tree. `faults` keep it from being used, `notes` do not."""

    root: Path
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
        return {
            "data": str(self.root),
            "counts": self.counts,
            "sizes": dict(self.sizes),
            "modes": dict(self.modes),
            "hidden": self.hidden,
            "foreign": self.foreign,
            "duplicates_within": self.duplicates_within,
            "duplicates_across": self.duplicates_across,
            "notes": self.notes,
            "faults": self.faults,
            "usable": not self.faults,
        }


def audit_folder(root: Path, progress: Progress | None = None) -> Audit:
    """Open every file below `root/train` and `root/valid`. Raises DataError if there is no root.

    Duplicates are images whose pixels are equal after decoding, whatever their files are.
    """
    require_folder(root)
    audit = Audit(root)
    trees = [scan_split(root, split) for split in SPLITS]
    same: dict[bytes, list[str]] = defaultdict(list)
    beside = [entry.name for entry in sorted(root.iterdir()) if entry.name not in SPLITS]
    audit.foreign = [printable(name) for name in beside if not name.startswith(".")]
    audit.hidden = len(beside) - len(audit.foreign)
    for tree in trees:
        _audit_split(audit, tree, same, progress)
    audit.faults += class_faults(trees)
    for group in same.values():
        if len(group) > 1:
            splits = {file.split("/", 1)[0] for file in group}
            (audit.duplicates_within if len(splits) == 1 else audit.duplicates_across).append(group)
            if len({file.split("/")[1] for file in group}) > 1:
                audit.notes.append(f"the same image in two classes: {', '.join(group)}")
    if len(audit.sizes) > 1:
        told = ", ".join(f"{count} of {size}" for size, count in audit.sizes.most_common())
        audit.faults.append(f"{printable(root)}: images of more than one size: {told}")
    return audit


def _audit_split(
    audit: Audit, tree: SplitTree, same: dict[bytes, list[str]], progress: Progress | None
) -> None:
    audit.hidden += tree.hidden
    audit.foreign += [f"{tree.split}/{printable(name)}" for name in sorted(tree.loose)]
    audit.faults += tree.faults
    bad = name_faults(tree)
    files = tree.files()
    counts: Counter[str] = Counter()
    with quiet_pillow():
        for position, file in enumerate(files):
            if progress is not None and position % 64 == 0:
                progress(tree.split, position, len(files))
            if file not in bad:
                try:
                    content = read_image_file(tree.folder / file)
                    image = decode_grey_bytes(content)
                except UndecodableError as fault:
                    bad[file] = str(fault)
                else:
                    _count(audit, content, image)
                    key = hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()
                    same[key].append(f"{tree.split}/{file}")
                    counts[file.split("/", 1)[0]] += 1
            if file in bad:
                audit.faults.append(f"{printable(tree.folder / file)}: {bad[file]}")
    audit.counts[tree.split] = {label: counts[label] for label in tree.classes}
    usable = [count for count in counts.values() if count]
    if usable and max(usable) >= IMBALANCE * min(usable):
        audit.notes.append(
            f"{tree.split} is imbalanced: {max(usable)} images of the largest class, "
            f"{min(usable)} of the smallest; read balanced_accuracy beside accuracy"
        )


def _count(audit: Audit, content: bytes, grey: Image.Image) -> None:
    with Image.open(io.BytesIO(content)) as header:  # only the header is read
        audit.modes[f"{header.format} {header.mode}"] += 1
    audit.sizes[f"{grey.width} x {grey.height}"] += 1
