"""Runs as tables: the list, one run, two side by side, a run trained again."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from mnistlab.names import printable
from mnistlab.report.grid import brief, settings_table, table
from mnistlab.report.rows import HEADER, epoch_line
from mnistlab.runs import RunSummary

if TYPE_CHECKING:  # both bring torch
    from mnistlab.studies.compare import Comparison
    from mnistlab.studies.verify import Verification

_EPOCHS_SHOWN = 12  # of a long run: the first and the last ones


def runs_table(runs: Sequence[RunSummary], *, time: bool = False) -> Table:
    """One run a row; `time` in place of the best accuracy, as both do not fit into 80 columns."""
    rows = [
        (
            run.name if run.seeds == 1 else f"{run.name} x{run.seeds}",
            run.status,
            "" if run.epochs is None else run.epochs,
            _figure(run.accuracy),
            _seconds(run.seconds) if time else _figure(run.best),
        )
        for run in runs
    ]
    last = "time" if time else "best"
    return table(("run", "status", "epochs", "accuracy", last), rows, left=2)


def run_tables(
    run: RunSummary, info: Mapping[str, Any], files: Mapping[str, int], *, epochs: bool
) -> list[Any]:
    """All that a run folder says, the result first."""
    shown: list[Any] = [Text(printable(run.path), style="bold")]
    accuracy = "none yet" if run.accuracy is None else f"{run.accuracy:.6f}"
    best = "" if run.best is None else f", best {run.best:.6f}"
    shown.append(f"status    {run.status}")
    shown.append(f"accuracy  {accuracy}{best}")
    result = info.get("result") or {}
    if "weights_sha256" in result:
        shown.append(f"weights   sha256 {result['weights_sha256']}")
    shown += _seeds(result)
    rows = result.get("epochs") or []
    if epochs and rows:
        shown += ["", HEADER, *_shortened([epoch_line(row) for row in rows])]
    config = info.get("config") or {}
    shown += ["", settings_table(config, info.get("origins") or {})]
    data = info.get("data") or {}
    counts = [
        (name, *(data[split].get(name, 0) for split in ("train", "valid")))
        for name in info.get("classes") or []
        if all(isinstance(data.get(split), dict) for split in ("train", "valid"))
    ]
    if counts:
        shown += ["", table(("class", "train", "valid"), counts)]
        shown.append(f"data fingerprint {data.get('fingerprint')}")
    environment = list((info.get("environment") or {}).items())
    shown += ["", table(("environment", ""), environment, left=2)]
    shown += ["", table(("file", "bytes"), [(name, f"{size:,}") for name, size in files.items()])]
    return shown


def _seeds(result: Mapping[str, Any]) -> list[str]:
    if not (summary := result.get("summary")):
        return []
    spread = "  ".join(f"{key} {summary[key]:.6f}" for key in ("mean", "sd", "min", "max"))
    return [
        f"seeds     {summary['n']}: {spread}",
        f"          median seed {summary['median']['seed']}, best seed {summary['best']['seed']}",
    ]


def comparison_tables(a: str, b: str, found: "Comparison", *, quiet: bool = False) -> list[Any]:
    """Who was right where, and what to make of it."""
    paired = found.paired
    low, high = paired.interval
    verdict = (
        f"B - A     {paired.difference:+.6f}  95% interval {low:+.4f} to {high:+.4f}  "
        f"McNemar p {_p(paired.p_value)}"
    )
    if quiet:
        return [verdict]
    rows = [
        (name, run, f"{score.evaluation.accuracy:.6f}", brief(score.evaluation.loss))
        for name, run, score in (("A", a, found.a), ("B", b, found.b))
    ]
    counts = [("A right", paired.both, paired.only_a), ("A wrong", paired.only_b, paired.neither)]
    shown: list[Any] = [table(("", "run", "accuracy", "loss"), rows, left=2), ""]
    shown += [table(("", "B right", "B wrong"), counts), "", Text(verdict, style="bold")]
    disagree = paired.only_a + paired.only_b
    shown.append(
        f"          they disagree on {disagree} of {paired.n} images; two equally good models\n"
        f"          would split them this unevenly in {100 * paired.p_value:.3g} % of cases"
    )
    if found.settings:
        settings = [(key, *_both(values)) for key, values in found.settings.items()]
        shown += ["", table(("setting", "A", "B"), settings, left=3)]
    return shown


def verification_tables(found: "Verification", *, quiet: bool = False) -> list[Any]:
    """Whether it repeats; if not, what is different."""
    if found.repeats:
        what = f"{len(found.expected)} seeds" if len(found.expected) > 1 else "weights"
        some = next(iter(found.found.values())) or ""
        tail = f"sha256 {some}" if len(found.expected) == 1 else f"{found.epochs} epochs each"
        lines: list[Any] = [f"repeats   {what} equal to the last bit, {tail}"]
        if found.changed and not quiet:
            lines += ["", table(("changed all the same", "then", "now"), _changes(found), left=3)]
        return lines
    differing = [key for key, value in found.expected.items() if found.found.get(key) != value]
    lines = []
    if differing:
        lines.append(f"differs   {len(differing)} of {len(found.expected)}: {differing[0]}")
        for label, where in (("then", found.expected), ("now ", found.found)):
            lines.append(f"  {label}    sha256 {where.get(differing[0])}")
    if found.first_epoch is not None:
        lines.append(f"  first     in epoch {found.first_epoch} of {found.epochs}")
    if found.changed and not quiet:
        lines += ["", table(("changed", "then", "now"), _changes(found), left=3)]
    return lines


def _changes(found: "Verification") -> list[tuple[str, str, str]]:
    return [(key, *_both(values)) for key, values in found.changed.items()]


def _both(values: tuple[Any, Any]) -> tuple[str, str]:
    first, second = ("-" if value is None else str(value) for value in values)
    return first, second


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}s"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"


def _shortened(lines: Sequence[str]) -> list[str]:
    if len(lines) <= _EPOCHS_SHOWN:
        return list(lines)
    half = _EPOCHS_SHOWN // 2
    return [*lines[:half], f"  ... {len(lines) - 2 * half} more in metrics.csv", *lines[-half:]]
