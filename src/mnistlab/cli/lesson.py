"""`mnistlab lesson [NAME]`: list the lessons, or run one."""

import contextlib
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import CheckError, ConfigError
from mnistlab.language import _
from mnistlab.lessons import LESSONS, run_lesson, source_of
from mnistlab.names import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mnistlab.lessons.kit import Item


def lesson(
    out: Output,
    settings: dict[str, Any],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Which lesson; without it they are listed.",
            autocompletion=flags.complete_from(lambda: list(LESSONS)),
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="linear|two-layer", help="The model (lesson step).")
    ] = None,
    digits: Annotated[
        str | None, typer.Option(metavar="two|all", help="Of 3s and 7s, or of all ten digits.")
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="First the question; Enter shows the figures.")
    ] = False,
    plot: flags.Plot = None,
    code: Annotated[
        bool, typer.Option("--code", help="Print the lesson's source instead of running it.")
    ] = False,
) -> None:
    """Run one of the chapter's experiments.

    Values come with their titles, and every figure is checked; exit 3 if one does not hold.
    """
    own = {"model": model, "digits": digits, **settings}
    given = {key: value for key, value in own.items() if value is not None}
    if name is None:
        if code or ask or plot is not None or given:
            raise ConfigError("name a lesson for these flags; mnistlab lesson lists them")
        out.document({"lessons": [{"name": key, "title": LESSONS[key]} for key in LESSONS]})
        out.result(*(f"{name:<13}  {_(title)}" for name, title in LESSONS.items()))
        out.notice("run one with: mnistlab lesson pixels")
        return
    if code:
        source = source_of(name).read_text(encoding="utf-8")
        out.document({"lesson": name, "source": source})
        out.result(source.rstrip("\n"))
        return
    from mnistlab.devices import set_threads
    from mnistlab.lessons.kit import Ask, Check, as_document
    from mnistlab.report.files import draw, require_plot
    from mnistlab.report.pictures import Curves, Images

    set_threads(1)  # its matrices are small
    items = run_lesson(name, **given)
    if plot is not None:
        require_plot(plot)
        items = list(items)  # all of them before the first is printed
        pictures = [item for item in items if isinstance(item, Curves | Images)]
        if not pictures:
            raise ConfigError(f"--plot: the lesson {name} has no picture; run it without --plot")
        draw(pictures, plot)
        out.notice(f"drawn  {printable(plot)}")
    document, checks = [], []
    for item in items:
        if isinstance(item, Ask) and not (ask and out.tables):
            continue
        document.append(as_document(item))
        if isinstance(item, Check):
            checks.append(item)
        if out.tables:
            out.result(*rendered(item, out))
        if isinstance(item, Ask) and sys.stdin.isatty() and sys.stdout.isatty():
            with contextlib.suppress(EOFError):
                input(_("Enter shows the figures. "))
    missed = [check.title for check in checks if not check.holds]
    held = len(checks) - len(missed)
    out.document({"lesson": name, "items": document, "checks": len(checks), "held": held})
    out.result(_("{held} of {total} checks hold").format(held=held, total=len(checks)))
    if missed:
        raise CheckError(f"lesson {name}: does not hold: {', '.join(missed)}")


def rendered(item: "Item", out: Output) -> "list[RenderableType]":
    """An item as lines for the terminal, or for a file or pipe (80 columns, no pictures)."""
    from mnistlab.lessons.kit import Ask, Check, Say, Show
    from mnistlab.report.terminal import text_picture

    width = min(out.width, 100)
    if isinstance(item, Say):
        mark = "? " if isinstance(item, Ask) else ""
        return ["", *textwrap.wrap(mark + item.text, width)]
    if isinstance(item, Show):
        text, value = f"  {item.title}", value_text(item.value)
    elif isinstance(item, Check):
        text, value = f"  {'ok' if item.holds else 'NO'} {item.title}", value_text(item.ours)
        expected, source = value_text(item.expected), _(item.source)
        if item.expected is True:
            value = ""
        elif "\n" not in value and "..." not in value:
            value += f"  ({source}: {expected})"
        else:  # a matrix or a long series: the expected one only where it differs
            text += _(" (beside {source})").format(source=source)
            value += "" if item.holds else f"\n{source}:\n{expected}"
    elif sys.stdout.isatty():
        console = out.console("stdout")
        blocks = console.color_system is not None and console.encoding.startswith("utf")
        return [text_picture(item, width, blocks=blocks)]
    else:
        return [_("  picture: {title} (--plot FILE draws it)").format(title=item.title)]
    if "\n" in value:
        return [f"{text}:", textwrap.indent(value, "    ")]  # a matrix stands below its title
    text += f": {value}" if value else ""
    return list(textwrap.wrap(text, width, subsequent_indent="     "))


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
