"""What stands in `root/<split>/<class>/*`: one pass over names and stamps, no file opened."""

import os
import stat
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from mnistlab.errors import DataError
from mnistlab.names import is_clean, natural_key, printable

EXPECTED = "train/<class>/*.png and valid/<class>/*.png"
SPLITS = ("train", "valid")
STAMPS = 5  # integers of each file: mode, size, mtime, ctime, inode


@dataclass
class Scan:
    """The files of one split.

    `names[class]` are the visible file names, sorted as strings (the chapter's order); `stamps`
    holds `STAMPS` integers for each of them, class by class, all zero where a file cannot be
    reached. `classes` is in natural order. `faults` are those of folders.
    """

    root: Path
    split: str
    classes: list[str] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    stamps: "array[int]" = field(default_factory=lambda: array("q"))
    hidden: int = 0
    loose: list[str] = field(default_factory=list)  # visible files beside the class folders
    faults: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.root / self.split

    def files(self) -> list[str]:
        """Every file as `class/name`, in the order of the dataset."""
        return [f"{label}/{name}" for label in self.classes for name in self.names[label]]


def scan_split(root: Path, split: str) -> Scan:
    """List one split of `root`. Never raises for what is in it: faults are collected."""
    scan = Scan(root, split)
    try:
        with os.scandir(scan.folder) as entries:
            listed = [(entry.name, _is_folder(entry)) for entry in entries]
    except FileNotFoundError:
        scan.faults.append(f"{printable(scan.folder)}: no such folder; expected {EXPECTED}")
        return scan
    except OSError as error:
        scan.faults.append(f"{printable(scan.folder)}: cannot be listed: {error.strerror}")
        return scan
    for name, is_folder in listed:
        if name.startswith("."):
            scan.hidden += 1
        elif not is_folder:
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
        _scan_class(scan, label)
    if not listed or not (scan.classes or scan.faults):
        scan.faults.append(
            f"{printable(scan.folder)}: no class folders; expected {split}/<class>/*.png"
        )
    return scan


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True  # a link that loops: taken for a class, so that its fault is reported


def _scan_class(scan: Scan, label: str) -> None:
    # This is the cost of a warm start, so it stays in few C calls a file: names by listdir, stat
    # relative to the open folder (the path is not walked again).
    folder = scan.folder / label
    names = scan.names[label] = []
    try:
        fd = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            everything = os.listdir(fd)
            names += sorted([name for name in everything if name[0] != "."])
            scan.hidden += len(everything) - len(names)
            add, status = scan.stamps.extend, os.stat
            for name in names:
                try:
                    s = status(name, dir_fd=fd)
                except OSError:
                    add((0, 0, 0, 0, 0))
                else:
                    add((s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino))
        finally:
            os.close(fd)
    except OSError as error:
        scan.faults.append(f"{printable(folder)}: cannot be listed: {error.strerror}")
        return
    if not names:
        scan.faults.append(
            f"{printable(folder)}: no images; expected {scan.split}/{printable(label)}/*.png"
        )


def name_faults(scan: Scan) -> dict[str, str]:
    """Files that cannot be used, seen from name and stamps alone: `class/name` → why."""
    faults = {}
    for file, mode in zip(scan.files(), scan.stamps[::STAMPS], strict=True):
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


def require_folder(root: Path, expected: str = EXPECTED) -> None:
    """Raise DataError, saying what was `expected` in it, unless `root` is a folder."""
    try:
        if root.is_dir():
            return
        why = "not a folder" if os.path.lexists(root) else "no such folder"
    except (OSError, ValueError) as error:
        why = f"cannot be reached: {error}"
    raise DataError(printable(root), [f"{printable(root)}: {why}; expected {expected}"])


def class_faults(scans: list[Scan]) -> list[str]:
    """Too few classes to train on, or a class that only one of the splits has; one line each."""
    faults = [
        f"{printable(scan.folder)}: only one class ({printable(scan.classes[0])}); a classifier "
        "needs two or more"
        for scan in scans
        if len(scan.classes) == 1 and scan.split == SPLITS[0]
    ]
    everywhere = {name for scan in scans for name in scan.classes}
    for scan in scans:
        for name in sorted(everywhere - set(scan.classes), key=natural_key):
            if scan.classes:
                faults.append(
                    f"{printable(scan.folder / name)}: missing; the class {printable(name)} is "
                    "only in the other split"
                )
    return faults
