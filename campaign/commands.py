"""Running mnistlab as a user does: processes of their own, with surroundings of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 120.0  # seconds; a command that takes longer hangs


@dataclass(frozen=True)
class Outcome:
    """A process that has ended: exit code as a shell tells it (128 + signal), and its streams."""

    code: int
    out: str
    err: str

    @property
    def told_plainly(self) -> bool:
        """Whether nothing in the streams looks like a traceback."""
        return "Traceback (most recent call last)" not in self.err + self.out


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a trial: HOME and cache below `folder`, one thread, no terminal."""
    kept = {
        key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "PYTHONPATH")
    }
    return {
        **kept,
        "HOME": str(folder / "home"),
        "MNISTLAB_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "TERM": "dumb",
        **more,
    }


def begin(
    *arguments: str | Path, cwd: Path, env: Mapping[str, str], before: tuple[str, ...] = ()
) -> "subprocess.Popen[str]":
    """Start `mnistlab ARGUMENTS` in a process group of its own; `before` is put in front (strace).

    A Python of its own starts it, so that no signal handler or setting of this process is there.
    """
    return subprocess.Popen(
        [*before, sys.executable, "-m", "mnistlab", *map(str, arguments)],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]", timeout: float = TIMEOUT) -> Outcome:
    """Wait for a process; one that hangs is killed with its whole group, exit code 128 + 9."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        err += f"\nstill running after {timeout:g} s"
    code = process.returncode
    return Outcome(128 - code if code < 0 else code, out, err)


def command(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str],
    before: tuple[str, ...] = (),
    timeout: float = TIMEOUT,
) -> Outcome:
    """Run `mnistlab ARGUMENTS` to its end."""
    with begin(*arguments, cwd=cwd, env=env, before=before) as process:
        return finish(process, timeout)
