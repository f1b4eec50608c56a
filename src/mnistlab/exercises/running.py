"""A learner's file, run in a process of its own with a time limit, and judged.

The process is a copy of this one where the system can make copies (Linux), so that torch is
imported once; elsewhere it is a new one. It sends what the scenario yielded, as JSON, never as a
pickle; what is expected is computed here, where the learner's code never runs.
"""

import contextlib
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import time
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from mnistlab import system
from mnistlab.errors import ConfigError, RunError
from mnistlab.exercises import EXERCISES, load, number_of
from mnistlab.exercises.kit import Exercise, Verdict, judge
from mnistlab.files import write_file
from mnistlab.language import N_, _
from mnistlab.names import printable
from mnistlab.own_code import SourceCode, trust_code

VERSION = 1  # of the files that `start` writes
SECONDS = 20.0  # a check may take; an endless loop ends there
# A copy of this process, where torch is there already; other systems do not copy a process safely.
PROCESSES = multiprocessing.get_context("fork" if system.LINUX else "spawn")
OPEN = N_("The gap is still open: write your answer there.")
_PRINTED = 4000  # characters of what a learner's file prints that are shown
_LATE = N_("It did not end within {seconds:g} seconds: is a loop endless?")
_ENDED = N_("Your file ended the program before it gave an answer (exit code {code}).")
_BORROWED = N_("{name} is the tool's own: the exercise is to write it yourself.")
_CHANGED = N_("Your file changes {name}, which is not its own: leave what you import as it is.")
_MARK = re.compile(r"^# mnistlab exercise (\w+) version (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Check:
    """What became of a file. printed: what it printed, at most `_PRINTED` characters."""

    file: Path
    exercise: str
    verdict: Verdict
    printed: str
    seconds: float


def file_name(name: str) -> str:
    """The file of an exercise: `02_mnist_distance.py`."""
    return f"{number_of(name):02}_{name}.py"


def file_text(name: str) -> str:
    """What `start` writes for an exercise: its mark, the task as comments, the code."""
    exercise = load(name)
    title, task = _(EXERCISES[name][1]), _(exercise.task)
    how = f"mnistlab exercise check {file_name(name)}"
    comments = [f"# mnistlab exercise {name} version {VERSION}", "#", f"# {title}", "#"]
    comments += [f"# {line}".rstrip() for line in task.strip().splitlines()]
    return "\n".join([*comments, "#", f"# {how}", "", exercise.file_code])


def exercise_of(file: Path) -> tuple[str, str]:
    """The exercise that a file is of, by its mark, and its text.

    Raises ConfigError for a file that is not one, is empty, of a newer version or of no exercise.
    """
    where = printable(file)
    if file.is_dir():
        how = f"mnistlab exercise status {where}"
        raise ConfigError(f"{where}: is a folder; {how} checks the files in it")
    try:
        text = file.read_text("utf-8-sig")  # also with the line ends of Windows
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not a text in UTF-8; save it as UTF-8") from error
    anew = "mnistlab exercise start writes the files anew, in a new folder"
    if not (found := _MARK.search(text)):
        what = (
            "is empty" if not text.strip() else "has no line `# mnistlab exercise NAME version N`"
        )
        raise ConfigError(f"{where}: {what}; {anew}")
    name, version = found[1], int(found[2])
    if version > VERSION:
        raise ConfigError(
            f"{where}: made for a newer mnistlab (version {version}); update mnistlab"
        )
    if name not in EXERCISES:
        raise ConfigError(f"{where}: exercise {name}: this mnistlab has no such exercise; {anew}")
    own = re.sub(r"^\d+_|\.py$", "", file.name)
    if own != name and own in EXERCISES:
        raise ConfigError(f"{where}: its first line says {name}, its name {own}; which one is it?")
    return name, text


def files_in(folder: Path) -> list[Path]:
    """The files of exercises in a folder, in order. Raises ConfigError where there is none."""
    files = [folder / file_name(name) for name in EXERCISES if (folder / file_name(name)).is_file()]
    if not files:
        how = f"mnistlab exercise start {printable(folder)} writes them"
        raise ConfigError(f"{printable(folder)}: no file of an exercise there; {how}")
    return files


def start(folder: Path) -> list[Path]:
    """Write the files of all exercises to `folder`, but those that are there; the new ones.

    Raises RunError where they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{printable(folder)}: {error.strerror or error}") from error
    files = {folder / file_name(name): name for name in EXERCISES}
    new = [file for file in files if not file.exists()]
    for file in new:
        write_file(file, file_text(files[file]).encode())
    return new


def check_file(file: Path, seconds: float = SECONDS) -> Check:
    """Run and judge the answer in `file`. Raises ConfigError for what `exercise_of` refuses."""
    name, text = exercise_of(file)
    started, exercise = time.perf_counter(), load(name)
    if text.rstrip().endswith(exercise.file_code.strip()):
        to_do = Verdict(False, message=(_(OPEN),))
        return Check(file, name, to_do, "", 0.0)
    # The threads of a pool would not be there in a copy of this process; one thread has no pool.
    torch.set_num_threads(1)
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(  # type: ignore[attr-defined]
        target=_answer, args=(there, name, file.with_suffix(".py").name, text, seconds)
    )
    # Python 3.12 warns of the threads that this process may have: a copy of it uses none
    with warnings.catch_warnings(action="ignore"):
        process.start()
    there.close()
    printed, reply, late = "", None, False
    try:
        _ours = exercise.ours  # on another core, while the learner's is computed
        while reply is None and not late:
            late = not here.poll(max(0.0, started + seconds - time.perf_counter()))
            if not late:
                message = json.loads(here.recv_bytes())
                printed += message.get("printed", "")
                reply = message.get("reply")
    except EOFError:  # it ended without an answer
        process.join(1)
    finally:  # also at Ctrl-C, else this process would wait for it at its own end
        code = process.exitcode
        process.kill()
        process.join()
        here.close()
    if late:
        reply = {"failed": _LATE, "values": {"seconds": seconds}}
    reply = reply or {"failed": _ENDED, "values": {"code": code}}
    if "failed" in reply:
        verdict = Verdict(False, message=(_(reply["failed"]).format(**reply["values"]),))
    else:
        verdict = judge(exercise, [(title, value) for title, value in reply["results"]])
    return Check(file, name, verdict, printed, time.perf_counter() - started)


# In the learner's process


class _Printed(io.TextIOBase):
    """What the learner's file prints goes to the parent at once, as the end may come any time."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.left = connection, _PRINTED

    def write(self, text: str) -> int:
        if self.left > 0:
            self.connection.send_bytes(json.dumps({"printed": text[: self.left]}).encode())
            self.left -= len(text)
        return len(text)


def _answer(connection: Connection, name: str, file: str, text: str, seconds: float) -> None:
    """Run the learner's `text` in this process, and send what the scenario made of it."""
    if hasattr(signal, "alarm"):  # ends this process also where the one that waits was killed
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C the one that waits ends this process
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # what programs print that it starts: stdout may be the document of --json
    printed: Any = _Printed(connection)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        reply = _reply(load(name), file, text)
    with contextlib.suppress(OSError):
        connection.send_bytes(json.dumps({"reply": reply}).encode())


def _reply(exercise: Exercise, file: str, text: str) -> dict[str, Any]:
    if re.search(r"^ *(from|import) mnistlab", text, re.MULTILINE):
        for module in ("models", "training"):  # and what these import: as they are before it runs
            import_module(f"mnistlab.{module}")
    before, answer = dict(_functions()), {}
    for own in exercise.right:
        try:
            code = SourceCode(f"{file}:{own}", text)
            trust_code(code.sha256)  # the learner named the file
            answer[own] = code.load()
        except ConfigError as error:
            return {"failed": "{text}", "values": {"text": str(error)}}
        if str(getattr(answer[own], "__module__", "")).startswith("mnistlab."):
            return {"failed": _BORROWED, "values": {"name": own}}
    results = exercise.results(**answer)
    after = dict(_functions())
    for key, value in before.items():
        found = after.get(key)
        # torch.optim, when it is first used, wraps torch.manual_seed itself
        scope = getattr(found, "__globals__", {})
        if found is not value and scope.get("__name__") != "torch._compile":
            return {"failed": _CHANGED, "values": {"name": key}}
    return {"results": results}


def _functions() -> Iterator[tuple[str, Any]]:
    """Name and object of all that the tool and torch offer, to see whether it was changed."""
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("mnistlab.")]
    owners: list[Any] = [*modules, torch, torch.Tensor, torch.nn, torch.nn.functional]
    for owner in owners:
        where = owner.__name__
        for name, value in list(vars(owner).items()):
            if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type):
                yield f"{where}.{name}", value
                if isinstance(value, type) and value.__module__.startswith("mnistlab."):
                    for own, method in list(vars(value).items()):
                        if isinstance(method, types.FunctionType):
                            yield f"{where}.{name}.{own}", method
