"""What is measured, always as sums and counts over images; never as means of batch means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mnistlab.losses import predictions
from mnistlab.records import EpochRow


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
        i = self.classes.index(name)
        return self.confusion[i][i], sum(self.confusion[i]), sum(row[i] for row in self.confusion)

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
        """Plain data for JSON."""
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
                actual: dict(zip(self.classes, row, strict=True))
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


@dataclass(frozen=True)
class Paired:
    """How many images both get right, only A, only B, neither; together n ≥ 1."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        """Accuracy of B minus accuracy of A, -1…1."""
        return (self.only_b - self.only_a) / self.n

    @property
    def p_value(self) -> float:
        """McNemar's test, exact and two-sided, 0…1.

        If A and B were equally good, each image on which they disagree would fall to either with
        probability ½: the chance of a split at least this uneven. Q. McNemar, Psychometrika 12
        (1947), 153-157.
        """
        discordant = self.only_a + self.only_b
        fewer = min(self.only_a, self.only_b)
        tail, term = 0, 1  # term is the binomial coefficient, in whole numbers: nothing is rounded
        for k in range(fewer + 1):
            tail += term
            term = term * (discordant - k) // (k + 1)
        return min(1.0, 2 * tail / (1 << discordant))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `difference`: Newcombe's square-and-add, for paired proportions.

        R. G. Newcombe, Statistics in Medicine 17 (1998), 2635-2650, method 10.
        """
        right_a, right_b = self.both + self.only_a, self.both + self.only_b
        p_a, p_b = right_a / self.n, right_b / self.n
        low_a, high_a = wilson_interval(right_a, self.n)
        low_b, high_b = wilson_interval(right_b, self.n)
        phi = self._correlation()

        def reach(x: float, y: float) -> float:
            return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

        return (
            max(-1.0, self.difference - reach(p_b - low_b, high_a - p_a)),
            min(1.0, self.difference + reach(high_b - p_b, p_a - low_a)),
        )

    def _correlation(self) -> float:
        # with the method's own continuity correction: a small positive product counts as none
        product: float = self.both * self.neither - self.only_a * self.only_b
        if product > 0:
            product = max(0.0, product - self.n / 2)
        margins = (
            (self.both + self.only_a)
            * (self.only_b + self.neither)
            * (self.both + self.only_b)
            * (self.only_a + self.neither)
        )
        return product / math.sqrt(margins) if margins else 0.0
