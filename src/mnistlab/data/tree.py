"""What stands in `root/<split>/<class>/*`: one pass over the names and stamps, no file opened."""

import hashlib
import os
import stat
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from mnistlab.errors import DataError
from mnistlab.names import is_clean, natural_key, printable

EXPECTED = "train/<class>/*.png and valid/<class>/*.png"
SPLITS = ("train", "valid")
STAMPS = 5  # integers kept of each file: mode, size, mtime, ctime, inode
_FINEST_WITHOUT_CTIME = 10_000_000  # nanoseconds: exFAT; FAT has two seconds, sshfs one


@dataclass
class SplitTree:
    """The files of one split.

    `names[class]` are the visible file names, sorted as strings (the chapter's order); `stamps`
    holds `STAMPS` integers for each of them, class by class, all zero where stat failed.
    `classes` is in natural order. `faults` are those that the names alone show.
    """

    root: Path
    split: str
    classes: list[str] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    stamps: "array[int]" = field(default_factory=lambda: array("q"))
    hidden: int = 0
    loose: list[str] = field(default_factory=list)  # visible files beside the class folders
    faults: list[str] = field(default_factory=list)
    listed: bool = False  # whether the folder of the split could be looked into

    @property
    def folder(self) -> Path:
        return self.root / self.split

    def files(self) -> list[str]:
        """Every file as `class/name`, in the order of the dataset."""
        return [f"{label}/{name}" for label in self.classes for name in self.names[label]]

    def signature(self) -> str:
        """Changes whenever a file is edited, added, deleted, renamed or replaced.

        An edit that restores size and mtime still moves ctime, which no program can set; where
        that is not so, `shows_every_edit` says it.
        """
        digest = hashlib.sha256()
        for label in self.classes:
            joined = "\0".join((label, str(len(self.names[label])), *self.names[label], ""))
            digest.update(joined.encode("utf-8", "surrogateescape"))
        digest.update(self.stamps.tobytes())
        return digest.hexdigest()

    def shows_every_edit(self) -> bool:
        """Whether an edit must change a stamp, whatever its author does about the stamps.

        FAT, sshfs and squashfs have no ctime: they show the mtime in its place, which every tool
        that keeps times (`cp -p`, `rsync`, `unzip`) sets. It shows in a ctime that is the mtime,
        in whole hundredths of a second, as fine as their clocks are. File systems with a ctime in
        whole seconds are suspected as well, which costs them the cache. A file that cannot be
        reached (a link to nowhere) has no stamps at all.
        """
        pairs = zip(self.stamps[2::STAMPS], self.stamps[3::STAMPS], strict=True)
        return not any(
            mtime == ctime and mtime % _FINEST_WITHOUT_CTIME == 0 for mtime, ctime in pairs
        )

    def newest_ns(self) -> int:
        """The latest mtime or ctime, in nanoseconds; 0 for an empty split."""
        return max(max(self.stamps[2::STAMPS], default=0), max(self.stamps[3::STAMPS], default=0))


def scan_split(root: Path, split: str) -> SplitTree:
    """List one split of `root`. Never raises for what is in it: faults are collected."""
    tree = SplitTree(root, split)
    try:
        with os.scandir(tree.folder) as entries:
            found = [(entry.name, _is_folder(entry)) for entry in entries]
    except FileNotFoundError:
        tree.faults.append(
            f"{printable(tree.folder)}: no such folder; expected train/<class>/*.png "
            "and valid/<class>/*.png"
        )
        return tree
    except OSError as error:
        tree.faults.append(f"{printable(tree.folder)}: cannot be listed: {error.strerror}")
        return tree
    tree.listed = True
    for name, is_folder in found:
        if name.startswith("."):
            tree.hidden += 1
        elif not is_folder:
            tree.loose.append(name)
        elif not is_clean(name):
            tree.faults.append(
                f"{printable(tree.folder / name)}: the class name has control characters or is "
                "not UTF-8; rename the folder"
            )
        else:
            tree.classes.append(name)
    tree.classes.sort(key=lambda name: (natural_key(name), name))
    for label in tree.classes:
        _scan_class(tree, label)
    return tree


def name_faults(tree: SplitTree) -> dict[str, str]:
    """Files that cannot be used, seen from name and stamp alone: `class/name` → why."""
    faults = {}
    for position, file in enumerate(tree.files()):
        mode = tree.stamps[position * STAMPS]
        if not is_clean(file):
            faults[file] = "the name has control characters or is not UTF-8; rename it"
        elif mode == 0:
            faults[file] = _why_no_stat(tree.folder / file)
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


def class_faults(trees: list[SplitTree]) -> list[str]:
    """Too few classes, or a class that only one of the splits has; one line each."""
    faults = []
    for tree in trees:
        if tree.listed and not tree.classes:
            why = f"no class folders; expected {tree.split}/<class>/*.png"
        elif len(tree.classes) == 1 and tree.split == SPLITS[0]:
            why = f"only one class ({printable(tree.classes[0])}); a classifier needs two or more"
        else:
            continue
        faults.append(f"{printable(tree.folder)}: {why}")
    everywhere = {name for tree in trees for name in tree.classes}
    for tree in trees:
        if not tree.classes:
            continue
        for name in sorted(everywhere - set(tree.classes), key=natural_key):
            faults.append(
                f"{printable(tree.folder / name)}: missing; the class {printable(name)} is only "
                "in the other split"
            )
    return faults


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True  # a link that loops: listed as a class so that its fault is told


def _scan_class(tree: SplitTree, label: str) -> None:
    # This is the whole cost of a warm start, so it stays in few C calls a file: names by listdir,
    # stat relative to the open folder (the path is not walked again).
    folder = tree.folder / label
    names: list[str] = []
    tree.names[label] = names
    try:
        fd = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError as error:
        tree.faults.append(f"{printable(folder)}: cannot be listed: {error.strerror}")
        return
    try:
        everything = os.listdir(fd)
        names += sorted(name for name in everything if not name.startswith("."))
        tree.hidden += len(everything) - len(names)
        add, status = tree.stamps.extend, os.stat
        for name in names:
            try:
                s = status(name, dir_fd=fd)
            except OSError:
                add((0, 0, 0, 0, 0))
            else:
                add((s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino))
    except OSError as error:
        tree.faults.append(f"{printable(folder)}: cannot be listed: {error.strerror}")
    finally:
        os.close(fd)
    if not names:
        tree.faults.append(
            f"{printable(folder)}: no images; expected {tree.split}/{printable(label)}/*.png"
        )


def _why_no_stat(path: Path) -> str:
    try:
        path.stat()
    except FileNotFoundError:
        return "a link to a file that is not there" if path.is_symlink() else "vanished"
    except OSError as error:
        return f"cannot be reached: {error.strerror or error}"
    return "changed while it was read"
