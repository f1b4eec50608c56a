"""One process at a time: a lock file that the system frees even after a kill."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

# Seconds. Whoever only looks holds the lock for some microseconds; that is waited out.
_WAIT = 0.1
_LOOK = 0.02
_AGAIN = 0.005


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which says from then on which process does.

    Raises TimeoutError as good as at once if another process holds it, OSError if it cannot be
    written or has vanished meanwhile with its folder.
    """
    lock = FileLock(path)
    try:
        _require(path.parent)  # which FileLock would make, and so a run that was deleted appear
        lock.acquire(timeout=_WAIT, poll_interval=_AGAIN)
    except Timeout as error:
        raise TimeoutError(errno.EAGAIN, "held by another process", str(path)) from error
    try:
        _require(path)
        _note(path, str(os.getpid()))
        yield
    finally:
        _note(path, "")
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file `path` right now."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_LOOK, poll_interval=_AGAIN)
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written: nobody can be at work in it
        return False
    lock.release()
    return False


def holder(path: Path) -> str:
    """The number of the process that holds the lock file `path`; empty if it does not say."""
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text(encoding="ascii")
        if text.isdigit() and len(text) < 20:
            return text
    return ""


def _require(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _note(path: Path, text: str) -> None:
    # Beside the lock itself: where it cannot be written (Windows), only the number is not told.
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)
