"""Strict CSV (RFC 4180 with a plain newline): one header, one row a line, written whole."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mnistlab.errors import ConfigError, RunError
from mnistlab.files import write_whole
from mnistlab.names import printable


def require_target(path: Path, flag: str) -> None:
    """Find out before any work whether a file can be made at `path`.

    Raises ConfigError, which names `flag`: not a file name, no such folder, not writable.
    """
    folder = path.absolute().parent
    try:
        fits = bool(path.name) and not path.is_dir() and folder.is_dir()
    except (OSError, ValueError):  # a name too long, a null byte
        fits = False
    if not fits:
        raise ConfigError(f"{flag} {printable(path)}: not a file name in an existing folder")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{flag} {printable(path)}: the folder cannot be written")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows to `path`, whole or not at all; floats with all their digits.

    Raises RunError.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    try:
        # a file name that is not UTF-8 comes back as the bytes it is
        write_whole(path, text.getvalue().encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise RunError(
            f"{printable(path)}: cannot be written: {error.strerror or error}"
        ) from error
