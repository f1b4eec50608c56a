"""Images in memory: arrays, tensors and Pillow's images of one's own."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mnistlab.data.images import Array, decode_image, levels_of
from mnistlab.data.splitting import split_by_digest
from mnistlab.data.store import ImageData, Split, finish_store, new_store
from mnistlab.errors import ConfigError
from mnistlab.names import printable

Source = str | os.PathLike[str] | Image.Image | Array
NAME = "images in memory"
_IMAGES = (str, os.PathLike, Image.Image, np.ndarray, torch.Tensor)


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
    train = _split(images, labels, names)
    if valid is not None:
        held_out = _split(valid[0], valid[1], names)
    elif 0 < valid_fraction < 1:
        chosen = split_by_digest(train.labels(), train.digests(), valid_fraction)
        held_out = train.take([row for row, is_valid in enumerate(chosen) if is_valid])
        train = train.take([row for row, is_valid in enumerate(chosen) if not is_valid])
    else:
        raise ConfigError(f"valid_fraction: a share between 0 and 1, not {valid_fraction}")
    if train.image_size != held_out.image_size:
        sizes = " and ".join("{1} x {0}".format(*part.image_size) for part in (train, held_out))
        raise ConfigError(f"images for training and for validation have two sizes: {sizes}")
    for name in names:
        if not (train.counts[name] and held_out.counts[name]):
            raise ConfigError(f"{printable(name)}: both sides need an image of this class")
    return ImageData(Path(NAME), NAME, train, held_out)


def _split(images: Array, labels: Array | Sequence[int], names: Sequence[str]) -> Split:
    """The split of these images, class by class and in the order given. Raises ConfigError."""
    levels = levels_of(images[..., None] if images.ndim == 3 else images)  # even of 3 x 3 pixels
    if levels.ndim == 4:
        greys = (decode_image(Image.fromarray(image)).grey for image in levels)
        levels = np.stack([*map(np.asarray, greys)])
    own = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
    is_one_each = own.shape == (len(levels),) and own.dtype.kind in "ui"
    if not is_one_each or own.min() < 0 or own.max() >= len(names):
        raise ConfigError(
            f"labels: an integer from 0 to {len(names) - 1} for each of {len(levels)} images"
        )
    counts = {name: int((own == label).sum()) for label, name in enumerate(names)}
    files = [f"{name}/{i}" for name, count in counts.items() for i in range(count)]
    height, width = levels.shape[1:]
    with new_store(None) as store:
        store.write(levels[own.argsort(kind="stable")].tobytes())
        return finish_store(store, None, (height, width), counts, files, signature="", about=NAME)
