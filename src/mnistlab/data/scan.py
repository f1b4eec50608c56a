"""The names and stamps of a split's files; no file is opened.

A cache can cost time, never truth: a store is used only if its signature is that of the files now
(names, sizes, mtimes, ctimes and inodes of all of them, and the decoder). An edit that restores
size and mtime still moves ctime, which no program can set. Two edits no stamp shows: that of a
program which has an image file mapped into its memory and goes on writing there; and on Windows,
where ctime is the time of creation, one that keeps the size and sets back the mtime.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import stat
import time
import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import PIL
from PIL import features

from mnistlab.errors import DataError
from mnistlab.names import is_clean, natural_key, printable

if TYPE_CHECKING:
    from mnistlab.data.images import Decoded

SPLITS = ("train", "valid")  # every dataset has these; some have test as well
ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What splits are called, in lower case → what they are called here."""
EXPECTED = "train/<class>/*.png and valid/<class>/*.png"

# Pillow's own packages contain these libraries; a Linux distribution or conda updates them
# separately, and then lossy formats may be decoded a little differently.
_LIBRARIES = ", ".join(
    f"{name} {features.version(name)}" for name in ("jpg", "libjpeg_turbo", "webp", "avif")
)
if importlib.util.find_spec("pillow_heif"):  # asked first: looking for its version takes longer
    _LIBRARIES += f", pillow-heif {importlib.metadata.version('pillow-heif')}"
DECODER = f"mnistlab 5, Pillow {PIL.__version__}, {_LIBRARIES}"
YOUNG_NS = 2_000_000_000
_FINEST_WITHOUT_CTIME = 10_000_000  # nanoseconds: exFAT; FAT has two seconds, sshfs one
# What systems and programs leave in folders; left out like hidden files.
LITTER = {
    *("Thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", "$RECYCLE.BIN", "lost+found"),
    *("System Volume Information", "__MACOSX", "@eaDir", "#recycle", "__pycache__", "Icon\r"),
}


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out without a word: hidden, or litter of a system."""
    return name[0] == "." or name in LITTER


@dataclass
class Scan:
    """The files of one split, below `folder`.

    `files[class]` are the visible file names below `folder`, sorted as strings (the chapter's
    order); `stamps` has five integers for each of them (mode, size, mtime, ctime, inode), class by
    class, all zero where a file cannot be reached. `classes` is in natural order. `faults` are
    those of folders. `loose` are visible files beside the class folders; `hidden` counts what was
    left out.
    """

    folder: Path
    split: str
    classes: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    stamps: "array[int]" = field(default_factory=lambda: array("q"))
    hidden: int = 0
    loose: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    salt: str = ""  # how the files are read, as far as names and stamps do not say it
    note: str = ""  # for a person

    def open(self) -> None:
        """Get ready to read images. Raises DataError."""

    def unusable(self) -> dict[str, str]:
        """Files that cannot be used, seen from name and stamps alone: file → why."""
        faults = {}
        for file, mode in zip(self.every_file(), self.stamps[::5], strict=True):
            if not is_clean(file):
                faults[file] = "the name has control characters or is not UTF-8; rename it"
            elif mode == 0:
                faults[file] = "cannot be reached: a link to nowhere, or removed a moment ago"
            elif stat.S_ISDIR(mode):
                faults[file] = "a link to a folder; only images and folders of images belong here"
            elif not stat.S_ISREG(mode):
                faults[file] = "not a regular file"
        return faults

    def every_file(self) -> list[str]:
        """Every file below `folder`, in the order of the dataset."""
        return [name for label in self.classes for name in self.files[label]]

    def labels(self) -> list[str]:
        """The class of each of `every_file`."""
        return [label for label in self.classes for _ in self.files[label]]

    def read(self, position: int) -> "Decoded | None":
        """The image at `position` of `every_file`, where it is in no file of its own."""
        return None

    def signature(self) -> str:
        """Changes whenever a file is edited, added, deleted, renamed or replaced."""
        parts = [DECODER + self.salt]
        for label in self.classes:
            parts += [label, str(len(self.files[label])), *self.files[label]]
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


def fault_in(where: Path, why: str) -> DataError:
    """The error for one file that is not what it should be."""
    return DataError(str(where), [f"{printable(where)}: {printable(why)}"])


def require_exists(root: Path, expected: str = EXPECTED, *, folder: bool = False) -> None:
    """Raise DataError, saying what was `expected`, unless `root` is there (and a `folder`)."""
    try:
        if root.is_dir() or (root.is_file() and not folder):
            return
        why = "not a folder" if os.path.lexists(root) else "no such folder"
    except (OSError, ValueError) as error:
        why = f"cannot be reached: {error}"
    raise DataError(printable(root), [f"{printable(root)}: {why}; expected {expected}"])


def scan_folder(folder: Path, split: str) -> Scan:
    """List the class folders in `folder`. Never raises for what is in it: faults are collected."""
    scan = Scan(folder, split)
    try:
        listed = os.listdir(folder)
    except OSError as error:
        why = f"cannot be listed: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            why = f"no such folder; expected {EXPECTED}"
        scan.faults.append(f"{printable(folder)}: {why}")
        return scan
    folders: dict[str, str] = {}  # name → class
    for name in listed:
        if is_hidden(name):
            scan.hidden += 1
        elif os.path.isfile(folder / name):
            scan.loose.append(name)
        elif not is_clean(name):
            scan.faults.append(
                f"{printable(folder / name)}: the class name has control characters or is "
                "not UTF-8; rename the folder"
            )
        else:  # macOS may write é as e and an accent: the same class
            folders[name] = unicodedata.normalize("NFC", name)
    scan.classes = sorted({*folders.values()}, key=lambda name: (natural_key(name), name))
    scan.files = {label: [] for label in scan.classes}
    for name, label in sorted(folders.items(), key=lambda item: scan.classes.index(item[1])):
        try:
            _add_files(scan, label, f"{name}/")
        except OSError as error:
            where = printable(folder / name)
            scan.faults.append(f"{where}: cannot be listed: {error.strerror}")
            continue
        if not scan.files[label]:
            scan.faults.append(
                f"{printable(folder / label)}: no images; expected {split}/{printable(label)}/*.png"
            )
    if not (scan.classes or scan.faults):
        scan.faults.append(f"{printable(folder)}: no class folders; expected {split}/<class>/*.png")
    return scan


def stamps_of(path: str | Path) -> tuple[int, int, int, int, int]:
    """What `Scan.stamps` has of one file."""
    try:
        s = os.stat(path)
    except OSError:
        return (0, 0, 0, 0, 0)
    return (s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)


def _add_files(scan: Scan, label: str, below: str) -> None:
    """List the files of one class in the folder `below`, then those of the folders in it.

    Raises OSError.
    """
    # This is the cost of a warm start, so a file costs few calls: no Path is made of its name.
    listed = os.listdir(scan.folder / below)
    names = sorted([name for name in listed if not (name[0] == "." or name in LITTER)])
    scan.hidden += len(listed) - len(names)
    prefix, folders = f"{scan.folder}{os.sep}{below}", []
    add, note = scan.files[label].append, scan.stamps.extend
    for name in names:
        stamps = stamps_of(prefix + name)
        if stat.S_ISDIR(stamps[0]) and not os.path.islink(prefix + name):
            folders.append(name)
            continue
        add(below + name)
        note(stamps)
    for name in folders:
        _add_files(scan, label, f"{below}{name}/")


def class_faults(scans: Sequence[Scan]) -> list[str]:
    """Too few classes to train on, or a class that only one of the splits has; one line each."""
    faults = [
        f"{printable(scan.folder)}: only one class ({printable(scan.classes[0])}); a classifier "
        "needs two or more"
        for scan in scans
        if len(scan.classes) == 1 and scan.split == SPLITS[0]
    ]
    everywhere = {name for scan in scans for name in scan.classes}
    for scan in scans:
        for name in sorted(everywhere.difference(scan.classes), key=natural_key):
            if scan.classes:
                alike = [own for own in scan.classes if folded(own) == folded(name)]
                but = f"; {printable(repr(alike[0]))} there is like it" if alike else ""
                faults.append(
                    f"{printable(scan.folder / name)}: missing; the class {printable(name)} is "
                    f"only in the other split{but}"
                )
    return faults


def folded(name: str) -> str:
    """What is left of a class name without case, Unicode form and spaces at the ends."""
    return unicodedata.normalize("NFC", name).strip().casefold()
