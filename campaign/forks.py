"""Processes to be killed: real ones, and forks of one that has imported torch already.

A fork has its own memory, files, signals and process group like any process, but is there in
milliseconds: where it is not the start that is tried, a second and a half is saved each time.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from campaign.commands import TIMEOUT, Outcome, begin, finish, surroundings

_CHECKOUT = Path(__file__).parents[1]


class Child(Protocol):
    """A command under way, in a process group of its own."""

    @property
    def pid(self) -> int:
        """Its process, which leads the group."""

    def running(self) -> bool:
        """Whether it has not ended yet."""

    def finish(self) -> Outcome:
        """Wait for its end."""


class Started:
    """`mnistlab ARGUMENTS` as a process from the very beginning."""

    def __init__(self, *arguments: str | Path, cwd: Path, env: Mapping[str, str]) -> None:
        self._process = begin(*arguments, cwd=cwd, env=env)
        self.pid = self._process.pid

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def finish(self) -> Outcome:
        """Wait for its end."""
        with self._process:
            return finish(self._process)


class Forked:
    """`mnistlab ARGUMENTS` as a fork."""

    def __init__(self, forks: "Forks", pid: int, out: Path, err: Path) -> None:
        self._forks, self.pid, self._out, self._err = forks, pid, out, err

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._forks.ask("poll", self.pid) is None

    def finish(self) -> Outcome:
        """Wait for its end."""
        watch = threading.Timer(TIMEOUT, send, (self, signal.SIGKILL))
        watch.start()
        code = self._forks.ask("wait", self.pid)
        watch.cancel()
        texts = []
        for path in (self._out, self._err):
            texts.append(path.read_text(encoding="utf-8", errors="backslashreplace"))
            path.unlink()
        return Outcome(128 - code if code < 0 else code, *texts)


class Forks:
    """A process that forks a child for every command that it is told.

    `save_every` of a child is experiment.SAVE_EVERY there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "campaign.forks"],
            cwd=_CHECKOUT,
            env=surroundings(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str, about: Any) -> Any:
        """One question, one answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, about]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def begin(
        self,
        *arguments: str | Path,
        cwd: Path,
        env: Mapping[str, str],
        save_every: float = 2.0,
    ) -> Forked:
        """Start a child."""
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        for path in (out, err):  # the child may be killed before it opens them
            path.touch()
        told = {
            "arguments": [str(one) for one in arguments],
            "cwd": str(cwd),
            "env": dict(env),
            "out": str(out),
            "err": str(err),
            "save_every": save_every,
        }
        return Forked(self, self.ask("begin", told), out, err)

    def command(self, *arguments: str | Path, cwd: Path, env: Mapping[str, str]) -> Outcome:
        """Run a child to its end."""
        return self.begin(*arguments, cwd=cwd, env=env).finish()

    def close(self) -> None:
        """End it."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()


class Pool:
    """Some `Forks`, each used by one trial at a time."""

    def __init__(self, folder: Path, count: int) -> None:
        self._all = [Forks(folder / f"forks{index}") for index in range(count)]
        self._free: queue.SimpleQueue[Forks] = queue.SimpleQueue()
        for one in self._all:
            self._free.put(one)

    @contextlib.contextmanager
    def one(self) -> Iterator[Forks]:
        """One of them, for as long as the trial takes."""
        forks = self._free.get()
        try:
            yield forks
        finally:
            self._free.put(forks)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._all:
            one.close()


def send(child: Child, number: int) -> None:
    """Send a signal to the whole process group of `child`, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def wait_until(there: Callable[[], bool], child: Child, seconds: float = 60.0) -> None:
    """Wait until something is `there`, or the child has ended."""
    end = time.monotonic() + seconds
    while not there() and child.running() and time.monotonic() < end:
        time.sleep(0.004)


def get_ready() -> None:
    """Import all that a child will use, so that it starts with it."""
    import gc

    import torch

    import mnistlab.cli.train
    import mnistlab.experiment
    import mnistlab.report.tables
    import mnistlab.scoring
    import mnistlab.vision  # noqa: F401

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


def _serve() -> None:
    get_ready()
    ended: dict[int, int] = {}
    for line in sys.stdin:
        what, about = json.loads(line)
        answer: int | None
        if what == "begin":
            answer = os.fork()
            if answer == 0:
                become(about)
            with contextlib.suppress(OSError):  # the child does the same; whoever is first
                os.setpgid(answer, answer)
        else:
            if about not in ended:
                pid, status = os.waitpid(about, os.WNOHANG if what == "poll" else 0)
                if pid:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(about)
        print(json.dumps(answer), flush=True)


def become(told: dict[str, Any]) -> None:
    """Be `mnistlab ARGUMENTS` from here on: in a forked child; ends by SystemExit."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    for fd, path in enumerate((os.devnull, told["out"], told["err"])):
        opened = os.open(path, os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT, 0o666)
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv = ["mnistlab", *told["arguments"]]
    from mnistlab import experiment
    from mnistlab.__main__ import main

    experiment.SAVE_EVERY = told["save_every"]
    main()


if __name__ == "__main__":
    _serve()
