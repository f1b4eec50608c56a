"""The flags that mean the same in every command, and completion that needs no torch."""

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mnistlab.data.datasets import BUNDLED, DATASETS
from mnistlab.errors import MnistlabError
from mnistlab.runs import DEFAULT_FOLDER, list_runs


class Color(StrEnum):
    """When to colour the output."""

    auto = "auto"
    always = "always"
    never = "never"


def complete_presets(incomplete: str) -> list[str]:
    """Presets whose name begins like this."""
    from mnistlab.config import presets

    return [name for name in presets() if name.startswith(incomplete)]


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Runs in `--run-dir` whose name begins like this, the latest first."""
    names = ["latest"]
    with contextlib.suppress(MnistlabError):  # a completion has nowhere to say it
        folder = Path(ctx.params.get("run_dir") or DEFAULT_FOLDER)
        names += [run.name for run in reversed(list_runs(folder))]
    return [name for name in names if name.startswith(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """Models that can be trained."""
    from mnistlab.config import MODEL_DEFAULTS

    return [name for name in MODEL_DEFAULTS if name.startswith(incomplete)]


def complete_datasets(incomplete: str) -> list[str]:
    """Datasets with a name; a shell completes folders by itself."""
    return [name for name in (BUNDLED, *DATASETS) if name.startswith(incomplete)]


def complete_downloads(incomplete: str) -> list[str]:
    """Datasets that can be downloaded."""
    return [name for name in DATASETS if name.startswith(incomplete)]


def parse_whole(text: str) -> int | str:
    """`text` as a whole number; what is none stays, for `config.py` to refuse with all the rest."""
    try:
        return int(text)
    except ValueError:
        return text


def parse_real(text: str) -> float | str:
    """The same for a number with a fraction."""
    try:
        return float(text)
    except ValueError:
        return text


def whole(flag: str, told: str) -> Any:
    """The option of a setting that is a whole number."""
    return typer.Option(flag, metavar="N", parser=parse_whole, help=told)


def real(flag: str, told: str) -> Any:
    """The option of a setting that is a number with a fraction."""
    return typer.Option(flag, metavar="X", parser=parse_real, help=told)


Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the result: no progress, no notices.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ColorOption = Annotated[
    Color, typer.Option("--color", help="When to colour the output.", case_sensitive=False)
]
RunDir = Annotated[
    Path, typer.Option("--run-dir", metavar="DIR", help="The folder that holds the run folders.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME|DIR",
        help="A named dataset (mnist_sample: the bundled real data; the others: mnistlab data "
        "list) or a folder with train/<class>/* and valid/<class>/*.",
        show_default=False,
        autocompletion=complete_datasets,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="auto|cpu|cuda|mps", help="Where to compute.  [default: auto]"
    ),
]
THREADS_HELP = "CPU threads, 0 for torch's choice; another count gives other last bits."
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help=THREADS_HELP)]
SkipBad = Annotated[
    bool | None,
    typer.Option(
        "--skip-bad",
        help="Go on without files that cannot be used, and say which.",
        show_default=False,
    ),
]
