"""Files that are made for people: refused before the work where they cannot be, written whole."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mnistlab.errors import ConfigError, RunError
from mnistlab.files import write_whole
from mnistlab.names import nearest, printable


def require_file(path: Path, endings: Sequence[str], flag: str) -> None:
    """Find out before any work whether a file `path` can be made; `flag` is what asked for it.

    The name must have one of `endings` (png, svg, …), if any are given, so that no model or image
    is overwritten by mistake. Raises ConfigError for a name that is not usable, RunError for a
    folder that is not writable.
    """
    where = f"{flag} {printable(path)}"
    ending = path.suffix.removeprefix(".").lower()
    if endings and ending not in endings:
        near = nearest(ending, endings)
        near = "" if near.startswith("; known") else near
        raise ConfigError(f"{where}: the name must end in .{' or .'.join(endings)}{near}")
    folder = path.absolute().parent
    try:
        fits = bool(path.name) and not path.is_dir() and folder.is_dir()
        regular = not path.exists() or path.is_file()
    except (OSError, ValueError):  # a name too long, a null byte
        fits = regular = False
    if not fits:
        raise ConfigError(f"{where}: not a file name in an existing folder")
    if path.name == "metrics.csv" and (folder / "run.json").exists():
        raise ConfigError(f"{where}: is a file of the run itself; name another one")
    if not regular:
        raise ConfigError(f"{where}: exists and is not a regular file")
    if not os.access(folder, os.W_OK):
        raise RunError(f"{where}: the folder {printable(folder)} cannot be written")


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises RunError."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise RunError(
            f"{printable(path)}: cannot be written: {error.strerror or error}"
        ) from error


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write strict CSV (RFC 4180, plain newlines): a header, then rows; floats with all digits.

    Whole or not at all. Raises RunError.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    # a file name that is not UTF-8 comes back as the bytes it is
    write_file(path, text.getvalue().encode("utf-8", "surrogateescape"))
