"""What a lesson yields: sentences, titled values, checks of the chapter's figures, pictures.

A lesson is a module with a function `lesson(...)` that yields these; it prints nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mnistlab.report.pictures import Curves, Images


@dataclass(frozen=True)
class Say:
    """A sentence or two of explanation."""

    text: str


@dataclass(frozen=True)
class Show:
    """A titled value: a number, a tensor, a short text."""

    title: str
    value: Any


@dataclass(frozen=True)
class Check:
    """A figure beside what it must be. `source` says where the expected figure comes from."""

    title: str
    ours: Any
    expected: Any
    holds: bool
    source: str = "the chapter"


Item = Say | Show | Check | Curves | Images
Lesson = Iterator[Item]


def check(
    title: str, ours: Any, expected: Any, *, within: float = 0.0, source: str = "the chapter"
) -> Check:
    """Compare numbers, tensors or nested lists element by element, each at most `within` away.

    `within` is half a unit of the last digit that the source prints (0.00005 for four digits).
    """
    ours, expected = _kept(ours), _kept(expected)
    mine, theirs = _flat(ours), _flat(expected)
    holds = len(mine) == len(theirs) and all(
        math.isclose(a, b, rel_tol=0.0, abs_tol=within * (1 + 1e-9))
        for a, b in zip(mine, theirs, strict=True)
    )
    return Check(title, ours, expected, holds, source)


def check_true(title: str, holds: bool, source: str = "must hold") -> Check:
    """A statement that must be true."""
    return Check(title, holds, True, holds, source)


def _kept(value: Any) -> Any:
    """`value` as it is now: a tensor may be changed in place after the check."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return type(value)(_kept(part) for part in value)
    return value


def _flat(value: Any) -> list[float]:
    if isinstance(value, torch.Tensor):
        return [float(number) for number in value.detach().flatten().tolist()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [number for part in value for number in _flat(part)]
    return [float(value)]
