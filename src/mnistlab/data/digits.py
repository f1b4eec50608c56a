"""MNIST's 70,000 images in one file of 8 MB, `mnist.npz`, made by `data/pack_digits.py`.

Three arrays for each split: `labels` (n,) in MNIST's order; `ink` (n, 28, 28), the pixels that are
not 0, with the images sorted by label; `grey` (k,), the values of these pixels, sorted by `places`.
Inside a stroke nearly all are 253 or 254, at its edge all differ: like beside like packs better.
"""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from mnistlab.data.archives import Array
from mnistlab.errors import DamagedFileError
from mnistlab.names import printable

SHA256 = "a3b5edae345eda2e1c5964b6c8ef42e6271f6e09bdeb7b1b886fe9338ecb7071"


def read_digits(path: Path, split: str) -> tuple[Array, Array]:
    """The images uint8 (n, 28, 28) and labels (n,) of a split, as MNIST's own files have them.

    Raises DamagedFileError where it is not the file that was made, OSError.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        remedy = "install mnistlab-digits again, or get MNIST with: mnistlab data download mnist"
        raise DamagedFileError(f"{printable(path)}: not the file that was made; {remedy}")
    with zipfile.ZipFile(path) as archive:
        labels, ink, grey = (
            np.lib.format.read_array(archive.open(f"{split}-{part}.npy"), allow_pickle=False)
            for part in ("labels", "ink", "grey")
        )
    pixels = np.zeros(ink.shape, np.uint8)
    pixels.reshape(-1)[places(ink)] = grey
    images = np.empty_like(pixels)
    images[np.argsort(labels, kind="stable")] = pixels
    return images, labels


def places(ink: Array) -> Array:
    """The places of all pixels of `ink` bool (n, H, W) as `grey` has them: indices of `ink.flat`.

    Sorted by the pattern around a pixel: of its eight neighbours, which have ink.
    """
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[ink]
    neighbours = np.delete(around.reshape(-1, 9), 4, axis=1)  # without the pixel itself
    return np.flatnonzero(ink)[np.argsort(np.packbits(neighbours), kind="stable")]
