"""`mnistlab train`: train a model, one row an epoch, into a run folder."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli import options
from mnistlab.cli.signals import StopSignals
from mnistlab.cli.streams import Streams
from mnistlab.errors import CheckError, ConfigError
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, Run, find_run

if TYPE_CHECKING:
    from mnistlab.experiment import Experiment

# The only settings that a resumed run may change.
_RESUMABLE = ("epochs", "threads")


def train(
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE|PRESET", help="Settings from a TOML file or a preset.",
            autocompletion=options.complete_presets,
        ),
    ] = None,
    data: options.Data = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="linear|two-layer", help="What to train.  [default: linear]",
            autocompletion=options.complete_models,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", metavar="N",
            help="Passes over the training images.  [default: linear 20, two-layer 40]",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr", metavar="X", help="Learning rate.  [default: linear 1.0, two-layer 0.1]"
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", help="Images per step.  [default: 256]"),
    ] = None,
    hidden: Annotated[
        int | None,
        typer.Option(
            "--hidden", metavar="N", help="Width of the hidden layer (two-layer).  [default: 30]"
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="uniform|normal",
            help="First weights (linear): as nn.Linear draws them, or the chapter's standard "
            "normal.  [default: uniform]",
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option("--optimizer", metavar="basic", help="How to step.  [default: basic]"),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss", metavar="auto|mnist|bce|cross-entropy",
            help="auto: the chapter's mnist_loss for two classes, else cross-entropy.",
        ),
    ] = None,
    shuffle: Annotated[
        bool | None,
        typer.Option(
            "--shuffle/--no-shuffle", show_default=False,
            help="A new order each epoch, or the chapter's fixed one.  [default: shuffle]",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Decides weights and order.  [default: 0]"),
    ] = None,
    device: options.Device = None,
    threads: options.Threads = None,
    skip_bad: options.SkipBad = None,
    run_dir: options.RunDir = DEFAULT_FOLDER,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="RUN", autocompletion=options.complete_runs,
            help="Go on with a run; with --epochs TOTAL also past its end.",
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            "--min-accuracy", metavar="X", min=0, max=1, show_default=False,
            help="Exit with 3 if the last accuracy is below X (0 to 1).",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", "-n", help="Show settings, model and data; train nothing."),
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:  # fmt: skip
    """Train a model, one row an epoch, and write a run folder.

    Settings come from flags, then --config, then the defaults.
    """
    flags = {
        "data": data,
        "model": model,
        "epochs": epochs,
        "lr": lr,
        "batch_size": batch_size,
        "hidden": hidden,
        "init": init,
        "optimizer": optimizer,
        "loss": loss,
        "shuffle": shuffle,
        "seed": seed,
        "device": device,
        "threads": threads,
        "skip_bad": skip_bad,
    }
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    if resume is not None:
        run = find_run(resume, run_dir)
        if dry_run:
            raise ConfigError("--dry-run: shows a new run; it does not go with --resume")
        _require_resumable(flags, config)
        from mnistlab.config import resolve

        resolve({"epochs": epochs, "threads": threads})  # out of range is told at once
        # a training run saves its state before its first model
        has_more = run.model_file.exists() or not run.config_file.exists()
        if not run.state_file.exists() and has_more:
            raise ConfigError(f"{printable(run.path)}: not a training run; nothing to resume")
        with run.locked():
            from mnistlab.experiment import note_start
            from mnistlab.resuming import resume as take_up

            with streams.decoding() as progress:
                experiment = take_up(
                    run, sys.argv, epochs=epochs, threads=threads, progress=progress
                )
            for text in experiment.notices:
                streams.notice(f"note: {text}")
            if experiment.place.epoch >= experiment.config.epochs:
                streams.notice(
                    f"{printable(run.name)}: all {experiment.config.epochs} epochs are done "
                    "already; --epochs TOTAL extends it"
                )
                # A save that was cut short leaves the state ahead of the other files. A whole run
                # stays as it is: its record is of the machine that trained it.
                if not run.is_complete():
                    experiment.save(experiment.capture(), "done")
            else:
                note_start(experiment)
                experiment.save(experiment.capture(), "running")
                _train(experiment, run, streams)
            _report(experiment, run, streams)
    else:
        from mnistlab.config import resolve

        resolved = resolve(flags, config)  # before torch is imported: a typo is told at once
        from mnistlab.experiment import prepare, start

        with streams.decoding() as progress:
            experiment = prepare(resolved, progress)
        if dry_run:
            _show_plan(experiment, streams)
            return
        run = start(experiment, run_dir, sys.argv)
        with run.locked():
            _train(experiment, run, streams)
            _report(experiment, run, streams)
    streams.settle()
    accuracy = experiment.history[-1]["accuracy"]
    if min_accuracy is not None and accuracy < min_accuracy:
        raise CheckError(f"accuracy {accuracy:.6f} is below --min-accuracy {min_accuracy:g}")


def _require_resumable(flags: dict[str, Any], config: str | None) -> None:
    fixed = [key for key, value in flags.items() if value is not None and key not in _RESUMABLE]
    fixed += ["config"] if config is not None else []
    if fixed:
        names = ", ".join(f"--{key.replace('_', '-')}" for key in fixed)
        raise ConfigError(
            f"{names}: a resumed run keeps its settings; only --epochs and --threads go with "
            "--resume"
        )


def _train(experiment: "Experiment", run: Run, streams: Streams) -> None:
    for text in _skipped(experiment):
        streams.notice(text)
    streams.notice(_headline(experiment))
    with StopSignals() as stop:
        with _rows(experiment, streams) as show:
            for _ in experiment.train(stop):
                show(experiment.history[-1])
        if stop() and experiment.place.epoch < experiment.config.epochs:
            place = experiment.place
            streams.notice(
                f"stopped in epoch {place.epoch} after {place.batch} batches; all is saved\n"
                f"go on with: mnistlab train --resume {printable(run.reference)}"
            )
            raise typer.Exit(stop.exit_code)


@contextlib.contextmanager
def _rows(experiment: "Experiment", streams: Streams) -> Iterator[Any]:
    """Gives a function that shows one epoch: under a live bar on a terminal, else a plain line."""
    from mnistlab.report.rows import HEADER, epoch_line

    # With --json the rows are progress, and stdout is for the document.
    name = "stderr" if streams.as_json else "stdout"
    stream = getattr(sys, name)
    if streams.quiet:
        yield lambda row: None
        return

    def plain(row: dict[str, Any]) -> None:
        streams.progress(stream, epoch_line(row))

    streams.progress(stream, HEADER)
    if not streams.live:
        yield plain
        return
    from mnistlab.report.live import print_above, training_bar

    # A bar and rows on the same terminal must go through one console, or they overwrite each other
    shared = stream.isatty()
    console = streams.console(name if shared else "stderr")
    batches = -(-len(experiment.data.train_ds) // experiment.config.batch_size)
    with training_bar(console, experiment.place, experiment.config.epochs, batches) as bar:

        def above(row: dict[str, Any]) -> None:
            best = experiment.best is not None and experiment.best["epoch"] == row["epoch"]
            print_above(bar, epoch_line(row), bold=best)

        yield above if shared else plain


def _report(experiment: "Experiment", run: Run, streams: Streams) -> None:
    from mnistlab.experiment import result_of

    result = result_of(experiment.capture())
    streams.document(
        {
            "run": str(run.path),
            "model": experiment.card.model,
            "classes": list(experiment.card.classes),
            "seed": experiment.config.seed,
            **result,
        }
    )
    if streams.quiet:
        streams.result(f"accuracy {result['accuracy']:.6f}  run {printable(run.path)}")
    best = result["best"]
    streams.notice(
        f"run     {printable(run.path)}\n"
        f"best    {best['accuracy']:.6f} in epoch {best['epoch']}; "
        f"weights sha256 {result['weights_sha256'][:16]}\n"
        f"next    mnistlab eval {printable(run.reference)}"
    )


def _headline(experiment: "Experiment") -> str:
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


def _skipped(experiment: "Experiment") -> list[str]:
    skipped = experiment.data.skipped
    return [f"skipped {printable(file)}: {why}" for file, why in skipped.items()]


def _show_plan(experiment: "Experiment", streams: Streams) -> None:
    from mnistlab.report.tables import settings_table, table

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
    streams.notice(_headline(experiment), "dry run: nothing was trained or written")
