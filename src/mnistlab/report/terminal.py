"""Pictures as text for a terminal, and the bar of a training under way."""

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import TYPE_CHECKING

import torch
from rich.columns import Columns
from rich.console import Console, ConsoleRenderable, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mnistlab.language import _, folded
from mnistlab.report.pictures import Axis, Curves, Images, Matrix, Picture, shrunk
from mnistlab.report.tables import confusion_table

if TYPE_CHECKING:
    from mnistlab.training import Place

MARKS = "*o+x#%@"  # of lines and dots
SEVERAL = "&"  # where more than one of them passes
EDGE = "."  # both edges of a band
RAMP = " .:-=+*#%@"  # dark to light
SIGNED_RAMP = "=- +#"  # minus to plus
_NAME = 26  # columns that a name may take where its image is narrower
_SIDE = 12  # images much smaller than this are drawn larger


def text_picture(
    picture: Picture, width: int = 78, *, blocks: bool = False, height: int | None = None
) -> RenderableType:
    """A picture for a terminal of `width` columns; `blocks` allows colour and half blocks.

    No image in it is higher than `height` lines.
    """
    title = folded(picture.title, max(width, 1))
    if isinstance(picture, Curves):
        return Text("\n".join([*title, *_chart(picture, width)]))
    head = Text("\n".join(title))
    if isinstance(picture, Matrix):
        return Group(head, confusion_table(picture, width))
    return Group(head, *_images(picture, width, blocks, 10**9 if height is None else height))


def _chart(picture: Curves, width: int, height: int = 14) -> list[str]:
    """Curves as lines of ASCII: one mark per curve, both axes with their ticks."""
    x_axis, y_axis = picture.axes()
    labels = {
        _place(y_axis, y, height): f"{y:.4g}" for y in (*y_axis.ticks(4), y_axis.low, y_axis.high)
    }
    margin = max(map(len, labels.values()))
    columns = max(width - margin - 3, 10)
    drawn = [(name, EDGE, (xs, ys)) for name, (xs, *both) in picture.bands.items() for ys in both]
    named = (*picture.lines.items(), *picture.dots.items())
    drawn += [(name, mark, own) for (name, own), mark in zip(named, cycle(MARKS), strict=False)]
    legend, grid = {}, [[" "] * columns for _ in range(height)]
    for name, mark, series in drawn:
        legend[name] = mark
        for x, y in filter(None, picture.points(series)):
            row, column = _place(y_axis, y, height), _place(x_axis, x, columns)
            if 0 <= row < height:
                taken = name not in picture.dots and grid[row][column] not in (" ", EDGE, mark)
                grid[row][column] = SEVERAL if taken else mark
                if taken:
                    legend[_("more than one")] = SEVERAL
    lines = [
        f"{labels.get(row, ''):>{margin}} |{''.join(grid[row])}".rstrip()
        for row in reversed(range(height))
    ]
    numbers = " " * columns
    for x in (x_axis.low, x_axis.high, *x_axis.ticks(columns // 10)):
        label = f"{x:.4g}"
        start = min(max(_place(x_axis, x, columns) - len(label) // 2, 0), columns - len(label))
        if not numbers[max(start - 1, 0) : start + len(label) + 1].strip():
            numbers = numbers[:start] + label + numbers[start + len(label) :]
    indent = " " * (margin + 2)
    lines += [f"{' ' * margin} +{'-' * columns}", f"{indent}{numbers}".rstrip()]
    names = "   ".join(f"{mark} {name}" for name, mark in legend.items())
    names += f"   (x: {picture.x_label})" if picture.x_label else ""
    for caption in filter(None, (names, picture.note)):
        lines += folded(indent + caption, width, indent)
    return lines


def _place(axis: Axis, value: float, cells: int) -> int:
    return round(axis.position(value) * (cells - 1))


def _images(picture: Images, width: int, blocks: bool, height: int) -> Iterator[RenderableType]:
    """Images side by side, as many as fit into `width` columns, each under its name.

    One larger than `width`, or than `height` lines, is made smaller by averaging.
    """
    yield from map(Text, folded(picture.note, max(width, 1)))
    if picture.signed and picture.scale:
        key = Text(_("scale "))
        for level, value in ((0.0, picture.scale[0]), (0.5, 0.0), (1.0, picture.scale[1])):
            [line] = _pixel_lines(torch.full((2, 2), level), True, blocks)
            key.append(" ").append_text(line).append(f" {value:.3g} ")
        yield key
    cells = []
    for name, levels in picture.levels().items():
        times = max(1, _SIDE // max(levels.shape))
        enlarged = levels.repeat_interleave(times, 0).repeat_interleave(times, 1)
        image = shrunk(enlarged, 2 * height, width)  # a line has two rows of pixels
        names = [Text(line) for line in name.split("\n")]
        own = max(image.shape[1], min(max(line.cell_len for line in names), _NAME, width))
        for line in names:
            line.truncate(own)
        lines = [*names, *_pixel_lines(image, picture.signed, blocks)]
        cells.append(Text("\n", no_wrap=True, overflow="crop").join(lines))
    yield Constrain(Columns(cells, (0, 2)), width)


def _pixel_lines(levels: torch.Tensor, signed: bool, blocks: bool) -> list[Text]:
    """Levels (H, W) in 0…1 as lines of text, each of two rows of pixels."""
    rows = levels.tolist()
    if len(rows) % 2:
        rows.append([0.5 if signed else 0.0] * len(rows[0]))
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        line = Text()
        for top, bottom in zip(upper, lower, strict=True):
            if blocks:
                line.append("▀", style=f"{_color(top, signed)} on {_color(bottom, signed)}")
            else:
                line.append(_letter((top + bottom) / 2, signed))
        lines.append(line)
    return lines


def _color(level: float, signed: bool) -> str:
    if not signed:
        return "#" + 3 * f"{round(255 * level):02x}"
    # blue for minus, white for zero, red for plus
    fade = round(255 * (1 - abs(2 * level - 1)))
    return f"#ff{fade:02x}{fade:02x}" if level >= 0.5 else f"#{fade:02x}{fade:02x}ff"


def _letter(level: float, signed: bool) -> str:
    if signed:  # strong minus, minus, around zero, plus, strong plus
        return SIGNED_RAMP[sum(level > edge for edge in (0.25, 0.425, 0.575, 0.75))]
    return RAMP[min(int(level * len(RAMP)), len(RAMP) - 1)]


def training_bar(
    console: Console,
    where: Callable[[], "Place"],
    epochs: int,
    batches: int,
    *,
    label: Callable[[], str] = lambda: "",
) -> Live:
    """A live bar for a run of `epochs` x `batches`, gone when it ends.

    It asks `where` the run stands eight times a second from its own thread; the loop does not know
    of it. `label` goes before the epoch.
    """
    total = epochs * batches
    # what a narrow terminal leaves beside the text: the bar must never take two lines
    width = max(4, min(30, console.width - 45))

    def bar() -> ConsoleRenderable:
        place = where()
        done = min(place.epoch * batches + place.batch, total)
        text = f"{label()}epoch {min(place.epoch, epochs - 1)}, batch {place.batch} of {batches}"
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(total=total, completed=done, width=width),
            Text(f"{100 * done // total:>3}%", no_wrap=True, overflow="crop"),
            Text(text, no_wrap=True, overflow="crop"),
        )
        return row

    return Live(get_renderable=bar, console=console, transient=True, refresh_per_second=8)


def print_above(bar: Live, line: str, bold: bool = False) -> None:
    """One line above the bar, unbroken: only the terminal may wrap it."""
    bar.console.print(Text(line, style="bold" if bold else ""), soft_wrap=True)
