"""`mnistlab plot [RUN]`: one picture of a run into a file."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run


class What(StrEnum):
    """The pictures that there are of a run."""

    curves = "curves"
    confusion = "confusion"
    mistakes = "mistakes"
    weights = "weights"
    samples = "samples"


def plot(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="A PNG, SVG or PDF; replaced if it exists."
        ),
    ],
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run folder, its name, or latest.",
            autocompletion=options.complete_runs,
        ),
    ] = "latest",
    what: Annotated[What, typer.Option("--what", help="Which picture.")] = What.curves,
    data: options.Data = None,
    split: Annotated[
        str, typer.Option("--split", metavar="train|valid", help="Which images to score.")
    ] = "valid",
    best: Annotated[
        bool, typer.Option("--best", help="The best weights of the run instead of the last.")
    ] = False,
    skip_bad: options.SkipBad = None,
    device: options.Device = None,
    threads: options.Threads = None,
    run_dir: options.RunDir = DEFAULT_FOLDER,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Draw one picture of a run into a file.

    Its curves, confusion matrix, most confident mistakes, weights or samples; all of them
    together: mnistlab report.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    found = find_run(run, run_dir)
    from mnistlab.report.plots import draw, require_plot

    require_plot(output, "-o")
    from mnistlab.devices import set_threads
    from mnistlab.report.gallery import pictures

    set_threads(found.threads if threads is None else threads)
    with streams.decoding() as progress:
        drawn = pictures(
            what.value,
            found,
            best=best,
            data=data,
            split=split,
            skip_bad=bool(skip_bad),
            device=device or "auto",
            progress=progress,
        )
    draw(drawn, output)
    streams.document(
        {
            "run": str(found.path),
            "what": what.value,
            "file": str(output),
            "bytes": output.stat().st_size,
        }
    )
    streams.result(printable(output))
