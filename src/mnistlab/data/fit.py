"""Images of any size → images like the training images.

`fitted` does what `--fit` says; `prepare` is for photographs and drawings. MNIST's digits were
fitted into a box of 20 x 20 pixels, their proportions preserved, and placed in a frame of 28 x 28
with their centre of mass at its centre (yann.lecun.com/exdb/mnist).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mnistlab.config import Fit
from mnistlab.data.images import UndecodableError

Levels = NDArray[np.uint8]
Floats = NDArray[np.float32]
How = Literal["auto", "always", "never"]

_SMOOTH = Image.Resampling.LANCZOS  # it looks at all pixels under a new one: no aliasing
_GAP = 3.0  # times the new size: down to that by whole factors, which is faster
_BOX = 20 / 28  # of the frame
_FINE = 4  # strokes are measured at this multiple of the frame's resolution
# Stroke widths in a box of 20 pixels: a stroke below THIN is made WANTED. MNIST's 3s and 7s have
# 1.8 to 4.2. In a box of more than SMALL_BOX pixels a thin stroke does not fade.
_THIN, _WANTED, _SMALL_BOX = 1.7, 2.2, 32
_CLEAN = 0.06  # of the full range: the largest difference of a prepared image's rim to background
_UNEVEN = 0.15  # of the full range: illumination that varies less is not worth a mention


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


def fitted(image: Image.Image, image_size: tuple[int, int], how: Fit) -> Image.Image:
    """A mode `L` image brought to (H, W).

    `pad` keeps proportions and everything, and fills the rest with the level of the image's own
    rim; `crop` keeps proportions and cuts off what does not fit, on both sides alike; `stretch`
    keeps everything and no proportions. Where they agree, in images of that shape, they are the
    same. `ink` finds the ink of a drawing or a photo of handwriting, makes it white on black and
    frames it as MNIST does; raises NoInkError where there is none.
    """
    height, width = image_size
    if how == "ink":
        return Image.fromarray(_framed(image, image_size, 0.0, None).levels)
    if image.size == (width, height):
        return image
    if how == "stretch":
        return image.resize((width, height), _SMOOTH, reducing_gap=_GAP)
    if how == "crop":
        return ImageOps.fit(image, (width, height), _SMOOTH)
    factor = min(width / image.width, height / image.height)
    size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    small = image.resize(size, _SMOOTH, reducing_gap=_GAP)
    framed = Image.new("L", (width, height), int(rim_level(small)))
    framed.paste(small, ((width - size[0]) // 2, (height - size[1]) // 2))
    return framed


def rim_level(image: Image.Image) -> float:
    """The median of the pixels along the border of a mode `L` image."""
    levels, width = image.tobytes(), image.width  # of small images, numpy takes three times as long
    inner = levels[width:-width]
    rim = sorted(levels[:width] + levels[-width:] + inner[::width] + inner[width - 1 :: width])
    return (rim[(len(rim) - 1) // 2] + rim[len(rim) // 2]) / 2


def prepare(
    image: Image.Image,
    image_size: tuple[int, int],
    background: float | None,
    *,
    how: How = "auto",
    invert: bool | None = None,
) -> Prepared:
    """Make a mode `L` image like the training images of a model.

    image_size: (H, W) of the model. background: the level around the ink of its training images,
    0…1, None if it is not even. how: `auto` leaves images that look prepared as they are, `always`
    finds and frames the ink of every image, `never` only scales. invert: swap dark and light, or
    do not; None decides by the image. Raises NoInkError.
    """
    levels = np.asarray(image, dtype=np.uint8)
    if background is None or how == "never":
        height, width = image_size
        steps = ["inverted"] if invert else []
        if levels.shape != image_size:
            padded = " and padded" if image.width * height != image.height * width else ""
            steps.append(f"{image.width} x {image.height} scaled{padded}")
            levels = np.asarray(fitted(image, image_size, "pad"))
        return Prepared(255 - levels if invert else levels, tuple(steps), bool(invert))
    if how == "always" or levels.shape != image_size:
        return _framed(image, image_size, background, invert)
    if levels.min() == levels.max():
        raise NoInkError("no ink found: all pixels are alike")
    if invert is None:
        rim_is_light = rim_level(image) >= 127.5
        has_opposite = abs(background - 0.5) >= 0.1  # grey has none
        invert = has_opposite and rim_is_light != (background >= 0.5)
    if not invert:
        return Prepared(levels)
    swapped = 255 - levels
    if _is_framed(swapped, background):
        return Prepared(swapped, ("inverted",), True)
    return _framed(image, image_size, background, True)


def _is_framed(levels: Levels, background: float) -> bool:
    """Whether the ink is where MNIST has it: a clean rim, as large as the box, centred."""
    from scipy import ndimage  # which most runs do without

    from mnistlab.data.ink import bounding_box

    height, width = levels.shape
    ink = np.abs(levels.astype(np.float32) / 255 - background)
    rim = rim_level(Image.fromarray(levels)) / 255
    if abs(rim - background) > _CLEAN or ink.max() <= _CLEAN:
        return False
    left, top, right, bottom = bounding_box(ink > _CLEAN)
    filled = max((bottom - top) / (_BOX * height), (right - left) / (_BOX * width))
    y, x = ndimage.center_of_mass(ink)
    centred = abs(y - height / 2) <= height / 20 and abs(x - width / 2) <= width / 20
    return bool(centred and 0.85 <= filled <= 1.1)


def _framed(
    image: Image.Image, image_size: tuple[int, int], background: float, invert: bool | None
) -> Prepared:
    """The ink alone, fitted into the box and centred by its mass, as in MNIST."""
    from scipy import ndimage

    from mnistlab.data.ink import cropped, find_ink, stroke_width

    on_light = background > 0.5
    ink = find_ink(image, None if invert is None else invert != on_light)
    if ink is None:
        raise NoInkError("no ink found: nothing stands out from the background")
    height, width = (max(round(_BOX * side), 1) for side in image_size)
    fine = _fitted(cropped(ink.coverage), (height * _FINE, width * _FINE))
    unit = _FINE * max(height, width) / 20  # one pixel of a box of 20
    stroke = stroke_width(fine) / unit
    thin = stroke < _THIN and max(height, width) <= _SMALL_BOX
    if thin:
        fine = cropped(_thickened(fine, (_WANTED - stroke) / 2 * unit))
    boxed = _fitted(fine, (height, width))

    # Whole pixels bring the centre of mass to the middle: pixel 14 of 0…27, as in MNIST.
    place = tuple(
        slice(start := min(max(round(frame / 2 - centre), 0), frame - side), start + side)
        for frame, centre, side in zip(
            image_size, ndimage.center_of_mass(boxed), boxed.shape, strict=True
        )
    )
    covered = np.zeros(image_size, dtype=np.float32)
    covered[place] = boxed
    levels = 255 * (background + covered * (float(not on_light) - background))

    inverted = ink.dark != on_light
    left, top, right, bottom = ink.box
    marks = "1 other mark" if ink.specks == 1 else f"{ink.specks} other marks"
    steps = {
        "inverted": inverted,
        "uneven light removed": ink.unevenness > _UNEVEN,
        f"{marks} left out": ink.specks > 0,
        f"ink {right - left} x {bottom - top} framed": True,
        "thickened": thin,
    }
    done = tuple(step for step, applied in steps.items() if applied)
    return Prepared(levels.round().astype(np.uint8), done, inverted)


def _fitted(values: Floats, box: tuple[int, int]) -> Floats:
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
