"""Pipes, terminals, encodings and homes of any kind: the right exit code and nothing odd in sight.

Every command, with stdout and stderr closed, full, or left by their reader; under the variables
that decide about colours, encodings and folders; on terminals from 1 to 10,000 columns. And
trainings whose terminal is closed: they save, and go on later to the very same weights.
"""

import json
import os
import pty
import re
import signal
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.command import Result, terminal
from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.reliability.processes import CLOSED, Server
from tests.reliability.runs import Training, all_commands, fault_of_message, make_folders

STYLE = re.compile(r"\x1b\[[0-9;]*m")
NO_HOME = "/proc/nowhere"  # a folder that nobody can make
GONE, FULL = "left by its reader", "on a full disk"
Arguments = tuple[str | Path, ...]


@dataclass(frozen=True)
class Around:
    """Surroundings: variables (None: not set), where the streams go, the rest of `Server.start`,
    and whether styles are asked for."""

    variables: dict[str, str | None] = field(default_factory=dict)
    streams: dict[str, str] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    styled: bool = False


OFF_TERMINAL = {
    **{
        f"{' and '.join(names)} {state}": Around(streams=dict.fromkeys(names, state))
        for names in (("out",), ("err",), ("out", "err"))
        for state in ("closed", GONE, FULL)
    },
    "FORCE_COLOR": Around({"FORCE_COLOR": "1"}, styled=True),
    "FORCE_COLOR and NO_COLOR": Around({"FORCE_COLOR": "1", "NO_COLOR": "1"}),
    "an empty FORCE_COLOR": Around({"FORCE_COLOR": "", "TERM": "xterm-256color"}),
    "FORCE_COLOR in ASCII": Around({"FORCE_COLOR": "1"}, {}, {"encoding": "ascii"}, True),
    "no TERM": Around({"TERM": None}),
    "an unknown terminal": Around({"TERM": "nonsense"}),
    "1 column": Around({"COLUMNS": "1", "LINES": "1"}),
    "10,000 columns": Around({"COLUMNS": "10000", "LINES": "10000"}),
    "columns that are no number": Around({"COLUMNS": "many", "LINES": "-3"}),
    **{
        encoding: Around(limits={"encoding": encoding})
        for encoding in ("ascii", "cp1252", "utf-16")
    },
    "no HOME": Around({"HOME": None}),
    "a HOME that is not there": Around({"HOME": NO_HOME, "MNISTLAB_CACHE": None}),
    "a HOME that may not be written": Around(
        {"HOME": "locked", "MNISTLAB_CACHE": None}, {}, {"powerless": True}
    ),
    "a cache that is not there": Around({"MNISTLAB_CACHE": f"{NO_HOME}/cache"}),
}
ON_TERMINAL = {
    "colours": Around({"TERM": "xterm-256color"}, styled=True),
    "TERM=dumb": Around({"TERM": "dumb"}),
    "NO_COLOR": Around({"TERM": "xterm", "NO_COLOR": "1"}),
    "ASCII": Around({"TERM": "xterm"}, {}, {"encoding": "ascii"}, True),
}


def commands(training: Training) -> list[Arguments]:
    run, tree = training.run, training.folder / "data"
    data, into = ("--data", tree), ("--run-dir", training.folder / "runs")
    image = tree / "valid" / "日本" / "0000.png"
    short = ("train", *data, "--epochs", "2", *into)
    return [
        ("--version",),
        short,
        (*short, "--json"),
        (*short, "--seeds", "3", "--quiet"),
        ("train", *data, "--dry-run"),
        ("train", "--resume", run),
        ("train", "--model", "linaer", "--epochs", "0"),
        ("baseline", "pixel-similarity", *data, *into),
        ("eval", run),
        ("eval", run, "--json"),
        ("eval", run, "--min-accuracy", "1", "--data", tree, "--split", "train"),
        ("eval", "nowhere"),
        ("predict", run, image),
        ("predict", run, tree / "none.png"),
        ("report", run, "-o", training.folder / "page.html"),
        ("show", run),
        ("show", run, "--what", "confusion"),
        ("show", image, tree, "--count", "3"),
        ("plot", run, "-o", training.folder / "curves.png"),
        ("lr-find", *data, "--steps", "12"),
        ("eject", run),
        ("lesson",),
        ("lesson", "derivative", "--code"),
        ("runs", "list", "--run-dir", run.parent),
        ("runs", "show", run),
        ("runs", "verify", run),
        ("runs", "compare", run, run),
        ("data", "check", tree),
        ("data", "list"),
    ]


def cases(
    training: Training, names: list[Any], examples: Examples, few: int
) -> list[tuple[Arguments, Any]]:
    """So few commands in these surroundings, drawn; or all, with the help of every one, in all."""
    everything = [*commands(training), *((*names, "--help") for names, _ in all_commands())]
    return Random(9).sample(
        [*product(everything, names)], examples(few, len(everything) * len(names))
    )


def variables(training: Training, around: Around) -> dict[str, str]:
    env = training.env
    for name, value in around.variables.items():
        env.pop(name, None)
        if value == "locked":
            value = str(training.folder / "locked")
            Path(value).mkdir(mode=0o555, exist_ok=True)
        if value is not None:
            env[name] = value
    return env


def test_every_command_ends_well_wherever_its_output_goes(
    training: Training, tally: Tally, examples: Examples
) -> None:
    usual: dict[Arguments, Result] = {}  # how a command ends with plain pipes
    for arguments, name in cases(training, [*OFF_TERMINAL], examples, 8):
        if arguments not in usual:
            usual[arguments] = training.command(*arguments)
        around = OFF_TERMINAL[name]
        opened = {stream: stream_to(state) for stream, state in around.streams.items()}
        got = training.command(
            *arguments, env=variables(training, around), **opened, **around.limits
        )
        for fd in opened.values():
            if fd != CLOSED:
                os.close(fd)
        what = f"{' '.join(map(str, arguments))} with {name}"
        tally.check(what, fault_off_terminal(arguments, usual[arguments], got, around))


def stream_to(state: str) -> int:
    if state == FULL:
        return os.open("/dev/full", os.O_WRONLY)
    if state == GONE:
        read, write = os.pipe()
        os.close(read)
        return write
    return CLOSED


def fault_off_terminal(arguments: Arguments, usual: Result, got: Result, around: Around) -> str:
    code = usual.code
    for name, state in around.streams.items():  # what cannot be written fails, if there is any
        if state == FULL and getattr(usual, name) and code in (0, 3):
            code = 1
    if fault := fault_of_message(got, code):
        return fault
    text = got.out + got.err  # without redraws, and styles that nobody asked for
    if odd := re.search("[\x1b\r].*", STYLE.sub("", text) if around.styled else text):
        return f"a control code: {odd[0][:20]!r}"
    if code == 1 or "out" in around.streams or around.limits.get("encoding") == "utf-16":
        return ""
    if "--json" in arguments and not got.json:
        return "not the one JSON document"
    return "" if bool(got.out) == bool(usual.out) else f"on stdout: {got.out[:200]!r}"


def on_terminal(training: Training, arguments: Arguments, around: Around, columns: int) -> Result:
    """Run a command on a terminal; `out` is all that it shows."""
    with terminal(columns) as (theirs, written):
        env = variables(training, around)
        ended = training.command(*arguments, env=env, terminal=theirs, **around.limits)
    text = b"".join(written).decode("utf-8", "backslashreplace")
    return Result(ended.code, text, text)


def test_every_command_fits_any_terminal(
    training: Training, tally: Tally, examples: Examples
) -> None:
    sizes = [*product(ON_TERMINAL, (1, 20, 80, 10_000))]
    for arguments, (name, columns) in cases(training, sizes, examples, 4):
        around = ON_TERMINAL[name]
        got = on_terminal(training, arguments, around, columns)
        fault = fault_of_message(got, training.command(*arguments).code)
        live = around.variables["TERM"] != "dumb"
        if around.styled and got.out.count("\x1b[?25l") > got.out.count("\x1b[?25h"):
            fault = fault or "the cursor stays hidden"
        elif not around.styled and (code := re.search(STYLE if live else "\x1b", got.out)):
            fault = fault or f"a code on the terminal: {code[0]!r}"
        tally.check(f"{' '.join(map(str, arguments))}, {name}, {columns} columns", fault)


@pytest.mark.trials(1, 4)
def test_a_training_whose_terminal_is_closed_saves_and_goes_on_later(
    trial: int, server: Server, tmp_path: Path
) -> None:
    kind = ("xterm", "dumb")[trial // 2]
    ignored = [signal.SIGHUP] if trial % 2 else []  # as nohup does
    data = ("--data", str(make_folders(tmp_path / "data")))
    training = Training(server, tmp_path, ("train", *data, "--epochs", "40"))
    runs, shown = tmp_path / "runs", b""
    ours, theirs = pty.openpty()
    env = {**training.env, "TERM": kind}
    arguments = (*training.arguments, "--run-dir", str(runs))
    process = training.start(*arguments, env=env, terminal=theirs, ignored=ignored)
    os.close(theirs)
    while b"\n" not in shown.partition(b"accuracy")[2]:  # the header of the rows
        shown += os.read(ours, 64)
    # nobody reads on: long before it has shown all rows it must wait for us
    os.close(ours)
    assert fault_of_message(process.finish(), 0 if ignored else 129) == ""
    [run] = runs.iterdir()
    status = json.loads((run / "run.json").read_text())["status"]
    assert status == ("done" if ignored else "stopped")
    assert training.fault_when_resumed(runs) == ""
