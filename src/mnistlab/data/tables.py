"""Labels in a CSV file: which columns it has, and the files that it names."""

import contextlib
import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mnistlab.data.inputs import SUFFIXES
from mnistlab.data.scan import ROLES, Scan, fault_in, is_hidden, stamps_of
from mnistlab.errors import DataError
from mnistlab.names import is_clean, natural_key, printable

# Headings of columns, as the datasets of the field have them.
_FILE = (
    *("file", "filename", "file_name", "name", "path", "filepath", "image", "image_name"),
    *("image_path", "image_id", "img", "fname", "id"),
)
LABELS = ("label", "labels", "class", "class_name", "category", "target", "diagnosis", "breed")
_SPLIT = ("split", "set", "subset", "is_valid")
_PIXEL = re.compile(r"(pixel|px)?_?\d+(x\d+)?", re.IGNORECASE)
_IS_VALID = {
    **dict.fromkeys(("0", "false", "no", ""), "train"),
    **dict.fromkeys(("1", "true", "yes"), "valid"),
}


@dataclass(frozen=True)
class Columns:
    """Which column of a CSV file holds what, counted from 0.

    roles: what the cells of `split` mean. pixels: the columns of the pixels where the file has
    them, row by row of an image.
    """

    delimiter: str
    has_header: bool
    label: int
    file: int = -1
    split: int = -1
    roles: Mapping[str, str] = field(default_factory=dict)
    pixels: tuple[int, ...] = ()


def has_labels(path: Path) -> bool:
    """Whether a CSV file has a column of labels and one of files, or of pixels."""
    try:
        return columns_of(path) is not None
    except DataError:
        return False


def columns_of(path: Path) -> Columns | None:
    """The columns of a CSV file by their headings; None if it has no labels. Raises DataError."""
    with rows_of(path) as (delimiter, rows):
        names = [re.sub("[ -]", "_", cell.strip().lower()) for cell in next(rows, [])]
    label, file, split = (
        next((names.index(name) for name in known if name in names), -1)
        for known in (LABELS, _FILE, _SPLIT)
    )
    pixels = tuple(index for index, name in enumerate(names) if _PIXEL.fullmatch(name))
    if label < 0 and len(pixels) == len(names) and side_of(len(names) - 1):
        return Columns(delimiter, False, 0, pixels=tuple(range(1, len(names))))  # no headings
    if label >= 0 and side_of(len(pixels)):
        return Columns(delimiter, True, label, pixels=pixels)
    if label >= 0 and file >= 0:
        roles = _IS_VALID if split >= 0 and names[split] == "is_valid" else ROLES
        return Columns(delimiter, True, label, file, split, roles)
    return None


def scan_table(path: Path, split: str, columns: Columns) -> dict[str, Scan]:
    """The files that a table names, in its folder or below. Raises DataError with all faults."""
    base, faults = path.parent, []
    paths = _paths_below(base)
    chosen: dict[str, tuple[str, str, int]] = {}  # file → class, split, line
    with rows_of(path) as (_, rows):
        for line, row in enumerate(rows, 1):
            if line == 1 or not any(cell.strip() for cell in row):
                continue
            where = f"{printable(path)}: line {line}"
            if len(row) <= max(columns.label, columns.file, columns.split):
                faults.append(f"{where}: {len(row)} cells, and its heading has more")
                continue
            name, label = row[columns.file].strip(), row[columns.label].strip()
            role = split
            if columns.split >= 0:
                role = columns.roles.get(row[columns.split].strip().lower(), "")
            called = os.path.normpath(name.replace("\\", "/")).replace(os.sep, "/")
            alike = paths[called]
            file = called if called in alike else next(iter(alike)) if len(alike) == 1 else None
            if not label:
                faults.append(f"{where}: no label for {printable(name)}")
            elif not is_clean(label):
                faults.append(f"{where}: the label {printable(repr(label))} has control characters")
            elif not role:
                cell = printable(row[columns.split])
                faults.append(f"{where}: {cell} is no split; expected train, valid or test")
            elif file is None:
                faults.append(f"{where}: {printable(name)}: no such file below {printable(base)}")
            elif (first := chosen.setdefault(file, (label, role, line)))[:2] != (label, role):
                faults.append(
                    f"{where}: {printable(name)} is {printable(label)} in {role} here, and "
                    f"{printable(first[0])} in {first[1]} in line {first[2]}"
                )
    if faults:
        raise DataError(printable(path), faults)
    scans: dict[str, Scan] = {}
    order = sorted(chosen.items(), key=lambda item: (natural_key(item[1][0]), item[1][0], item[0]))
    for file, (label, role, _) in order:
        scan = scans.setdefault(role, Scan(base, role))
        scan.files.setdefault(label, []).append(file)
        scan.stamps.extend(stamps_of(base / file))
    for scan in scans.values():
        scan.classes = [*scan.files]
    if not scans:
        raise fault_in(path, "names no image")
    return scans


def _paths_below(base: Path) -> defaultdict[str, set[str]]:
    """What a table may call a file → the files below `base` that are called so.

    A file is called by its path, or by its name alone; if it is an image, also without its ending.
    """
    paths: defaultdict[str, set[str]] = defaultdict(set)
    for folder, folders, names in os.walk(base):
        folders[:] = [name for name in folders if not is_hidden(name)]
        below = "" if folder == str(base) else f"{Path(folder).relative_to(base).as_posix()}/"
        for name in names:
            stem, ending = os.path.splitext(name)
            for called in (name, stem) if ending.lower() in SUFFIXES else (name,):
                paths[called].add(below + name)
                paths[below + called].add(below + name)
    return paths


def side_of(pixels: int) -> int:
    """The side of a square of so many pixels; 0 if there is none, or too small a one."""
    side = int(max(pixels, 0) ** 0.5)
    return side if side >= 4 and side * side == pixels else 0


@contextlib.contextmanager
def rows_of(path: Path) -> Iterator[tuple[str, Iterator[list[str]]]]:
    """The delimiter of a CSV file and its rows. Raises DataError, also while they are read."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)
            file.seek(0)
            yield delimiter, csv.reader(file, delimiter=delimiter, strict=True)
    except OSError as error:
        raise fault_in(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise fault_in(path, "not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise fault_in(path, f"not a table: {error}") from error
