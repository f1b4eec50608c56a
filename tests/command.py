"""Running the command line from a test: in this process, as a process of its own, on a terminal."""

import contextlib
import functools
import gc
import io
import json
import os
import runpy
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer.main

# making click's commands of the functions of mnistlab takes 13 ms, as long as many a test
_get_command = functools.cache(typer.main.get_command)


@dataclass
class Result:
    """What a command left behind: exit code, what it wrote; in tests/reliability also the seconds
    of computing and by how many MB its memory grew at its peak."""

    code: int
    out: str
    err: str
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def json(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.out)

    def ok(self) -> "Result":
        """This result, if the command succeeded."""
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        return self


def run_in_process(*arguments: str | Path, out: Any = None, err: Any = None) -> Result:
    """Run `mnistlab ARGUMENTS` here, as off a terminal. Fast: torch is imported already.

    out, err: streams in place of stdout and stderr; what is written there is not in the result.
    """
    from mnistlab.__main__ import main
    from mnistlab.cli.signals import SIGNALS

    texts = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    code = 0
    thresholds = gc.get_threshold()
    try:
        with (
            mock.patch.object(sys, "argv", ["mnistlab", *map(str, arguments)]),
            mock.patch.object(typer.main, "get_command", _get_command),
            contextlib.redirect_stdout(out or texts[0]),
            contextlib.redirect_stderr(err or texts[1]),
        ):
            main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Result(code, texts[0].getvalue(), texts[1].getvalue())


def run_script(file: str | Path, *arguments: str | Path) -> list[str]:
    """The lines that a Python file prints, run here as `python FILE ARGUMENTS` would run it."""
    printed = io.StringIO()
    words = [str(file), *map(str, arguments)]
    with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(printed):
        runpy.run_path(words[0], run_name="__main__")
    return printed.getvalue().splitlines()


def spawn(*arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
    """Start `python -m mnistlab ARGUMENTS` as a process of its own."""
    settings: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": dict(os.environ),
        **options,
    }
    return subprocess.Popen([sys.executable, "-m", "mnistlab", *map(str, arguments)], **settings)


def run(*arguments: str | Path, **options: Any) -> Result:
    """Run `python -m mnistlab ARGUMENTS` to its end."""
    with spawn(*arguments, **options) as process:
        out, err = process.communicate(timeout=120)
    return Result(process.returncode, out or "", err or "")


@contextlib.contextmanager
def terminal(columns: int) -> Iterator[tuple[int, list[bytes]]]:
    """A terminal that is read while it lasts: its file descriptor and what was written to it.

    A test is skipped where the system has none of this kind.
    """
    fcntl, pty, termios = map(pytest.importorskip, ("fcntl", "pty", "termios"))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    got: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # EIO, when the other side has closed
            while chunk := os.read(master, 65536):
                got.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield slave, got
    finally:
        os.close(slave)
        reader.join()
        os.close(master)
