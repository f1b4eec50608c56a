"""`mnistlab eval [RUN]`: score a run's model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.errors import CheckError
from mnistlab.files import require_file, write_csv
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run

if TYPE_CHECKING:
    from mnistlab.scoring import RunScore


def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run folder, its name, or latest.",
            autocompletion=options.complete_runs,
        ),
    ] = "latest",
    data: options.Data = None,
    split: Annotated[
        str, typer.Option("--split", metavar="train|valid", help="Which images to score.")
    ] = "valid",
    best: Annotated[
        bool, typer.Option("--best", help="The best weights of the run instead of the last.")
    ] = False,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            "--min-accuracy",
            metavar="X",
            min=0,
            max=1,
            show_default=False,
            help="Exit with 3 if the accuracy is below X (0 to 1).",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=0, help="How many mistakes to show.")
    ] = 5,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write every image's prediction to a CSV file.",
            show_default=False,
        ),
    ] = None,
    skip_bad: options.SkipBad = None,
    device: options.Device = None,
    threads: options.Threads = None,
    run_dir: options.RunDir = DEFAULT_FOLDER,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Score a run's model, every image once.

    On the data it was trained on, or on --data; classes are matched by name.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    if csv is not None:
        require_file(csv, ("csv",), "--csv")
    found = find_run(run, run_dir)
    from mnistlab.devices import set_threads
    from mnistlab.scoring import score_run

    set_threads(found.threads if threads is None else threads)
    with streams.decoding() as progress:
        score = score_run(
            found,
            data=data,
            split=split,
            best=best,
            skip_bad=bool(skip_bad),
            device=device or "auto",
            progress=progress,
        )
    for file, why in score.split.skipped.items():
        streams.notice(f"skipped {printable(file)}: {why}")
    evaluation, mistakes = score.evaluation, score.mistakes(top)
    if csv is not None:
        _write_predictions(csv, score)
        streams.notice(f"{evaluation.n} predictions written to {printable(csv)}")
    streams.document(
        {
            "run": str(found.path),
            "model": score.card.model,
            "weights": "best" if best else "last",
            "data": score.data,
            "split": split,
            **evaluation.as_dict(),
            "mistakes": [
                {
                    "file": verdict.file,
                    "actual": verdict.actual,
                    "predicted": verdict.predicted,
                    "probability": verdict.probability,
                }
                for verdict in mistakes
            ],
        }
    )
    streams.notice(
        f"{printable(found.path)} ({score.card.model}, {'best' if best else 'last'} weights) on "
        f"{split} of {printable(score.data)}"
    )
    if quiet:
        streams.result(f"accuracy {evaluation.accuracy:.6f}")
    elif not as_json:
        from mnistlab.report.tables import evaluation_tables, mistakes_table

        streams.result(*evaluation_tables(evaluation))
        if mistakes:
            streams.result("", mistakes_table(mistakes))
    if min_accuracy is not None and evaluation.accuracy < min_accuracy:
        raise CheckError(
            f"accuracy {evaluation.accuracy:.6f} is below --min-accuracy {min_accuracy:g}"
        )


def _write_predictions(path: Path, score: "RunScore") -> None:
    classes = score.card.classes
    columns = ("file", "actual", "predicted", "correct", "probability")
    write_csv(
        path,
        (*columns, *(f"p_{name}" for name in classes)),
        (
            (
                verdict.file,
                verdict.actual,
                verdict.predicted,
                int(verdict.actual == verdict.predicted),
                verdict.probability,
                *(verdict.probabilities[name] for name in classes),
            )
            for verdict in score.verdicts()
        ),
    )
