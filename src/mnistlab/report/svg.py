"""Curves as an SVG that stands inside a page: its colours are classes, which the page decides."""

import math
from collections.abc import Iterable, Iterator, Sequence

from markupsafe import Markup, escape

from mnistlab.report.pictures import Curves

# In units of the viewBox: wide enough for a phone's column, so that letters stay readable there.
WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 34, 40
POINTS = 500  # of one line; more than that cannot be seen
_DOTTED = 60  # epochs up to which each is marked and tells its figures when pointed at
_KINDS = 4  # colours that the page has


def chart(picture: Curves, name: str) -> Markup:
    """`picture` as one `<svg>`; `name` makes its ids unique in the page.

    Classes: `grid`, `tick`, `line`, `band`, `dot`, `best`, and `k0`, `k1`, … for the series.
    """
    scale = _Scale(picture)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">{escape(picture.title)} by {escape(picture.x_label)}</title>',
        f'<desc id="{name}-desc">{escape(described(picture))}</desc>',
    ]
    parts += _axes(picture, scale)
    for number, band in enumerate(picture.bands.values()):
        parts += _band(scale, number, *band)
    for number, (label, (xs, ys)) in enumerate(picture.lines.items()):
        parts += _line(scale, number, label, picture.x_label, list(zip(xs, ys, strict=True)))
    for label, (xs, ys) in picture.dots.items():
        for x, y in _finite(zip(xs, ys, strict=True)):
            told = f"{label}: {y:.6g}, {picture.x_label} {x:g}"
            parts.append(_circle(scale, x, y, "best", 4.5, told))
    return Markup("\n".join([*parts, *_legend(picture), "</svg>"]))


def described(picture: Curves) -> str:
    """The picture in words: where each line begins and ends, and its lowest and highest value."""
    told = []
    for name, (xs, ys) in picture.lines.items():
        points = list(_finite(zip(xs, ys, strict=True)))
        if points:
            (first, begin), (last, end) = points[0], points[-1]
            low, high = min(y for _, y in points), max(y for _, y in points)
            told.append(
                f"{name}: {begin:.6g} in {picture.x_label} {first:g}, {end:.6g} in "
                f"{picture.x_label} {last:g}; lowest {low:.6g}, highest {high:.6g}."
            )
    return " ".join(told) or "Nothing finite to draw."


def ticks(low: float, high: float, count: int = 7) -> list[float]:
    """About `count` round numbers within low…high, 1, 2 or 5 times a power of ten apart."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


class _Scale:
    """From values to places in the viewBox."""

    def __init__(self, picture: Curves) -> None:
        bands = [(xs, ys) for xs, lows, highs in picture.bands.values() for ys in (lows, highs)]
        series = [*picture.lines.values(), *picture.dots.values(), *bands]
        points = [point for xs, ys in series for point in _finite(zip(xs, ys, strict=True))]
        xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
        self.left, self.right = min(xs), max(xs)
        self.low, self.high = picture.y_range or (min(ys), max(ys))
        # a little air, so that no line runs along the frame
        air = 0.04 * (self.high - self.low) or abs(self.high) * 0.1 or 1.0
        self.low, self.high = self.low - air, self.high + air

    def x(self, value: float) -> float:
        span = (self.right - self.left) or 1.0
        return LEFT + (value - self.left) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        height = HEIGHT - TOP - BOTTOM
        return TOP + (self.high - value) / (self.high - self.low) * height


def _axes(picture: Curves, scale: _Scale) -> Iterator[str]:
    for value in ticks(scale.low, scale.high):
        y = scale.y(value)
        yield f'<path class="grid" d="M{LEFT} {y:.2f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick end" x="{LEFT - 8}" y="{y + 4:.2f}">{value:.10g}</text>'
    whole = picture.x_label == "epoch"
    for value in ticks(scale.left, scale.right):
        if not whole or value == int(value):
            place = f'x="{scale.x(value):.2f}" y="{HEIGHT - BOTTOM + 18}"'
            yield f'<text class="tick mid" {place}>{value:.10g}</text>'
    yield (
        f'<text class="tick end" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}">'
        f"{escape(picture.x_label)}</text>"
    )


def _line(
    scale: _Scale, number: int, label: str, x_label: str, points: list[tuple[float, float]]
) -> Iterator[str]:
    kind = f"k{number % _KINDS}"
    for run in _runs(thinned(points)):
        places = " ".join(f"{scale.x(x):.2f},{scale.y(y):.2f}" for x, y in run)
        yield f'<polyline class="line {kind}" points="{places}"/>'
    if len(points) <= _DOTTED:
        for x, y in _finite(points):
            yield _circle(scale, x, y, f"dot {kind}", 2.5, f"{label}: {y:.6g}, {x_label} {x:g}")


def _circle(scale: _Scale, x: float, y: float, kind: str, radius: float, told: str) -> str:
    place = f'cx="{scale.x(x):.2f}" cy="{scale.y(y):.2f}" r="{radius:g}"'
    return f'<circle class="{kind}" {place}><title>{escape(told)}</title></circle>'


def _band(
    scale: _Scale, number: int, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float]
) -> Iterator[str]:
    whole = [row for row in zip(xs, lows, highs, strict=True) if all(math.isfinite(v) for v in row)]
    step = max(1, -(-len(whole) // POINTS))
    whole = [*whole[:-1:step], *whole[-1:]]
    edge = [(x, low) for x, low, _ in whole] + [(x, high) for x, _, high in reversed(whole)]
    places = " ".join(f"{scale.x(x):.2f},{scale.y(y):.2f}" for x, y in edge)
    yield f'<polygon class="band k{number % _KINDS}" points="{places}"/>'


def _legend(picture: Curves) -> Iterator[str]:
    x = float(LEFT)
    for number, label in enumerate(picture.lines):
        kind = f"k{number % _KINDS}"
        yield f'<path class="line {kind}" d="M{x:g} 14h22"/>'
        yield f'<text class="tick" x="{x + 28:g}" y="18">{escape(label)}</text>'
        x += 42 + 7.8 * len(label)
    for label in picture.dots:
        yield f'<circle class="best" cx="{x + 6:g}" cy="14" r="4.5"/>'
        yield f'<text class="tick" x="{x + 16:g}" y="18">{escape(label)}</text>'
        x += 32 + 7.8 * len(label)


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `POINTS` of them: the lowest and highest of each stretch, the first and the last."""
    if len(points) <= POINTS:
        return list(points)
    step = -(-2 * len(points) // (POINTS - 2))
    kept = {0, len(points) - 1}
    for start in range(0, len(points), step):
        stretch = range(start, min(start + step, len(points)))
        kept |= {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]


def _runs(points: Iterable[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """The stretches between points that are not finite, where a line must break off."""
    run: list[tuple[float, float]] = []
    for point in points:
        if all(map(math.isfinite, point)):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _finite(points: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    return (point for point in points if all(map(math.isfinite, point)))
