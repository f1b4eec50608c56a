"""Terminals for trials: a size, and whoever reads what is shown."""

import contextlib
import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from campaign.commands import Outcome
from campaign.ground import Ground


@contextlib.contextmanager
def terminal(columns: int, lines: int = 24) -> Iterator[tuple[int, str]]:
    """A new terminal of that size: the descriptor of our side, which the caller closes, and its
    name."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
    try:
        yield master, os.ttyname(slave)
    finally:
        os.close(slave)


def on_terminal(
    ground: Ground,
    arguments: tuple[str | Path, ...],
    env: Mapping[str, str],
    *,
    columns: int,
    **surroundings: Any,
) -> Outcome:
    """Run a command with all its output on a terminal; `out` and `err` are what it showed."""
    shown: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # EIO, when nobody is left on the other side
            while piece := os.read(master, 65536):
                shown.append(piece)

    with terminal(columns) as (master, name):
        reader = threading.Thread(target=read)
        reader.start()
        ended = ground.run(*arguments, env=env, terminal=name, **surroundings)
    reader.join()
    os.close(master)
    text = b"".join(shown).decode("utf-8", "backslashreplace")
    return Outcome(ended.code, text, text + ended.err)
