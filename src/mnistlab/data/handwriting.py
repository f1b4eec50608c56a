"""A real-world image → what a training image looks like: ink found, framed, centred by its mass.

MNIST's digits were fitted into a box of 20 x 20 pixels, their proportions kept, and placed in a
frame of 28 x 28 with their centre of mass at its centre (yann.lecun.com/exdb/mnist). Images that
are like the training images already go through unchanged, to the bit.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnistlab.data.images import UndecodableError
from mnistlab.data.ink import Ink, extent, find_ink, inked, stroke_width
from mnistlab.data.paper import Floats

Levels = NDArray[np.uint8]
How = Literal["auto", "always", "never"]
WAYS: tuple[How, ...] = get_args(How)

_BOX = 20 / 28  # of the frame
_FINE = 4  # strokes are looked at in so many times the pixels of the frame
# Width of a stroke in a box of 20 pixels: thinner than THIN it is made WANTED. MNIST's 3s and 7s
# have 1.8 to 4.2. In a box of more than SMALL_BOX pixels a thin stroke does not fade.
_THIN, _WANTED, _SMALL_BOX = 1.7, 2.2, 32
_CLEAN = 0.06  # so near to the ground the rim of a prepared image is, of the full range
_UNEVEN = 0.15  # light that varies less, of the full range, is not worth a word


class NoInkError(UndecodableError):
    """There is nothing to classify in the image."""


@dataclass(frozen=True)
class Prepared:
    """An image as the model is to see it.

    levels: uint8 (H, W). steps: what was done, in words; empty if nothing. inverted: whether dark
    and light were swapped.
    """

    levels: Levels
    steps: tuple[str, ...] = ()
    inverted: bool = False


def prepare(
    image: Image.Image,
    image_size: tuple[int, int],
    ground: float | None,
    *,
    how: How = "auto",
    invert: bool | None = None,
) -> Prepared:
    """Make a mode `L` image like the training images of a model.

    image_size: (H, W) of the model. ground: the level around the ink of its training images, 0…1,
    None if they have no even one. how: `auto` leaves images that look prepared as they are,
    `always` finds and frames the ink of every image, `never` only scales. invert: swap dark and
    light, or do not; None decides by the image. Raises NoInkError.
    """
    levels = np.asarray(image, dtype=np.uint8)
    if ground is None or how == "never":
        return _fitted(image, image_size, bool(invert))
    if how == "always" or levels.shape != image_size:
        return _framed(image, image_size, ground, invert)
    if levels.min() == levels.max():
        raise NoInkError("no ink found: all pixels are alike")
    if not (_is_opposite(levels, ground) if invert is None else invert):
        return Prepared(levels)
    swapped = 255 - levels
    if _is_framed(swapped, ground):
        return Prepared(swapped, ("inverted",), True)
    return _framed(image, image_size, ground, True)


def _is_opposite(levels: Levels, ground: float) -> bool:
    """Whether an image stands on a light ground and should on a dark one, or the other way."""
    if abs(ground - 0.5) < 0.1:
        return False  # a grey ground has no opposite
    return (float(np.median(_rim(levels))) < 127.5) != (ground < 0.5)


def _is_framed(levels: Levels, ground: float) -> bool:
    """Whether the ink is where MNIST has it: a clean rim, as large as the box, centred."""
    height, width = levels.shape
    if abs(float(np.median(_rim(levels))) / 255 - ground) > _CLEAN:
        return False
    ink = np.abs(levels.astype(np.float32) / 255 - ground)
    if not (ink > _CLEAN).any():
        return False
    left, top, right, bottom = extent(ink > _CLEAN)
    filled = max((bottom - top) / (_BOX * height), (right - left) / (_BOX * width))
    y, x = _centre(ink)
    centred = abs(y - height / 2) <= height / 20 and abs(x - width / 2) <= width / 20
    return bool(centred and 0.85 <= filled <= 1.1)


def _rim(levels: Levels) -> Levels:
    """The pixels along the border of (h, w) levels."""
    return np.concatenate((levels[0], levels[-1], levels[1:-1, 0], levels[1:-1, -1]))


def _centre(ink: Floats) -> tuple[float, float]:
    """The centre of mass (y, x), in pixels; that of the first pixel is 0."""
    height, width = ink.shape
    mass = float(ink.sum())
    return float(ink.sum(1) @ np.arange(height)) / mass, float(ink.sum(0) @ np.arange(width)) / mass


def _framed(
    image: Image.Image, image_size: tuple[int, int], ground: float, invert: bool | None
) -> Prepared:
    on_light = ground > 0.5
    ink = find_ink(image, None if invert is None else invert != on_light)
    if ink is None:
        raise NoInkError("no ink found: nothing stands out from the paper")
    boxed, thickened = _in_the_box(ink.coverage, image_size)
    covered = _centred(boxed, image_size)
    levels = 255 * (ground + covered * (float(not on_light) - ground))
    inverted = ink.dark != on_light
    steps = _told(ink, inverted, thickened)
    return Prepared(levels.round().astype(np.uint8), steps, inverted)


def _told(ink: Ink, inverted: bool, thickened: bool) -> tuple[str, ...]:
    left, top, right, bottom = ink.box
    marks = "1 other mark" if ink.specks == 1 else f"{ink.specks} other marks"
    steps = {
        "inverted": inverted,
        "light evened": ink.unevenness > _UNEVEN,
        f"{marks} left out": ink.specks > 0,
        f"ink {right - left} x {bottom - top} framed": True,
        "thickened": thickened,
    }
    return tuple(step for step, done in steps.items() if done)


def _in_the_box(coverage: Floats, image_size: tuple[int, int]) -> tuple[Floats, bool]:
    """The ink scaled into the box, thin strokes thickened; and whether they were."""
    box = (max(round(_BOX * image_size[0]), 1), max(round(_BOX * image_size[1]), 1))
    fine = _scaled(_cropped(coverage), (box[0] * _FINE, box[1] * _FINE))
    unit = _FINE * max(box) / 20
    width = stroke_width(fine) / unit
    thin = width < _THIN and max(box) <= _SMALL_BOX
    if thin:
        fine = _cropped(_thickened(fine, (_WANTED - width) / 2 * unit))
    return _scaled(fine, box), thin


def _cropped(coverage: Floats) -> Floats:
    left, top, right, bottom = inked(coverage)
    return coverage[top:bottom, left:right]


def _scaled(values: Floats, box: tuple[int, int]) -> Floats:
    """`values` scaled smoothly and in proportion to the largest size that fits into `box`."""
    height, width = values.shape
    factor = min(box[0] / height, box[1] / width)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    how = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(values).resize(size, how), dtype=np.float32).clip(0, 1)


def _thickened(coverage: Floats, by: float) -> Floats:
    """Every stroke wider by `by` pixels on either side."""
    reach = int(np.ceil(by))
    padded = np.pad(coverage, 2 * reach)
    grown = padded.copy()
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            share = min(by + 1 - float(np.hypot(dy, dx)), 1.0)  # less on the edge of the disc
            if share > 0:
                np.maximum(grown, share * np.roll(padded, (dy, dx), (0, 1)), out=grown)
    return grown


def _centred(boxed: Floats, image_size: tuple[int, int]) -> Floats:
    """`boxed` in the frame, moved by whole pixels so that its centre of mass is in the middle.

    That is pixel 14 of 0…27, as in MNIST.
    """
    height, width = boxed.shape
    y, x = _centre(boxed)
    top = min(max(round(image_size[0] / 2 - y), 0), image_size[0] - height)
    left = min(max(round(image_size[1] / 2 - x), 0), image_size[1] - width)
    frame = np.zeros(image_size, dtype=np.float32)
    frame[top : top + height, left : left + width] = boxed
    return frame


def _fitted(image: Image.Image, image_size: tuple[int, int], invert: bool) -> Prepared:
    """The whole image, scaled in proportion and padded with the level of its own rim."""
    height, width = image_size
    levels = np.asarray(image, dtype=np.uint8)
    steps = ["inverted"] if invert else []
    if levels.shape != image_size:
        factor = min(width / image.width, height / image.height)
        size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
        small = np.asarray(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3))
        levels = np.full(image_size, int(np.median(_rim(small))), dtype=np.uint8)
        top, left = (height - size[1]) // 2, (width - size[0]) // 2
        levels[top : top + size[1], left : left + size[0]] = small
        padded = " and padded" if small.shape != image_size else ""
        steps.append(f"{image.width} x {image.height} scaled{padded}")
    return Prepared(255 - levels if invert else levels, tuple(steps), invert)
