"""Other systems' behaviour in place of Linux's, for whole processes.

`python -m pytest --system windows` runs the tests, and every Python that they start, with what
Windows refuses refused; so does `--system macos`. A layer is installed by `sitecustomize.py`,
before anything else is imported, where MNISTLAB_TEST_SYSTEM names it.

It can be no more than what is written down here: nothing replaces a run on the real system, which a
workflow does. `os.name`, `sys.platform` and the separator stay Linux's, as the libraries below us
would break otherwise; `mnistlab.system` alone says which system it is.
"""

import builtins
import contextlib
import io
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE = "MNISTLAB_TEST_SYSTEM"
HERE = Path(__file__).parent
INSTALLED = os.environ.get(VARIABLE, "")
_lstat = os.lstat
_NOT_FILES = ("/proc/", "/dev/", "/sys/")


def environment(system: str) -> dict[str, str]:
    """The variables that put a Python process on `system`, warnings of its encoding included."""
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH", ""))))
    return {VARIABLE: system, "PYTHONPATH": path, "PYTHONWARNDEFAULTENCODING": "1"}


def declare(windows: bool, macos: bool) -> None:
    """Make mnistlab, and only it, believe that it runs elsewhere; its own opening of a text
    without an encoding an error, as cp1252 would be."""
    from mnistlab import system

    system.WINDOWS, system.MACOS, system.LINUX = windows, macos, False
    warnings.filterwarnings("ignore", category=EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module=r"mnistlab\b")


def remove(module: Any, *names: str) -> None:
    """Delete from `module` what the system does not have."""
    for name in names:
        with contextlib.suppress(AttributeError):
            delattr(module, name)


def wrap(module: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `make(original)` in the place of `module.name`."""
    setattr(module, name, make(getattr(module, name)))


def path_of(given: Any) -> str:
    """`given` as an absolute path; empty for what is no name of a file."""
    if not isinstance(given, str | bytes | os.PathLike):
        return ""
    path = os.path.abspath(os.fsdecode(given))
    return "" if path.startswith(_NOT_FILES) else path


def watch(checks: dict[str, Callable[..., None]]) -> None:
    """Call `checks[event]` before each such event of Python; what it raises, the caller gets."""

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if check := checks.get(event):
            check(*details)

    sys.addaudithook(hook)


_ONE_NAME = (
    *("stat", "lstat", "open", "mkdir", "unlink", "remove", "rmdir", "listdir", "scandir"),
    *("access", "chmod", "utime", "readlink", "truncate", "chdir"),
)
_TWO_NAMES = ("rename", "replace", "link")


def ignore_case() -> None:
    """Names that differ only in case, or in how an accent is written, are one name.

    To be called first, as it goes by the original functions.
    """

    def one(original: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any = ".", *rest: Any, **options: Any) -> Any:
            known = path if options.get("dir_fd") is not None else same_name(path)
            return original(known, *rest, **options)

        return called

    def two(original: Callable[..., Any]) -> Callable[..., Any]:
        def called(source: Any, target: Any, **options: Any) -> Any:
            found = same_name(target)
            # a name may be given in another case to what bears it
            target = target if os.fspath(found) == os.fspath(same_name(source)) else found
            return original(same_name(source), target, **options)

        return called

    for name in _ONE_NAME:
        wrap(os, name, one)
    for name in _TWO_NAMES:
        wrap(os, name, two)


def same_name(path: Any) -> Any:
    """`path`, or what is there already under the same name written in another way."""
    if not path_of(path) or _exists(path):
        return path
    folder, name = os.path.split(os.fsdecode(path))
    if folder and not _exists(folder) and folder != path:
        folder = same_name(folder)
    ways = (os.path.join(folder, way) for way in _spellings(name))
    return next(filter(_exists, ways), os.path.join(folder, name))


def _spellings(name: str) -> set[str]:
    # not all of them: to list the folder each time makes unpacking take minutes
    cases = {name.lower(), name.upper(), name.capitalize(), name.swapcase(), name}
    if not name.isascii():
        cases = {unicodedata.normalize(form, case) for case in cases for form in ("NFC", "NFD")}
    return cases - {name}


def open_files(encoding: str, newline: str, folder: int) -> None:
    """Open files as `ignore_case` names them: texts in `encoding` where the caller says nothing,
    with lines that end in `newline`; to open a folder is the error number `folder`."""
    original = io.open

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *others: Any,
        **options: Any,
    ) -> Any:
        if "b" not in mode:
            encoding = io.text_encoding(encoding, 3)  # warns of our caller, if that is asked for
            encoding = plain if encoding == "locale" else encoding
            newline = ends if newline is None and "r" not in mode else newline
        try:
            name = same_name(file)
            return original(name, mode, buffering, encoding, errors, newline, *others, **options)
        except IsADirectoryError as error:
            raise OSError(folder, os.strerror(folder), file) from error

    plain, ends = encoding, newline
    io.open = builtins.open = opened


def _exists(path: Any) -> bool:
    with contextlib.suppress(OSError, ValueError):
        _lstat(path)
        return True
    return False
