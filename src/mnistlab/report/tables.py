"""Results as tables for people."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from mnistlab.data.audit import Audit
from mnistlab.metrics import Evaluation
from mnistlab.names import printable
from mnistlab.report.grid import brief, table

_SHOWN = 20
_MATRIX_WIDTH = 76  # a confusion matrix wider than this is told in words


def evaluation_tables(evaluation: Evaluation) -> list[Any]:
    """The summary lines, the figures of each class, and what each class was taken for.

    Few classes get a confusion matrix, many (or long names) the mistakes in words, most first.
    """
    low, high = evaluation.interval
    summary = Text()
    summary.append(f"accuracy  {evaluation.accuracy:.6f}", style="bold")
    summary.append(f"  {evaluation.correct} of {evaluation.n} right")
    summary.append(f"  95% interval {low:.4f} to {high:.4f}\n")
    summary.append(f"balanced  {evaluation.balanced_accuracy:.6f}  mean over the classes\n")
    summary.append(f"loss      {brief(evaluation.loss)}")
    figures = table(("class", "images", "precision", "recall", "f1"), _class_rows(evaluation))
    return [summary, "", figures, "", _confusion(evaluation)]


def _class_rows(evaluation: Evaluation) -> Iterator[Sequence[Any]]:
    recalls = evaluation.recall
    for name, precision in evaluation.precision.items():
        _, images, _ = evaluation.counts_of(name)
        yield (
            name,
            images,
            "none" if precision is None else f"{precision:.4f}",
            f"{recalls[name]:.4f}" if name in recalls else "none",
            f"{evaluation.f1[name]:.4f}",
        )


def _confusion(evaluation: Evaluation) -> Table | str:
    names = evaluation.classes
    found = [
        (i, name, row)
        for i, (name, row) in enumerate(zip(names, evaluation.confusion, strict=True))
        if sum(row)
    ]
    matrix = [f"as {printable(name)}" for name in names]
    digits = len(str(max(map(max, evaluation.confusion))))
    width = max(map(len, ("actual", *names))) + sum(max(len(name), digits) + 3 for name in matrix)
    if width <= _MATRIX_WIDTH:
        return table(("actual", *matrix), [(name, *row) for _, name, row in found])
    wrong = [(name, words) for i, name, row in found if (words := _taken_for(i, row, names))]
    if not wrong:
        return "no image was taken for one of another class"
    return table(("actual", "taken for"), wrong, left=2)


def mistakes_table(mistakes: Sequence[Any]) -> Table:
    """`scoring.Verdict`s that are wrong, in their order."""
    rows = [
        (verdict.file, verdict.actual, verdict.predicted, f"{verdict.probability:.6f}")
        for verdict in mistakes
    ]
    return table(("most confident mistakes", "actual", "predicted", "probability"), rows, left=3)


def _taken_for(own: int, row: Sequence[int], names: Sequence[str]) -> str:
    wrong = sorted((-count, i) for i, count in enumerate(row) if count and i != own)
    return ", ".join(f"{-count} as {names[i]}" for count, i in wrong)


def audit_tables(audit: Audit) -> list[Any]:
    """All that `data check` found, the faults last."""
    splits = list(audit.counts)
    labels = list(dict.fromkeys(name for split in splits for name in audit.counts[split]))
    rows = [(name, *(audit.counts[split].get(name, 0) for split in splits)) for name in labels]
    rows.append(("all", *(sum(audit.counts[split].values()) for split in splits)))
    shown: list[Any] = [table(("class", *splits), rows), ""]
    shown.append("sizes       " + _counted(audit.sizes))
    shown.append("formats     " + _counted(audit.modes))
    shown.append(f"hidden      {audit.hidden} ignored")
    foreign = f": {', '.join(audit.foreign[:5])}" if audit.foreign else ""
    shown.append(f"foreign     {len(audit.foreign)} beside the class folders, ignored{foreign}")
    shown += _groups("duplicates within a split", audit.duplicates_within)
    shown += _groups("duplicates across splits", audit.duplicates_across)
    shown += [f"note: {note}" for note in audit.notes]
    return shown


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} x {name}" for name, count in counts.items()) or "none"


def _groups(title: str, groups: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"{title}: {len(groups)} group(s) of equal images"]
    lines += ["  " + ", ".join(map(printable, group)) for group in groups[:_SHOWN]]
    if len(groups) > _SHOWN:
        lines.append(f"  ... and {len(groups) - _SHOWN} more")
    return lines


def datasets_table(datasets: Sequence[Mapping[str, Any]]) -> Table:
    """One dataset a row, as `data list` describes them."""
    rows = [
        (
            row["name"],
            row["about"],
            len(row["classes"]),
            f"{row['train']:,} + {row['valid']:,}",
            row["side"],
            "here" if row["here"] else f"{row['download_mb']} MB",
        )
        for row in datasets
    ]
    columns = ("dataset", "what", "classes", "train + valid", "side", "to get")
    return table(columns, rows, left=2)


def ladder_table(steps: Sequence[Any]) -> Table:
    """`ladder.Step`s, one a row, from the baseline up."""
    rows = [
        (
            step.model,
            f"{step.evaluation.accuracy:.4f}",
            "-".join(f"{end:.3f}".lstrip("0") for end in step.evaluation.interval),
            step.evaluation.n - step.evaluation.correct,
            "" if step.lift is None else f"{step.lift:+.4f}",
            _compact(step.parameters),
            f"{step.seconds:.1f}",
            "" if step.chapter is None else f"{step.chapter:.4f}",
        )
        for step in steps
    ]
    columns = ("model", "score", "95%", "errors", "lift", "param", "s", "book")
    return table(columns, rows)


def _compact(count: int) -> str:
    """785, 23.6k, 11.2M."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def reproduction_tables(figures: Sequence[Any]) -> list[Any]:
    """`reproduction.Figure`s by section: exact ones a line each, trained ones a table a curve.

    At most 80 columns wide; `pct` is the share of our seeds at or below the book's value.
    """
    shown: list[Any] = []
    for section, members in groupby(figures, key=lambda figure: figure.section):
        shown += [Text(f"section {section}", style="bold"), ""]
        for (title, is_spread), found in groupby(
            members, key=lambda figure: (_group_of(figure), figure.low is not None)
        ):
            group = list(found)
            if is_spread:
                shown += ["", title] if title else []
                shown.append(_spread_table(group))
            else:
                shown += [line for figure in group for line in _exact_lines(figure)]
        shown.append("")
    return shown


def _group_of(figure: Any) -> str:
    """`two layers, accuracy` of `two layers, accuracy, epoch 3`; empty for a single figure."""
    title, comma, last = str(figure.item).rpartition(", ")
    return title if comma and last.startswith("epoch") and figure.low is not None else ""


def _exact_lines(figure: Any) -> list[str]:
    head = f"{figure.verdict:<8}  {figure.item}"
    if figure.chapter is True and figure.verdict == "equal":
        return textwrap.wrap(head, 80, subsequent_indent=" " * 10)
    tail = _figure(figure.chapter)
    if figure.verdict != "equal":
        tail = f"book {tail}, ours {_figure(figure.ours)}" if figure.ours is not None else tail
        tail += f" ({figure.reason})" if figure.reason else ""
    if len(head) + 2 + len(tail) <= 80:
        return [f"{head}: {tail}"]
    return [
        *textwrap.wrap(f"{head}:", 80, subsequent_indent=" " * 10),
        *textwrap.wrap(tail, 80, initial_indent=" " * 10, subsequent_indent=" " * 10),
    ]


def _spread_table(figures: Sequence[Any]) -> Table:
    rows = []
    for figure in figures:
        item = figure.item.rpartition(", ")[2] if _group_of(figure) else figure.item
        numbers = (figure.chapter, figure.low, figure.ours, figure.high)
        row = [f"{number:.{_digits(figure.chapter)}f}" for number in numbers]
        reason = f": {figure.reason}" if figure.reason else ""
        rows.append((item, *row, f"{figure.percentile:.0f}%", figure.verdict + reason))
    return table(("", "book", "min", "median", "max", "pct", "verdict"), rows)


def _digits(value: float) -> int:
    """As many digits as the chapter prints, four to six."""
    return min(max(len(repr(value).partition(".")[2]), 4), 6)


def _figure(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(_figure(part) for part in value) + ")"
    return str(value)
