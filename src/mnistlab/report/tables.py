"""Results as tables on a terminal. No torch at import: listing runs must not wait for it."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.box import Box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnistlab.names import listed, printable
from mnistlab.report.rows import HEADER, brief, epoch_line

if TYPE_CHECKING:  # most of these bring torch
    from mnistlab.data.audit import Audit
    from mnistlab.metrics import Evaluation
    from mnistlab.report.pictures import Matrix
    from mnistlab.scoring import Verdict
    from mnistlab.studies.compare import Comparison
    from mnistlab.studies.verify import Verification
    from mnistlab.summaries import RunSummary

_PLAIN = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
_MAX_GROUPS = 20  # of equal images
_MAX_EPOCHS = 12  # of a long run: the first and the last ones
_MAX_PAIRS = 40  # of classes
_WORST = 20  # of more classes than a table should have
_DATA_WIDTH = 18  # columns for the name of the data in a list of runs, at most


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int = 1) -> Table:
    """A plain table: the first `left` columns to the left, figures to the right.

    Cells are never folded, so that figures and names stay readable; draw it as wide as it is.
    """
    plain = Table(box=_PLAIN, pad_edge=False, header_style="bold", show_edge=False)
    for position, name in enumerate(columns):
        justify: Any = "left" if position < left else "right"
        plain.add_column(printable(name), justify=justify, no_wrap=True)
    for row in rows:
        plain.add_row(*(Text(printable(cell)) for cell in row))
    return plain


def settings_table(config: Mapping[str, Any], origins: Mapping[str, str]) -> Table:
    rows = [
        (key, "-" if value == "" else value, origins.get(key, "default"))
        for key, value in config.items()
    ]
    return table(("setting", "value", "from"), rows, left=3)


# a model's scores


def evaluation_tables(evaluation: "Evaluation") -> list[Any]:
    """The summary lines, the figures of each class, and the confusion matrix."""
    from mnistlab.metrics import MANY
    from mnistlab.report.pictures import confusion_matrix

    low, high = evaluation.interval
    summary = Text()
    summary.append(f"accuracy  {evaluation.accuracy:.6f}", style="bold")
    summary.append(f"  {evaluation.correct} of {evaluation.n} right")
    summary.append(f"  95% interval {low:.4f} to {high:.4f}\n")
    summary.append(f"balanced  {evaluation.balanced_accuracy:.6f}  mean over the classes\n")
    summary.append(f"loss      {brief(evaluation.loss)}")
    scores = (evaluation.precision, evaluation.recall, f1 := evaluation.f1)
    rows: list[tuple[Any, ...]] = []
    for name, (_, images, _) in evaluation.counts.items():
        shares = (of_class.get(name) for of_class in scores)
        figures = ["none" if share is None else f"{share:.4f}" for share in shares]
        rows.append((name, images, *figures))
    title = []
    if len(rows) > MANY:
        title = [f"the {_WORST} worst of {len(rows):,} classes by f1; --json has all"]
        rows = sorted(rows, key=lambda row: f1[row[0]])[:_WORST]
    by_class = table(("class", "images", "precision", "recall", "f1"), rows)
    return [summary, "", *title, by_class, "", confusion_table(confusion_matrix(evaluation))]


def confusion_table(matrix: "Matrix", width: int = 80) -> Table | str:
    """The counts under the names of the classes; where wider than `width`, the mistakes as pairs.

    Classes without images have no row.
    """
    if len(matrix.classes) < width:  # else a grid would be too wide, and long in the making
        columns = ["actual", *(f"as {name}" for name in matrix.classes)]
        rows = zip(matrix.classes, matrix.counts, strict=True)
        grid = table(columns, [(name, *counts) for name, counts in rows if any(counts)])
        if Console(width=10**6).measure(grid).maximum <= width:
            return grid
    pairs = matrix.worst_pairs(_MAX_PAIRS)
    if not pairs:
        return "no image was taken for one of another class"
    cells = [(actual, predicted, count) for count, actual, predicted in pairs]
    return table(("actual", "predicted", "images"), cells, left=2)


def mistakes_table(mistakes: "Sequence[Verdict]") -> Table:
    rows = [(v.file, v.actual, v.predicted, f"{v.probability:.6f}") for v in mistakes]
    return table(("most confident mistakes", "actual", "predicted", "probability"), rows, left=3)


def ladder_table(steps: Sequence[Mapping[str, Any]]) -> Table:
    """The steps of `ladder.climb`, one a row, from the baseline up."""
    rows = [
        (
            step["model"],
            f"{step['accuracy']:.4f}",
            "-".join(f"{end:.3f}".lstrip("0") for end in step["interval"]),
            step["errors"],
            "" if step["lift"] is None else f"{step['lift']:+.4f}",
            _compact(step["parameters"]),
            f"{step['seconds']:.{1 if step['seconds'] < 10 else 0}f}",
            "" if step["chapter"] is None else f"{step['chapter']:.4f}",
        )
        for step in steps
    ]
    return table(("model", "score", "95%", "errors", "lift", "param", "s", "book"), rows)


def _compact(count: int) -> str:  # 785, 23.6k, 11.2M
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


# data


def counts_table(counts: Mapping[str, Mapping[str, int]], *, total: bool = False) -> Table:
    """Images by class, a column a split; `total` adds a row of sums."""
    names = dict.fromkeys(name for by_class in counts.values() for name in by_class)
    rows = [(name, *(by_class.get(name, 0) for by_class in counts.values())) for name in names]
    if total:
        rows.append(("all", *(sum(by_class.values()) for by_class in counts.values())))
    return table(("class", *counts), rows)


def audit_tables(audit: "Audit") -> list[Any]:
    """All that `data check` has to say, the faults last."""
    foreign = f": {', '.join(audit.foreign[:5])}" if audit.foreign else ""
    lines: list[Any] = [
        counts_table(audit.counts, total=True),
        "",
        f"sizes       {listed(audit.sizes, '{1:,} x {0}') or 'none'}",
        f"formats     {listed(audit.modes, '{1:,} x {0}') or 'none'}",
        f"hidden      {audit.hidden} ignored",
        f"foreign     {len(audit.foreign)} beside the class folders, ignored{foreign}",
    ]
    duplicates = {
        "within a split": audit.duplicates_within,
        "across splits": audit.duplicates_across,
    }
    for where, groups in duplicates.items():
        lines.append(f"duplicates {where}: {len(groups)} group(s) of equal images")
        lines += ["  " + ", ".join(map(printable, group)) for group in groups[:_MAX_GROUPS]]
        if len(groups) > _MAX_GROUPS:
            lines.append(f"  ... and {len(groups) - _MAX_GROUPS} more")
    return lines + [f"note: {note}" for note in audit.notes] + audit.reads


def datasets_table(datasets: Sequence[Mapping[str, Any]]) -> Table:
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


# runs


def runs_lines(runs: "Sequence[RunSummary]", width: int, sort: str = "created") -> list[Any]:
    """One run a line under a header; two lines where `width` columns are too few for one.

    The last column has the accuracy, or what they are sorted by: `best` or `seconds`.
    """
    last = sort if sort in ("best", "seconds") else "accuracy"
    title, form = ("time", "{:.1f}s") if last == "seconds" else (last, "{:.6f}")
    rows = [("run", "status", "data", "lr", "seed", "epochs", title)]
    for run in runs:
        values = {"{:g}": run.lr, "{}": run.epochs, form: getattr(run, last)}
        lr, epochs, figure = ("" if v is None else f.format(v) for f, v in values.items())
        seed = "" if run.seed is None else str(run.seed)
        seed += f"-{(run.seed or 0) + run.seeds - 1}" if run.seeds > 1 else ""
        data = printable(run.data or "")
        while cell_len(data) > _DATA_WIDTH:
            data = "..." + data.removeprefix("...")[1:]
        rows.append((printable(run.name), run.status, data, lr, seed, epochs, figure))
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    in_one = sum(widths) + 2 * (len(widths) - 1) <= width
    lines: list[Any] = []
    for name, status, data, *figures in rows:
        head = set_cell_size(name, widths[0]) if in_one else f"{name}\n"
        cells = [*map(set_cell_size, (status, data), widths[1:3])]
        cells += map(str.rjust, figures, widths[3:])
        lines.append("  ".join([head, *cells]).rstrip())
    return [Text(lines[0], style="bold"), *lines[1:]]


def run_tables(
    run: "RunSummary", info: Mapping[str, Any], files: Mapping[str, int], *, epochs: bool
) -> list[Any]:
    """All that a run folder says, the result first."""
    accuracy = "none yet" if run.accuracy is None else f"{run.accuracy:.6f}"
    accuracy += "" if run.best is None else f", best {run.best:.6f}"
    lines: list[Any] = [Text(printable(run.path), style="bold")]
    lines += [f"status    {run.status}", f"accuracy  {accuracy}"]
    result = info.get("result") or {}
    if "weights_sha256" in result:
        lines.append(f"weights   sha256 {result['weights_sha256']}")
    if summary := result.get("summary"):
        spread = "  ".join(f"{key} {summary[key]:.6f}" for key in ("mean", "sd", "min", "max"))
        kind = "fold" if "fold" in summary["median"] else "seed"
        which = ", ".join(f"{place} {kind} {summary[place][kind]}" for place in ("median", "best"))
        lines += [f"{kind}s     {summary['n']}: {spread}", f"          {which}"]
    rows = [epoch_line(row) for row in result.get("epochs") or []] if epochs else []
    if len(rows) > _MAX_EPOCHS:
        half = _MAX_EPOCHS // 2
        rows[half:-half] = [f"  ... {len(rows) - 2 * half} more in metrics.csv"]
    lines += ["", HEADER, *rows] if rows else []
    lines += ["", settings_table(info.get("config") or {}, info.get("origins") or {})]
    if data := info.get("data"):
        lines += ["", counts_table({split: data[split] for split in ("train", "valid")})]
        lines.append(f"data fingerprint {data['fingerprint']}")
    lines += ["", table(("environment", ""), info.get("environment", {}).items(), left=2)]
    sizes = [(name, f"{size:,}") for name, size in files.items()]
    return [*lines, "", table(("file", "bytes"), sizes)]


def comparison_tables(
    a: str, b: str, comparison: "Comparison", *, quiet: bool = False
) -> list[Any]:
    """On how many images the runs `a` and `b` were right, and what to conclude."""
    paired = comparison.paired
    low, high = paired.interval
    verdict = (
        f"B - A     {paired.difference:+.6f}  95% interval {low:+.4f} to {high:+.4f}  "
        f"McNemar p {paired.p_value:{'.4f' if paired.p_value >= 0.0001 else '.1e'}}"
    )
    if quiet:
        return [verdict]
    rows = [
        (name, run, f"{score.evaluation.accuracy:.6f}", brief(score.evaluation.loss))
        for name, run, score in (("A", a, comparison.a), ("B", b, comparison.b))
    ]
    counts = [("A right", paired.both, paired.only_a), ("A wrong", paired.only_b, paired.neither)]
    disagree = paired.only_a + paired.only_b
    return [
        table(("", "run", "accuracy", "loss"), rows, left=2),
        "",
        table(("", "B right", "B wrong"), counts),
        "",
        Text(verdict, style="bold"),
        f"          they disagree on {disagree} of {paired.n} images; two equally good models\n"
        f"          would split them this unevenly in {100 * paired.p_value:.3g} % of cases",
        *_changes("setting", "A", "B", comparison.settings),
    ]


def verification_tables(outcome: "Verification", *, quiet: bool = False) -> list[Any]:
    """Whether a run repeats; if not, what is different."""
    seeds, changed = len(outcome.expected), {} if quiet else outcome.changed
    first, sha256 = next(iter(outcome.expected.items()))
    if outcome.repeats:
        what, tail = "weights", f"sha256 {sha256}"
        if seeds > 1:
            what, tail = f"{seeds} {first.split()[0]}s", f"{outcome.epochs} epochs each"
        line = f"repeats   {what} equal to the last bit, {tail}"
        return [line, *_changes("changed all the same", "then", "now", changed)]
    lines = ["weights   equal to the last bit, but the files of the run are not as it left them"]
    differing = [key for key, value in outcome.expected.items() if outcome.actual.get(key) != value]
    if differing:
        first = differing[0]
        lines = [
            f"differs   {len(differing)} of {seeds}: {first}",
            f"  then    sha256 {outcome.expected[first]}",
            f"  now     sha256 {outcome.actual.get(first)}",
        ]
    if outcome.first_epoch is not None:
        lines.append(f"  first     in epoch {outcome.first_epoch} of {outcome.epochs}")
    return lines + _changes("changed", "then", "now", changed)


def _changes(
    title: str, first: str, second: str, values: Mapping[str, tuple[Any, Any]]
) -> list[Any]:
    """A table of pairs of values, after an empty line; nothing if there are none."""
    rows = [(key, *("-" if v is None else v for v in pair)) for key, pair in values.items()]
    return ["", table((title, first, second), rows, left=3)] if rows else []


# the chapter's figures


def reproduction_tables(figures: Sequence[Any], *, everything: bool = False) -> list[Any]:
    """`reproduction.Figure`s by section, at most 80 columns wide.

    How many hold, of each section and of each curve, and every figure that does not; `everything`:
    all of them, exact ones a line each, trained ones a table a curve.
    """
    lines: list[Any] = []
    for section, members in groupby(figures, key=lambda figure: figure.section):
        if everything:
            lines += ["", Text(f"section {section}", style="bold"), ""]
        for curve, group in groupby(members, key=_curve_of):
            rows = shown = list(group)
            if not everything:
                shown = [figure for figure in rows if figure.verdict in ("edge", "differs")]
                counts = listed(Counter(figure.verdict for figure in rows), "{1} {0}")
                lines.append(f"{curve or section:<45}  {counts}")
            for exact, part in groupby(shown, key=lambda figure: figure.low is None):  # no range
                if exact:
                    lines += [line for figure in part for line in _exact_lines(figure)]
                    continue
                lines += ["", curve] if curve and everything else []
                lines.append(_spread_table(list(part)))
            if curve:
                lines += [f"  {figure.reason}" for figure in rows if figure.reason]
    return lines


def _curve_of(figure: Any) -> str:
    """`two layers, accuracy` of its epoch 3; empty for a single figure or an exact one."""
    title, _, last = str(figure.item).rpartition(", ")
    return title if figure.low is not None and last.startswith("epoch") else ""


def _exact_lines(figure: Any) -> list[str]:
    text = f"{figure.verdict:<8}  {figure.item}"
    book = " ".join(value_text(figure.chapter).split())
    if figure.verdict == "differs":
        text += f": book {book}, ours {value_text(figure.ours)}"
    elif figure.chapter is not True:
        text += f": {book}"
    text += f" ({figure.reason})" if figure.reason else ""
    return textwrap.wrap(text, 80, subsequent_indent=" " * 10)


def _spread_table(figures: Sequence[Any]) -> Table:
    rows = []
    for figure in figures:
        item = figure.item.rpartition(", ")[2] if _curve_of(figure) else figure.item
        # as many digits as the chapter prints, four to six
        digits = min(max(len(repr(figure.chapter).partition(".")[2]), 4), 6)
        numbers = (figure.chapter, figure.book, figure.low90, figure.ours, figure.high90)
        row = ["-" if number is None else f"{number:.{digits}f}" for number in numbers]
        percentile = "-" if figure.percentile is None else f"{figure.percentile:.0f}%"
        rows.append((item, *row, percentile, figure.verdict))
    return table(("", "notes", "book", "5%", "median", "95%", "pct", "verdict"), rows)


def value_text(value: Any) -> str:
    """Numbers to six digits; of a series of more than ten the first five and the last five.

    Of a matrix of more than 50 numbers its corners.
    """
    import numpy as np

    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {value_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        numbers = np.array(value)
        if numbers.ndim > 1 and numbers.size > 12 and numbers.dtype.kind in "if":
            return np.array2string(numbers, max_line_width=74, precision=4, threshold=50)
        if len(value) > 10:
            value = [*value[:5], "...", *value[-5:]]
        return "(" + ", ".join(value_text(part) for part in value) + ")"
    return str(value)
