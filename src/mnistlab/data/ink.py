"""Where the ink is in a drawing or a photograph, and how much of it covers each pixel.

Ink is what differs from the paper around it in one direction, darker or lighter, in strokes that
are narrower than half the picture. Two looks are taken: one at the whole picture, much reduced,
to find the place; one at that place, with more detail.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnistlab.data.paper import (
    Floats,
    blurred,
    contrast_to_paper,
    grown,
    largest_within,
    light_on_paper,
    noise_of,
    strongest,
)

Bools = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are just outside."""

_FIRST_LOOK, _SECOND_LOOK = 480, 320  # pixels of the longer side
_MARGIN = 0.25  # around what the first look found, of its longer side
_LEAST_CONTRAST = 0.06  # of the full range from black to white
_OVER_NOISE = 6.0  # standard deviations that ink is above the noise, at least
_LEAST_SIDE = 6  # pixels of the first look; a smaller mark is a speck
_LEAST_WHOLE = 0.3  # of what stands out is one piece, since noise is all pieces ...
_CLEAR = 50.0  # ... unless it is so many standard deviations above the noise
# Ink has a pixel above CORE of the strongest contrast and goes on to EDGE. Light ink varies with
# the light that falls on it, dark ink does not, and then a shadow must not pass for it.
_CORE = {True: 0.5, False: 0.35}
_EDGE = {True: 0.3, False: 0.2}
_DECIDED = 2.0  # times as far off the paper one way as the other: that way the ink is
_NEARBY = 0.35  # of the ink's longer side: so far the strongest ink sets what full ink is
_FULL, _BARE = 0.9, 0.12  # of that strongest ink: covered wholly; not at all
_LEAST_PIECE = 0.02  # of the largest piece; what is smaller is a speck
_NEAR = 0.25  # of the ink's longer side; what is further away is something else
# What a piece that reaches the rim counts beside one that does not, on plain paper and on other:
# shadows and table edges reach it, ink seldom does but where an image is cropped to it.
_AT_THE_RIM = {True: 0.1, False: 0.02}


@dataclass(frozen=True)
class Ink:
    """Ink that was found in an image.

    coverage: float32 (h, w), 0 paper … 1 ink; the ink's place with a margin, perhaps reduced.
    box: the ink's own place in the image. dark: whether it is darker than its paper. stroke: the
    width of its strokes, in pixels of the coverage. unevenness: by how much the light on the paper
    varies, 0…1. specks: how many marks were left out. at_rim: whether the ink reaches the rim.
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

    `dark` says that it is darker (True) or lighter (False) than its paper; by default the image
    shows it. But for reducing it once, the work does not grow with the image.
    """
    small, step = _reduced(image, _FIRST_LOOK)
    first = _look(small, dark)
    if first is None:
        return None
    left, top, right, bottom = (edge * step for edge in first.box)
    margin = math.ceil(_MARGIN * max(right - left, bottom - top)) + 2 * step
    left, top = max(left - margin, 0), max(top - margin, 0)
    right, bottom = min(right + margin, image.width), min(bottom + margin, image.height)
    small, fine = _reduced(image.crop((left, top, right, bottom)), _SECOND_LOOK)
    found = _look(small, first.dark, first.stroke * step / fine)
    if found is None:
        found, left, top, fine = first, 0, 0, step
    box = (
        left + found.box[0] * fine,
        top + found.box[1] * fine,
        min(left + found.box[2] * fine, image.width),
        min(top + found.box[3] * fine, image.height),
    )
    return Ink(
        found.coverage, box, first.dark, found.stroke, first.unevenness, first.specks, first.at_rim
    )


def stroke_width(coverage: Floats) -> float:
    """How wide the strokes are, in pixels: their area over half the length of their outline."""
    down, across = np.gradient(np.pad(coverage, 2))
    outline = float(np.hypot(down, across).sum())
    return 2 * float(coverage.sum()) / outline if outline else 0.0


def inked(coverage: Floats) -> Box:
    """The box around all that is covered by half or more of the most that is."""
    return extent(coverage >= 0.5 * coverage.max())


def extent(mask: Bools) -> Box:
    """The smallest box around all that is true in `mask`, which is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _reduced(image: Image.Image, side: int) -> tuple[Image.Image, int]:
    """`image` with its longer side at most `side`, by a whole step, and the step."""
    step = math.ceil(max(image.size) / side)
    return (image.reduce(step) if step > 1 else image), step


def _look(image: Image.Image, dark: bool | None, stroke: float = math.inf) -> Ink | None:
    """The ink in one reduced image; `stroke` is how wide its strokes are at most, in pixels."""
    levels = np.asarray(image, dtype=np.float32) / np.float32(255)
    light = light_on_paper(levels)
    if dark is not None:
        return _seen(levels, light, dark, stroke)
    off = blurred(levels) - light
    darker, lighter = strongest(-off), strongest(off)
    dark = darker > lighter
    likely = _seen(levels, light, dark, stroke)
    if likely is None or max(darker, lighter) > _DECIDED * min(darker, lighter):
        return likely
    # a shadow has an outline too: the other way round there may be something within the image
    other = _seen(levels, light, not dark, stroke)
    return other if likely.at_rim and other is not None and not other.at_rim else likely


def _seen(levels: Floats, light: Floats, dark: bool, stroke: float) -> Ink | None:
    """The ink that is darker, or lighter, than the `light` on the paper."""
    contrast, unit, plain = contrast_to_paper(levels, light, dark=dark, stroke=stroke)
    soft = blurred(contrast)
    peak = strongest(soft)
    noise = noise_of(levels) * unit
    least = np.maximum(_OVER_NOISE * noise, _LEAST_CONTRAST * unit)
    core = soft > np.maximum(_CORE[dark] * peak, least)
    edge = soft > np.maximum(_EDGE[dark] * peak, least / 2)
    if not core.any():
        return None
    kept, specks, whole = _chosen(soft, core, core | edge, _AT_THE_RIM[plain])
    box = extent(kept)
    longer = max(box[2] - box[0], box[3] - box[1])
    clear = peak > _CLEAR * float(np.median(noise))
    if longer < _LEAST_SIDE or not (clear or whole > _LEAST_WHOLE):
        return None
    nearby = largest_within(soft * kept, _NEARBY * longer)
    full = _FULL * np.maximum(nearby, _EDGE[dark] * peak)
    bare = np.maximum(_BARE * full, np.minimum(4 * noise, 0.5 * full))
    coverage = grown(kept, 2) * ((contrast - bare) / (full - bare)).clip(0, 1)
    stroke = stroke_width(kept.astype(np.float32))
    at_rim = bool(min(box[:2]) == 0 or box[2] == levels.shape[1] or box[3] == levels.shape[0])
    coverage = coverage.astype(np.float32)
    box = inked(coverage)
    return Ink(coverage, box, dark, stroke, float(np.ptp(light)), specks, at_rim)


def _chosen(soft: Floats, core: Bools, edge: Bools, rim_counts: float) -> tuple[Bools, int, float]:
    """The pixels of the pieces that are ink; how many marks were left out; the largest's share.

    The largest piece is ink, and what is near it and not tiny beside it.
    """
    labels = label_pieces(edge)
    count = int(labels.max())
    y, x = np.nonzero(labels)
    own = labels[y, x] - 1
    strong = np.bincount(own, core[y, x], count) > 0
    weight = np.bincount(own, soft[y, x], count) * strong
    boxes = _boxes(x, y, own, count)
    height, width = labels.shape
    at_rim = (boxes[:, :2] == 0).any(1) | (boxes[:, 2:] == (width, height)).any(1)
    main = int((weight * np.where(at_rim, rim_counts, 1.0)).argmax())
    chosen = np.arange(count) == main
    candidates = (weight >= _LEAST_PIECE * weight[main]) & (~at_rim | at_rim[main])
    while (added := candidates & ~chosen & _near(boxes, boxes[chosen])).any():
        chosen |= added
    whole = weight[chosen].max() / weight[chosen | ~at_rim].sum()
    left_out = int((strong & ~chosen).sum())
    return np.concatenate([[False], chosen])[labels], left_out, float(whole)


def _boxes(
    x: NDArray[np.int64], y: NDArray[np.int64], own: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """left, top, right, bottom of each of `count` pieces: (count, 4)."""
    boxes = np.tile(np.array([2**31, 2**31, 0, 0]), (count, 1))
    np.minimum.at(boxes[:, 0], own, x)
    np.minimum.at(boxes[:, 1], own, y)
    np.maximum.at(boxes[:, 2], own, x + 1)
    np.maximum.at(boxes[:, 3], own, y + 1)
    return boxes


def _near(boxes: NDArray[np.int64], chosen: NDArray[np.int64]) -> Bools:
    """Which boxes are near the one around all that is chosen."""
    left, top = chosen[:, :2].min(0)
    right, bottom = chosen[:, 2:].max(0)
    gap_x = np.maximum(np.maximum(left - boxes[:, 2], boxes[:, 0] - right), 0)
    gap_y = np.maximum(np.maximum(top - boxes[:, 3], boxes[:, 1] - bottom), 0)
    near = np.hypot(gap_x, gap_y) <= _NEAR * max(right - left, bottom - top)
    return np.asarray(near)


def label_pieces(mask: Bools) -> NDArray[np.int64]:
    """Connected pieces of `mask` (h, w), by the eight neighbours: 0 outside, 1, 2, … inside."""
    height, width = mask.shape
    wide = width + 2  # two empty columns keep the end of a row and the start of the next apart
    flat = np.zeros((height, wide), dtype=np.int8)
    flat[:, 1:-1] = mask
    steps = np.diff(flat.reshape(-1))
    # the runs of all rows, as places in the flattened image
    starts, ends = np.flatnonzero(steps == 1) + 1, np.flatnonzero(steps == -1) + 1
    # each run meets those of the next row that end behind its start and start before its end
    first = np.searchsorted(ends, starts + wide - 1, side="right")
    meets = np.maximum(np.searchsorted(starts, ends + wide + 1, side="left") - first, 0)
    upper = np.repeat(np.arange(len(starts)), meets)
    lower = np.arange(meets.sum()) + np.repeat(first - np.cumsum(meets) + meets, meets)
    names, before = np.arange(len(starts)), None
    while before is None or (names != before).any():  # runs that meet take the lower name
        before = names.copy()
        lowest = np.minimum(names[upper], names[lower])
        np.minimum.at(names, upper, lowest)
        np.minimum.at(names, lower, lowest)
        names = names[names]
    names = np.unique(names, return_inverse=True)[1] + 1
    marks = np.zeros(height * wide + 1, dtype=np.int64)
    marks[starts] += names
    marks[ends] -= names
    return np.asarray(np.cumsum(marks)[:-1].reshape(height, wide)[:, 1:-1])
