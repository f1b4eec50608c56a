"""`mnistlab reproduce`: every figure of the chapter beside ours."""

from pathlib import Path
from typing import Annotated

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.errors import CheckError
from mnistlab.names import printable


def reproduce(
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="N",
            min=2,
            max=1024,
            show_default=False,
            help="Random draws per trained model.  [default: 128 linear, 24 two-layer]",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also the residual net (two minutes).")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw the chapter's curves inside the band of our seeds (PNG, SVG, PDF).",
        ),
    ] = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Compare every figure of the chapter with ours.

    Trains the chapter's models again, from many seeds; exit 3 if a figure differs.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    if plot is not None:
        from mnistlab.report.plots import require_plot

        require_plot(plot)
    from mnistlab.data.named import load_data
    from mnistlab.devices import set_threads
    from mnistlab.reproduction import TWO_LAYER_SEEDS
    from mnistlab.reproduction import reproduce as compute

    set_threads(1 if threads is None else threads)
    with streams.decoding() as progress:
        data = load_data("mnist_sample", progress=progress)

    def tell(step: str) -> None:
        streams.notice(f"computing {step}")

    found = compute(data, seeds, tell, full=full)
    counts = {
        verdict: sum(figure.verdict == verdict for figure in found.figures)
        for verdict in ("equal", "inside", "differs", "left out")
    }
    streams.document(
        {
            "figures": [figure.as_dict() for figure in found.figures],
            "counts": counts,
            "holds": found.holds,
        }
    )
    if not as_json:
        from mnistlab.report.tables import reproduction_tables

        if not quiet:
            streams.notice("pct: share of our seeds at or below the book's value")
            streams.result(*reproduction_tables(found.figures))
        streams.result(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if plot is not None:
        from mnistlab.report.plots import draw

        draw(found.curves, plot)
        streams.notice(f"drawn  {printable(plot)}")
    if not found.holds:
        few = seeds is not None and seeds < TWO_LAYER_SEEDS
        hint = "; fewer seeds than the default give a narrower range" if few else ""
        raise CheckError(f"{counts['differs']} figure(s) differ from the chapter's{hint}")
