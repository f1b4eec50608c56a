"""`mnistlab train --seeds N`: how it is shown while it runs, and what it came to."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from mnistlab.cli.plan import headline, skipped_lines
from mnistlab.cli.signals import StopSignals
from mnistlab.cli.streams import Streams
from mnistlab.names import printable
from mnistlab.runs import Run

if TYPE_CHECKING:
    from mnistlab.experiment import Experiment
    from mnistlab.studies.seeds import SeedStudy


def train_seeds(experiment: "Experiment", run: Run, streams: Streams) -> float:
    """Train all seeds of `experiment` into `run` and show them; the mean of their accuracies.

    Raises typer.Exit after a stop, DivergedError if a seed diverged (the others are saved).
    """
    from mnistlab.studies.seeds import SeedStudy

    for text in skipped_lines(experiment):
        streams.notice(text)
    study = SeedStudy(experiment)
    streams.notice(headline(experiment), _plan(study))
    with StopSignals() as stop:
        with _rows(study, streams) as show:
            for row in study.train(stop):
                show(row)
        if stop() and not study.finished:
            streams.notice(f"stopped {_progress(study)}; {printable(run.path)}")
            if study.done:
                _report(study, run, streams)
            raise typer.Exit(stop.exit_code)
    study.require_done()
    _report(study, run, streams)
    study.require_all()
    return float(study.summary()["mean"])


def _plan(study: "SeedStudy") -> str:
    config, seeds = study.experiment.config, study.seeds
    if not config.shuffle:
        order = "in the order of the files"
    elif config.order_seed == "own":
        order = "each in an order of its own"
    else:
        order = f"all in the order of seed {config.order_seed}"
    how = "at once, as one wide matrix" if config.is_wide else "one after the other"
    return f"seeds   {seeds[0]} to {seeds[-1]}, {how}, {order}"


def _progress(study: "SeedStudy") -> str:
    if not study.done:
        return "before anything was finished; nothing of it is kept"
    if study.experiment.config.is_wide:
        epochs = max(len(result.epochs) for result in study.results)
        return f"after {epochs} of {study.experiment.config.epochs} epochs, which are saved"
    return f"after {len(study.results)} of {len(study.seeds)} seeds, which are saved"


@contextlib.contextmanager
def _rows(study: "SeedStudy", streams: Streams) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Gives a function that shows an epoch of all seeds, or one finished seed."""
    from mnistlab.report.rows import BAND_HEADER, SEED_HEADER, band_line, seed_line

    config = study.experiment.config
    header, line = (BAND_HEADER, band_line) if config.is_wide else (SEED_HEADER, seed_line)
    # With --json the rows are progress, and stdout is for the document.
    name = "stderr" if streams.as_json else "stdout"
    stream = getattr(sys, name)
    if streams.quiet:
        yield lambda row: None
        return
    streams.progress(stream, header)
    if not streams.live:
        yield lambda row: streams.progress(stream, line(row))
        return
    from mnistlab.report.live import print_above, training_bar

    shared = stream.isatty()
    console = streams.console(name if shared else "stderr")
    batches = -(-len(study.experiment.data.train_ds) // config.batch_size)
    with training_bar(
        console,
        lambda: study.place,
        config.epochs,
        batches,
        label=lambda: "" if config.is_wide else f"seed {study.under_way}, ",
    ) as bar:

        def show(row: Mapping[str, Any]) -> None:
            if shared:
                print_above(bar, line(row))
            else:
                streams.progress(stream, line(row))

        yield show


def _report(study: "SeedStudy", run: Run, streams: Streams) -> None:
    experiment, result = study.experiment, study.result()
    summary = result["summary"]
    streams.document(
        {
            "run": str(run.path),
            "model": experiment.card.model,
            "classes": list(experiment.card.classes),
            "seed": summary["median"]["seed"],
            **result,
        }
    )
    spread = "  ".join(f"{key} {summary[key]:.6f}" for key in ("mean", "sd", "min", "max"))
    if streams.quiet:
        streams.result(f"accuracy  {spread}  run {printable(run.path)}")
        return
    streams.result(
        f"accuracy  {spread}  over {summary['n']} seeds",
        *(
            f"{which:<8}  {summary[which]['accuracy']:.6f}  seed {summary[which]['seed']}, "
            f"kept as {file}"
            for which, file in (("median", run.model_file.name), ("best", run.best_file.name))
        ),
    )
    streams.notice(
        f"run     {printable(run.path)}\nnext    mnistlab eval {printable(run.reference)}"
    )
