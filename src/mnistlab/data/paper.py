"""The paper below the ink: the light on it, and by how much each pixel differs from it.

Everything here is about grey levels float32 (h, w), 0 black … 1 white, of at most a few hundred
pixels a side.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

_SMALL = 64  # pixels of the longer side: light and paper change slowly
_ON_PAPER = 0.03  # so near a pixel lies on the surface; more if there is noise
_DIMMEST = 0.25  # darker than this is no lit paper; ratios to it would only show noise
_SHADOWED = 0.12  # of all pixels are neither paper nor ink if there are shadows
_STRONG = 0.3  # contrast that leaves no doubt
_WIDER = 3.0  # than a stroke: what is taken for paper between strokes


def light_on_paper(levels: Floats) -> Floats:
    """The even level or the smooth surface that most of the image, and most of its rim, lies on.

    Of a level, a plane and a surface of third order, the simplest on which about as many pixels
    lie as on any.
    """
    step = math.ceil(max(levels.shape) / _SMALL)
    small = np.asarray(Image.fromarray(levels).reduce(step)) if step > 1 else levels
    rim = np.ones(small.shape, dtype=bool)
    rim[1:-1, 1:-1] = False
    # the rim counts as much as all the rest, since large ink may cover half of the image
    share = np.where(rim, 0.5 / rim.sum(), 0.5 / max(rim.size - rim.sum(), 1)).reshape(-1)
    target = small.reshape(-1).astype(np.float64)
    within = max(_ON_PAPER, 2 * noise_of(small))
    best, factors = -1.0, np.zeros((4, 4))
    for order in (0, 1, 3):
        fitted = _fitted(small.shape, target, share, order)
        off = target - (_powers(small.shape[0]) @ fitted @ _powers(small.shape[1]).T).reshape(-1)
        lie_on_it = float(share[np.abs(off) < within].sum())
        if lie_on_it > best + 0.02:
            best, factors = lie_on_it, fitted
    surface = _powers(levels.shape[0]) @ factors @ _powers(levels.shape[1]).T
    return np.asarray(surface.clip(0, 1), dtype=np.float32)


def _fitted(
    shape: tuple[int, ...], target: NDArray[np.float64], share: NDArray[np.float64], order: int
) -> NDArray[np.float64]:
    """The factors (4, 4) of the powers of y and x, fitted so that ink does not pull at them."""
    orders = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    down, across = _powers(shape[0]), _powers(shape[1])
    terms = np.stack([np.outer(down[:, i], across[:, j]).reshape(-1) for i, j in orders])
    ridge = 1e-9 * np.eye(len(orders))  # an image of a few pixels leaves some terms open
    weights = share
    for _ in range(12):  # least absolute deviations, by least squares weighed anew
        weighted = terms * weights
        fitted = np.linalg.solve(weighted @ terms.T + ridge, weighted @ target)
        weights = share / np.maximum(np.abs(fitted @ terms - target), 0.01)
    factors = np.zeros((4, 4))
    for place, value in zip(orders, fitted, strict=True):
        factors[place] = value
    return factors


def _powers(length: int) -> NDArray[np.float64]:
    """The powers 0 to 3 of -½ … ½ at the middle of each pixel: (length, 4)."""
    return np.vander((np.arange(length) + 0.5) / length - 0.5, 4, increasing=True)


def contrast_to_paper(
    levels: Floats, light: Floats, *, dark: bool, stroke: float
) -> tuple[Floats, Floats, bool]:
    """By how much each pixel is ink, about 0 on paper; in what unit; whether it has no shadows.

    dark: whether ink is darker than paper; stroke: how wide its strokes are at most, in pixels.
    The unit (h, w) is the contrast of one full range of grey levels, 1 or more.
    """
    # Paper reflects a share of the light, so dark ink is a share of what falls on it; a dark ground
    # reflects next to nothing, and light ink is simply brighter.
    unit = (1 / np.maximum(light, _DIMMEST) if dark else np.ones_like(light)).astype(np.float32)
    even = (light - levels if dark else levels - light) * unit
    if _is_plain(even):
        return even, unit, True
    step = math.ceil(max(even.shape) / _SMALL)
    small = torch.nn.functional.avg_pool2d(_picture(even), step, ceil_mode=True)
    # What is narrower than the window is taken away, and what is left is the paper: an opening.
    # Unlike a blur it keeps the edges of shadows.
    half = max(min(small.shape[2:]) // 2, 1)
    window = round(min(max(_WIDER * stroke / step, 0.2 * half), half))
    paper = _enlarged(_widest(-_widest(-small, window), window), step, levels.shape)
    contrast = even - paper
    return contrast - np.float32(np.median(_sample(contrast))), unit, False


def _is_plain(even: Floats) -> bool:
    """Whether there is paper, strong ink and next to nothing between, so no shadow either."""
    some = _sample(even)
    strongest = float(np.quantile(some, 0.99))
    between = (some > 0.15 * strongest) & (some < 0.6 * strongest)
    return strongest > _STRONG and float(between.mean()) < _SHADOWED


def noise_of(levels: Floats) -> float:
    """The standard deviation of the noise that is left in `blurred` levels."""
    soft = blurred(levels)
    softer = blurred(soft, 2)
    # the factors are those of white noise; JPEG leaves only the coarser part of it
    return max(0.47 * deviation(levels - soft), 1.38 * deviation(soft - softer))


def blurred(levels: Floats, apart: int = 1) -> Floats:
    """Each pixel with those `apart` from it, weighed 1 2 1 in either direction."""
    near, far = slice(apart, -apart), 2 * apart
    padded = np.pad(levels, apart, mode="edge")
    rows = (padded[:-far] + 2 * padded[near] + padded[far:]) / 4
    return np.asarray((rows[:, :-far] + 2 * rows[:, near] + rows[:, far:]) / 4, dtype=np.float32)


def deviation(values: Floats) -> float:
    """The standard deviation around 0 of the bulk, whatever the rest is."""
    return 1.4826 * float(np.median(np.abs(_sample(values))))


def strongest(values: Floats) -> float:
    """The mean over as many of the largest values as the smallest digit has pixels."""
    count = min(max(values.size // 2000, 4), 60, values.size)
    # numpy's partition takes fifty times as long where many values are equal
    return float(torch.from_numpy(values).flatten().topk(count).values.mean())


def _sample(values: Floats) -> Floats:
    """Enough of the pixels for a median, which costs more than all the rest."""
    step = max(min(values.shape) // 100, 1)
    return values[::step, ::step]


def largest_within(values: Floats, reach: float) -> Floats:
    """For each pixel about the largest value at most `reach` pixels away, changing smoothly."""
    step = math.ceil(max(values.shape) / _SMALL)
    small = torch.nn.functional.max_pool2d(_picture(values), step, ceil_mode=True)
    window = max(round(reach / step), 1)
    large = _widest(small, window)
    smooth = torch.nn.functional.avg_pool2d(
        large, 2 * (window // 2) + 1, 1, window // 2, count_include_pad=False
    )
    return _enlarged(smooth, step, values.shape)


def grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """`mask` and all pixels at most `by` beside it."""
    return np.asarray(_widest(_picture(mask.astype(np.float32)), 2 * by + 1)[0, 0].numpy() > 0)


def _enlarged(small: torch.Tensor, step: int, shape: tuple[int, ...]) -> Floats:
    """`small` (1, 1, h, w) drawn `step` times as large and cut to `shape`."""
    size = (small.shape[2] * step, small.shape[3] * step)
    large = torch.nn.functional.interpolate(small, size=size, mode="bilinear")
    return np.asarray(large[0, 0, : shape[0], : shape[1]].numpy())


def _picture(values: Floats) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]


def _widest(values: torch.Tensor, window: int) -> torch.Tensor:
    window = 2 * (window // 2) + 1  # odd, so that it has a middle
    pool = torch.nn.functional.max_pool2d
    rows = pool(values, (window, 1), stride=1, padding=(window // 2, 0))
    return pool(rows, (1, window), stride=1, padding=(0, window // 2))
