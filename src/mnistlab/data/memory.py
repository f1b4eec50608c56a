"""Images in memory: arrays, tensors and Pillow's images of one's own."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mnistlab.data.images import decode_image
from mnistlab.data.splitting import split_by_digest
from mnistlab.data.store import ImageData, Split, finish_store, image_digest, new_store
from mnistlab.errors import ConfigError
from mnistlab.names import printable

Array = np.ndarray | torch.Tensor
Source = str | os.PathLike[str] | Image.Image | Array
NAME = "images in memory"
_IMAGES = (str, os.PathLike, Image.Image, np.ndarray, torch.Tensor)


def levels_of(given: Array) -> NDArray[np.uint8]:
    """The images of an array or a tensor as uint8 (n, H, W), or (n, H, W, 3) in colour.

    One image is (H, W), or (H, W, 3); n of them are (n, H, W), (n, 1, H, W), (n, 3, H, W),
    (n, H, W, 1) or (n, H, W, 3). Levels are integers 0…255 or floats 0…1. Raises ConfigError.
    """
    if isinstance(given, torch.Tensor):
        tensor = given.detach().cpu()
        levels = (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    else:
        levels = given
    if levels.ndim == 4 and levels.shape[1] in (1, 3) and levels.shape[3] not in (1, 3):
        levels = np.moveaxis(levels, 1, 3)
    elif levels.ndim == 2 or (levels.ndim == 3 and levels.shape[2] == 3):
        levels = levels[None]
    if levels.ndim == 4 and levels.shape[3] == 1:
        levels = levels[..., 0]
    if not levels.size or levels.ndim not in (3, 4) or levels.shape[3:] not in ((), (3,)):
        raise ConfigError(
            f"an array of the shape {tuple(given.shape)} holds no images; expected (H, W), "
            "(H, W, 3), or n of them: (n, H, W), (n, 1, H, W), (n, 3, H, W), (n, H, W, 3)"
        )
    if levels.dtype.kind == "b":
        return levels.astype(np.uint8) * np.uint8(255)
    if levels.dtype.kind not in "uif":
        raise ConfigError(f"an array of {levels.dtype} holds no images; expected uint8 or floats")
    low, high = float(levels.min()), float(levels.max())
    white = 1 if levels.dtype.kind == "f" else 255
    if not (low >= 0 and high <= white):  # nor is NaN
        kind = "floats are from 0 to 1" if white == 1 else "integers are from 0 to 255"
        raise ConfigError(f"levels from {low:g} to {high:g}; {kind}")
    if white == 1:
        levels = (levels.astype(np.float64) * 255).round()
    return levels.astype(np.uint8)


def named_images(given: Source | Sequence[Source]) -> Iterator[tuple[str, Image.Image | None]]:
    """One image or many: the name of each, and the image itself where it is in no file.

    Those in memory are called `image 0`, `image 1`, …, by their place among all.
    Raises ConfigError.
    """
    place = 0
    many: Sequence[Any] = [given] if isinstance(given, _IMAGES) else given
    for item in many:
        images: Iterable[Image.Image | None]
        if isinstance(item, str | os.PathLike | Image.Image):
            images = [item if isinstance(item, Image.Image) else None]
        elif isinstance(item, np.ndarray | torch.Tensor):
            images = map(Image.fromarray, levels_of(item))
        else:
            kind = type(item).__name__
            raise ConfigError(f"an image is a path, a PIL image, an array or a tensor, not {kind}")
        for image in images:
            yield f"image {place}" if image is not None else os.fspath(item), image
            place += 1


def load_tensors(
    images: Array,
    labels: Array | Sequence[int],
    classes: Sequence[str],
    valid: Sequence[Any] | None = None,
    valid_fraction: float = 0.2,
) -> ImageData:
    """A dataset of arrays or tensors of one's own.

    images: n of them, as `levels_of` takes them; colour is turned into grey. labels: n integers,
    the places in `classes`. valid: images and labels for validation; without them `valid_fraction`
    of the images, chosen by their pixels as in a folder. Raises ConfigError.
    """
    names = tuple(classes)
    if len(set(names)) != len(names) or len(names) < 2 or {*map(type, names)} != {str}:
        raise ConfigError("classes: two or more different names")
    levels, own = _checked(images, labels, len(names))
    if valid is not None:
        others, their = _checked(valid[0], valid[1], len(names))
        if others.shape[1:] != levels.shape[1:]:
            sizes = " and ".join("{1} x {0}".format(*part.shape[1:]) for part in (levels, others))
            raise ConfigError(f"images for training and for validation have two sizes: {sizes}")
        is_valid = np.repeat((False, True), (len(levels), len(others)))
        levels, own = np.concatenate((levels, others)), np.concatenate((own, their))
    elif 0 < valid_fraction < 1:
        size = (levels.shape[1], levels.shape[2])
        digests = [image_digest(size, image.tobytes()) for image in levels]
        is_valid = np.array(split_by_digest([names[i] for i in own], digests, valid_fraction))
    else:
        raise ConfigError(f"valid_fraction: a share between 0 and 1, not {valid_fraction}")
    train, valid_split = (
        _split(levels[chosen], own[chosen], names) for chosen in (~is_valid, is_valid)
    )
    return ImageData(Path(NAME), NAME, train, valid_split)


def _checked(
    images: Array, labels: Array | Sequence[int], n_classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images in grey, uint8 (n, H, W), and their labels (n,). Raises ConfigError."""
    levels = levels_of(images[..., None] if images.ndim == 3 else images)  # even of 3 x 3 pixels
    if levels.ndim == 4:
        levels = np.stack(
            [np.asarray(decode_image(Image.fromarray(image)).grey) for image in levels]
        )
    own = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
    is_one_each = own.shape == (len(levels),) and own.dtype.kind in "ui"
    if not is_one_each or own.min() < 0 or own.max() >= n_classes:
        raise ConfigError(
            f"labels: an integer from 0 to {n_classes - 1} for each of {len(levels)} images"
        )
    return levels, own.astype(np.int64)


def _split(levels: NDArray[np.uint8], labels: NDArray[np.int64], names: Sequence[str]) -> Split:
    """The split of these images. Raises ConfigError where a class has none."""
    counts = {name: int((labels == label).sum()) for label, name in enumerate(names)}
    if empty := [name for name, count in counts.items() if not count]:
        raise ConfigError(f"{printable(empty[0])}: both sides need an image of this class")
    order = labels.argsort(kind="stable")  # class by class, in the order that they came in
    files = [f"{name}/{i}" for name, count in counts.items() for i in range(count)]
    height, width = levels.shape[1:]
    with new_store(None) as store:
        store.write(levels[order].tobytes())
        return finish_store(store, None, (height, width), counts, files, signature="", about=NAME)
