"""A Python that has everything imported already; a trial is a fork of it, in its own surroundings.

A command as a process of its own costs two seconds, nearly all of it the import of torch. A fork
costs a twentieth of one, and has an exit code, file descriptors, limits, a terminal and signals
as any other process. `python -m campaign.forge` is the one that forks; `Forge` talks to it.
"""

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from campaign.commands import Outcome
from campaign.tally import CORES, SkippedError

CAPTURED = "captured"
CLOSED = "closed"
GONE = "gone"


@dataclass
class Trial:
    """A command and its surroundings. `out` and `err` are CAPTURED, CLOSED, a path, or GONE:
    a pipe that nobody reads any more.
    """

    arguments: list[str]
    cwd: str
    env: dict[str, str]
    out: str = CAPTURED
    err: str = CAPTURED
    terminal: str = ""  # a terminal that becomes the controlling one, for all that is CAPTURED
    encoding: str = "utf-8"  # of stdout and stderr
    file_bytes: int | None = None  # RLIMIT_FSIZE
    powerless: bool = False  # root is held to permissions as anybody is
    ignored: list[str] = field(default_factory=list)  # signals, as nohup does
    missing: list[str] = field(default_factory=list)  # modules that cannot be imported
    values: dict[str, Any] = field(default_factory=dict)  # `module:NAME` → its value
    at_write: tuple[int, str, str] | None = None  # before that file: an action of sabotage.py


class Forge:
    """One process that forks a trial at a time. `light` is without torch, started in no time."""

    def __init__(self, *, light: bool = False) -> None:
        if not hasattr(os, "fork"):
            raise SkippedError("this system cannot fork")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "campaign.forge", *(["light"] if light else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],  # where the package campaign lies; trials have their own
            env=environment,
            text=True,
        )

    def begin(self, trial: Trial) -> int:
        """Start a trial; its process id. `finish` waits for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(trial)) + "\n")
        self.process.stdin.flush()
        return int(self._answer()["pid"])

    def finish(self) -> Outcome:
        """Wait for the trial that was begun."""
        return Outcome(**self._answer())

    def run(self, trial: Trial) -> Outcome:
        """Run a trial to its end."""
        self.begin(trial)
        return self.finish()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


class Forges:
    """As many forges as there are cores, each used by one thread at a time."""

    def __init__(self, count: int = CORES, *, light: bool = False) -> None:
        self.all = [Forge(light=light) for _ in range(count)]
        self._free: queue.Queue[Forge] = queue.Queue()
        for forge in self.all:
            self._free.put(forge)

    @contextmanager
    def one(self) -> Iterator[Forge]:
        """A forge that nobody else uses meanwhile."""
        forge = self._free.get()
        try:
            yield forge
        finally:
            self._free.put(forge)

    def run(
        self, *arguments: str | Path, cwd: Path, env: Mapping[str, str], **surroundings: Any
    ) -> Outcome:
        """Run `mnistlab ARGUMENTS` to its end."""
        trial = Trial([*map(str, arguments)], str(cwd), dict(env), **surroundings)
        with self.one() as forge:
            return forge.run(trial)


@contextmanager
def forges(count: int = CORES, *, light: bool = False) -> Iterator[Forges]:
    """`Forges` that are ended afterwards."""
    started = Forges(count, light=light)
    try:
        yield started
    finally:
        for forge in started.all:
            forge.close()


if __name__ == "__main__":
    from campaign.forging import serve

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for who started it
    serve(light="light" in sys.argv)
