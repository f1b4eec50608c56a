"""Files appear whole or not at all.

A file is written under a temporary name beside its target, flushed to the disk, and renamed over
the target in one step; then the folder is flushed, so that the new name survives a power cut.
"""

import contextlib
import errno
import os
import secrets
import shutil
import time
from pathlib import Path

_SUFFIX = ".mnistlab-tmp"


def write_whole(path: Path, *content: bytes | memoryview) -> None:
    """Write `content` to `path`: afterwards the old file or the new one is there, never a part.

    Several pieces are written one after the other. Raises OSError (disk full, no permission, …);
    `path` is then as it was.
    """
    temporary = temporary_beside(path)
    try:
        # 0o666 so that the umask decides, as for any file the user makes
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(fd, "wb") as file:
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    flush_folder(path.parent)


def temporary_beside(path: Path) -> Path:
    """A new hidden name beside `path`, recognised by `remove_leftovers`."""
    # not the whole name: it may be as long as the system allows
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}{_SUFFIX}")


def is_temporary(name: str) -> bool:
    """Whether `name` is one that `temporary_beside` made."""
    return name.endswith(_SUFFIX)


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system can."""
    if os.name == "nt":  # pragma: no cover - Windows cannot open a folder
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network folders know no such thing
            raise
    finally:
        os.close(fd)


def remove_leftovers(folder: Path, *, older_than: float = 0.0) -> None:
    """Delete what an interrupted write left in `folder`, if at least `older_than` seconds old."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if not is_temporary(path.name):
                continue
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime < older_than:
                    continue
                remove(path)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
