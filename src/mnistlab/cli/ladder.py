"""`mnistlab ladder`: baseline to best in one table."""

from typing import Annotated, Any

import typer

from mnistlab.cli.output import Output
from mnistlab.resolving import resolve


def ladder(
    out: Output,
    settings: dict[str, Any],
    seed: Annotated[int, typer.Option(metavar="N", help="Decides weights and order.")] = 0,
    full: Annotated[bool, typer.Option("--full", help="Also resnet18 (slow).")] = False,
) -> None:
    """Compare every model, from the baseline up.

    Each is fitted with its defaults; no run folder is written.
    """
    name = settings.pop("data") or "mnist_sample"
    settings["seed"] = seed
    resolve(settings)  # refuses a wrong setting; `climb` only leaves out models that do not fit
    from mnistlab.report.tables import ladder_table
    from mnistlab.studies.ladder import climb

    steps = list(climb(name, settings, out.notice, full=full))
    out.document({"data": name, "seed": seed, "steps": steps})
    out.result(ladder_table(steps))
    if not out.as_json and any(step["chapter"] is not None for step in steps):
        out.notice("book: means over classes or batches there; ours counts each image once")
