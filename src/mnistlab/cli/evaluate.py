"""`mnistlab eval [RUN]`: score a run's model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import CheckError
from mnistlab.files import require_file, write_csv
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run


def evaluate(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    split: flags.Split = "valid",
    best: flags.Best = False,
    min_accuracy: flags.MinAccuracy = None,
    top: Annotated[int, typer.Option(metavar="N", min=0, help="How many mistakes to show.")] = 5,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every image's prediction to a CSV file."),
    ] = None,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Score a run's model, every image once.

    On the data it was trained on, or on --data; classes are matched by name.
    """
    if csv is not None:
        require_file(csv, ("csv",), "--csv")
    the_run = find_run(run, run_dir)
    from mnistlab.scoring import score_run

    with out.loading() as progress:
        score = score_run(the_run, settings, split=split, best=best, progress=progress)
    out.skipped(score.split.skipped)
    evaluation, mistakes = score.evaluation, score.mistakes(top)
    if csv is not None:
        columns = ("file", "actual", "predicted", "correct", "probability")
        rows = (
            (
                *(v.file, v.actual, v.predicted, int(v.actual == v.predicted), v.probability),
                *v.probabilities.values(),
            )
            for v in score.verdicts()
        )
        write_csv(csv, (*columns, *(f"p_{name}" for name in score.card.classes)), rows)
        out.notice(f"{evaluation.n} predictions written to {printable(csv)}")
    weights = "best" if best else "last"
    out.document(
        {
            "run": str(the_run.path),
            "model": score.card.model,
            "weights": weights,
            "data": score.data,
            "split": split,
            **evaluation.as_dict(),
            **({"calibration": score.calibration} if score.calibration else {}),
            "mistakes": [
                {key: getattr(v, key) for key in ("file", "actual", "predicted", "probability")}
                for v in mistakes
            ],
        }
    )
    out.notice(
        f"{printable(the_run.path)} ({score.card.model}, {weights} weights) on {split} of "
        f"{printable(score.data)}"
    )
    if out.quiet:
        out.result(f"accuracy {evaluation.accuracy:.6f}")
    elif out.tables:
        from mnistlab.report.tables import evaluation_tables, mistakes_table

        out.result(*evaluation_tables(evaluation))
        if mistakes:
            out.result("", mistakes_table(mistakes))
        if score.calibration:
            from mnistlab.report.pictures import reliability_diagram
            from mnistlab.report.terminal import text_picture

            out.result("", text_picture(reliability_diagram(score.calibration)))
    accuracy = evaluation.accuracy
    if min_accuracy is not None and accuracy < min_accuracy:
        raise CheckError(f"accuracy {accuracy:.6f} is below --min-accuracy {min_accuracy:g}")
