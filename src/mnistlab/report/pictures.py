"""Pictures as plain data: what is to be drawn, not how.

`plots.py` draws them with matplotlib into a file, `textplots.py` as text on a terminal, `svg.py`
and `png.py` into a page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Curves:
    """Lines (and dots) in one pair of axes.

    `lines[name]` and `dots[name]` are (xs, ys) of equal length; `bands[name]` is (xs, lows,
    highs), drawn as a shaded range. `y_range` fixes the y axis.
    """

    title: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    x_label: str = ""
    y_label: str = ""
    dots: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    bands: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]] = field(
        default_factory=dict
    )
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Images:
    """Grey images side by side, each (H, W) under its name; a name may have several lines.

    `signed` draws 0 in the middle of a diverging scale (for weights), one scale for all of them, so
    that they can be compared. Otherwise `limits` are the values of black and white; without them
    the lowest value of each image is black and its highest white.
    """

    title: str
    images: Mapping[str, torch.Tensor]
    signed: bool = False
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Matrix:
    """Counts in rows and columns that have names: `counts[row][column]`, each 0 or more."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]
    row_label: str = ""
    column_label: str = ""


Picture = Curves | Images | Matrix


def largest(picture: Images) -> float:
    """The largest absolute value of all its images, 1 if all are zero: the scale of signed ones."""
    return max(float(image.detach().abs().max()) for image in picture.images.values()) or 1.0


def levels(picture: Images) -> dict[str, torch.Tensor]:
    """Each image (H, W) as float32 levels in 0…1: 0 black and 1 white.

    Of signed ones 0 is the most negative, 0.5 is zero, 1 the most positive.
    """
    limits = picture.limits
    if picture.signed:
        limits = (-largest(picture), largest(picture))
    made = {}
    for name, image in picture.images.items():
        values = image.detach().float().cpu()
        low, high = limits or (float(values.min()), float(values.max()))
        made[name] = ((values - low) / ((high - low) or 1.0)).clamp(0, 1)
    return made


def shrunk(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`image` (H, W) made small enough for `height` x `width`, its shape kept, as float32.

    Each new pixel is the mean of those that it stands for. A small image stays as it is.
    """
    values = image.detach().float().cpu()
    scale = max(values.shape[0] / max(height, 1), values.shape[1] / max(width, 1))
    if scale <= 1:
        return values
    rows, columns = (max(1, int(side / scale + 1e-9)) for side in values.shape)
    pooled = torch.nn.functional.adaptive_avg_pool2d(values[None, None], (rows, columns))
    return pooled[0, 0]


def worst_pairs(matrix: Matrix, top: int | None = None) -> list[tuple[int, str, str]]:
    """(count, row, column) off the diagonal, the most first, zeros left out; at most `top`."""
    found = [
        (-count, i, k)
        for i, row in enumerate(matrix.counts)
        for k, count in enumerate(row)
        if count and i != k
    ]
    return [(-count, matrix.rows[i], matrix.columns[k]) for count, i, k in sorted(found)[:top]]
