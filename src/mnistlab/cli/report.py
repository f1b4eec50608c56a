"""`mnistlab report [RUN]`: a run as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run

NAME = "report.html"


def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run folder, its name, or latest.",
            autocompletion=options.complete_runs,
        ),
    ] = "latest",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write it there; replaced if it exists.  [default: report.html in the run folder]",
        ),
    ] = None,
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
    """Write a run as one HTML page.

    Result, curves, confusion, mistakes, weights, samples, settings. It needs no network and no
    script; without the run's data it shows what the run folder has.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    found = find_run(run, run_dir)
    target = found.path / NAME if output is None else output
    from mnistlab.files import require_file, write_file

    require_file(target, ("html", "htm"), "-o")
    from mnistlab.devices import set_threads
    from mnistlab.report.gallery import gather
    from mnistlab.report.page import render

    set_threads(found.threads if threads is None else threads)
    with streams.decoding() as progress:
        gathered = gather(
            found,
            data=data,
            split=split,
            best=best,
            skip_bad=bool(skip_bad),
            device=device or "auto",
            progress=progress,
        )
    if gathered.score is not None:
        for file, why in gathered.score.split.skipped.items():
            streams.notice(f"skipped {printable(file)}: {why}")
    for part, why in gathered.missing.items():
        streams.notice(f"left out ({part}): {why}")
    content = render(gathered).encode()
    write_file(target, content)
    streams.document(
        {
            "run": str(found.path),
            "file": str(target),
            "bytes": len(content),
            "missing": gathered.missing,
        }
    )
    streams.result(printable(target))
    streams.notice(f"written, {len(content):,} bytes; open it in a browser")
