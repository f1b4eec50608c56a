"""`mnistlab baseline pixel-similarity`: the score that any training must beat."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER

app = typer.Typer(
    help="Models that need no training: the score to beat.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Distance(StrEnum):
    """How far an image is from a mean image."""

    l1 = "l1"
    rmse = "rmse"


@app.callback()
def _root() -> None:
    """Models that need no training: the score to beat."""


@app.command("pixel-similarity")
def pixel_similarity(
    data: options.Data = None,
    distance: Annotated[
        Distance,
        typer.Option("--distance", help="Mean absolute difference, or root of the mean square."),
    ] = Distance.l1,
    skip_bad: options.SkipBad = None,
    device: options.Device = None,
    threads: options.Threads = None,
    run_dir: options.RunDir = DEFAULT_FOLDER,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Score the nearest mean image: the score to beat.

    Every image gets the class whose mean training image is nearest.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    from mnistlab.baseline import fit_baseline, save_baseline
    from mnistlab.data.named import load_data
    from mnistlab.devices import set_threads

    set_threads(1 if threads is None else threads)
    name = data if data is not None else "mnist_sample"
    with streams.decoding() as progress:
        folders = load_data(name, skip_bad=bool(skip_bad), progress=progress)
    for file, why in folders.skipped.items():
        streams.notice(f"skipped {printable(file)}: {why}")
    fitted = fit_baseline(folders, distance.value, device or "auto")
    settings = {"data": name, "device": device or "auto", "skip_bad": bool(skip_bad)}
    run = save_baseline(fitted, folders, settings, run_dir, sys.argv)
    evaluation = fitted.evaluation
    streams.document(
        {
            "run": str(run.path),
            "model": fitted.card.model,
            "distance": distance.value,
            **evaluation.as_dict(),
        }
    )
    streams.notice(f"pixel similarity ({distance.value}) on valid of {printable(name)}")
    if quiet:
        streams.result(f"accuracy {evaluation.accuracy:.6f}  run {printable(run.path)}")
    elif not as_json:
        from mnistlab.report.tables import evaluation_tables

        streams.result(*evaluation_tables(evaluation))
    streams.notice(f"run   {printable(run.path)}\nnext  mnistlab train")
