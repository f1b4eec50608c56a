"""Pipes, terminals, encodings and homes of any kind: the right exit code and nothing odd in sight.

Every command, with stdout and stderr closed, full, or left by their reader; under the variables
that decide about colours, encodings and folders; on terminals from 1 to 10,000 columns. And
trainings whose terminal is closed: they save, and go on later to the very same weights.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from campaign.commands import Outcome
from campaign.forge import CLOSED, GONE, Trial, forges
from campaign.ground import Ground, wrongly_told
from campaign.images import make_folders
from campaign.screens import on_terminal, terminal
from campaign.tally import CORES, Tally, side_by_side

Fault = str | None
Trials = Iterable[tuple[str, Callable[[], Fault]]]
Arguments = tuple[str | Path, ...]

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_NO_HOME = "/proc/nowhere"  # a folder that nobody can make


@dataclass(frozen=True)
class Around:
    """Surroundings: in words, variables (None: not set), the rest of a Trial, what is styled."""

    told: str
    variables: Mapping[str, str | None] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    styled: bool = False


OFF_TERMINALS = (
    Around("stdout closed", more={"out": CLOSED}),
    Around("stderr closed", more={"err": CLOSED}),
    Around("stdout and stderr closed", more={"out": CLOSED, "err": CLOSED}),
    Around("stdout left by its reader", more={"out": GONE}),
    Around("stderr left by its reader", more={"err": GONE}),
    Around("both left by their reader", more={"out": GONE, "err": GONE}),
    Around("stdout on a full disk", more={"out": "/dev/full"}),
    Around("stderr on a full disk", more={"err": "/dev/full"}),
    Around("both on a full disk", more={"out": "/dev/full", "err": "/dev/full"}),
    Around("FORCE_COLOR", {"FORCE_COLOR": "1"}, styled=True),
    Around("FORCE_COLOR and NO_COLOR", {"FORCE_COLOR": "1", "NO_COLOR": "1"}),
    Around("an empty FORCE_COLOR", {"FORCE_COLOR": "", "TERM": "xterm-256color"}),
    Around("FORCE_COLOR in ASCII", {"FORCE_COLOR": "1"}, {"encoding": "ascii"}, styled=True),
    Around("no TERM", {"TERM": None}),
    Around("a terminal nobody knows", {"TERM": "nonsense"}),
    Around("1 column", {"COLUMNS": "1", "LINES": "1"}),
    Around("10,000 columns", {"COLUMNS": "10000", "LINES": "10000"}),
    Around("columns that are no number", {"COLUMNS": "many", "LINES": "-3"}),
    Around("ASCII", more={"encoding": "ascii"}),
    Around("Windows-1252", more={"encoding": "cp1252"}),
    Around("UTF-16", more={"encoding": "utf-16"}),
    Around("no HOME", {"HOME": None}),
    Around("a HOME that is not there", {"HOME": _NO_HOME, "MNISTLAB_CACHE": None}),
    Around("a HOME that may not be written", {"HOME": "{locked}", "MNISTLAB_CACHE": None},
           {"powerless": True}),
    Around("a cache that is not there", {"MNISTLAB_CACHE": f"{_NO_HOME}/cache"}),
)  # fmt: skip
ON_TERMINALS = tuple(
    Around(f"{columns} columns, {told}", variables, {"columns": columns, **more}, styled=styled)
    for columns in (1, 20, 80, 10_000)
    for told, variables, more, styled in (
        ("colours", {"TERM": "xterm-256color"}, {}, True),
        ("TERM=dumb", {"TERM": "dumb"}, {}, False),
        ("NO_COLOR", {"TERM": "xterm", "NO_COLOR": "1"}, {}, False),
        ("ASCII", {"TERM": "xterm"}, {"encoding": "ascii"}, True),
    )
)


def quick(folder: Path) -> Tally:
    """Every command in one of the surroundings in turn, in eight seconds."""
    with forges(1) as forked:
        ground = _ground(folder, forked)
        commands = _commands(ground)
        trials = [
            *_off_terminals(ground, commands, every=len(OFF_TERMINALS)),
            *_on_terminals(ground, commands, every=2 * len(ON_TERMINALS)),
            *_lost_terminals(ground, ("xterm",), ([],)),
            *_real_processes(ground, _quick_to_start(ground)[:3], every=12),
        ]
        return side_by_side(_fault_of, trials, 1)


def full(folder: Path) -> Tally:
    """Every command in all surroundings."""
    with forges(CORES) as forked:
        ground = _ground(folder, forked)
        commands = [*_commands(ground), *_more_commands(ground)]
        commands += [(*named, "--help") for named in _all_commands()]
        trials = [
            *_off_terminals(ground, commands, every=1),
            *_on_terminals(ground, commands, every=1),
            *_lost_terminals(ground, ("xterm", "dumb"), ([], ["SIGHUP"])),
            *_real_processes(ground, _quick_to_start(ground), every=1),
            *_real_processes(ground, [_plainly_named(folder)], every=1),
        ]
        return side_by_side(_fault_of, trials, CORES)


def _fault_of(trial: tuple[str, Callable[[], Fault]]) -> Fault:
    fault = trial[1]()
    return fault and f"{trial[0]}: {fault}"


def _ground(folder: Path, forked: Any) -> Ground:
    ground = Ground(folder, forked, ("žluť", "日本"))
    (folder / "locked").mkdir(mode=0o555)
    return ground


def _commands(ground: Ground) -> list[Arguments]:
    run, data = ground.done, ("--data", ground.tree)
    image = next((ground.tree / "valid" / ground.classes[1]).iterdir())
    into = ("--run-dir", ground.folder / "runs")
    short = ("--epochs", "2")
    return [
        ("--version",),
        ("train", *data, *short, *into),
        ("train", *data, *short, *into, "--json"),
        ("train", *data, "--dry-run"),
        ("train", "--resume", run),
        ("train", "--model", "linaer", "--epochs", "0"),
        ("baseline", "pixel-similarity", *data, *into),
        ("eval", run),
        ("eval", run, "--json"),
        ("eval", run, "--min-accuracy", "1", "--data", ground.tree, "--split", "train"),
        ("predict", run, image),
        ("report", run, "-o", ground.folder / "page.html"),
        ("show", run),
        ("show", image, ground.tree, "--count", "3"),
        ("lr-find", *data, "--steps", "12"),
        ("eject", run),
        ("lesson",),
        ("lesson", "derivative", "--code"),
        ("runs", "list", "--run-dir", run.parent),
        ("runs", "show", run),
        ("runs", "verify", run),
        ("data", "check", ground.tree),
        ("data", "list"),
    ]


def _more_commands(ground: Ground) -> list[Arguments]:
    """More of the same, and those that take longer."""
    run, data = ground.done, ("--data", ground.tree)
    into = ("--run-dir", ground.folder / "runs")
    return [
        ("train", *data, "--epochs", "2", *into, "--quiet"),
        ("train", *data, "--epochs", "2", *into, "--seeds", "3"),
        ("eval", "nowhere"),
        ("predict", run, ground.tree / "none.png"),
        ("plot", run, "-o", ground.folder / "curves.png"),
        ("show", run, "--what", "confusion"),
        ("lesson", "derivative"),
        ("ladder", *data),
        ("runs", "compare", run, run),
    ]


def _quick_to_start(ground: Ground) -> list[Arguments]:
    """Those that need no torch, and have something to say on stdout."""
    return [
        ("runs", "list", "--run-dir", ground.done.parent),
        ("lesson", "--json"),
        ("train", "--help"),
        ("--version",),
        ("data", "list"),
        ("runs", "show", ground.done, "--quiet"),
    ]


def _plainly_named(folder: Path) -> Arguments:
    """One that needs torch, and files whose names even the C locale can say."""
    return ("train", "--dry-run", "--data", make_folders(folder / "plain"))


def _all_commands() -> list[tuple[str, ...]]:
    """Every command there is, with the groups."""
    from typer.main import get_command

    from mnistlab.cli.app import app

    found: list[tuple[str, ...]] = []
    waiting: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    for names, one in waiting:
        found.append(names)
        waiting += [((*names, name), more) for name, more in getattr(one, "commands", {}).items()]
    return found


def _off_terminals(ground: Ground, commands: list[Arguments], every: int) -> Trials:
    for place, (arguments, around) in enumerate(product(commands, OFF_TERMINALS)):
        if (place + place // len(OFF_TERMINALS)) % every == 0:
            yield _name(arguments, around), partial(_off_terminal, ground, arguments, around)


def _on_terminals(ground: Ground, commands: list[Arguments], every: int) -> Trials:
    for place, (arguments, around) in enumerate(product(commands, ON_TERMINALS)):
        if (place + 5 * (place // len(ON_TERMINALS))) % every == 0:
            yield _name(arguments, around), partial(_on_terminal, ground, arguments, around)


def _name(arguments: Arguments, around: Around) -> str:
    return f"{' '.join(map(str, arguments))} with {around.told}"


def _environment(ground: Ground, around: Around) -> dict[str, str]:
    env = dict(ground.env)
    for name, value in around.variables.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value.format(locked=ground.folder / "locked")
    return env


def _usual(ground: Ground, arguments: Arguments) -> Outcome:
    """How a command ends with plain pipes; run once."""
    if arguments not in ground.usual:
        ground.usual[arguments] = ground.run(*arguments)
    return ground.usual[arguments]


def _off_terminal(ground: Ground, arguments: Arguments, around: Around) -> Fault:
    usual = _usual(ground, arguments)
    got = ground.run(*arguments, env=_environment(ground, around), **around.more)
    code = usual.code
    for name in ("out", "err"):  # what cannot be written fails, if there is anything to write
        if around.more.get(name) == "/dev/full" and getattr(usual, name) and code in (0, 3):
            code = 1
    fault = wrongly_told(got, code) or _odd(got.out + got.err, around)
    if fault or code == 1 or around.more.get("out") or "UTF-16" in around.told:
        return fault
    if "--json" in arguments and not json.loads(got.out):
        return "not the one JSON document"
    return None if bool(got.out) == bool(usual.out) else f"on stdout: {got.out[:200]!r}"


def _on_terminal(ground: Ground, arguments: Arguments, around: Around) -> Fault:
    usual = _usual(ground, arguments)
    got = on_terminal(ground, arguments, _environment(ground, around), **around.more)
    fault = wrongly_told(got, usual.code)
    if fault or around.styled:
        return fault or (None if _restored(got.out) else "the cursor stays hidden")
    live = around.variables["TERM"] != "dumb"
    codes = _STYLE.search(got.out) if live else re.search("\x1b", got.out)
    return f"a code on the terminal: {codes[0]!r}" if codes else None


def _odd(text: str, around: Around) -> Fault:
    """What does not belong into a file: redraws, and colours that nobody asked for."""
    plain = _STYLE.sub("", text) if around.styled else text
    odd = re.search("[\x1b\r]", plain)
    return f"a control code: {plain[odd.start() :][:20]!r}" if odd else None


def _restored(text: str) -> bool:
    return text.count("\x1b[?25l") <= text.count("\x1b[?25h")


def _lost_terminals(ground: Ground, kinds: tuple[str, ...], told: tuple[list[str], ...]) -> Trials:
    """A training whose terminal is closed; also one that was told to take no notice."""
    ground.run("train", *_long(ground), "--run-dir", ground.folder / "long")
    for kind, ignored in product(kinds, told):
        trial = partial(_lost_terminal, ground, kind, ignored)
        yield f"a terminal ({kind}) that is closed, ignored: {ignored}", trial


def _long(ground: Ground) -> tuple[str, ...]:
    return ("--data", str(ground.tree), "--epochs", "400", "--batch-size", "5")


def _lost_terminal(ground: Ground, kind: str, ignored: list[str]) -> Fault:
    runs = ground.folder / f"lost-{kind}-{len(ignored)}"
    settings = _long(ground)
    env = {**ground.env, "TERM": kind}
    with terminal(80) as (master, name), ground.forges.one() as forge:
        arguments = ["train", *settings, "--run-dir", str(runs)]
        forge.begin(Trial(arguments, str(ground.folder), env, terminal=name, ignored=ignored))
        shown = b""
        while b"\n" not in shown.partition(b"accuracy")[2]:  # the header of the rows
            piece = os.read(master, 64)
            shown += piece
        # nobody reads on: long before it has shown all rows it must wait for us
        os.close(master)
        ended = forge.finish()
    if ended.code != (0 if ignored else 129):
        return f"exit {ended.code}: {ended.err}"
    [run] = runs.iterdir()
    status = json.loads((run / "run.json").read_text())["status"]
    if status != ("done" if ignored else "stopped"):
        return (
            f"its run is left {status}"  # by a kill: what it had done since the last save is lost
        )
    again = ground.run("train", "--resume", run, "--json")
    if fault := wrongly_told(again, 0):
        return fault
    [long] = (ground.folder / "long").iterdir()
    expected = json.loads((long / "run.json").read_text())["result"]["weights_sha256"]
    same = json.loads(again.out)["weights_sha256"] == expected
    return None if same else "resumed, it ends with other weights"


# What a shell puts around a command `{m}`, and the exit code; None: 1 if there is a result.
_SHELLS: tuple[tuple[str, int | None], ...] = (
    ("{m} | head -1", 0),
    ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {m}", 0),
    ("{m} >/dev/full", None),
    ("{m} >&-", 0),
    ("{m} 2>&-", 0),
    ("{m} >&- 2>&- <&-", 0),
    ("{m} 2>/dev/full >/dev/full", None),
    ("PYTHONIOENCODING=cp1252 {m}", 0),
    ("PYTHONIOENCODING=ascii:strict {m} | cat", 0),
    ("COLUMNS=1 {m} | cat", 0),
    ("env -i PYTHONPATH=$PYTHONPATH MNISTLAB_CACHE=$MNISTLAB_CACHE {m}", 0),
    ("TERM= NO_COLOR= FORCE_COLOR= {m} | cat", 0),
)


def _real_processes(ground: Ground, commands: Iterable[Arguments], every: int) -> Trials:
    """The same in a shell, where Python makes its streams itself."""
    for place, (arguments, (shell, code)) in enumerate(product(commands, _SHELLS)):
        if (place + place // len(_SHELLS)) % every == 0:
            words = shlex.join([sys.executable, "-m", "mnistlab", *map(str, arguments)])
            line = f"{shell.format(m=words)}; exit ${{PIPESTATUS[0]}}"
            told = shell.format(m=" ".join(map(str, arguments)))
            yield told, partial(_real_process, ground, line, code)


def _real_process(ground: Ground, line: str, code: int | None) -> Fault:
    got = subprocess.run(
        ["bash", "-c", line], cwd=ground.folder, env=ground.env, capture_output=True, timeout=120,
        text=True, errors="backslashreplace", check=False,
    )  # fmt: skip
    outcome = Outcome(got.returncode, got.stdout, got.stderr)
    if "Exception ignored" in got.stderr:
        return f"Python complains at the end: {got.stderr[-300:]}"
    return wrongly_told(outcome, 1 if code is None else code) or _odd(
        got.stdout + got.stderr, Around(line)
    )
