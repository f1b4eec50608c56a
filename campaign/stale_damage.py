"""Ways in which a file that mnistlab keeps is damaged or exchanged."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random


def _flip(path: Path, other: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(random.randint(1, 3)):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def _link(path: Path, to: Path | str) -> None:
    path.unlink()
    path.symlink_to(to)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path, Path, Random], object]] = {
    "bytes flipped": _flip,
    "cut off": lambda path, _, random: os.truncate(path, random.randrange(1, path.stat().st_size)),
    "empty": lambda path, *_: os.truncate(path, 0),
    "all zeros": lambda path, *_: path.write_bytes(bytes(path.stat().st_size)),
    "bytes added": lambda path, _, random: path.write_bytes(
        path.read_bytes() + random.randbytes(9)
    ),
    "something else": lambda path, _, random: path.write_bytes(random.randbytes(999)),
    "another's file": lambda path, other, _: shutil.copy2(other, path),
    "a link to another's": lambda path, other, _: _link(path, other),
    "a link to nowhere": lambda path, *_: _link(path, "nowhere"),
    "cannot be read": lambda path, *_: _link(path, path.name),  # also for root: a loop
    "a pipe": lambda path, *_: _pipe(path),
    "a folder": lambda path, *_: _folder(path),
    "gone": lambda path, *_: path.unlink(),
}
"""By name: damage(the file, another good file of the kind, random)."""
