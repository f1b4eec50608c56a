"""Results as tables for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import Box
from rich.table import Table
from rich.text import Text

from mnistlab.data.audit import Audit
from mnistlab.metrics import Evaluation
from mnistlab.names import printable

_SHOWN = 20
_PLAIN = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int = 1) -> Table:
    """A plain table: the first `left` columns to the left, figures to the right."""
    made = Table(box=_PLAIN, pad_edge=False, header_style="bold", show_edge=False)
    for position, name in enumerate(columns):
        made.add_column(
            name, justify="left" if position < left else "right", overflow="fold", no_wrap=False
        )
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def evaluation_tables(evaluation: Evaluation) -> list[Any]:
    """The summary lines, then one row a class with what it was taken for."""
    low, high = evaluation.interval
    summary = Text()
    summary.append(f"accuracy  {evaluation.accuracy:.6f}", style="bold")
    summary.append(f"  {evaluation.correct} of {evaluation.n} right")
    summary.append(f"  95% interval {low:.4f} to {high:.4f}\n")
    summary.append(f"balanced  {evaluation.balanced_accuracy:.6f}  mean over the classes\n")
    summary.append(f"loss      {evaluation.loss:.6f}\n")
    rows = [
        (name, sum(row), f"{row[i] / sum(row):.4f}", *row)
        for i, (name, row) in enumerate(zip(evaluation.classes, evaluation.confusion, strict=True))
        if sum(row)
    ]
    columns = ("class", "images", "accuracy", *(f"as {name}" for name in evaluation.classes))
    return [summary, table(columns, rows)]


def settings_table(config: Mapping[str, Any], origins: Mapping[str, str]) -> Table:
    """Every setting, its value and where the value came from."""
    rows = [(key, value, origins.get(key, "default")) for key, value in config.items()]
    return table(("setting", "value", "from"), rows, left=3)


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
