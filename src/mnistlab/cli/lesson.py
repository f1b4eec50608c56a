"""`mnistlab lesson [NAME]`: list the lessons, or read one."""

import math
import shutil
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.errors import CheckError, ConfigError
from mnistlab.lessons import LESSONS, run_lesson, source_of
from mnistlab.names import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mnistlab.lessons.kit import Item
    from mnistlab.report.pictures import Picture


def complete_lessons(incomplete: str) -> list[str]:
    """Lessons whose name begins like this."""
    return [name for name in LESSONS if name.startswith(incomplete)]


def lesson(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Which lesson; without it they are listed.",
            autocompletion=complete_lessons,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="linear|two-layer",
            help="The model (lesson step).",
            autocompletion=options.complete_models,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            max=2**63 - 1,
            show_default=False,
            help="The draw, where there is one.",
        ),
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", metavar="X", help="Learning rate (lesson step).")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw its pictures into a PNG, SVG or PDF."),
    ] = None,
    code: Annotated[
        bool, typer.Option("--code", help="Print the lesson's source instead of running it.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Run one of the chapter's experiments.

    Values come with their titles, and every figure is checked; exit 3 if one does not hold.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    if name is None:
        if code or plot is not None or (model, seed, lr) != (None, None, None):
            raise ConfigError("name a lesson for these flags; mnistlab lesson lists them")
        _list(streams)
        return
    if code:
        source = source_of(name)
        streams.document({"lesson": name, "source": source})
        streams.result(source.rstrip("\n"))
        return
    if plot is not None:
        from mnistlab.report.plots import require_plot

        require_plot(plot)
    from mnistlab.devices import set_threads

    set_threads(1)  # its matrices are small
    given = {"model": model, "seed": seed, "lr": lr}
    items = run_lesson(name, **{key: value for key, value in given.items() if value is not None})
    from mnistlab.lessons.kit import Check
    from mnistlab.report.pictures import Curves, Images

    pictures: list[Picture] = []
    checks: list[Check] = []
    told: list[dict[str, Any]] = []
    for item in items:
        told.append(_plain(item))
        if isinstance(item, Check):
            checks.append(item)
        if isinstance(item, Curves | Images):
            pictures.append(item)
        if not quiet and not as_json:
            streams.result(*_lines(item, streams))
    if plot is not None:
        if not pictures:
            raise ConfigError(f"--plot: the lesson {name} has no picture")
        from mnistlab.report.plots import draw

        draw(pictures, plot)
        streams.notice(f"drawn  {printable(plot)}")
    held = sum(item.holds for item in checks)
    streams.document({"lesson": name, "items": told, "checks": len(checks), "held": held})
    streams.result(f"{held} of {len(checks)} checks hold")
    if held < len(checks):
        missed = ", ".join(item.title for item in checks if not item.holds)
        raise CheckError(f"lesson {name}: does not hold: {missed}")


def _list(streams: Streams) -> None:
    streams.document(
        {"lessons": [{"name": name, "title": title} for name, title in LESSONS.items()]}
    )
    width = max(map(len, LESSONS))
    streams.result(*(f"{name:<{width}}  {title}" for name, title in LESSONS.items()))
    streams.notice("read one with: mnistlab lesson pixels")


def _lines(item: "Item", streams: Streams) -> "list[RenderableType]":
    from mnistlab.lessons.kit import Check, Say, Show

    width = min(_columns(), 100)
    if isinstance(item, Say):
        return ["", *textwrap.wrap(item.text, width)]
    if isinstance(item, Show):
        return _titled(f"  {item.title}", short(item.value), width)
    if isinstance(item, Check):
        verdict = "ok " if item.holds else "NO "
        if item.expected is True:
            return _titled(f"  {verdict}{item.title}", "", width)
        ours, expected = short(item.ours), short(item.expected)
        if "\n" in ours or "\n" in expected or len(ours) + len(expected) > 400:
            # large and, where it holds, the same twice
            told = "" if item.holds else f"\n{item.source}:\n{expected}"
            title = f"  {verdict}{item.title} (beside {item.source})"
            return _titled(title, f"{ours}{told}", width)
        return _titled(f"  {verdict}{item.title}", f"{ours}  ({item.source}: {expected})", width)
    if not sys.stdout.isatty():  # a picture is for a terminal; --plot puts it into a file
        return [f"  picture: {item.title} (--plot FILE draws it)"]
    from mnistlab.report.textplots import text_picture

    return [text_picture(item, width, blocks=_blocks(streams))]


def _columns() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def _blocks(streams: Streams) -> bool:
    """Whether half blocks in colour can be shown; ASCII otherwise."""
    console = streams.console("stdout")
    return console.color_system is not None and console.encoding.startswith("utf")


def _titled(title: str, value: str, width: int) -> "list[RenderableType]":
    if "\n" in value:
        return [*_folded(title, width), textwrap.indent(value, "    ")]
    if len(title) + 2 + len(value) <= width:
        return [f"{title}: {value}" if value else title]
    if not value:
        return [*_folded(title, width)]
    return [
        *_folded(f"{title}:", width),
        *textwrap.wrap(value, width, initial_indent="    ", subsequent_indent="    "),
    ]


def _folded(title: str, width: int) -> list[str]:
    return textwrap.wrap(title, width, subsequent_indent="     ", drop_whitespace=True) or [title]


def short(value: Any) -> str:
    """A value as people read it: tensors without their wrapping, floats to six digits."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.ndim == 0:
            return short(value.item())
        return short(value.tolist()) if value.numel() <= 12 else _matrix(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(short(part) for part in value) + ")"
    return str(value)


def _matrix(value: Any) -> str:
    """The first rows and columns of a tensor, as many as fit; `...` where there are more."""
    rows = value.reshape(-1, value.shape[-1]) if value.ndim > 1 else value.split(7)
    columns = 7 if value.is_floating_point() else 14
    shown = []
    for row in (row.tolist() for row in rows[:16]):
        numbers = [
            f"{number:>8.4g}" if isinstance(number, float) else f"{number!s:>4}" for number in row
        ]
        shown.append(" ".join(numbers[:columns]) + (" ..." if len(row) > columns else ""))
    return "\n".join(shown + ["..."] * (len(rows) > 16))


def _plain(item: "Item") -> dict[str, Any]:
    import torch

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return plain(value.tolist())
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # JSON has no word for it
        if isinstance(value, dict):
            return {str(key): plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return value if isinstance(value, bool | int | float | str | None) else str(value)

    content = {field.name: plain(getattr(item, field.name)) for field in fields(item)}
    return {"kind": type(item).__name__.lower(), **content}
