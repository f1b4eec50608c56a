"""`mnistlab grade DIR`: what a class has solved and trained, at a glance.

Nothing is believed that a file claims: answers are run, accuracies are computed from the weights,
and a run counts as repeated only if it was trained again, here, to the same weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import MnistlabError
from mnistlab.exercises import EXERCISES
from mnistlab.files import write_csv, write_file
from mnistlab.names import printable
from mnistlab.runs import Run

if TYPE_CHECKING:
    from mnistlab.exercises.grading import Answer
    from mnistlab.metrics import Evaluation

COLUMNS = ("learner", "kind", "name", "passed", "accuracy", "low", "high", "seconds", "reason")

RUN_COLUMNS = ("learner", "run", "accuracy", "95%", "repeats", "model", "remark")


@dataclass
class LearnerRun:
    """A run of a learner. evaluation: from its weights, None where they cannot be scored.

    repeats: it was trained again to the same weights; None where that was not asked for. accuracies
    by epoch are those of its record, for the curves of runs that repeat.
    """

    learner: str
    run: Run
    model: str = ""
    weights: str = ""
    evaluation: "Evaluation | None" = None
    repeats: bool | None = None
    reason: str = ""
    accuracies: list[float] = field(default_factory=list)


def grade(
    out: Output,
    settings: dict[str, Any],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of learners' folders.")],
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Train each run again, and compare.")
    ] = True,
    seconds: Annotated[
        float, typer.Option(metavar="X", min=0.1, help="How long an answer may take, in seconds.")
    ] = 20.0,
    csv: Annotated[
        Path | None, flags.output_file("csv", help="Write a row for each answer and run.")
    ] = None,
    html: Annotated[
        Path | None, flags.output_file("html", help="Write it as a page, with all curves.")
    ] = None,
) -> None:
    """Check the exercises and runs of a class: a folder for each learner.

    Answers are run, each in a process of its own; runs are scored from their weights and trained
    again. What a learner's file claims of itself does not count. With --data all runs are scored on
    those images, which no learner needs to have.
    """
    from mnistlab.exercises.grading import check_learners, files_of, learners_in

    folders = learners_in(folder)
    answers = {}
    for path, checked in zip(folders, check_learners(folders, seconds), strict=True):
        answers[path.name] = checked
        out.notice(f"checked {printable(path.name)}")
    runs = []
    for path in folders:
        for file in files_of(path):
            if file.name == "run.json":
                runs.append(grade_run(path.name, Run(file.parent), settings["data"], verify))
    runs.sort(key=lambda one: -one.evaluation.accuracy if one.evaluation else 1.0)
    rows, run_rows = list(_rows(answers, runs)), list(_run_rows(runs))
    if csv is not None:
        write_csv(csv, COLUMNS, rows)
    if html is not None:
        from mnistlab.report.page import render_grades

        title = f"{folder.resolve().name}: {len(answers)} learners"
        page = render_grades(title, answers, runs, RUN_COLUMNS, run_rows)
        write_file(html, page.encode())
    out.document({"rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows]})
    if not out.as_json:
        from mnistlab.report.tables import table

        marks = [
            (name, "".join(one.mark for one in own.values()), sum(a.passed for a in own.values()))
            for name, own in answers.items()
        ]
        out.result(table(("learner", f"exercises 1 to {len(EXERCISES)}", "right"), marks, left=2))
        if runs:
            fit = 5  # columns, so that it fits 80; the remarks stand below
            out.result("", table(RUN_COLUMNS[:fit], [row[:fit] for row in run_rows], left=fit), "")
            remarks = (f"{learner}, {run}: {text}" for learner, run, *_, text in run_rows if text)
            out.result(*map(printable, remarks))


def _run_rows(runs: Sequence[LearnerRun]) -> Iterator[tuple[str, ...]]:
    """The runs for people, the best first."""
    for run in runs:
        score, interval = "-", ""
        if run.evaluation:
            score = f"{run.evaluation.accuracy:.4f}"
            interval = "-".join(f"{end:.3f}".lstrip("0") for end in run.evaluation.interval)
        repeats = {True: "yes", False: "NO", None: "-"}[run.repeats]
        same = {other.learner for other in runs if other.weights == run.weights != ""}
        twins = ", ".join(sorted(same - {run.learner}))
        remark = "; ".join(filter(None, (run.reason, twins and f"same weights as {twins}")))
        yield (run.learner, run.run.name, score, interval, repeats, run.model, remark)


def _rows(
    answers: "Mapping[str, Mapping[str, Answer]]", runs: Sequence[LearnerRun]
) -> Iterator[tuple[object, ...]]:
    """A row for each answer, then one for each run; None where there is no such figure."""
    for learner, own in answers.items():
        for one in own.values():
            figures = (one.passed, None, None, None, round(one.seconds, 3), one.reason)
            yield (learner, "exercise", one.exercise, *figures)
    for run in runs:
        score = run.evaluation
        scores = (score.accuracy, *score.interval) if score else (None, None, None)
        yield (run.learner, "run", run.run.name, run.repeats, *scores, None, run.reason)


def grade_run(learner: str, run: Run, data: str | None, verify: bool) -> LearnerRun:
    """Score a run from its weights, and train it again. A fault becomes its `reason`."""
    from mnistlab.scoring import open_model, score_run
    from mnistlab.storage import weights_sha256
    from mnistlab.studies.verify import verify_run

    graded = LearnerRun(learner, run)
    try:
        model, card = open_model(run)
        graded.model, graded.weights = card.model, weights_sha256(model.state_dict())
        graded.evaluation = score_run(run, {"data": data}).evaluation
        if verify:
            outcome = verify_run(run)
            graded.repeats = outcome.repeats
            graded.reason = "" if outcome.repeats else "trained again, its weights are others"
            result = run.record().result
            if outcome.repeats and result:
                graded.accuracies = [row.accuracy for row in result.epochs]
    except MnistlabError as error:
        graded.reason = str(error).splitlines()[0]
    return graded
