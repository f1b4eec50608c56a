"""`mnistlab lesson [NAME]`: list the lessons, or run one."""

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli.output import Output
from mnistlab.errors import CheckError, ConfigError
from mnistlab.lessons import LESSONS, run_lesson, source_of
from mnistlab.names import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mnistlab.lessons.kit import Item


def complete_lessons(incomplete: str) -> list[str]:
    """Lessons whose name begins like this."""
    return [name for name in LESSONS if name.startswith(incomplete)]


NAME_HELP = "Which lesson; without it they are listed."
SEED_HELP = "The draw, where there is one."


def lesson(
    out: Output,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help=NAME_HELP, autocompletion=complete_lessons),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="linear|two-layer", help="The model (lesson step).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=2**63 - 1, help=SEED_HELP)
    ] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="X", help="Learning rate (lesson step).")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw its pictures into a PNG, SVG or PDF."),
    ] = None,
    code: Annotated[
        bool, typer.Option("--code", help="Print the lesson's source instead of running it.")
    ] = False,
) -> None:
    """Run one of the chapter's experiments.

    Values come with their titles, and every figure is checked; exit 3 if one does not hold.
    """
    given = {"model": model, "seed": seed, "lr": lr}
    given = {option: value for option, value in given.items() if value is not None}
    if name is None:
        if code or plot is not None or given:
            raise ConfigError("name a lesson for these flags; mnistlab lesson lists them")
        rows = [{"name": name, "title": title} for name, title in LESSONS.items()]
        out.document({"lessons": rows})
        out.result(*(f"{name:<13}  {title}" for name, title in LESSONS.items()))
        out.notice("run one with: mnistlab lesson pixels")
        return
    if code:
        source = source_of(name)
        out.document({"lesson": name, "source": source})
        out.result(source.rstrip("\n"))
        return
    from mnistlab.devices import set_threads
    from mnistlab.lessons.kit import Check, as_document
    from mnistlab.report.files import draw, require_plot
    from mnistlab.report.pictures import Curves, Images

    if plot is not None:
        require_plot(plot)
    set_threads(1)  # its matrices are small
    items = run_lesson(name, **given)
    if plot is not None:
        items = list(items)  # all of them before the first is printed
        pictures = [item for item in items if isinstance(item, Curves | Images)]
        if not pictures:
            raise ConfigError(f"--plot: the lesson {name} has no picture; run it without --plot")
        draw(pictures, plot)
        out.notice(f"drawn  {printable(plot)}")
    document, checks = [], []
    for item in items:
        document.append(as_document(item))
        if isinstance(item, Check):
            checks.append(item)
        if out.tables:
            out.result(*rendered(item, out))
    missed = [check.title for check in checks if not check.holds]
    held = len(checks) - len(missed)
    out.document({"lesson": name, "items": document, "checks": len(checks), "held": held})
    out.result(f"{held} of {len(checks)} checks hold")
    if missed:
        raise CheckError(f"lesson {name}: does not hold: {', '.join(missed)}")


def rendered(item: "Item", out: Output) -> "list[RenderableType]":
    """An item as lines for the terminal, or for a file or pipe (80 columns, no pictures)."""
    from mnistlab.lessons.kit import Check, Say, Show
    from mnistlab.report.terminal import text_picture

    width = min(out.width, 100)
    if isinstance(item, Say):
        return ["", *textwrap.wrap(item.text, width)]
    if isinstance(item, Show):
        return titled(f"  {item.title}", value_text(item.value), width)
    if isinstance(item, Check):
        title = f"  {'ok' if item.holds else 'NO'} {item.title}"
        if item.expected is True:
            return titled(title, "", width)
        ours, expected = value_text(item.ours), value_text(item.expected)
        if "\n" not in ours:
            return titled(title, f"{ours}  ({item.source}: {expected})", width)
        # A matrix: the expected one only where it differs.
        more = "" if item.holds else f"\n{item.source}:\n{expected}"
        return titled(f"{title} (beside {item.source})", ours + more, width)
    if not sys.stdout.isatty():
        return [f"  picture: {item.title} (--plot FILE draws it)"]
    console = out.console("stdout")
    blocks = console.color_system is not None and console.encoding.startswith("utf")
    return [text_picture(item, width, blocks=blocks)]


def titled(title: str, value: str, width: int) -> "list[RenderableType]":
    """`title: value`, folded at `width`; a matrix stands below its title."""
    if "\n" in value:
        return [f"{title}:", textwrap.indent(value, "    ")]
    text = f"{title}: {value}" if value else title
    return list(textwrap.wrap(text, width, subsequent_indent="     "))


def value_text(value: Any) -> str:
    """Numbers to six digits; of a list of more than 50 numbers the first and the last ones."""
    import numpy as np

    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {value_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        numbers = np.array(value)
        if numbers.size > 12 and numbers.dtype.kind in "if":
            return np.array2string(numbers, max_line_width=74, precision=4, threshold=50)
        return "(" + ", ".join(value_text(part) for part in value) + ")"
    return str(value)
