"""`mnistlab train --seeds N` and `--folds N`: what is shown while it runs, and what came out."""

from typing import TYPE_CHECKING

import typer

from mnistlab.cli.output import Output
from mnistlab.cli.signals import StopSignals
from mnistlab.cli.training_output import headline, training_rows
from mnistlab.names import printable
from mnistlab.runs import Run

if TYPE_CHECKING:
    from mnistlab.experiment import Experiment
    from mnistlab.studies.seeds import SeedStudy


def train_seeds(experiment: "Experiment", run: Run, out: Output) -> float:
    """Train all seeds or folds of `experiment` into `run` and show them; their mean accuracy.

    Raises typer.Exit after a stop, DivergedError if one of them diverged (the others are saved).
    """
    from mnistlab.report.rows import BAND_HEADER, SEED_HEADER, band_line, seed_line
    from mnistlab.studies.seeds import SeedStudy

    study, config = SeedStudy(experiment), experiment.config
    out.read(experiment.data)
    out.notice(headline(experiment), _plan(study))
    header, line = SEED_HEADER.replace("seed", study.kind), seed_line
    if config.is_wide:
        header, line = BAND_HEADER, band_line
    with StopSignals() as stop:
        with training_rows(
            out,
            header,
            lambda: study.place,
            config,
            experiment.n_batches,
            label=lambda: "" if config.is_wide else f"{study.kind} {study.under_way}, ",
        ) as show:
            for row in study.train(stop):
                show(line(row), False)
        if stop() and not study.finished:
            out.notice(f"stopped {_progress(study)}; {printable(run.path)}")
        if study.done:
            _report(study, run, out)
        if stop() and not study.finished:
            raise typer.Exit(stop.exit_code)
    study.check_diverged()
    return float(study.summary()["mean"])


def _plan(study: "SeedStudy") -> str:
    config, seeds = study.experiment.config, study.seeds
    if config.folds:
        order = "train and valid together, each image scores once"
    elif not config.shuffle:
        order = "in the order of the files"
    elif config.order_seed == "own":
        order = "each in an order of its own"
    else:
        order = f"all in the order of seed {config.order_seed}"
    how = "at once, as one wide matrix" if config.is_wide else "one after the other"
    return f"{study.kind}s   {seeds[0]} to {seeds[-1]}, {how}, {order}"


def _progress(study: "SeedStudy") -> str:
    if not study.done:
        return "before anything was finished; nothing of it is saved"
    done = f"{len(study.results)} of {len(study.seeds)} {study.kind}s"
    if study.experiment.config.is_wide:
        epochs = max(len(result.epochs) for result in study.results)
        done = f"{epochs} of {study.experiment.config.epochs} epochs"
    return f"after {done}, which are saved"


def _report(study: "SeedStudy", run: Run, out: Output) -> None:
    card, result, summary = study.experiment.card, study.result(), study.summary()
    kind, config = study.kind, study.experiment.config
    out.document(
        {
            "run": str(run.path),
            "model": card.model,
            "classes": list(card.classes),
            "seed": config.seed if config.folds else summary["median"]["seed"],
            **({"predictions": str(run.folds_file)} if config.folds else {}),
            **result.as_dict(),
        }
    )
    spread = "  ".join(f"{key} {summary[key]:.6f}" for key in ("mean", "sd", "min", "max"))
    if out.quiet:
        out.result(f"accuracy  {spread}  run {printable(run.path)}")
        return
    out.result(
        f"accuracy  {spread}  over {summary['n']} {kind}s",
        *(
            f"{which:<8}  {summary[which]['accuracy']:.6f}  {kind} {summary[which][kind]}, "
            f"saved as {file}"
            for which, file in (("median", run.model_file.name), ("best", run.best_file.name))
        ),
    )
    if config.folds:
        where = printable(run.folds_file)
        out.notice(f"images  {where}: each predicted by a model that never saw it")
    out.notice(f"run     {printable(run.path)}\nnext    mnistlab eval {printable(run.reference)}")
