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
_SCORES = (
    *("n", "correct", "accuracy", "loss", "per_class", "balanced_accuracy"),
    *("precision", "recall", "f1", "macro_f1"),
)


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
        figures = {key: getattr(self, key) for key in EpochRow.model_fields}
        return EpochRow(**figures | {"seconds": round(self.seconds, 6)})


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
        return {name: hit / are for name, (hit, are, _) in self.counts.items() if are}

    recall = per_class  # of the images of a class, the share called so

    @cached_property
    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Of each class: images that are it and were called it, that are it, that were called it.

        Of the classes that some image is or was called, as scikit-learn counts them.
        """
        columns = zip(*self.confusion, strict=True)
        table = zip(self.classes, self.confusion, columns, strict=True)
        counts = {n: (row[i], sum(row), sum(called)) for i, (n, row, called) in enumerate(table)}
        return {name: of_one for name, of_one in counts.items() if any(of_one)}

    @property
    def precision(self) -> dict[str, float | None]:
        """Of the images called a class, the share that is one; None if none was called so."""
        counts = self.counts.items()
        return {name: hit / called if called else None for name, (hit, _, called) in counts}

    @property
    def f1(self) -> dict[str, float]:
        """Harmonic mean of precision and recall, as 2 hits / (images + called): always defined."""
        return {name: 2 * hit / (are + called) for name, (hit, are, called) in self.counts.items()}

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
        rows = [dict(zip(self.classes, row, strict=True)) for row in self.confusion]
        if len(self.classes) > MANY:
            rows = [{name: count for name, count in row.items() if count} for row in rows]
        return {
            **{key: getattr(self, key) for key in _SCORES},
            "confusion": dict(zip(self.classes, rows, strict=True)),
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
