"""What Linux, macOS and Windows do differently. No other file asks which of them it runs on.

Functions read the names below when they are called, so that the tests can put another system's
behaviour in place of this one's (`tests/systems/`).
"""

import contextlib
import errno
import mmap
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

WINDOWS = os.name == "nt"
MACOS = sys.platform == "darwin"
LINUX = sys.platform == "linux"

_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.3)  # seconds
_PLAIN = re.compile(r"[\w.:/\\=+-]+")
_F_FULLFSYNC = 51  # of macOS; Python names it there only
# MAP_NORESERVE, which Python names from 3.13 on: no memory is set aside for private copies of all
# pages; else Linux refuses to map a file that is larger than memory.
_NO_RESERVE = 0x4000


def move(source: Path | str, target: Path | str) -> None:
    """Rename `source` to `target`; a file takes the place of another one. Raises OSError.

    Windows refuses while any program has the file open: one that reads the last result, a virus
    scanner that looks at what is new. Such a moment passes, so it is tried for a second.
    """
    for pause in _PAUSES if WINDOWS else ():
        with contextlib.suppress(PermissionError):
            os.replace(source, target)
            return
        time.sleep(pause)
    os.replace(source, target)


def flush(fd: int) -> None:
    """Bring what was written to `fd` to the disk. Raises OSError."""
    if MACOS:  # where fsync leaves it in the memory of the drive, and a power cut loses it
        import fcntl

        with contextlib.suppress(OSError):  # a network drive knows no such request
            fcntl.fcntl(fd, _F_FULLFSYNC)
            return
    os.fsync(fd)


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system can. Raises OSError."""
    if WINDOWS:  # which cannot open a folder
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network folders know no such thing
            raise
    finally:
        os.close(fd)


def map_private(fd: int, size: int) -> mmap.mmap:
    """The first `size` bytes of a file, mapped: what is written there stays in memory."""
    if LINUX:
        return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE | _NO_RESERVE)
    return mmap.mmap(fd, size, access=mmap.ACCESS_COPY)


def is_closed_pipe(error: OSError) -> bool:
    """Whether writing failed because nobody reads the pipe any more."""
    return isinstance(error, BrokenPipeError) or (WINDOWS and error.errno == errno.EINVAL)


def quoted(*words: Any) -> str:
    """`words` as part of a command line, quoted as the shell of this system wants it."""
    texts = [str(word) for word in words]
    if WINDOWS:  # cmd and PowerShell take double quotes, which no file name there contains
        return " ".join(text if _PLAIN.fullmatch(text) else f'"{text}"' for text in texts)
    return shlex.join(texts)
