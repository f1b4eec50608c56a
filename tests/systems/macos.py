"""What macOS refuses or does in another way, here."""

import errno
import fcntl
import mmap
import os
import unicodedata
from collections.abc import Callable
from typing import Any

from tests.systems import declare, ignore_case, open_files, remove, wrap

_ONLY_LINUX = (
    *("O_DIRECT", "O_LARGEFILE", "O_NOATIME", "O_PATH", "O_RSYNC", "O_TMPFILE", "sendfile"),
    *("sched_getaffinity", "sched_setaffinity", "sched_getparam", "posix_fadvise"),
    *("posix_fallocate", "fdatasync", "getxattr", "setxattr", "listxattr", "removexattr"),
    *("memfd_create", "eventfd", "copy_file_range", "splice", "getrandom", "pipe2"),
)
FULL_FSYNC = 51


def install() -> None:
    """Put macOS in the place of Linux, for the rest of this process."""
    remove(os, *_ONLY_LINUX)
    remove(mmap, "MAP_NORESERVE", "MAP_POPULATE")
    remove(fcntl, "F_SETPIPE_SZ", "F_GETPIPE_SZ")
    fcntl.F_FULLFSYNC = FULL_FSYNC  # type: ignore[attr-defined]
    wrap(fcntl, "fcntl", _full_fsync)
    wrap(os, "fsync", _fsync)
    declare(windows=False, macos=True)
    ignore_case()
    open_files("utf-8", "\n", errno.EISDIR)
    wrap(os, "listdir", _listed)


def _full_fsync(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(fd: Any, command: int, argument: Any = 0) -> Any:
        if command == FULL_FSYNC:
            return os.fsync(fd)
        return original(fd, command, argument)

    return call


def _fsync(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """fsync: a network folder knows no such thing."""

    def fsync(fd: Any) -> None:
        number = fd if isinstance(fd, int) else fd.fileno()
        if os.fstat(number).st_mode & 0o170000 == 0o040000:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        original(fd)

    return fsync


def _listed(original: Callable[..., Any]) -> Callable[..., Any]:
    """listdir: an accent as a character of its own, as HFS+ writes names down."""

    def listdir(path: Any = ".") -> Any:
        names = original(path)
        bytes_like = isinstance(path, bytes)
        return names if bytes_like else [unicodedata.normalize("NFD", name) for name in names]

    return listdir
