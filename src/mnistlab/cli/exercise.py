"""`mnistlab exercise`: the chapter as gaps to fill, each checked against the tool's own answer."""

import contextlib
import textwrap
import time
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mnistlab.cli.output import Output
from mnistlab.errors import CheckError, ConfigError
from mnistlab.exercises import EXERCISES, load, number_of
from mnistlab.language import _, folded
from mnistlab.names import printable

if TYPE_CHECKING:
    from mnistlab.exercises.running import Check

FOLDER = Path("exercises")
_POLL = 0.1  # seconds between two looks at the files

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder with your files.")]
Hint = Annotated[int, typer.Option(metavar="1|2|3", min=0, max=3, help="So many hints.")]
Seconds = Annotated[
    float,
    typer.Option(metavar="X", min=0.1, max=3600, help="How long an answer may take, in seconds."),
]


class ExerciseGroup(TyperGroup):
    """`mnistlab exercise NAME` is `mnistlab exercise show NAME`, also with a typing error."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        meant = args[0] not in self.commands and get_close_matches(args[0], EXERCISES)
        return super().resolve_command(ctx, ["show", *args] if meant else args)


def start(out: Output, folder: Folder = FOLDER) -> None:
    """Write the files of all exercises into a folder of yours; those that are there stay."""
    from mnistlab.exercises.running import start

    new = start(folder)
    out.document({"folder": str(folder), "written": [file.name for file in new]})
    out.result(_("{n} files written to {folder}").format(n=len(new), folder=printable(folder)))
    out.notice(_("go on with: {command}").format(command=f"mnistlab exercise next {folder}"))


def show(
    out: Output,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which exercise.")],
    hint: Hint = 0,
) -> None:
    """Show the task of an exercise, and hints if you ask for them."""
    exercise = load(name)
    hints = exercise.hints.splitlines()[:hint]
    document = {"exercise": name, "title": EXERCISES[name][1], "task": exercise.task}
    out.document(document | {"hints": hints})
    out.result(f"{number_of(name)}  {name}: {_(EXERCISES[name][1])}", "", _(exercise.task))
    out.result(*_hints(name, hint))


def check(
    out: Output,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of exercises.")],
    hint: Hint = 0,
    seconds: Seconds = 20.0,
) -> None:
    """Check answers against the tool's own functions; exit 3 if one is not right."""
    from mnistlab.exercises.running import check_file

    checks = [check_file(file, seconds) for file in files]
    for one in checks:
        out.result(*_lines(out, one))
        if not one.verdict.passed:
            out.result(*_hints(one.exercise, hint))
    _close(out, checks)
    if missed := [one.exercise for one in checks if not one.verdict.passed]:
        raise CheckError(f"not right yet: {', '.join(missed)}")
    command = f"mnistlab exercise next {printable(files[-1].parent)}"
    out.notice(_("go on with: {command}").format(command=command))


def status(out: Output, folder: Folder = FOLDER, seconds: Seconds = 20.0) -> None:
    """Check all files of a folder: a line for each exercise."""
    from mnistlab.exercises.running import check_file, files_in

    checks = []
    for file in files_in(folder):
        checks.append(check_file(file, seconds))
        mark = "ok" if checks[-1].verdict.passed else "--"
        name = checks[-1].exercise
        out.result(f"{mark} {number_of(name):>2}  {name:<14}  {_(EXERCISES[name][1])}")
    _close(out, checks)


def next_(out: Output, folder: Folder = FOLDER, hint: Hint = 0, seconds: Seconds = 20.0) -> None:
    """Show the first exercise of a folder that is not right yet."""
    from mnistlab.exercises.running import check_file, files_in

    for file in files_in(folder):
        one = check_file(file, seconds)
        if not one.verdict.passed:
            show(out, one.exercise, hint)
            out.notice("", _("write it in {file}").format(file=printable(file)))
            return
    out.document({"exercise": None})
    out.result(_("All exercises are solved."))


def watch(out: Output, folder: Folder = FOLDER, seconds: Seconds = 20.0) -> None:
    """Check a file whenever it is saved, until Ctrl-C."""
    from mnistlab.exercises.running import check_file, exercise_of, files_in

    if out.as_json:
        raise ConfigError("watch prints as you work; --json is for check and status")
    seen = {file: _stamp(file) for file in files_in(folder)}
    for file in seen:  # what takes time once: the images, the tool's own answers
        with contextlib.suppress(ConfigError):
            _ours = load(exercise_of(file)[0]).ours
    out.notice(_("watching {folder}; Ctrl-C ends it").format(folder=printable(folder)))
    while True:
        for file, before in seen.items():
            if (now := _stamp(file)) != before and now != (0, 0):
                seen[file] = now
                try:
                    out.result(*_lines(out, check_file(file, seconds)))
                except ConfigError as error:  # its first line is gone
                    out.notice(str(error))
        time.sleep(_POLL)


def _stamp(file: Path) -> tuple[int, int]:
    """When a file was saved, and its size; (0, 0) while an editor has it away or empty."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return (status.st_mtime_ns, status.st_size) if status.st_size else (0, 0)


def _lines(out: Output, check: "Check") -> list[str]:
    """What is said of one file."""
    mark = "ok" if check.verdict.passed else "NO"
    lines = [f"{mark} {number_of(check.exercise)}  {check.exercise}"]
    for line in check.verdict.message:
        lines += folded(f"  {line}", out.width, "  ")
    if check.printed:
        lines += ["  " + _("it printed:"), textwrap.indent(check.printed.rstrip("\n"), "  | ")]
    return lines


def _hints(name: str, count: int) -> list[str]:
    hints = _(load(name).hints).splitlines()[:count]
    return [_("  hint {n}: {hint}").format(n=n, hint=hint) for n, hint in enumerate(hints, start=1)]


def _close(out: Output, checks: "list[Check]") -> None:
    """The document and the last line of what was checked."""
    documents = [
        {
            "file": str(one.file),
            "exercise": one.exercise,
            **vars(one.verdict),
            "printed": one.printed,
            "seconds": one.seconds,
        }
        for one in checks
    ]
    out.document({"exercises": documents})
    passed = sum(one.verdict.passed for one in checks)
    out.result(_("{n} of {total} are right").format(n=passed, total=len(checks)))
