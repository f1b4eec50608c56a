"""What a training is going to do, in words and in full."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from mnistlab.cli.streams import Streams
from mnistlab.names import printable

if TYPE_CHECKING:
    from rich.table import Table

    from mnistlab.experiment import Experiment
    from mnistlab.models import Layer


def headline(experiment: "Experiment") -> str:
    """Data and model in two lines, above the rows of a training."""
    data, config = experiment.data, experiment.config
    height, width = data.image_size
    names = list(map(printable, data.classes))
    shown = " vs ".join(names) if len(names) == 2 else f"{len(names)} classes"
    threads = "1 thread" if config.threads == 1 else f"{config.threads} threads"
    return (
        f"data    {printable(config.data)}: {shown}, "
        f"{len(data.train_ds):,} + {len(data.valid_ds):,} images of {width} x {height}\n"
        f"model   {config.model}, {experiment.parameters:,} parameters; seed {config.seed}, "
        f"{config.device}, {threads}"
    )


def skipped_lines(experiment: "Experiment") -> list[str]:
    """A line for each file that was left out."""
    skipped = experiment.data.skipped
    return [f"skipped {printable(file)}: {why}" for file, why in skipped.items()]


def show_plan(experiment: "Experiment", streams: Streams) -> None:
    """`--dry-run`: every setting with its origin, the model and the data."""
    import torch

    from mnistlab.models import layers_of
    from mnistlab.report.grid import settings_table, table

    settings = experiment.config.model_dump()
    with torch.device("meta"):  # shapes without values: no second model in memory
        shadow = experiment.card.build()
    layers = layers_of(shadow, experiment.data.image_size)
    splits = {"train": experiment.data.train, "valid": experiment.data.valid}
    streams.document(
        {
            "settings": {
                key: {"value": value, "from": experiment.origins[key]}
                for key, value in settings.items()
            },
            "model": {
                "name": experiment.card.model,
                "parameters": experiment.parameters,
                "layers": [asdict(layer) for layer in layers],
            },
            "data": {
                "path": str(experiment.data.root),
                "fingerprint": experiment.data.fingerprint,
                "classes": list(experiment.data.classes),
                "image_size": list(experiment.data.image_size),
                **{name: split.counts for name, split in splits.items()},
            },
        }
    )
    streams.result(
        settings_table(settings, experiment.origins),
        "",
        _layer_table(experiment, layers),
        "",
        table(
            ("class", *splits),
            [
                (name, *(split.counts[name] for split in splits.values()))
                for name in experiment.data.classes
            ],
        ),
    )
    streams.notice(headline(experiment), "dry run: nothing was trained or written")


def _layer_table(experiment: "Experiment", layers: Sequence["Layer"]) -> "Table":
    from mnistlab.report.grid import table

    # a net that is all one part (resnet18's `net`) needs no word for it, and then fits 80 columns
    first = layers[0].name.partition(".")[0] + "."
    shared = first if all(layer.name.startswith(first) for layer in layers) else ""
    rows = [
        (
            layer.name.removeprefix(shared) or experiment.card.model,
            layer.kind,
            _times(layer.output),
            " + ".join(map(_times, layer.parameters.values())),
            f"{layer.numbers:,}" if layer.parameters else "",
        )
        for layer in layers
    ]
    columns = ("layer", "kind", "output", "parameters", "numbers")
    return table(columns, [*rows, ("all", "", "", "", f"{experiment.parameters:,}")], left=2)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
