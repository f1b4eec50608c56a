"""`mnistlab train`: train a model, one row an epoch, into a run folder."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli import options, settings
from mnistlab.cli.plan import headline, show_plan, skipped_lines
from mnistlab.cli.seeds import train_seeds
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
    config: settings.Config = None,
    data: options.Data = None,
    model: settings.Model = None,
    epochs: settings.Epochs = None,
    lr: settings.Lr = None,
    batch_size: settings.BatchSize = None,
    hidden: settings.Hidden = None,
    init: settings.Init = None,
    channels: settings.Channels = None,
    depth: settings.Depth = None,
    padding: settings.Padding = None,
    batch_norm: settings.BatchNorm = None,
    optimizer: settings.Optimizer = None,
    momentum: settings.Momentum = None,
    beta2: settings.Beta2 = None,
    weight_decay: settings.WeightDecay = None,
    schedule: settings.Schedule = None,
    warmup: settings.Warmup = None,
    loss: settings.Loss = None,
    label_smoothing: settings.LabelSmoothing = None,
    augment: settings.Augment = None,
    precision: settings.Precision = None,
    keep: settings.Keep = None,
    patience: settings.Patience = None,
    shuffle: settings.Shuffle = None,
    seed: settings.Seed = None,
    seeds: settings.Seeds = None,
    order_seed: settings.OrderSeed = None,
    device: options.Device = None,
    threads: settings.Threads = None,
    skip_bad: options.SkipBad = None,
    run_dir: options.RunDir = DEFAULT_FOLDER,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            autocompletion=options.complete_runs,
            help="Go on with a run; with --epochs TOTAL also past its end.",
        ),
    ] = None,
    min_accuracy: settings.MinAccuracy = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", "-n", help="Show settings, model and data; train nothing."),
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Train a model, one row an epoch, and write a run folder.

    Settings come from flags, then --config, then the defaults.
    """
    from mnistlab.config import TrainConfig

    flags = {key: value for key, value in locals().items() if key in TrainConfig.model_fields}
    flags["order_seed"] = settings.number(order_seed)
    flags["channels"] = settings.numbers(channels)
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    if resume is not None:
        if dry_run:
            raise ConfigError("--dry-run: shows a new run; it does not go with --resume")
        _require_resumable(flags, config)
        accuracy = _resume(find_run(resume, run_dir), epochs, threads, streams)
    else:
        from mnistlab.config import resolve

        resolved = resolve(flags, config)  # before torch is imported: a typo is told at once
        from mnistlab.experiment import prepare, start

        with streams.decoding() as progress:
            experiment = prepare(resolved, progress)
        if dry_run:
            show_plan(experiment, streams)
            return
        run = start(experiment, run_dir, sys.argv)
        with run.locked():
            if experiment.config.seeds > 1:
                accuracy = train_seeds(experiment, run, streams)
            else:
                _train(experiment, run, streams)
                accuracy = _report(experiment, run, streams)
    streams.settle()
    if min_accuracy is not None and accuracy < min_accuracy:
        raise CheckError(f"accuracy {accuracy:.6f} is below --min-accuracy {min_accuracy:g}")


def _resume(run: Run, epochs: int | None, threads: int | None, streams: Streams) -> float:
    from mnistlab.config import resolve

    resolve({"epochs": epochs, "threads": threads})  # out of range is told at once
    if run.is_study:
        raise ConfigError(
            f"{printable(run.path)}: trained several seeds, and such a run is not resumed; train "
            "it again, or the seeds that are missing, with --seed and --seeds"
        )
    # a training run saves its state before its first model
    has_more = run.model_file.exists() or not run.config_file.exists()
    if not run.state_file.exists() and has_more:
        raise ConfigError(f"{printable(run.path)}: not a training run; nothing to resume")
    with run.locked():
        from mnistlab.experiment import note_start
        from mnistlab.experiment import resume as take_up

        with streams.decoding() as progress:
            experiment = take_up(run, sys.argv, epochs=epochs, threads=threads, progress=progress)
        for text in experiment.notices:
            streams.notice(f"note: {text}")
        if experiment.finished:
            streams.notice(f"{printable(run.name)}: {_why_finished(experiment)}")
            # A save that was cut short leaves the state ahead of the other files. A whole run
            # stays as it is: its record is of the machine that trained it.
            if not run.is_complete():
                experiment.save(experiment.capture(), "done")
        else:
            note_start(experiment)
            experiment.save(experiment.capture(), "running")
            _train(experiment, run, streams)
        return _report(experiment, run, streams)


def _why_finished(experiment: "Experiment") -> str:
    config = experiment.config
    if experiment.out_of_patience:
        return f"ended already: no better epoch came in {config.patience} (--patience)"
    extends = "" if config.schedule == "one-cycle" else "; --epochs TOTAL extends it"
    return f"all {config.epochs} epochs are done already{extends}"


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
    for text in skipped_lines(experiment):
        streams.notice(text)
    streams.notice(headline(experiment))
    with StopSignals() as stop:
        with _rows(experiment, streams) as show:
            for _ in experiment.train(stop):
                show(experiment.history[-1])
        if stop() and not experiment.finished:
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
    with training_bar(console, lambda: experiment.place, experiment.config.epochs, batches) as bar:

        def above(row: dict[str, Any]) -> None:
            best = experiment.best is not None and experiment.best["epoch"] == row["epoch"]
            print_above(bar, epoch_line(row), bold=best)

        yield above if shared else plain


def _report(experiment: "Experiment", run: Run, streams: Streams) -> float:
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
    return float(result["accuracy"])
