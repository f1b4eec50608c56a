"""`mnistlab lr-find`: which learning rate?"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnistlab.cli import options, settings
from mnistlab.cli.plan import headline
from mnistlab.cli.streams import Streams
from mnistlab.names import printable

if TYPE_CHECKING:
    from mnistlab.report.pictures import Curves
    from mnistlab.studies.lr_find import Sweep


def lr_find(
    config: settings.Config = None,
    data: options.Data = None,
    model: settings.Model = None,
    batch_size: settings.BatchSize = None,
    hidden: settings.Hidden = None,
    init: settings.Init = None,
    channels: settings.Channels = None,
    depth: settings.Depth = None,
    padding: settings.Padding = None,
    batch_norm: settings.BatchNorm = None,
    optimizer: settings.Optimizer = None,
    loss: settings.Loss = None,
    label_smoothing: settings.LabelSmoothing = None,
    precision: settings.Precision = None,
    seed: settings.Seed = None,
    device: options.Device = None,
    threads: settings.Threads = None,
    skip_bad: options.SkipBad = None,
    start: Annotated[float, typer.Option("--start", metavar="X", help="The first rate.")] = 1e-4,
    end: Annotated[float, typer.Option("--end", metavar="X", help="The last rate.")] = 100.0,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Batches to try.")] = 200,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the curve (PNG, SVG, PDF)."),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Suggest a learning rate: let it grow, watch the loss.

    On a model of its own; nothing is written, and no training is changed by it.
    """
    from mnistlab.config import TrainConfig, resolve

    flags = {key: value for key, value in locals().items() if key in TrainConfig.model_fields}
    flags["channels"] = settings.numbers(channels)
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    resolved = resolve(flags, config)
    if plot is not None:
        from mnistlab.report.plots import require_plot

        require_plot(plot)
    from mnistlab.experiment import prepare
    from mnistlab.studies.lr_find import find_lr

    with streams.decoding() as progress:
        experiment = prepare(resolved, progress)
    streams.notice(headline(experiment))
    found = find_lr(experiment, start=start, end=end, steps=steps)
    streams.document(
        {
            "model": experiment.config.model,
            "suggestion": found.suggestion,
            "reason": found.reason,
            "steepest": found.lrs[found.steepest],
            "lowest": found.lrs[found.lowest],
            "whole": found.whole,
            "steps": [
                {"lr": lr, "loss": loss, "smooth": smooth}
                for lr, loss, smooth in zip(found.lrs, found.losses, found.smooth, strict=True)
            ],
        }
    )
    picture = _picture(found)
    if not as_json and not quiet:
        from mnistlab.report.textplots import text_picture

        streams.result(text_picture(picture), "")
    name = printable(experiment.config.model)
    streams.result(f"suggestion  {found.suggestion:g}  for {name}: {found.reason}")
    if plot is not None:
        from mnistlab.report.plots import draw

        draw([picture], plot)
        streams.notice(f"drawn  {printable(plot)}")
    streams.notice(f"next   mnistlab train --model {name} --lr {found.suggestion:g}")


def _picture(found: "Sweep") -> "Curves":
    from mnistlab.report.pictures import Curves

    decades = [math.log10(lr) for lr in found.lrs]
    at = math.log10(found.suggestion)
    near = min(range(len(decades)), key=lambda i: abs(decades[i] - at))
    return Curves(
        "loss as the learning rate grows",
        {"loss, smoothed": (decades, found.smooth)},
        "log10 of the learning rate",
        "loss",
        dots={"suggestion": ([at], [found.smooth[near]])},
    )
