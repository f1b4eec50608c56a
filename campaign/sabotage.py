"""What goes wrong with a disk on purpose: before the n-th file that a command writes."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from campaign.tally import SkippedError


def fill(folder: Path, leave: int = 0) -> None:
    """Fill the disk that `folder` is on, with a file `filler` there; `leave` bytes stay free."""
    with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    if leave:
        os.truncate(folder / "filler", max(0, (folder / "filler").stat().st_size - leave))


def empty(folder: Path) -> None:
    """Delete all that is in `folder`."""
    for path in folder.iterdir():
        shutil.rmtree(path)


def protect(folder: Path) -> None:
    """Take the right to write from all folders in `folder`."""
    for path in folder.iterdir():
        path.chmod(0o555)


ACTIONS = {"fill": fill, "empty": empty, "protect": protect}


def at_write(number: int, action: str, folder: str) -> None:
    """Let `action` happen to `folder` before the `number`-th file (from 0) is written whole."""
    from mnistlab import files

    original, count = files.write_whole, iter(range(sys.maxsize))

    def write_whole(path: Path, *content: Any) -> None:
        if next(count) == number:
            ACTIONS[action](Path(folder))
        original(path, *content)

    for module in list(sys.modules.values()):
        if getattr(module, "write_whole", None) is original:
            module.write_whole = write_whole  # type: ignore[attr-defined]


def give_up_power() -> None:
    """Give up root's power to pass over permissions, in this process, for good.

    What root owns and may not write it then cannot write. Becoming another user would do the same,
    but that one could often not read this Python.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the call, this process
    nothing = (ctypes.c_uint32 * 6)()
    if not hasattr(libc, "capset") or libc.capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capset")


@contextlib.contextmanager
def small_disk(folder: Path, size: int = 2**20, options: str = "") -> Iterator[Path]:
    """A disk of its own of `size` bytes, at `folder`. Raises SkippedError where none can be had."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise SkippedError(f"no mount here: {error}") from error
    if done.returncode != 0:
        raise SkippedError("only root can mount a disk of its own")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def mount_again(folder: Path, options: str) -> None:
    """Change the options of a `small_disk`: `ro`, `nr_inodes=9`."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def take_inodes(folder: Path) -> None:
    """Leave no room for another file on a `small_disk`, however small."""
    now = os.statvfs(folder)
    mount_again(folder, f"nr_inodes={now.f_files - now.f_ffree}")


@contextlib.contextmanager
def plain_folder(folder: Path) -> Iterator[Path]:
    """A new folder, with the same use as a `small_disk`."""
    folder.mkdir(parents=True)
    yield folder
