"""Commands as processes: to be killed, limited, measured, and connected to anything.

A command of its own takes two seconds, nearly all of them the import of torch. So one server has
everything imported and forks itself for each command: a child has its own memory, files, limits
and signals as any process, and is there in milliseconds. Its runs are saved after every epoch.
`python -m tests.reliability.processes` is that server; `Server` starts it and talks to it.
"""

import contextlib
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.command import Result, spawn
from tests.reliability.steps import give_up_power, watch_steps

CHECKOUT = Path(__file__).parents[2]
TIMEOUT = 120.0  # seconds; a command that takes longer hangs
CAPTURED, CLOSED = -1, -2  # for `out` and `err`, beside a file descriptor
KILLED = 128 + signal.SIGKILL
_ALSO_IMPORTED = ("rich.live", "rich.progress", "rich.table", "matplotlib.backends.backend_agg")


class Process:
    """`mnistlab ARGUMENTS` under way, in a process group of its own."""

    def __init__(
        self, pid: int, wait: Callable[[bool], list[float] | None], pipes: dict[str, int]
    ) -> None:
        self.pid, self._wait, self._pipes = pid, wait, pipes
        self._ended: list[float] | None = None  # exit code, seconds, megabytes

    def running(self) -> bool:
        """Whether it has not ended yet."""
        self._ended = self._ended or self._wait(False)
        return self._ended is None

    def send(self, number: int) -> None:
        """Send a signal to its whole process group, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait until `reached()`, or until it has ended."""
        end = time.monotonic() + TIMEOUT
        while not reached() and self.running() and time.monotonic() < end:
            time.sleep(0.004)

    def finish(self) -> Result:
        """Wait for its end; one that hangs is killed."""
        watch = threading.Timer(TIMEOUT, self.send, (signal.SIGKILL,))
        watch.start()
        ended = self._ended or self._wait(True)
        watch.cancel()
        assert ended is not None
        code, seconds, megabytes = ended
        texts = {"out": "", "err": ""}
        for name, fd in self._pipes.items():
            with open(fd, "rb") as stream:
                texts[name] = stream.read().decode("utf-8", "backslashreplace")
        return Result(
            int(128 - code if code < 0 else code), seconds=seconds, megabytes=megabytes, **texts
        )


def _pipe() -> tuple[int, int]:
    """A pipe with room for all that a command writes, so that it is read after the end."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 2**20)
    return read, write


def start_real(*arguments: str | Path, cwd: Path, env: Mapping[str, str]) -> Process:
    """Start `python -m mnistlab ARGUMENTS` as a user does, from its first line on."""
    (out, for_out), (err, for_err) = _pipe(), _pipe()
    streams = {"stdin": subprocess.DEVNULL, "stdout": for_out, "stderr": for_err}
    process = spawn(*arguments, cwd=cwd, env=dict(env), start_new_session=True, **streams)
    os.close(for_out)
    os.close(for_err)

    def wait(block: bool) -> list[float] | None:
        code = process.wait() if block else process.poll()
        return None if code is None else [code, 0.0, 0.0]

    return Process(process.pid, wait, {"out": out, "err": err})


class Server:
    """A process that forks itself for each command."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=CHECKOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def start(
        self,
        *arguments: str | Path,
        cwd: Path,
        env: Mapping[str, str],
        out: int = CAPTURED,
        err: int = CAPTURED,
        terminal: int | None = None,
        **limits: Any,
    ) -> Process:
        """Start a command. `terminal` is its controlling one, in place of all three streams;
        `limits` are those of `_become`."""
        streams = {0: os.open(os.devnull, os.O_RDONLY)}
        ours, pipes = [streams[0]], {}
        if terminal is not None:
            streams = dict.fromkeys(range(3), terminal)
            out = err = terminal
        for number, name, wanted in ((1, "out", out), (2, "err", err)):
            if wanted == CAPTURED:
                pipes[name], streams[number] = _pipe()
                ours.append(streams[number])
            elif wanted != CLOSED:
                streams[number] = wanted
        request = {
            "arguments": [*map(str, arguments)],
            "cwd": str(cwd),
            "env": dict(env),
            "streams": list(streams),
            "terminal": terminal is not None,
        }
        message = json.dumps(["start", request | limits]).encode()
        socket.send_fds(self._channel, [message], list(streams.values()))
        for fd in ours:
            os.close(fd)
        pid = int(self._answer())

        def wait(block: bool) -> list[float] | None:
            self._channel.send(json.dumps(["wait" if block else "poll", pid]).encode())
            ended: list[float] | None = self._answer()
            return ended

        return Process(pid, wait, pipes)

    def run(self, *arguments: str | Path, **options: Any) -> Result:
        """Run a command to its end."""
        return self.start(*arguments, **options).finish()

    def close(self) -> None:
        """End the server."""
        self._channel.close()
        self._process.wait(timeout=30)

    def _answer(self) -> Any:
        return json.loads(self._channel.recv(65536))


# the server


def _serve(channel: socket.socket) -> None:
    import mnistlab.cli.app
    from mnistlab.devices import torchvision

    torchvision()
    names = [module.name for module in pkgutil.walk_packages(mnistlab.__path__, "mnistlab.")]
    for name in (*names, *_ALSO_IMPORTED):
        with contextlib.suppress(ImportError):  # matplotlib need not be there
            importlib.import_module(name)
    saving = [module for module in [*sys.modules.values()] if hasattr(module, "SAVE_EVERY")]
    assert saving, "no module of mnistlab says how often a run is saved"
    for module in saving:
        module.SAVE_EVERY = -1.0  # type: ignore[attr-defined]
    gc.freeze()
    if not (nothing := os.fork()):
        os._exit(0)
    at_rest = os.wait4(nothing, 0)[2].ru_maxrss
    while message := socket.recv_fds(channel, 2**20, 3):
        if not message[0]:
            return
        what, about = json.loads(message[0])
        if what == "start":
            if not os.fork():
                _become(channel, message[1], **about)
            for fd in message[1]:
                os.close(fd)
            continue
        pid, status, used = os.wait4(about, os.WNOHANG if what == "poll" else 0)
        code, seconds = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        figures = [code, seconds, (used.ru_maxrss - at_rest) / 1024] if pid else None
        channel.send(json.dumps(figures).encode())


def _become(
    channel: socket.socket,
    fds: list[int],
    *,
    arguments: list[str],
    cwd: str,
    env: dict[str, str],
    streams: list[int],
    terminal: bool,
    encoding: str = "utf-8",
    ignored: tuple[int, ...] = (),
    file_bytes: int | None = None,
    killed_by_size: bool = False,
    powerless: bool = False,
    at_step: tuple[int, str, str] | None = None,
) -> None:
    """In the fork: run a command in these surroundings, and end.

    `encoding` is that of stdout and stderr, `ignored` are signals as under nohup, `file_bytes` is
    the most that a file may have (`killed_by_size`: a write beyond ends the process in its middle),
    `powerless` holds root to permissions, `at_step` is (number, action of ACTIONS, folder).
    """
    code = 70
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if killed_by_size else signal.SIG_IGN)
        channel.send(str(os.getpid()).encode())  # from now on it hears signals
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        if terminal:
            fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
        for target in range(3):
            if target in streams:
                os.dup2(fds[streams.index(target)], target)
            else:
                os.close(target)
        os.closerange(3, 256)
        for target, name in enumerate(("stdin", "stdout", "stderr")):  # as Python makes them
            options: Any = {} if target == 0 else {"mode": "w", "encoding": encoding}
            closed = target not in streams
            setattr(sys, name, None if closed else os.fdopen(target, closefd=False, **options))
        if at_step is not None:
            watch_steps(*at_step)
        if file_bytes is not None:
            most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, most))
        if powerless:
            give_up_power()
        sys.argv = ["mnistlab", *arguments]
        from mnistlab.__main__ import main

        main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        with contextlib.suppress(OSError):
            os.write(2, traceback.format_exc().encode())
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for who started it
    _serve(socket.socket(fileno=int(sys.argv[1])))
