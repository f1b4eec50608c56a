"""Pictures as plain data: what is to be drawn, not how.

`plots.py` draws them with matplotlib into a file, `textplots.py` as text on a terminal.
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
    """Grey images side by side, each (H, W) under its name.

    `signed` draws 0 in the middle of a diverging scale (for weights), one scale for all of them, so
    that they can be compared; otherwise the lowest value is black and the highest white.
    """

    title: str
    images: Mapping[str, torch.Tensor]
    signed: bool = False


Picture = Curves | Images


def largest(picture: Images) -> float:
    """The largest absolute value of all its images, 1 if all are zero: the scale of signed ones."""
    return max(float(image.abs().max()) for image in picture.images.values()) or 1.0
