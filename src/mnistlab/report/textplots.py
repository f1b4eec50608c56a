"""Pictures as text: charts of characters, images of half blocks or of plain ASCII."""

import math
import textwrap
from collections.abc import Sequence

import torch
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from mnistlab.report.pictures import (
    Curves,
    Images,
    Matrix,
    Picture,
    levels,
    shrunk,
    worst_pairs,
)

MARKS = "*o+x#%@"
RAMP = " .:-=+*#%@"  # dark to light
NAME = 26  # columns that a name may take where its image is narrower


def text_picture(
    picture: Picture, width: int = 78, *, blocks: bool = False, height: int | None = None
) -> Text:
    """A picture for a terminal of `width` columns; `blocks` allows colour and half blocks.

    No image in it is higher than `height` lines.
    """
    if isinstance(picture, Curves):
        return Text("\n".join(chart(picture, width)))
    if isinstance(picture, Matrix):
        return Text("\n".join(matrix(picture, width)))
    return images(picture, width, blocks=blocks, height=height)


def matrix(picture: Matrix, width: int = 78) -> list[str]:
    """Counts under their names; where that is wider than `width`, what was mixed up in words."""
    head = [f"{picture.row_label} \\ {picture.column_label}", *picture.columns]
    lines = [head, *([name, *map(str, row)] for name, row in _rows(picture))]
    widths = [max(cell_len(line[place]) for line in lines) for place in range(len(head))]
    if sum(widths) + 2 * len(widths) - 2 <= width:
        drawn = [_aligned(line, widths) for line in lines]
        return [*_title(picture, width), *drawn]
    pairs = worst_pairs(picture, 40)
    told = [f"{count:>6}  {row} {picture.column_label} {column}" for count, row, column in pairs]
    return [*_title(picture, width), *(told or ["(nothing off the diagonal)"])]


def _title(picture: Picture, width: int) -> list[str]:
    return textwrap.wrap(picture.title, max(width, 1))


def _rows(picture: Matrix) -> list[tuple[str, Sequence[int]]]:
    return list(zip(picture.rows, picture.counts, strict=True))


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    spaces = [" " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)]
    first, *others = zip(line, spaces, strict=True)
    return "  ".join(["".join(first), *(space + text for text, space in others)])


def chart(picture: Curves, width: int = 78, height: int = 14) -> list[str]:
    """Curves as lines of ASCII: one mark per curve, the extremes of both axes beside them."""
    series: dict[str, tuple[Sequence[float], Sequence[float]]] = {**picture.lines, **picture.dots}
    points = [
        (x, y)
        for xs, ys in series.values()
        for x, y in zip(xs, ys, strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
    if not points:
        return [*_title(picture, width), "(nothing finite to draw)"]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    if picture.y_range is not None:
        low, high = picture.y_range
    labels = [f"{high:.4g}", f"{low:.4g}"]
    margin = max(map(len, labels))
    columns = max(width - margin - 3, 10)
    grid = [[" "] * columns for _ in range(height)]
    for mark, (xs, ys) in zip(MARKS * 9, series.values(), strict=False):
        for x, y in zip(xs, ys, strict=True):
            if not (math.isfinite(x) and math.isfinite(y)) or not low <= y <= high:
                continue
            column = round((x - left) / ((right - left) or 1) * (columns - 1))
            row = round((high - y) / ((high - low) or 1) * (height - 1))
            grid[row][column] = mark
    lines = _title(picture, width)
    for number, cells in enumerate(grid):
        label = {0: labels[0], height - 1: labels[1]}.get(number, "")
        lines.append(f"{label:>{margin}} |{''.join(cells)}".rstrip())
    ends = f"{left:.4g}", f"{right:.4g}"
    space = max(columns - len(ends[0]) - len(ends[1]), 1)
    lines.append(" " * margin + " +" + "-" * columns)
    lines.append(" " * (margin + 2) + ends[0] + " " * space + ends[1])
    names = "   ".join(f"{m} {name}" for m, name in zip(MARKS * 9, series, strict=False))
    names += f"   (x: {picture.x_label})" if picture.x_label else ""
    indent = " " * (margin + 2)
    lines += textwrap.wrap(names, width, initial_indent=indent, subsequent_indent=indent)
    return lines


def images(
    picture: Images, width: int = 78, *, blocks: bool = False, height: int | None = None
) -> Text:
    """Images side by side, as many as fit into `width` columns, each under its name.

    One larger than `width`, or than `height` lines, is made smaller by averaging.
    """
    text = Text("".join(f"{line}\n" for line in _title(picture, width)))
    side = 2 * height if height is not None else 10**9  # a line shows two rows of pixels
    left = [
        _Cell(name, shrunk(image, side, width), width) for name, image in levels(picture).items()
    ]
    while left:
        row: list[_Cell] = []
        used = -2
        while left and (not row or used + left[0].width + 2 <= width):
            row.append(left.pop(0))
            used += row[-1].width + 2
        _append_row(text, row, blocks=blocks, signed=picture.signed)
    return text


class _Cell:
    """An image and its name: as wide as the wider of both, but a long name is cut."""

    def __init__(self, name: str, image: torch.Tensor, most: int) -> None:
        self.name, self.image = name.split("\n"), image
        longest = min(max(map(cell_len, self.name)), NAME, most)
        self.width = max(image.shape[1], longest)


def _append_row(text: Text, row: Sequence[_Cell], *, blocks: bool, signed: bool) -> None:
    for number in range(max(len(cell.name) for cell in row)):
        told = [set_cell_size((*cell.name, *[""] * number)[number], cell.width) for cell in row]
        text.append("  ".join(told) + "\n")
    drawn = [_cells(cell.image, signed, blocks) for cell in row]
    for number in range(max(map(len, drawn))):
        for place, (lines, cell) in enumerate(zip(drawn, row, strict=True)):
            line = lines[number] if number < len(lines) else Text()
            text.append("  " if place else "")
            text.append_text(line)
            text.append(" " * (cell.width - line.cell_len))
        text.append("\n")


def _cells(levels: torch.Tensor, signed: bool, blocks: bool) -> list[Text]:
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
                level = (top + bottom) / 2
                line.append(_ascii(level, signed))
        lines.append(line)
    return lines


def _color(level: float, signed: bool) -> str:
    if not signed:
        grey = round(255 * level)
        return f"#{grey:02x}{grey:02x}{grey:02x}"
    # blue for minus, white for zero, red for plus
    fade = round(255 * (1 - abs(2 * level - 1)))
    return f"#ff{fade:02x}{fade:02x}" if level >= 0.5 else f"#{fade:02x}{fade:02x}ff"


def _ascii(level: float, signed: bool) -> str:
    if not signed:
        return RAMP[min(int(level * len(RAMP)), len(RAMP) - 1)]
    strength = abs(2 * level - 1)
    return (
        " "
        if strength < 0.15
        else ("+" if level > 0.5 else "-")
        if strength < 0.5
        else ("#" if level > 0.5 else "=")
    )
