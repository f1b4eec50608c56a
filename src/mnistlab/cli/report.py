"""`mnistlab report [RUN]`: a run as one HTML page."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run


def report(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write it there; replaced if it exists.  [default: report.html in the run folder]",
        ),
    ] = None,
    split: flags.Split = "valid",
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Write a run as one HTML page.

    Result, curves, confusion, mistakes, weights, samples, settings. It needs no network and no
    script; without the run's data it shows what the run folder has.
    """
    found = find_run(run, run_dir)
    target = found.path / "report.html" if output is None else output
    from mnistlab.files import require_file, write_file

    require_file(target, ("html", "htm"), "-o")
    from mnistlab.report.page import open_report, render

    with out.loading() as progress:
        opened = open_report(found, settings, split=split, best=best, progress=progress)
    if opened.score is not None:
        out.skipped(opened.score.split.skipped)
    for part, why in opened.missing.items():
        out.notice(f"left out ({part}): {why}")
    content = render(opened).encode()
    write_file(target, content)
    document = {"file": str(target), "bytes": len(content), "missing": opened.missing}
    out.document({"run": str(found.path), **document})
    out.result(printable(target))
    out.notice(f"written, {len(content):,} bytes; open it in a browser")
