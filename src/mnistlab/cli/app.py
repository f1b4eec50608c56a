"""The application: its commands, and what becomes of an error."""

import sys
from typing import Annotated

import typer

from mnistlab import __version__
from mnistlab.cli import baseline, data, evaluate, train
from mnistlab.cli.signals import end_on_termination
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
app.add_typer(baseline.app, name="baseline")
app.add_typer(data.app, name="data")


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
    end_on_termination()
    try:
        app(prog_name="mnistlab")
    except MnistlabError as error:
        if "--debug" in sys.argv:
            raise
        _say(f"error: {error}")
        return error.exit_code
    except MemoryError:
        _say("error: out of memory; try a smaller --batch-size or fewer images")
        return 1
    except Exception as error:  # a fault of ours, but still no traceback
        if "--debug" in sys.argv:
            raise
        told = printable(f"{type(error).__name__}: {error}")
        _say(f"error: unexpected {told}\nthis is a fault of mnistlab; --debug shows where")
        return 1
    return 0  # pragma: no cover - typer always leaves by SystemExit


def _say(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody is listening
