"""One process at a time: a lock file that the system frees even after a kill."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

# Seconds. Whoever only looks holds the lock for some microseconds; that is waited out.
_WAIT = 0.1
_LOOK = 0.02
_AGAIN = 0.005
_TRIES = 10


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which says from then on which process does.

    Raises TimeoutError as good as at once if another process holds it, OSError if it cannot be
    written or has vanished meanwhile with its folder.
    """
    for _ in range(_TRIES):
        lock = _acquired(path, _WAIT)
        # who comes or goes this very moment has not said who it is yet, or not any more
        if lock is not None or holder(path):
            break
    if lock is None:
        raise TimeoutError(errno.EAGAIN, "held by another process", str(path))
    try:
        _note(lock, path, str(os.getpid()))
        yield
    finally:
        _note(lock, path, "")
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file `path` right now."""
    if not os.path.exists(path):  # Path.exists raises where the folder may not be searched
        return False
    try:
        lock = _acquired(path, _LOOK)
    except OSError:  # a folder that cannot be written: nobody can be at work in it
        return False
    if lock is None:
        return True
    lock.release()
    return False


def _acquired(path: Path, timeout: float) -> BaseFileLock | None:
    """The lock, taken; None if another process has it. Raises OSError if there is no folder."""
    lock = FileLock(path)
    with _kept(path.parent) as folder:
        try:
            lock.acquire(timeout=timeout, poll_interval=_AGAIN)
        except Timeout:
            return None
        with contextlib.suppress(FileNotFoundError):
            if folder is None or os.path.samestat(os.fstat(folder), path.parent.stat()):
                return lock
        # FileLock makes a folder that is missing: one that was deleted meanwhile came back
        lock.release()
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


@contextlib.contextmanager
def _kept(folder: Path) -> Iterator[int | None]:
    """The folder, opened, so that no other one gets its number; None where that cannot be."""
    if os.name == "nt":  # pragma: no cover - there a folder with an open file is never renamed
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        yield None
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def holder(path: Path) -> str:
    """The number of the process that holds the lock file `path`; empty if it does not say."""
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text(encoding="ascii")
        if text.isdigit() and len(text) < 20:
            return text
    return ""


def _note(lock: BaseFileLock, path: Path, text: str) -> None:
    if isinstance(lock, SoftFileLock):  # a file system without locks: the file itself is the lock
        return
    # Beside the lock itself: where it cannot be written (Windows), only the number is not told.
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)
