"""The process behind a `Forge`: it forks, and in the fork the surroundings are put in place."""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import selectors
import signal
import sys
import time
import traceback
from typing import Any

from campaign.commands import TIMEOUT
from campaign.forge import CAPTURED, CLOSED, GONE, Trial
from campaign.sabotage import at_write, give_up_power

_DRAWING = ("rich.live", "rich.progress", "rich.table", "rich.progress_bar")
_PLOTTING = ("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.ticker")


def serve(*, light: bool) -> None:
    """Fork a process for each line on stdin; answer with its id, then with how it ended."""
    _import(light)
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    gc.freeze()
    for line in requests:
        trial = Trial(**json.loads(line))
        pid, pipes = _fork(trial)
        answers.write(json.dumps({"pid": pid}) + "\n")
        answers.flush()
        answers.write(json.dumps(_outcome(pid, pipes)) + "\n")
        answers.flush()


def _import(light: bool) -> None:
    import mnistlab.__main__
    import mnistlab.cli.app
    import mnistlab.config

    names: list[str] = []
    if not light:
        names += [found.name for found in pkgutil.walk_packages(mnistlab.__path__, "mnistlab.")]
        names += [*_DRAWING, *_PLOTTING]
    for name in names:
        with contextlib.suppress(ImportError):  # matplotlib need not be there
            importlib.import_module(name)


def _fork(trial: Trial) -> tuple[int, dict[str, int]]:
    ends = {name: os.pipe() for name in ("out", "err")}
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = _command(trial, {name: write for name, (_, write) in ends.items()})
        except BaseException:
            with contextlib.suppress(OSError):
                os.write(2, traceback.format_exc().encode())
        os._exit(code)
    for _, write in ends.values():
        os.close(write)
    return pid, {name: read for name, (read, _) in ends.items()}


def _command(trial: Trial, pipes: dict[str, int]) -> int:
    """In the fork: put the surroundings in place, run the command, give its exit code."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in trial.ignored:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.chdir(trial.cwd)
    os.environ.clear()
    os.environ.update(trial.env)
    for place, value in trial.values.items():
        module, _, name = place.partition(":")
        setattr(importlib.import_module(module), name, value)
    for module in trial.missing:
        sys.modules[module] = None  # type: ignore[assignment]
    if trial.at_write is not None:
        at_write(*trial.at_write)
    _connect(trial, pipes)
    if trial.file_bytes is not None:
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (trial.file_bytes, most))
    if trial.powerless:
        give_up_power()
    sys.argv = ["mnistlab", *trial.arguments]
    from mnistlab.__main__ import main

    try:
        main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0


def _connect(trial: Trial, pipes: dict[str, int]) -> None:
    terminal = os.open(trial.terminal, os.O_RDWR) if trial.terminal else None
    for fd, name in ((1, "out"), (2, "err")):
        wanted = getattr(trial, name)
        if wanted == CLOSED:
            os.close(fd)
        elif wanted == GONE:
            read, write = os.pipe()
            os.close(read)
            os.dup2(write, fd)
        elif wanted != CAPTURED:
            os.dup2(os.open(wanted, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), fd)
        else:
            os.dup2(pipes[name] if terminal is None else terminal, fd)
        # as Python itself makes them when it starts
        closed = wanted == CLOSED
        stream = None if closed else open(fd, "w", encoding=trial.encoding, closefd=False)  # noqa: SIM115
        setattr(sys, f"std{name}", stream)
    if terminal is not None:
        os.dup2(terminal, 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.closerange(3, 256)  # also what this process talks through


def _outcome(pid: int, pipes: dict[str, int]) -> dict[str, Any]:
    """Read both pipes to their ends; a process that hangs is killed."""
    got: dict[str, bytes] = dict.fromkeys(pipes, b"")
    until = time.monotonic() + TIMEOUT
    with selectors.DefaultSelector() as selector:
        for name, fd in pipes.items():
            selector.register(fd, selectors.EVENT_READ, name)
        while selector.get_map():
            for key, _ in selector.select(max(0.0, until - time.monotonic())):
                piece = os.read(key.fd, 65536)
                got[key.data] += piece
                if not piece:
                    selector.unregister(key.fd)
                    os.close(key.fd)
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                got["err"] += f"\nstill running after {TIMEOUT:g} s".encode()
                until += TIMEOUT
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = {name: text.decode("utf-8", "backslashreplace") for name, text in got.items()}
    return {"code": 128 - code if code < 0 else code, **texts}
