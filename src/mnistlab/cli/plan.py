"""What a training is going to do, in words and in full."""

from typing import TYPE_CHECKING

from mnistlab.cli.streams import Streams
from mnistlab.names import printable

if TYPE_CHECKING:
    from mnistlab.experiment import Experiment


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
    from mnistlab.report.grid import settings_table, table

    settings = experiment.config.model_dump()
    layers = [
        (name, "x".join(map(str, param.shape)), f"{param.numel():,}")
        for name, param in experiment.model.named_parameters()
    ]
    splits = {"train": experiment.data.train, "valid": experiment.data.valid}
    streams.document(
        {
            "settings": {
                key: {"value": value, "from": experiment.origins[key]}
                for key, value in settings.items()
            },
            "model": {"name": experiment.card.model, "parameters": experiment.parameters},
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
        table(
            ("parameter", "shape", "numbers"), [*layers, ("all", "", f"{experiment.parameters:,}")]
        ),
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
