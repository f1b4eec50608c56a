"""The items that a lesson yields: sentences, values, checks, pictures.

A lesson is a module with a function `lesson(...)` that yields these; it prints nothing.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab import BasicOptim, load_data, train_epochs
from mnistlab.data.batches import epoch_order
from mnistlab.data.store import ImageData
from mnistlab.errors import ConfigError
from mnistlab.language import N_, _
from mnistlab.losses import Loss, binary_cross_entropy, cross_entropy
from mnistlab.metrics import EpochMetrics
from mnistlab.names import nearest, printable
from mnistlab.report.pictures import Curves, Images, Picture

CHAPTER = N_("the chapter")  # the source of a figure that `reproduce` compares as well


@dataclass(init=False)
class Say:
    """A sentence or two of explanation, in the learner's language.

    text: a constant, which the catalogue has; `values` are put in for its {names}. Where the lines
    of the source break does not matter.
    """

    text: str

    def __init__(self, text: str, **values: object) -> None:
        self.text = _(" ".join(text.split())).format(**values)


class Ask(Say):
    """A question to think about before the figures that follow; `lesson --ask` shows it."""


@dataclass(init=False)
class Show:
    """A value with its title: a number, a tensor, a short text. `values`: as of `Say`."""

    title: str
    value: Any

    def __init__(self, title: str, value: Any, **values: object) -> None:
        self.title, self.value = _(title).format(**values), plain(value)


@dataclass
class Check:
    """A result beside the expected one; `source` says where the expected one comes from."""

    title: str
    ours: Any
    expected: Any
    holds: bool
    source: str = CHAPTER

    def __post_init__(self) -> None:
        self.ours, self.expected = plain(self.ours), plain(self.expected)


STYLE = ("log_x", "note")  # of a picture; in its document where it is set

Item = Say | Show | Check | Curves | Images
Lesson = Iterable[Item]


def check(
    title: str,
    ours: Any,
    expected: Any,
    *,
    within: float = 0.0,
    source: str = CHAPTER,
    **values: object,
) -> Check:
    """Compare numbers, tensors or nested lists element by element, each at most `within` away.

    `within` is half a unit of the last digit that the source prints (0.00005 for four digits).
    `values`: as of `Say`.
    """
    mine, theirs = (np.array(plain(numbers), float).ravel() for numbers in (ours, expected))
    near = within * (1 + 1e-9)
    holds = mine.shape == theirs.shape and np.allclose(mine, theirs, rtol=0.0, atol=near)
    return Check(_(title).format(**values), ours, expected, holds, source)


def check_true(title: str, holds: bool, **values: object) -> Check:
    """A statement that must be true. `values`: as of `Say`."""
    return Check(_(title).format(**values), holds, True, holds, "must hold")


def refusal(attempt: Callable[[], object]) -> str:
    """The message of the error that `attempt` ends with, as it should."""
    try:
        attempt()
    except (RuntimeError, ValueError) as error:
        return str(error)
    return "no error"


def as_document(item: Item | Picture) -> dict[str, Any]:
    """An item or picture as data for JSON; of images the shape and range, not the pixels."""
    content = {key: part for key, part in vars(item).items() if part or key not in STYLE}
    if isinstance(item, Images):
        content["images"] = {
            name: {"shape": image.shape, "min": image.min(), "max": image.max()}
            for name, image in item.images.items()
        }
    return {"kind": type(item).__name__.lower(), **plain(content)}


def plain(value: Any) -> Any:
    """`value` as data for JSON. A copy, as a tensor may be changed in place later."""
    if isinstance(value, torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and math.isfinite(value):
        return value
    return value if isinstance(value, bool | int | None) else str(value)  # JSON has no infinity


DIGITS = {"two": "mnist_sample", "all": "mnist"}
"""What `--digits` of a lesson means: the bundled 3s and 7s, or all ten."""


def images_of(digits: str) -> ImageData:
    """The images of a lesson. Raises ConfigError for another word than those of `DIGITS`."""
    if digits not in DIGITS:
        raise ConfigError(f"--digits {printable(digits)}{nearest(digits, DIGITS)}")
    return load_data(DIGITS[digits])


def part_of(data: ImageData, count: int, seed: int) -> TensorDataset:
    """`count` of the training images, chosen at random; the same for the same seed."""
    rows = epoch_order(len(data.train_ds), seed, epoch=0)[:count]
    return TensorDataset(*(tensor[rows] for tensor in data.train_ds.tensors))


def loss_of(data: ImageData) -> Loss:
    """The cross-entropy for the classes of `data`."""
    return binary_cross_entropy if len(data.classes) == 2 else cross_entropy


def trained(
    model: nn.Module,
    data: ImageData,
    lr: float,
    epochs: int,
    batch_size: int = 256,
    *,
    train_ds: TensorDataset | None = None,
    loss: Loss | None = None,
    optimizer: Callable[[Iterable[nn.Parameter], float], BasicOptim] = BasicOptim,
    **order: Any,
) -> list[EpochMetrics]:
    """Train `model` in place with the project's own loop; a row an epoch.

    On all training images of `data`, or on `train_ds`; scored on its validation images. loss:
    None is the cross-entropy. order: `shuffle` and `seed` of the batches.
    """
    order |= {"epochs": epochs, "batch_size": batch_size}
    sets = (train_ds or data.train_ds, data.valid_ds, data.classes)
    opt = optimizer(model.parameters(), lr)
    return list(train_epochs(model, opt, loss or loss_of(data), *sets, **order))
