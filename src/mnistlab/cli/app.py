"""The application: its commands, and what becomes of an error."""

import contextlib
import json
import os
import platform
import re
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from mnistlab import __version__
from mnistlab.cli import (
    chapter,
    data,
    evaluate,
    exercise,
    grade,
    pictures,
    runs,
    train,
)
from mnistlab.cli.flags import command
from mnistlab.config import DATA_SETTINGS, READING, SETTINGS
from mnistlab.errors import MnistlabError, is_out_of_memory
from mnistlab.names import printable
from mnistlab.own_code import explained


def _group(text: str, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    return typer.Typer(
        cls=cls,
        help=text,
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: any encoding, any width, and no rich to import
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _commit() -> str | None:
    """The commit that runs, read from git's files or what `pip install git+...` kept; else None."""
    with contextlib.suppress(OSError, ValueError, LookupError):
        git = Path(__file__).parents[3] / ".git"
        if git.is_file():  # of a worktree, whose folder it names
            git = git.parent / git.read_text("utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text("utf-8").split()[-1]  # the branch, or the commit itself
        if not head.startswith("refs/"):
            return head
        if (git / "commondir").exists():  # a worktree has the branches of its repository
            git /= (git / "commondir").read_text("utf-8").strip()
        if (git / head).exists():
            return (git / head).read_text("utf-8").strip()
        packed = (git / "packed-refs").read_text("utf-8")
        return str(re.findall(rf"^(\w+) {re.escape(head)}$", packed, re.MULTILINE)[0])
    from importlib.metadata import distribution  # here and below: --help shall be quick

    with contextlib.suppress(ImportError, ValueError, LookupError):
        origin = distribution("mnistlab").read_text("direct_url.json") or "{}"
        return str(json.loads(origin)["vcs_info"]["commit_id"])
    return None


def _version(value: bool) -> None:
    """Print what a report of a fault needs; the device comes last, since torch takes its time."""
    if not value:
        return
    from importlib.metadata import version

    typer.echo(f"mnistlab {__version__}")
    if commit := _commit():
        typer.echo(f"commit {commit[:12]}")
    typer.echo(f"python {platform.python_version()} on {platform.platform()}")
    typer.echo(f"torch {version('torch')}")
    from mnistlab.devices import choose_device, environment

    here = environment(choose_device("auto"))
    typer.echo(f"device {here['device']} on {here['processor']}")
    raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Versions and device."),
    ] = False,
) -> None:
    """Train a small image classifier from folders of images, from first principles."""


# The settings that a command takes which uses a finished model.
OF_DATA = ("data", *READING, "skip_bad", "device", "threads")
_NOT_IN_A_SWEEP = (
    *("epochs", "lr", "distance", "schedule", "warmup", "augment", "keep", "patience", "shuffle"),
    *("seeds", "folds", "order_seed", "momentum", "beta2", "weight_decay"),
)
_OF_LAYOUT = (*READING, "exclude", "skip_bad")
_OF_JUDGES = ("image_size", "fit", "epochs", "lr", "augment", "seed", "device", "threads")

_HOME = re.compile(r"\A(--[\w-]+=|-\w|)(~.*)", re.DOTALL)  # a word that begins with ~

app = _group(_root.__doc__ or "")
app.callback()(_root)
command(app, "train", train.train, [key for key in SETTINGS if key != "distance"])
command(app, "eval", evaluate.evaluate, OF_DATA)
command(app, "calibrate", evaluate.calibrate, ("data",))
command(app, "predict", evaluate.predict, ("skip_bad", "device", "threads"))
command(app, "lr-find", train.lr_find, [k for k in SETTINGS if k not in _NOT_IN_A_SWEEP])
command(app, "report", pictures.report, OF_DATA)
command(app, "plot", pictures.plot, OF_DATA)
command(app, "show", pictures.show, OF_DATA)
command(app, "play", pictures.play)
command(app, "export", runs.export, ("data", *READING, "skip_bad", "threads"))
command(app, "lesson", chapter.lesson, ("seed", "lr"))
command(app, "reproduce", chapter.reproduce, ("threads",))
command(app, "ladder", chapter.ladder, (*DATA_SETTINGS, "device", "threads"))
command(app, "eject", runs.eject, ("data",))
command(app, "grade", grade.grade, ("data",))

baseline_app = _group("Models that need no training: the score to beat.")
app.add_typer(baseline_app, name="baseline")
command(
    baseline_app,
    "pixel-similarity",
    chapter.pixel_similarity,
    ("distance", *DATA_SETTINGS, "device", "threads"),
)

data_app = _group("Get datasets by name; audit a folder of images; make one from other formats.")
app.add_typer(data_app, name="data")
# the images are its argument, and whether --skip-bad helps it says itself
command(data_app, "check", data.check, (*READING, "image_size", "fit", "exclude"))
command(data_app, "import-idx", data.import_idx)
command(data_app, "split", data.split, _OF_LAYOUT)
command(data_app, "doubt", data.doubt, (*_OF_LAYOUT, *_OF_JUDGES))
command(data_app, "download", data.download)
command(data_app, "list", data.list_datasets)
command(data_app, "where", data.where)
command(data_app, "clear", data.clear)

runs_app = _group("List, show, compare, verify, export and delete runs.")
app.add_typer(runs_app, name="runs")
command(runs_app, "list", runs.list_)
command(runs_app, "show", runs.show)
command(runs_app, "compare", runs.compare, OF_DATA)
command(runs_app, "verify", runs.verify, ("data",))
command(runs_app, "export", runs.export_runs)
command(runs_app, "rm", runs.rm)

exercise_app = _group("The chapter as exercises: write it yourself.", exercise.ExerciseGroup)
app.add_typer(exercise_app, name="exercise")
command(exercise_app, "start", exercise.start)
command(exercise_app, "show", exercise.show)
command(exercise_app, "check", exercise.check)
command(exercise_app, "status", exercise.status)
command(exercise_app, "next", exercise.next_)
command(exercise_app, "watch", exercise.watch)


def run() -> int:
    """Run the command in `sys.argv`; the exit code."""
    muted = os.environ.get("RANK", "0") != "0" and "WORLD_SIZE" in os.environ
    if muted:
        # of several processes the first one speaks, and only training is shared out
        if sys.argv[1:2] != ["train"]:
            return 0
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
    # as a shell does, which leaves --data=~/x and whatever comes from a script as it is
    sys.argv[1:] = [_HOME.sub(lambda m: m[1] + os.path.expanduser(m[2]), w) for w in sys.argv[1:]]
    try:
        app(prog_name="mnistlab")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except Exception as error:
        if "--debug" in sys.argv:
            sys.stderr.write(traceback.format_exc())
        sys.stderr.write(f"error: {_message(error)}\n")
        if muted:
            time.sleep(3)  # torchrun ends all when one ends: the first shall have spoken
        return error.exit_code if isinstance(error, MnistlabError) else 1
    return 0  # pragma: no cover - typer always leaves by SystemExit


def _message(error: Exception) -> str:
    if isinstance(error, MnistlabError):
        return str(error)
    if text := explained(error):
        return text
    if is_out_of_memory(error):
        return "out of memory; try a smaller --batch-size or --hidden, smaller images or fewer"
    if isinstance(error, OSError):
        what = "input or output" if error.filename is None else printable(error.filename)
        return f"{what}: {error.strerror or printable(error)}"
    what = printable(f"{type(error).__name__}: {error}")
    return f"unexpected {what}\nthis is a fault of mnistlab; --debug shows where"
