"""Where the ink is in a drawing or a photograph, and how much of it covers each pixel.

Ink differs from the background in one direction, darker or lighter, in strokes that are narrower
than half of the picture. The picture is examined twice: reduced, to locate the ink; then at that
place only, in more detail. Levels are float32 (h, w), 0 black … 1 white.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are just outside."""

_FIRST_SIDE, _SECOND_SIDE = 480, 320  # pixels of the longer side, at most
_MARGIN = 0.25  # around the ink of the first step, as a share of its longer side
_COARSE_SIDE = 64  # pixels of the longer side: illumination and background change slowly

# The illumination
_ON_SURFACE = 0.03  # a pixel this close lies on the surface; more if there is noise
_DIMMEST = 0.25  # darker than this is no lit background; ratios to it would only show noise
_STRONG = 0.3  # contrast that leaves no doubt
_SHADOWED = 0.12  # with shadows, this share of the pixels is neither background nor ink
_BETWEEN_STROKES = 3.0  # stroke widths: what is wider than this is background

# What counts as ink
_LEAST_CONTRAST = 0.06  # of the full range from black to white
_OVER_NOISE = 6.0  # standard deviations that ink is above the noise, at least
_LEAST_SIDE = 6  # pixels of the reduced picture; a smaller mark is a speck
_LEAST_MAIN = 0.3  # share of the largest piece in all marks, since noise has many pieces ...
_CLEAR = 50.0  # ... unless it is so many standard deviations above the noise
# Ink has a pixel above CORE of the strongest contrast and extends to EDGE, by dark. Light ink
# varies with the illumination, dark ink does not, and then a shadow must not pass for ink.
_CORE = {True: 0.5, False: 0.35}
_EDGE = {True: 0.3, False: 0.2}
_DECISIVE = 2.0  # ratio of dark to light contrast, or the inverse, that decides which one is ink
_NEARBY = 0.35  # of the ink's longer side: the strongest ink within this distance is full ink
_FULL, _BARE = 0.9, 0.12  # shares of full ink: a pixel is covered completely; not at all
_LEAST_PIECE = 0.02  # of the largest piece; what is smaller is a speck
_NEAR = 0.25  # of the ink's longer side; a piece further away is something else
# The weight of a piece that touches the rim, by whether the background is plain: shadows and the
# edges of a table touch it; ink seldom does, except where an image is cropped to it.
_AT_RIM_WEIGHT = {True: 0.1, False: 0.02}


@dataclass(frozen=True)
class Ink:
    """The ink of an image.

    coverage: float32 (h, w), 0 background … 1 ink; the ink's place with a margin, perhaps reduced.
    box: the ink's own place in the image. dark: whether it is darker than the background. stroke:
    the width of its strokes, in pixels of the first step. unevenness: by how much the illumination
    varies, 0…1. specks: how many marks were left out. at_rim: whether the ink touches the rim.
    """

    coverage: Floats
    box: Box
    dark: bool
    stroke: float
    unevenness: float
    specks: int
    at_rim: bool


def find_ink(image: Image.Image, dark: bool | None = None) -> Ink | None:
    """The ink in a mode `L` image of any size; None if there is none.

    `dark` says that it is darker (True) or lighter (False) than the background; by default the
    image decides. Except for reducing the image once, the work does not grow with its size.
    """
    step = math.ceil(max(image.size) / _FIRST_SIDE)
    first = _ink_of(image.reduce(step), dark)
    if first is None:
        return None
    left, top, right, bottom = (edge * step for edge in first.box)
    margin = math.ceil(_MARGIN * max(right - left, bottom - top)) + 2 * step
    left, top = max(left - margin, 0), max(top - margin, 0)
    right, bottom = min(right + margin, image.width), min(bottom + margin, image.height)
    fine = math.ceil(max(right - left, bottom - top) / _SECOND_SIDE)
    detail = image.crop((left, top, right, bottom)).reduce(fine)
    ink = _ink_of(detail, first.dark, first.stroke * step / fine)
    if ink is None:
        ink, left, top, fine = first, 0, 0, step
    box = (
        left + ink.box[0] * fine,
        top + ink.box[1] * fine,
        min(left + ink.box[2] * fine, image.width),
        min(top + ink.box[3] * fine, image.height),
    )
    return replace(first, coverage=ink.coverage, box=box)


def stroke_width(coverage: Floats) -> float:
    """The width of the strokes, in pixels: their area over half the length of their outline."""
    down, across = np.gradient(np.pad(coverage, 2))
    outline = float(np.hypot(down, across).sum())
    return 2 * float(coverage.sum()) / outline if outline else 0.0


def ink_box(coverage: Floats) -> Box:
    """The box around all pixels that have at least half of the largest coverage."""
    return bounding_box(coverage >= 0.5 * coverage.max())


def cropped(coverage: Floats) -> Floats:
    """The part of `coverage` in its `ink_box`."""
    left, top, right, bottom = ink_box(coverage)
    return coverage[top:bottom, left:right]


def bounding_box(mask: Bools) -> Box:
    """The smallest box around all pixels that are true in `mask` (h, w), which is not empty."""
    rows, columns = ndimage.find_objects(mask.astype(np.int8))[0]
    return columns.start, rows.start, columns.stop, rows.stop


def _ink_of(image: Image.Image, dark: bool | None, stroke: float = math.inf) -> Ink | None:
    """The ink in one reduced image; `stroke` is the largest width of its strokes, in pixels."""
    levels = np.asarray(image, dtype=np.float32) / np.float32(255)
    light = illumination(levels)
    if dark is not None:
        return _ink_of_polarity(levels, light, dark, stroke)
    difference = blurred(levels) - light
    darker, lighter = _strongest(-difference), _strongest(difference)
    dark = darker > lighter
    likely = _ink_of_polarity(levels, light, dark, stroke)
    if likely is None or max(darker, lighter) > _DECISIVE * min(darker, lighter):
        return likely
    # A shadow has an outline too: with the other polarity there may be ink away from the rim.
    other = _ink_of_polarity(levels, light, not dark, stroke)
    return other if likely.at_rim and other is not None and not other.at_rim else likely


def _ink_of_polarity(levels: Floats, light: Floats, dark: bool, stroke: float) -> Ink | None:
    """The ink that is darker, or lighter, than the illumination `light`."""
    contrast, unit, plain = _contrast(levels, light, dark, stroke)
    soft = blurred(contrast)
    peak = _strongest(soft)
    noise = noise_of(levels) * unit
    least = np.maximum(_OVER_NOISE * noise, _LEAST_CONTRAST * unit)
    core = soft > np.maximum(_CORE[dark] * peak, least)
    edge = soft > np.maximum(_EDGE[dark] * peak, least / 2)
    if not core.any():
        return None
    ink, specks, main = _select_pieces(soft, core, core | edge, _AT_RIM_WEIGHT[plain])
    left, top, right, bottom = bounding_box(ink)
    longer = max(right - left, bottom - top)
    clear = peak > _CLEAR * float(np.median(noise))
    if longer < _LEAST_SIDE or not (clear or main > _LEAST_MAIN):
        return None
    full = _FULL * np.maximum(_largest_nearby(soft * ink, _NEARBY * longer), _EDGE[dark] * peak)
    bare = np.maximum(_BARE * full, np.minimum(4 * noise, 0.5 * full))
    around = ndimage.maximum_filter(ink, 5)  # the ink and the two pixels beside it
    coverage = (around * ((contrast - bare) / (full - bare)).clip(0, 1)).astype(np.float32)
    at_rim = min(left, top) == 0 or right == levels.shape[1] or bottom == levels.shape[0]
    width = stroke_width(ink.astype(np.float32))
    return Ink(coverage, ink_box(coverage), dark, width, float(np.ptp(light)), specks, at_rim)


def _select_pieces(
    soft: Floats, core: Bools, edge: Bools, at_rim_weight: float
) -> tuple[Bools, int, float]:
    """The connected pieces of `edge` that are ink: the largest, and what is near it and not tiny.

    Returns their pixels, the number of marks left out, and the share of the largest piece.
    """
    labels, count = ndimage.label(edge, np.ones((3, 3)))  # by the eight neighbours; 0 is no piece
    numbers = np.arange(1, count + 1)
    strong = ndimage.sum_labels(core, labels, numbers) > 0
    weight = ndimage.sum_labels(soft, labels, numbers) * strong
    pieces = ndimage.find_objects(labels)
    start = np.array([(rows.start, columns.start) for rows, columns in pieces])  # (count, 2)
    stop = np.array([(rows.stop, columns.stop) for rows, columns in pieces])
    at_rim = ((start == 0) | (stop == edge.shape)).any(1)
    main = int((weight * np.where(at_rim, at_rim_weight, 1.0)).argmax())
    candidates = (weight >= _LEAST_PIECE * weight[main]) & (~at_rim | at_rim[main])
    chosen, added = np.zeros(count, dtype=bool), numbers == main + 1
    while added.any():
        chosen |= added
        first, last = start[chosen].min(0), stop[chosen].max(0)
        gap = np.maximum(first - stop, start - last).clip(0)
        near = np.hypot(*gap.T) <= _NEAR * (last - first).max()
        added = candidates & near & ~chosen
    share = weight[chosen].max() / weight[chosen | ~at_rim].sum()
    return np.append(False, chosen)[labels], int((strong & ~chosen).sum()), float(share)


def illumination(levels: Floats) -> Floats:
    """The light on the background: float32 (h, w), 0…1.

    Of a level, a plane and a surface of third order, the simplest on which about as many pixels of
    the image, and of its rim, lie as on any.
    """
    small = _coarse(levels)
    rim = np.ones(small.shape, dtype=bool)
    rim[1:-1, 1:-1] = False
    # The rim counts as much as all the rest, since large ink may cover half of the image.
    share = np.where(rim, 0.5 / rim.sum(), 0.5 / max((~rim).sum(), 1)).ravel()
    target = small.ravel().astype(np.float64)
    tolerance = max(_ON_SURFACE, 2 * noise_of(small))
    y, x = _powers(small.shape[0]), _powers(small.shape[1])
    best, factors = -1.0, np.zeros((4, 4))  # factors of y^i x^j
    for order in (0, 1, 3):
        exponents = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
        terms = np.stack([np.outer(y[:, i], x[:, j]).ravel() for i, j in exponents])
        ridge = 1e-9 * np.eye(len(terms))  # an image of a few pixels leaves some terms open
        weights = share
        # Least absolute deviations, so that ink does not pull at the surface: least squares,
        # weighted anew in each pass by the inverse of the deviation.
        for _ in range(12):
            weighted = terms * weights
            fitted = np.linalg.solve(weighted @ terms.T + ridge, weighted @ target)
            deviation = np.abs(fitted @ terms - target)
            weights = share / np.maximum(deviation, 0.01)
        on_surface = float(share[deviation < tolerance].sum())
        if on_surface > best + 0.02:
            best, factors = on_surface, np.zeros((4, 4))
            factors[tuple(np.transpose(exponents))] = fitted
    surface = _powers(levels.shape[0]) @ factors @ _powers(levels.shape[1]).T
    return np.asarray(surface.clip(0, 1), dtype=np.float32)


def _powers(length: int) -> NDArray[np.float64]:
    """The powers 0 to 3 of -½ … ½ at the middle of each pixel: (length, 4)."""
    return np.vander((np.arange(length) + 0.5) / length - 0.5, 4, increasing=True)


def _contrast(
    levels: Floats, light: Floats, dark: bool, stroke: float
) -> tuple[Floats, Floats, bool]:
    """By how much each pixel is ink, about 0 on the background; its unit; whether it is plain.

    The unit (h, w) is the contrast of one full range of grey levels, 1 or more. A plain background
    has no shadows.
    """
    # A light background reflects a share of the illumination, so dark ink is measured as a share;
    # a dark one reflects next to nothing, and light ink is simply brighter.
    unit = (1 / np.maximum(light, _DIMMEST) if dark else np.ones_like(light)).astype(np.float32)
    even = (light - levels if dark else levels - light) * unit
    sample = _sample(even)
    strong = float(np.quantile(sample, 0.99))
    between = (sample > 0.15 * strong) & (sample < 0.6 * strong)
    if strong > _STRONG and between.mean() < _SHADOWED:
        return even, unit, True
    # An opening takes away what is narrower than the window; the rest is the background. Unlike a
    # blur it preserves the edges of shadows.
    small = _coarse(even)
    half = max(min(small.shape) // 2, 1)
    step = math.ceil(max(even.shape) / _COARSE_SIDE)
    window = round(min(max(_BETWEEN_STROKES * stroke / step, 0.2 * half), half))
    background = ndimage.grey_opening(small, window | 1)  # odd, so that it has a middle
    contrast = even - _enlarged(background, even.shape)
    return contrast - np.float32(np.median(_sample(contrast))), unit, False


def noise_of(levels: Floats) -> float:
    """The standard deviation of the noise that is left in `blurred` levels."""
    soft = blurred(levels)
    fine, coarse = levels - soft, soft - blurred(soft, 2)
    # 1.4826 medians are a standard deviation, whatever the ink is. The other factors are those of
    # white noise; JPEG leaves only the coarser part of it.
    return 1.4826 * max(
        0.47 * float(np.median(np.abs(_sample(fine)))),
        1.38 * float(np.median(np.abs(_sample(coarse)))),
    )


def blurred(levels: Floats, distance: int = 1) -> Floats:
    """Each pixel with those at `distance` from it, weighted 1 2 1 in either direction."""
    weights = np.zeros(2 * distance + 1)
    weights[[0, distance, -1]] = 0.25, 0.5, 0.25
    rows = ndimage.correlate1d(levels, weights, 0, mode="nearest")
    return np.asarray(ndimage.correlate1d(rows, weights, 1, mode="nearest"))


def _strongest(values: Floats) -> float:
    """The mean of as many of the largest values as the smallest digit has pixels."""
    count = min(max(values.size // 2000, 4), 60, values.size)
    # numpy's partition takes fifty times as long where many values are equal
    return float(np.sort(values, axis=None)[-count:].mean())


def _sample(values: Floats) -> Floats:
    """Enough of the pixels for a median, which costs more than all the rest."""
    step = max(min(values.shape) // 100, 1)
    return values[::step, ::step]


def _largest_nearby(values: Floats, distance: float) -> Floats:
    """For each pixel about the largest value at most `distance` pixels away, changing smoothly."""
    step = math.ceil(max(values.shape) / _COARSE_SIDE)
    rows, columns = (np.arange(0, side, step) for side in values.shape)
    small = np.maximum.reduceat(np.maximum.reduceat(values, rows), columns, axis=1)
    window = max(round(distance / step), 1) | 1
    largest = ndimage.maximum_filter(small, window)
    # the mean of the pixels of the window that are inside the image
    inside = ndimage.uniform_filter(np.ones_like(largest), window, mode="constant")
    smooth = ndimage.uniform_filter(largest, window, mode="constant") / inside
    return _enlarged(smooth.astype(np.float32), values.shape)


def _coarse(values: Floats) -> Floats:
    """`values` reduced by a whole step to at most 64 pixels a side: the means of blocks."""
    step = math.ceil(max(values.shape) / _COARSE_SIDE)
    return np.asarray(Image.fromarray(values).reduce(step))


def _enlarged(coarse: Floats, shape: tuple[int, ...]) -> Floats:
    """`coarse` at the size before it was reduced: (h, w) = `shape`."""
    step = math.ceil(max(shape) / _COARSE_SIDE)
    size = (coarse.shape[1] * step, coarse.shape[0] * step)
    large = Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(large)[: shape[0], : shape[1]]
