"""What is measured, always as sums and counts over images; never as means of batch means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from mnistlab.losses import predictions
from mnistlab.records import EpochRow

MANY = 50  # classes: beyond, a table of each with each helps nobody


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch. `epoch` counts from 0; losses are means over images; `accuracy` is 0…1.

    `train_loss` averages over the epoch while the weights move; `valid_loss` and `accuracy` are
    measured after it. `batch_losses` holds the loss of each batch, float32 (batches,).
    """

    epoch: int
    train_loss: float
    valid_loss: float
    accuracy: float
    seconds: float
    batch_losses: torch.Tensor = field(compare=False, repr=False)

    def as_row(self) -> EpochRow:
        """A row of `metrics.csv`."""
        return EpochRow(
            epoch=self.epoch,
            train_loss=self.train_loss,
            valid_loss=self.valid_loss,
            accuracy=self.accuracy,
            seconds=round(self.seconds, 6),
        )


@dataclass(frozen=True)
class Evaluation:
    """Scores over a dataset, every image counted once.

    `confusion[a][p]` counts images of class a predicted as p, both in the order of `classes`.
    """

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    loss: float

    @property
    def n(self) -> int:
        return sum(map(sum, self.confusion))

    @property
    def correct(self) -> int:
        return sum(row[i] for i, row in enumerate(self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of all images that is right, 0…1."""
        return self.correct / self.n

    @property
    def per_class(self) -> dict[str, float]:
        """Share of each class's images that is right; classes without images are left out."""
        return {
            name: row[i] / sum(row)
            for i, (name, row) in enumerate(zip(self.classes, self.confusion, strict=True))
            if sum(row)
        }

    def counts_of(self, name: str) -> tuple[int, int, int]:
        """Of one class: images that are it and were called it, that are it, that were called it."""
        return self._counts[name]

    @cached_property
    def _counts(self) -> dict[str, tuple[int, int, int]]:
        called = [sum(column) for column in zip(*self.confusion, strict=True)]
        return {
            name: (row[i], sum(row), called[i])
            for i, (name, row) in enumerate(zip(self.classes, self.confusion, strict=True))
        }

    @property
    def _met(self) -> list[str]:
        """The classes that some image is or was called, as scikit-learn counts them."""
        return [name for name in self.classes if any(self.counts_of(name)[1:])]

    @property
    def precision(self) -> dict[str, float | None]:
        """Of the images called a class, the share that is one; None if none was called so."""
        counts = {name: self.counts_of(name) for name in self._met}
        return {name: hit / called if called else None for name, (hit, _, called) in counts.items()}

    @property
    def recall(self) -> dict[str, float]:
        """Of the images of a class, the share called so: the same as `per_class`."""
        return self.per_class

    @property
    def f1(self) -> dict[str, float]:
        """Harmonic mean of precision and recall, as 2 hits / (images + called): always defined."""
        counts = {name: self.counts_of(name) for name in self._met}
        return {name: 2 * hit / (are + called) for name, (hit, are, called) in counts.items()}

    @property
    def macro_f1(self) -> float:
        """Mean of the F1 of all classes that some image is or was called."""
        return sum(self.f1.values()) / len(self.f1)

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes of their accuracies: what the chapter's 0.9511 is."""
        return sum(self.per_class.values()) / len(self.per_class)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, self.n)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; of more than `MANY` classes, the confusion without its zeros."""
        dense = len(self.classes) <= MANY
        return {
            "n": self.n,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "per_class": self.per_class,
            "balanced_accuracy": self.balanced_accuracy,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "macro_f1": self.macro_f1,
            "confusion": {
                actual: {
                    name: count
                    for name, count in zip(self.classes, row, strict=True)
                    if dense or count
                }
                for actual, row in zip(self.classes, self.confusion, strict=True)
            },
            "interval": list(self.interval),
        }


def score(
    logits: torch.Tensor, labels: torch.Tensor, classes: Sequence[str], loss: float
) -> Evaluation:
    """Count what logits (n, 1) or (n, C) predict against labels int64 (n,)."""
    size = len(classes)
    cells = torch.bincount(labels * size + predictions(logits), minlength=size * size)
    table = cells.reshape(size, size).tolist()
    return Evaluation(tuple(classes), tuple(tuple(row) for row in table), loss)


def wilson_interval(correct: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval for a proportion; z = 1.96 for 95 %. n ≥ 1.

    E. B. Wilson, JASA 22 (1927), 209-212. Unlike p ± 1.96 s it stays within 0…1 and is not empty
    at 0 or n right.
    """
    p = correct / n
    center = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # the ends are exact at none and all right, where rounding would miss them by a bit
    low = 0.0 if correct == 0 else (center - spread) / scale
    high = 1.0 if correct == n else (center + spread) / scale
    return low, high
