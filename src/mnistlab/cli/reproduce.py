"""`mnistlab reproduce`: every figure of the chapter beside ours."""

from typing import Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import CheckError
from mnistlab.names import printable

SEEDS_HELP = "Random draws per trained model.  [default: 128 linear, 24 two-layer]"


def reproduce(
    out: Output,
    settings: dict[str, Any],
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, max=1024, show_default=False, help=SEEDS_HELP),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also the residual net (two minutes).")
    ] = False,
    plot: flags.Plot = None,
) -> None:
    """Compare every figure of the chapter with ours.

    Trains the chapter's models again, from different seeds; exit 3 if a figure differs.
    """
    if plot is not None:
        from mnistlab.report.files import require_plot

        require_plot(plot)
    from mnistlab import reproduction
    from mnistlab.data.named import load_data
    from mnistlab.devices import set_threads
    from mnistlab.lessons.kit import plain
    from mnistlab.report.files import draw
    from mnistlab.report.tables import reproduction_tables

    threads = settings["threads"]
    set_threads(1 if threads is None else threads)
    with out.loading() as progress:
        data = load_data("mnist_sample", progress=progress)

    figures, curves = reproduction.reproduce(
        data, seeds, lambda step: out.notice(f"computing {step}"), full=full
    )
    verdicts = [figure.verdict for figure in figures]
    counts = {name: verdicts.count(name) for name in ("equal", "inside", "differs", "left out")}
    rows = [plain(vars(figure)) for figure in figures]
    out.document({"figures": rows, "counts": counts, "holds": not counts["differs"]})
    if out.tables:
        out.notice("pct: share of our seeds at or below the book's value")
        out.result(*reproduction_tables(figures))
    out.result(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if plot is not None:
        draw(curves, plot)
        out.notice(f"drawn  {printable(plot)}")
    if counts["differs"]:
        hint = "; fewer seeds than the default give a narrower range" if seeds else ""
        raise CheckError(f"{counts['differs']} figure(s) differ from the chapter's{hint}")
