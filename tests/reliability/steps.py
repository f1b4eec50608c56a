"""What happens to a process at a chosen step of its saves."""

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def fill(folder: Path, leave: int = 0) -> None:
    """Fill the disk that `folder` is on, with a file `filler` there; `leave` bytes stay free."""
    with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    if leave:
        os.truncate(folder / "filler", max(0, (folder / "filler").stat().st_size - leave))


def _count(folder: Path) -> None:
    with open(f"{folder}.steps", "ab") as file:
        file.write(b".")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path)


def _protect(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o555)


ACTIONS: dict[str, Callable[[Path], object]] = {
    "kill": lambda folder: os.kill(os.getpid(), signal.SIGKILL),
    "fill": fill,
    "empty": _empty,
    "protect": _protect,
    "count": _count,
}
"""What happens to a folder at a step; `count` at each, a byte more in `FOLDER.steps`."""
_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "fcntl.flock"}


def watch_steps(number: int, action: str, folder: str) -> None:
    """Do `action` before the `number`-th step (from 0) that changes a file or name in `folder`:
    open for writing, flush, rename, delete, make or delete a folder, lock."""
    steps, at_work = itertools.count(), False

    def step(target: Any) -> None:
        nonlocal at_work
        with contextlib.suppress(OSError, TypeError):
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
            inside = f"{os.path.abspath(os.fsdecode(path))}/".startswith(f"{folder}/")
            if inside and not at_work and (next(steps) == number or action == "count"):
                at_work = True
                ACTIONS[action](Path(folder))
                at_work = False

    def audit(event: str, details: tuple[Any, ...]) -> None:
        writing = event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writing or event in _EVENTS:
            step(details[0])

    def fsync(fd: int, flush: Callable[[int], None] = os.fsync) -> None:
        step(fd)
        flush(fd)

    os.fsync = fsync  # type: ignore[assignment]  # Python tells no hook of it
    sys.addaudithook(audit)


def give_up_power() -> None:
    """Give up root's power to pass over permissions, in this process, for good."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the call, this process
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")
