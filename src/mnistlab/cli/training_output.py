"""What a training shows: what it is going to do, and its rows while it runs."""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import typer

from mnistlab.cli.output import Output
from mnistlab.cli.signals import StopSignals
from mnistlab.config import PIN
from mnistlab.names import printable
from mnistlab.runs import Run

if TYPE_CHECKING:
    from mnistlab.experiment import Experiment
    from mnistlab.studies.seeds import SeedStudy
    from mnistlab.training import Place

UNEVEN = 5  # times as many images in one class as in another: a training is told about it


def headline(experiment: "Experiment") -> str:
    """Data and model in two lines, above the rows of a training."""
    data, config = experiment.data, experiment.config
    height, width = data.image_size
    names = list(map(printable, data.classes))
    classes = " vs ".join(names) if len(names) == 2 else f"{len(names)} classes"
    threads = "1 thread" if config.threads == 1 else f"{config.threads} threads"
    if experiment.team.size > 1:
        threads += f" in each of {experiment.team.size} processes"
    why = experiment.origins.get("precision", "")
    precision = f", {config.precision} ({why})" if why.startswith("auto") else ""
    name = printable(experiment.card.model)
    return (
        f"data    {printable(config.data)}: {classes}, "
        f"{len(data.train_ds):,} + {len(data.valid_ds):,} images of {width} x {height}\n"
        f"model   {name}, {experiment.parameters:,} parameters; seed {config.seed}, "
        f"{config.device}, {threads}{precision}{_beginning(experiment)}{_unevenness(experiment)}"
    )


def _beginning(experiment: "Experiment") -> str:
    """A line of its own where the first weights are those of another run."""
    taken = experiment.taken
    if not taken:
        return ""
    weights = experiment.now.model.state_dict()
    drawn = sorted({name.rpartition(".")[0] for name in weights.keys() - taken})
    but = f" but those of its last layer ({', '.join(drawn)}): other classes" if drawn else ""
    source = printable(experiment.config.from_run.partition(PIN)[0])
    return f"\nfrom    {source}: all weights{but}"


def _unevenness(experiment: "Experiment") -> str:
    """A line of its own where the largest class has many times the images of the smallest."""
    counts, config = experiment.data.train.counts, experiment.config
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    settled = config.class_weights != "none" or not config.applies("class_weights")
    if settled or counts[largest] <= UNEVEN * counts[smallest]:
        return ""
    return (
        f"\nnote    {printable(largest)} has {counts[largest]:,} training images, "
        f"{printable(smallest)} {counts[smallest]:,}: --class-weights balanced lets both count "
        "alike in training,\n        and balanced_accuracy (mnistlab eval) in the score"
    )


@contextlib.contextmanager
def training_rows(
    out: Output,
    header: str,
    experiment: "Experiment",
    place: "Callable[[], Place]",
    label: Callable[[], str] = lambda: "",
) -> Iterator[Callable[[str, bool], None]]:
    """A function that shows a line, bold or not: on a terminal above a bar at `place()`."""
    # With --json the rows are progress, and stdout is for the document.
    name = "stderr" if out.as_json else "stdout"
    stream = getattr(sys, name)

    def print_line(line: str, bold: bool = False) -> None:
        if not out.quiet:
            stream.write(line + "\n")

    print_line(header)
    if not out.live:
        yield print_line
        return
    from mnistlab.report.terminal import print_above, training_bar

    # A bar and rows on the same terminal must go through one console, or they overwrite each other
    shared = stream.isatty()
    console = out.console(name if shared else "stderr")
    epochs, n_batches = experiment.config.epochs, experiment.n_batches
    with training_bar(console, place, epochs, n_batches, label=label) as bar:
        yield partial(print_above, bar) if shared else print_line


def show_plan(experiment: "Experiment", out: Output) -> None:
    """`--dry-run`: every setting that applies with its origin, the model and the data."""
    from mnistlab.models import layers_of
    from mnistlab.report.tables import counts_table, settings_table, table

    out.read(experiment.data)
    settings, origins = experiment.config.applicable(), experiment.origins
    card, data = experiment.card, experiment.data
    layers = layers_of(card)
    counts = {"train": data.train.counts, "valid": data.valid.counts}
    out.document(
        {
            "settings": {
                key: {"value": value, "from": origins[key]} for key, value in settings.items()
            },
            "model": {
                "name": card.model,
                "parameters": experiment.parameters,
                "layers": [asdict(layer) for layer in layers],
            },
            "data": {
                "path": str(data.root),
                "fingerprint": data.fingerprint,
                "classes": list(data.classes),
                "image_size": list(data.image_size),
                **counts,
            },
        }
    )
    rows = []
    for layer in layers:
        # resnet18 is all one part, its `net`, and shown without that name, to fit 80 columns
        name, shapes = layer.name.removeprefix("net.") or card.model, layer.parameters.values()
        numbers = f"{sum(map(math.prod, shapes)):,}" if shapes else ""
        parameters = " + ".join(map(_times, shapes))
        rows.append((name, layer.kind, _times(layer.output), parameters, numbers))
    rows.append(("all", "", "", "", f"{experiment.parameters:,}"))
    out.result(
        settings_table(settings, origins),
        "",
        table(("layer", "kind", "output", "parameters", "numbers"), rows, left=2),
        "",
        counts_table(counts),
    )
    out.notice(headline(experiment), "dry run: nothing was trained or written")


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


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
            experiment,
            lambda: study.place,
            label=lambda: "" if config.is_wide else f"{study.kind} {study.under_way}, ",
        ) as show:
            for row in study.train(stop):
                show(line(row), False)
        if study.done and experiment.run:
            _report_study(study, run, out)
        if (stop() or experiment.team.stopped) and not study.finished:
            done = f"{len(study.results)} of {len(study.seeds)} {study.kind}s"
            if config.is_wide:
                epochs = max((len(result.epochs) for result in study.results), default=0)
                done = f"{epochs} of {config.epochs} epochs"
            where = f"after {done}, which are saved"
            if not study.done:
                where = "before anything was finished; nothing of it is saved"
            out.notice(f"stopped {where}; {printable(run.path)}")
            raise typer.Exit(stop.exit_code or 143)
    if experiment.team.rank > 0:
        return math.nan
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


def _report_study(study: "SeedStudy", run: Run, out: Output) -> None:
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
