"""Pictures as plain data: what is to be drawn, not how."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from mnistlab.language import _

if TYPE_CHECKING:
    from mnistlab.metrics import Evaluation

Series = tuple[Sequence[float], Sequence[float]]
Band = tuple[Sequence[float], Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Curves:
    """Lines and dots in one pair of axes.

    `lines[name]` and `dots[name]` are (xs, ys) of equal length; `bands[name]` is (xs, lows,
    highs), drawn as a shaded range. `y_range` fixes the y axis. `log_x` makes the x axis
    logarithmic, with plain numbers (10, 100, 1000) at its ticks. `note` explains the picture.
    """

    title: str
    lines: Mapping[str, Series]
    x_label: str = ""
    y_label: str = ""
    dots: Mapping[str, Series] = field(default_factory=dict)
    bands: Mapping[str, Band] = field(default_factory=dict)
    y_range: tuple[float, float] | None = None
    log_x: bool = False
    note: str = ""

    def points(self, series: Series) -> list[tuple[float, float] | None]:
        """The points of a series; None for each that has no place on the axes."""
        return [
            (x, y) if all(map(math.isfinite, (x, y))) and (x > 0 or not self.log_x) else None
            for x, y in zip(*series, strict=True)
        ]

    def axes(self, margin: float = 0.0) -> "tuple[Axis, Axis]":
        """The x axis, and the y axis with `margin` of its length added at both ends."""
        edges = [(xs, ys) for xs, *both in self.bands.values() for ys in both]
        series = [*self.lines.values(), *self.dots.values(), *edges]
        # where nothing is finite, any axes will do
        points = [p for one in series for p in self.points(one) if p] or [(1.0, 1.0)]
        xs, ys = zip(*points, strict=True)
        low, high = self.y_range or (min(ys), max(ys))
        integers = all(float(x).is_integer() for x in xs)  # epochs or layers: no tick at 2.5
        x_axis = Axis(min(xs), max(xs), self.log_x, integers)
        extra = margin * (high - low) or (margin and (abs(high) * 0.1 or 1.0))
        return x_axis, Axis(low - extra, high + extra)


@dataclass(frozen=True)
class Images:
    """Grey images side by side, each (H, W) under its name; a name may have several lines.

    `signed` draws 0 in the middle of a diverging scale (for weights), the same scale for all
    images, with a key. Otherwise `limits` are the values of black and white, which make several
    pictures comparable; without them they are the lowest and highest value of each image. `note`
    explains the picture.
    """

    title: str
    images: Mapping[str, torch.Tensor]
    signed: bool = False
    limits: tuple[float, float] | None = None
    note: str = ""

    @property
    def scale(self) -> tuple[float, float] | None:
        """The values of both ends of the scale of all images; None if each has its own."""
        if not self.signed:
            return self.limits
        largest = max(float(image.detach().abs().max()) for image in self.images.values()) or 1.0
        return -largest, largest

    def levels(self) -> dict[str, torch.Tensor]:
        """Each image (H, W) as float32 levels in 0…1: 0 black and 1 white.

        Of signed ones 0 is the most negative, 0.5 is zero, 1 the most positive.
        """
        levels = {}
        scale = self.scale
        for name, image in self.images.items():
            values = image.detach().float().cpu()
            low, high = scale or (float(values.min()), float(values.max()))
            levels[name] = ((values - low) / ((high - low) or 1.0)).clamp(0, 1)
        return levels


@dataclass(frozen=True)
class Matrix:
    """How often each class was predicted as each: `counts[actual][predicted]`, 0 or more."""

    title: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]

    def worst_pairs(self, top: int | None = None) -> list[tuple[int, str, str]]:
        """(count, actual, predicted) of the mistakes, the most frequent first; at most `top`."""
        cells = ((i, k, n) for i, row in enumerate(self.counts) for k, n in enumerate(row))
        pairs = sorted((-n, i, k) for i, k, n in cells if n and i != k)
        return [(-n, self.classes[i], self.classes[k]) for n, i, k in pairs[:top]]

    def shades(self) -> list[list[float]]:
        """How strong each cell is, 0…1: beside its row if right, beside the worst pair if not."""
        worst = max((count for count, _, _ in self.worst_pairs(1)), default=1)
        return [
            [count / (sum(row) or 1) if i == k else count / worst for k, count in enumerate(row)]
            for i, row in enumerate(self.counts)
        ]


Picture = Curves | Images | Matrix


def confusion_matrix(evaluation: "Evaluation") -> Matrix:
    """How often each class was predicted as each; classes without images have a row of zeros."""
    title = _("Confusion: a row for the actual class, a column for the predicted one")
    return Matrix(title, evaluation.classes, evaluation.confusion)


def reliability_diagram(assessed: Mapping[str, Any]) -> Curves:
    """Of images about as sure as each other, the share that is right (`Calibration.assess`)."""
    bins, ece = assessed["reliability"], assessed["ece"]
    dots = {
        f"{when}, {ece[when]:.4f}": ([row[0] for row in rows], [row[1] for row in rows])
        for when, rows in bins.items()
    }
    even = sorted(row[0] for rows in bins.values() for row in rows)
    return Curves(
        _("Reliability: calibration error before and after"),
        {_("right as often as sure"): (even, even)},
        _("probability"),
        _("share that is right"),
        dots,
        note=_(
            "The true class fits in {coverage:.4f} of the images. Not sure: {not_sure:.4f}; right "
            "and yet not sure: {lost:.4f}."
        ).format_map(assessed),
    )


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, both above 0 if it is logarithmic; of `integers`, ticks at these."""

    low: float
    high: float
    log: bool = False
    integers: bool = False

    def position(self, value: float) -> float:
        """Where `value` lies on the axis: 0 at `low`, 1 at `high`."""
        ends = self.low, self.high, value
        low, high, place = map(math.log10, ends) if self.log else ends
        return (place - low) / ((high - low) or 1.0)

    def ticks(self, count: int = 7) -> list[float]:
        """About `count` round numbers; of a logarithmic axis powers of ten, if it has two."""
        if self.log:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
            for factors in ((1,), (1, 3), (1, 2, 5)):
                values = [f * 10.0**e for e in (*exponents, exponents.stop) for f in factors]
                inside = [v for v in values if self.low * 0.999 <= v <= self.high * 1.001]
                if len(inside) > 2:
                    return inside[:: -(-len(inside) // count)]
            return inside or [self.low]
        if not self.high > self.low:
            return [self.low]
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        step = max(step, 1.0) if self.integers else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def shrunk(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`image` (H, W) made small enough for `height` x `width` in its proportions, as float32.

    Each new pixel is the mean of those that it covers. A small image stays as it is.
    """
    values = image.detach().float().cpu()
    scale = max(values.shape[0] / max(height, 1), values.shape[1] / max(width, 1))
    if scale <= 1:
        return values
    rows, columns = (max(1, int(side / scale + 1e-9)) for side in values.shape)
    return torch.nn.functional.adaptive_avg_pool2d(values[None, None], (rows, columns))[0, 0]
