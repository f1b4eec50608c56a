"""The application: its commands, and what becomes of an error."""

import re
import sys
import traceback
from typing import Annotated

import typer

from mnistlab import __version__
from mnistlab.cli import (
    baseline,
    data,
    eject,
    evaluate,
    ladder,
    lesson,
    lr_find,
    plot,
    predict,
    report,
    reproduce,
    runs,
    show,
    train,
)
from mnistlab.errors import MnistlabError
from mnistlab.names import printable

app = typer.Typer(
    name="mnistlab",
    help="Train a small image classifier from folders of images, from first principles.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: any encoding, any width, and no rich to import
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("lr-find")(lr_find.lr_find)
app.command("report")(report.report)
app.command("plot")(plot.plot)
app.command("show")(show.show)
app.command("lesson")(lesson.lesson)
app.command("reproduce")(reproduce.reproduce)
app.command("ladder")(ladder.ladder)
app.command("eject")(eject.eject)
app.add_typer(baseline.app, name="baseline")
app.add_typer(data.app, name="data")
app.add_typer(runs.app, name="runs")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mnistlab {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Train a small image classifier from folders of images, from first principles."""


def run() -> int:
    """Run the command in `sys.argv`; the exit code."""
    try:
        app(prog_name="mnistlab")
    except SystemExit:
        # click leaves with 1 where help found no reader, which elsewhere passes in silence
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return 0
        raise
    except Exception as error:
        if "--debug" in sys.argv:
            _say(traceback.format_exc().rstrip("\n"))
        _say(f"error: {_told(error)}")
        return error.exit_code if isinstance(error, MnistlabError) else 1
    return 0  # pragma: no cover - typer always leaves by SystemExit


def _told(error: Exception) -> str:
    if isinstance(error, MnistlabError):
        return str(error)
    # torch has no kind of its own for this on a CPU: "… not enough memory: you tried to allocate"
    torchs = isinstance(error, RuntimeError) and re.search("not enough|out of memory", str(error))
    if isinstance(error, MemoryError) or torchs:
        return "out of memory; try a smaller --batch-size, a smaller --hidden or fewer images"
    if isinstance(error, OSError):
        what = "input or output" if error.filename is None else printable(error.filename)
        return f"{what}: {error.strerror or printable(error)}"
    what = printable(f"{type(error).__name__}: {error}")
    return f"unexpected {what}\nthis is a fault of mnistlab; --debug shows where"


def _say(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody is listening
