"""`mnistlab lr-find`: which learning rate?"""

import math
from typing import Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.cli.training_output import headline
from mnistlab.names import printable
from mnistlab.resolving import resolve


def lr_find(
    out: Output,
    settings: dict[str, Any],
    config: flags.Config = None,
    start: Annotated[float, typer.Option(metavar="X", help="The first rate.")] = 1e-4,
    end: Annotated[float, typer.Option(metavar="X", help="The last rate.")] = 100.0,
    steps: Annotated[int, typer.Option(metavar="N", help="Batches to try.")] = 200,
    plot: flags.Plot = None,
) -> None:
    """Suggest a learning rate: let it grow, watch the loss.

    On a model of its own; nothing is written, and no training is changed by it.
    """
    resolved = resolve(settings, config)
    if plot is not None:
        from mnistlab.report.files import require_plot

        require_plot(plot)
    from mnistlab.experiment import prepare
    from mnistlab.report.pictures import Curves
    from mnistlab.studies.lr_find import find_lr

    with out.loading() as progress:
        experiment = prepare(resolved, progress)
    out.read(experiment.data)
    out.notice(headline(experiment))
    sweep = find_lr(experiment, start=start, end=end, steps=steps)
    out.document(
        {
            "model": experiment.card.model,
            "suggestion": sweep.suggestion,
            "reason": sweep.reason,
            "steepest": sweep.lrs[sweep.steepest],
            "lowest": sweep.lrs[sweep.lowest],
            "whole": sweep.complete,
            "steps": [
                {"lr": lr, "loss": loss, "smooth": smooth}
                for lr, loss, smooth in zip(sweep.lrs, sweep.losses, sweep.smooth, strict=True)
            ],
        }
    )
    near = min(range(len(sweep.lrs)), key=lambda i: abs(math.log(sweep.lrs[i] / sweep.suggestion)))
    picture = Curves(
        "loss as the learning rate grows",
        {"loss, smoothed": (sweep.lrs, sweep.smooth)},
        "learning rate",
        "loss",
        dots={"suggestion": ([sweep.lrs[near]], [sweep.smooth[near]])},
        log_x=True,
    )
    if out.tables:
        from mnistlab.report.terminal import text_picture

        out.result(text_picture(picture), "")
    name = printable(experiment.card.model)
    out.result(f"suggestion  {sweep.suggestion:g}  for {name}: {sweep.reason}")
    if plot is not None:
        from mnistlab.report.files import draw

        draw([picture], plot)
        out.notice(f"drawn  {printable(plot)}")
    found = {**settings, "lr": f"{sweep.suggestion:g}"}
    out.notice(f"next   {flags.train_command(found, config)}")
