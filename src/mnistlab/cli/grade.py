"""`mnistlab grade DIR`: what a class has solved and trained, at a glance."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnistlab.cli.output import Output
from mnistlab.exercises import EXERCISES
from mnistlab.files import require_file, write_csv, write_file
from mnistlab.names import printable

if TYPE_CHECKING:
    from mnistlab.exercises.grading import Grades

COLUMNS = ("learner", "kind", "name", "passed", "accuracy", "low", "high", "seconds", "reason")

RUN_COLUMNS = ("learner", "run", "model", "accuracy", "95 % interval", "repeats", "remark")


def grade(
    out: Output,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of learners' folders.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help="Score all runs on these images, of a hidden set."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Train each run again, and compare.")
    ] = True,
    seconds: Annotated[
        float, typer.Option(metavar="X", min=0.1, help="How long an answer may take, in seconds.")
    ] = 20.0,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a row for each answer and run.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as a page, with all curves.")
    ] = None,
) -> None:
    """Check the exercises and runs of a class: a folder for each learner.

    Answers are run, each in a process of its own; runs are scored from their weights and trained
    again. What a learner's file claims of itself does not count.
    """
    for path, ending, flag in ((csv, "csv", "--csv"), (html, "html", "--html")):
        if path is not None:
            require_file(path, (ending,), flag)
    from mnistlab.exercises.grading import grade

    grades = grade(
        folder,
        data,
        verify=verify,
        seconds=seconds,
        progress=lambda learner: out.notice(f"checked {printable(learner)}"),
    )
    rows = list(_rows(grades))
    if csv is not None:
        write_csv(csv, COLUMNS, rows)
    if html is not None:
        from mnistlab.report.page import render_grades

        title = f"{folder.resolve().name}: {len(grades.answers)} learners"
        page = render_grades(title, grades, RUN_COLUMNS, _run_rows(grades))
        write_file(html, page.encode())
    out.document({"rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows]})
    if not out.as_json:
        from mnistlab.report.tables import table

        marks = [
            (name, "".join(one.mark for one in own.values()), sum(a.passed for a in own.values()))
            for name, own in grades.answers.items()
        ]
        out.result(table(("learner", f"exercises 1 to {len(EXERCISES)}", "right"), marks, left=2))
        if grades.runs:
            out.result("", table(RUN_COLUMNS, _run_rows(grades), left=len(RUN_COLUMNS)))


def _run_rows(grades: "Grades") -> list[tuple[str, ...]]:
    """The runs for people, the best first."""
    rows: list[tuple[str, ...]] = []
    for run in grades.runs:
        score, interval = "-", ""
        if run.evaluation:
            score = f"{run.evaluation.accuracy:.4f}"
            interval = "{:.4f} to {:.4f}".format(*run.evaluation.interval)
        repeats = {True: "yes", False: "NO", None: "-"}[run.repeats]
        twins = f"same weights as {', '.join(run.twins)}" if run.twins else ""
        remark = "; ".join(filter(None, (run.reason, twins)))
        rows.append((run.learner, run.run.name, run.model, score, interval, repeats, remark))
    return rows


def _rows(grades: "Grades") -> list[tuple[object, ...]]:
    """A row for each answer, then one for each run; None where there is no such figure."""
    rows: list[tuple[object, ...]] = []
    for learner, answers in grades.answers.items():
        for one in answers.values():
            figures = (one.passed, None, None, None, round(one.seconds, 3), one.reason)
            rows.append((learner, "exercise", one.exercise, *figures))
    for run in grades.runs:
        score = run.evaluation
        scores = (score.accuracy, *score.interval) if score else (None, None, None)
        rows.append((run.learner, "run", run.run.name, run.repeats, *scores, None, run.reason))
    return rows
