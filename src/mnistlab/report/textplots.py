"""Pictures as text: charts of characters, images of half blocks or of plain ASCII."""

import math
import textwrap
from collections.abc import Sequence

import torch
from rich.text import Text

from mnistlab.report.pictures import Curves, Images, Picture, largest

MARKS = "*o+x#%@"
RAMP = " .:-=+*#%@"  # dark to light


def text_picture(picture: Picture, width: int = 78, *, blocks: bool = False) -> Text:
    """A picture for a terminal of `width` columns; `blocks` allows colour and half blocks."""
    if isinstance(picture, Curves):
        return Text("\n".join(chart(picture, width)))
    return images(picture, width, blocks=blocks)


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
        return [picture.title, "(nothing finite to draw)"]
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
    lines = [picture.title]
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


def images(picture: Images, width: int = 78, *, blocks: bool = False) -> Text:
    """Images side by side, as many as fit into `width`, each under its name."""
    text = Text(f"{picture.title}\n")
    bound = largest(picture) if picture.signed else None
    left = [(name, shrunk(image, width)) for name, image in picture.images.items()]
    while left:
        row: list[tuple[str, torch.Tensor]] = []
        used = 0
        while left and (not row or used + left[0][1].shape[1] + 2 <= width):
            row.append(left.pop(0))
            used += row[-1][1].shape[1] + 2
        text.append("  ".join(f"{name:<{im.shape[1]}.{im.shape[1]}}" for name, im in row) + "\n")
        drawn = [_cells(image, bound, blocks) for _, image in row]
        for number in range(max(map(len, drawn))):
            for lines in drawn:
                text.append_text(lines[number] if number < len(lines) else Text())
                text.append("  ")
            text.append("\n")
    return text


def shrunk(image: torch.Tensor, width: int) -> torch.Tensor:
    """`image` (H, W), made small enough for `width` columns by leaving out rows and columns."""
    step = max(1, -(-image.shape[1] // width))
    return image[::step, ::step].detach().float().cpu()


def _cells(image: torch.Tensor, bound: float | None, blocks: bool) -> list[Text]:
    low, high = float(image.min()), float(image.max())
    signed = bound is not None
    if bound is not None:
        low, high = -bound, bound
    levels = ((image - low) / ((high - low) or 1.0)).clamp(0, 1)
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
