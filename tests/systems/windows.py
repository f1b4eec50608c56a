"""What Windows refuses, refused here."""

import contextlib
import errno
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import filelock

from tests.systems import declare, ignore_case, open_files, path_of, remove, watch, wrap

_listdir, _readlink, _lstat, _stat = os.listdir, os.readlink, os.lstat, os.stat
_fstat, _chmod, _access, _sep = os.fstat, os.chmod, os.access, os.sep
_NAME = re.compile(r"[^<>:\"|?*\x00-\x1f]*[^<>:\"|?*\x00-\x1f. ]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9¹²³]|lpt[1-9¹²³])(\..*)?", re.IGNORECASE)
_MAX_PATH = 260
_MAX_FOLDER = 248
_TEXTS = {
    2: "The system cannot find the file specified",
    5: "Access is denied",
    32: "The process cannot access the file because it is being used by another process",
    123: "The filename, directory name, or volume label syntax is incorrect",
    183: "Cannot create a file when that file already exists",
    206: "The filename or extension is too long",
    1314: "A required privilege is not held by the client",
}
_ERRNOS = {2: errno.ENOENT, 206: errno.ENOENT, 5: errno.EACCES, 32: errno.EACCES, 183: errno.EEXIST}
_ONLY_UNIX = (
    *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_PATH", "O_TMPFILE", "O_SYNC"),
    *("fork", "forkpty", "openpty", "setsid", "killpg", "getpgid", "geteuid", "getegid"),
    *("mkfifo", "mknod", "chown", "fchown", "fchmod", "lchown", "fdatasync", "sync", "pread"),
    *("pwrite", "sendfile", "statvfs", "fstatvfs", "posix_fadvise", "posix_fallocate"),
    *("sched_getaffinity", "sched_setaffinity", "nice", "getpriority", "getxattr", "setxattr"),
)


def install() -> None:
    """Put Windows in the place of Linux, for the rest of this process."""
    _tell_libraries()
    remove(os, *_ONLY_UNIX)
    remove(signal, "SIGHUP", "SIGKILL", "SIGPIPE", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT")
    remove(mmap, "MAP_NORESERVE", "MAP_POPULATE")
    signal.SIGBREAK = signal.SIGTTIN  # type: ignore[attr-defined]  # 21 on both systems
    declare(windows=True, macos=False)
    mmap.mmap = _Map  # type: ignore[misc, assignment]
    ignore_case()
    open_files("cp1252", "\r\n", errno.EACCES)
    for name in ("stat", "lstat", "fstat"):
        wrap(os, name, _status)
    wrap(os, "rename", _rename)
    wrap(os, "chmod", _read_only_bit)
    wrap(os, "access", _access_of)
    events: dict[str, Callable[..., None]] = {
        "open": _check_open,
        "os.listdir": _check_name,
        "os.scandir": _check_name,
        "os.mkdir": lambda path, mode, dir_fd: _check_name(path, dir_fd, longest=_MAX_FOLDER),
        "os.remove": _check_unused,
        "os.rmdir": _check_unused,
        "os.rename": _check_rename,
        "os.truncate": lambda path, size: _check_name(path),
        "os.symlink": lambda source, target, dir_fd: _refuse(1314, target),
    }
    watch(events)


def _tell_libraries() -> None:
    """The standard library and filelock do what they do on Windows."""
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # type: ignore[assignment]
    os.supports_dir_fd.clear()
    for name in ("fcntl", "pty", "resource", "termios", "tty"):
        sys.modules[name] = None  # type: ignore[assignment]  # importing it fails
    subprocess._text_encoding = lambda: "cp1252"  # type: ignore[attr-defined]
    subprocess.Popen.kill = lambda self: self.send_signal(9)  # type: ignore[method-assign]
    release = filelock.UnixFileLock._release

    def _release(lock: Any) -> None:
        release(lock)
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)

    filelock.UnixFileLock._release = _release  # type: ignore[method-assign, assignment]


def _refuse(number: int, path: Any, other: Any = None) -> None:
    """Raise the OSError that Windows gives for its own `number`."""
    error = OSError(_ERRNOS.get(number, errno.EINVAL), _TEXTS[number], path, None, other)
    error.winerror = number  # type: ignore[attr-defined]
    raise error


def _check_name(given: Any, dir_fd: Any = -1, *, longest: int = _MAX_PATH) -> None:
    if isinstance(given, int):
        raise TypeError(f"path should be string, bytes, os.PathLike or None, not {type(given)}")
    if dir_fd not in (-1, None):
        raise NotImplementedError("dir_fd unavailable on this platform")
    path = path_of(given)
    if len(path) >= longest:
        _refuse(206, given)
    for name in path.split(_sep)[1:] if path else ():
        if _RESERVED.fullmatch(name) or (name and not _NAME.fullmatch(name)):
            _refuse(123, given)


def _check_open(given: Any, mode: str | None, flags: int) -> None:
    if isinstance(given, int):
        return
    try:
        _check_name(given)
    except OSError as error:  # opening is left to the C library, which has texts of its own
        raise OSError(error.errno, os.strerror(error.errno or 0), given) from None
    if not (path := path_of(given)):
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = _stat(path)
        folder, writable = status.st_mode & 0o170000 == 0o040000, status.st_mode & 0o200
        writing = flags & (os.O_WRONLY | os.O_RDWR)
        # with a mode, it may be the place of a temporary file; `open_files` sees to a folder there
        if (folder and mode is None) or (not folder and writing and not writable):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), given)
        # what is locked can be opened but not read; filelock itself opens it for good
        if path.endswith(".lock") and not flags & os.O_NONBLOCK and _is_locked(status):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), given)


def _is_locked(status: os.stat_result) -> bool:
    with open("/proc/locks", encoding="ascii") as locks:
        return any(f":{status.st_ino} " in line and "FLOCK" in line for line in locks)


def _check_unused(given: Any, dir_fd: int = -1) -> None:
    """Refuse to take away the name of what is open, mapped, the current folder or read-only."""
    _check_name(given, dir_fd)
    path = path_of(given)
    if not path or "/.filelock-" in path:  # a file of filelock for Linux
        return
    folder, name = os.path.split(path)
    if _is_used(os.path.join(os.path.realpath(folder), name)):
        _refuse(32, given)
    if os.path.lexists(path) and not _lstat(path).st_mode & 0o200:
        _refuse(5, given)


def _is_used(path: str) -> bool:
    used = [_readlink("/proc/self/cwd")]
    for fd in _listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            used.append(_readlink(f"/proc/self/fd/{fd}"))
    if path.endswith((".store", ".safetensors")):
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            used += [line.rstrip("\n").split(maxsplit=5)[-1] for line in maps]
    return any(each == path or each.startswith(path + _sep) for each in used)


def _check_rename(source: Any, target: Any, *dir_fds: int) -> None:
    for dir_fd in dir_fds:
        _check_name(source, dir_fd)
    _check_unused(source)
    _check_name(target)
    if not os.path.lexists(target):
        return
    if os.path.isdir(target) and not os.path.samefile(source, target):
        _refuse(5, source, target)
    _check_unused(target)


def _rename(original: Callable[..., None]) -> Callable[..., None]:
    def rename(source: Any, target: Any, **options: Any) -> None:
        _check_name(source)
        _check_name(target)
        there = os.path.lexists(source) and os.path.lexists(target)
        if there and not os.path.samefile(source, target):
            _refuse(183, source, target)
        original(source, target, **options)

    return rename


class _Status:
    """A result of stat without blocks; its ctime is the time of creation, which nothing changes."""

    def __init__(self, real: os.stat_result) -> None:
        self._real = real
        self.st_ctime_ns = 10**18 + real.st_ino * 1000
        self.st_ctime = self.st_ctime_ns / 1e9

    def __getattr__(self, name: str) -> Any:
        if name in ("st_blocks", "st_blksize", "st_rdev"):
            raise AttributeError(f"'os.stat_result' object has no attribute '{name}'")
        return getattr(self._real, name)

    def __getitem__(self, index: int) -> Any:
        return self._real[index]


def _status(original: Callable[..., os.stat_result]) -> Callable[..., _Status]:
    def status(path: Any, *, dir_fd: Any = None, follow_symlinks: bool = True) -> _Status:
        if not isinstance(path, int):
            _check_name(path, dir_fd)
        options = {} if follow_symlinks else {"follow_symlinks": False}
        return _Status(original(path, **options))

    return status


def _read_only_bit(original: Callable[..., None]) -> Callable[..., None]:
    """chmod: of a file, only whether it can be written; of a folder, nothing."""

    def chmod(path: Any, mode: int, **options: Any) -> None:
        _check_name(path)
        if not os.path.isdir(path):
            original(path, 0o666 if mode & 0o200 else 0o444, **options)

    return chmod


def _access_of(original: Callable[..., bool]) -> Callable[..., bool]:
    """access: a folder can always be written, it seems; a file unless it is read-only."""

    def access(path: Any, mode: int, **options: Any) -> bool:
        if not os.path.exists(path):
            return False
        return not mode & os.W_OK or os.path.isdir(path) or bool(_stat(path).st_mode & 0o200)

    return access


class _Map(mmap.mmap):
    def __new__(
        cls, fileno: int, length: int, tagname: Any = None, access: int = 0, offset: int = 0
    ) -> "_Map":
        return super().__new__(cls, fileno, length, access=access, offset=offset)
