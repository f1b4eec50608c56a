"""The items that a lesson yields: sentences, values, checks, pictures.

A lesson is a module with a function `lesson(...)` that yields these; it prints nothing.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mnistlab.report.pictures import Curves, Images


@dataclass
class Say:
    """A sentence or two of explanation. Where the lines of the source break does not matter."""

    text: str

    def __post_init__(self) -> None:
        self.text = " ".join(self.text.split())


@dataclass
class Show:
    """A value with its title: a number, a tensor, a short text."""

    title: str
    value: Any

    def __post_init__(self) -> None:
        self.value = plain(self.value)


@dataclass
class Check:
    """A result beside the expected one; `source` says where the expected one comes from."""

    title: str
    ours: Any
    expected: Any
    holds: bool
    source: str = "the chapter"

    def __post_init__(self) -> None:
        self.ours, self.expected = plain(self.ours), plain(self.expected)


STYLE = ("log_x", "note")  # of a picture; in its document where it is set

Item = Say | Show | Check | Curves | Images
Lesson = Iterable[Item]


def check(
    title: str, ours: Any, expected: Any, *, within: float = 0.0, source: str = "the chapter"
) -> Check:
    """Compare numbers, tensors or nested lists element by element, each at most `within` away.

    `within` is half a unit of the last digit that the source prints (0.00005 for four digits).
    """
    mine, theirs = (np.array(plain(numbers), float).ravel() for numbers in (ours, expected))
    near = within * (1 + 1e-9)
    holds = mine.shape == theirs.shape and np.allclose(mine, theirs, rtol=0.0, atol=near)
    return Check(title, ours, expected, holds, source)


def check_true(title: str, holds: bool) -> Check:
    """A statement that must be true."""
    return Check(title, holds, True, holds, "must hold")


def refusal(attempt: Callable[[], object]) -> str:
    """The message of the error that `attempt` ends with, as it should."""
    try:
        attempt()
    except (RuntimeError, ValueError) as error:
        return str(error)
    return "no error"


def as_document(item: Item) -> dict[str, Any]:
    """An item as data for JSON. Images have their shape and range there, not their pixels."""
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
