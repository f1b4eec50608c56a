"""What is lost as colours become grey: whether there are any, and whether they tell classes apart.

Measured on each image in colour while it is decoded; grey files cost nothing.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 16  # pixels: a reduced image is looked at
_TINT = 8  # levels between the channels of a pixel: up to here it is the tint of a scan
_CELLS = (4, 4)  # where on the image it is dark or light
_HUES = 2  # of the features; the others are grey
# Classes are compared by their means, in standard deviations within them: three are hardly chance,
# and one is too little to tell by. FAINT is added to the spread, for images that hardly vary.
_FAR, _NEAR, _FAINT = 3.0, 1.0, 2.0
_FEWEST = 5  # images of a class whose spread can be known
_LISTED = 3  # pairs of classes


Colour = tuple[NDArray[np.float64], bool]
"""Of one image: its mean R - G and B - (R + G) / 2, then of its grey the mean, the spread, and the
mean of each of 4 x 4 cells; and whether any of it is more than a tint."""


def colour_of(image: Image.Image) -> Colour:
    """Measure an RGB image, in a time that hardly grows with its size."""
    step = math.ceil(max(image.size) / _SIDE)
    small = image.reduce(step) if step > 1 else image
    grey = small.convert("L")
    shades, cells = np.asarray(grey), np.asarray(grey.resize(_CELLS, Image.Resampling.BOX))
    red, green, blue = np.asarray(small).reshape(-1, 3).T.astype(np.int16)
    mean_red, mean_green = red.mean(), green.mean()
    hue = (mean_red - mean_green, blue.mean() - (mean_red + mean_green) / 2)
    features = np.array([*hue, shades.mean(), shades.std(), *cells.ravel().tolist()])
    lowest, highest = (f(f(red, green), blue) for f in (np.minimum, np.maximum))
    return features, bool((highest - lowest).max() > _TINT)


class Colours:
    """The colours of many images: sums for each class, so the memory does not grow with them."""

    def __init__(self) -> None:
        self._seen = 0
        # class → how many images, the sum of their features, the sum of their squares
        self._sums: dict[str, tuple[int, NDArray[np.float64], NDArray[np.float64]]] = {}

    def add(self, label: str, colour: Colour | None) -> None:
        """Take in one image of the class `label`; None where its file is grey."""
        if colour is not None:
            values, seen = colour
            self._seen += seen
            count, sums, squares = self._sums.get(label, (0, 0 * values, 0 * values))
            self._sums[label] = (count + 1, sums + values, squares + values**2)

    def notes(self) -> dict[str, Any]:
        """As plain data: how many have colour, and which classes differ in nothing else."""
        pairs = list(self._alike_in_grey()) if self._seen else []
        return {"coloured": self._seen, "alike": pairs[:_LISTED], "n_alike": len(pairs)}

    def _alike_in_grey(self) -> Iterator[tuple[str, str]]:
        """Pairs of classes that differ in hue, and hardly in grey anywhere on the image."""
        known = [name for name, (count, *_) in self._sums.items() if count >= _FEWEST]
        if len(known) < 2:
            return
        counts = np.array([[self._sums[name][0]] for name in known])
        means, squares = (np.stack([self._sums[n][i] for n in known]) / counts for i in (1, 2))
        variances = (squares - means**2).clip(0)
        for one in range(len(known) - 1):
            rest = slice(one + 1, None)
            spread = np.sqrt((variances[one] + variances[rest]) / 2) + _FAINT
            apart = np.abs(means[one] - means[rest]) / spread
            hue, grey = apart[:, :_HUES].max(1), apart[:, _HUES:].max(1)
            # means of few images lie apart by chance
            chance = 2 * np.sqrt(1 / counts[one] + 1 / counts[rest, 0])
            for other in np.flatnonzero((hue > _FAR) & (grey < _NEAR + chance)):
                yield known[one], known[one + 1 + int(other)]
