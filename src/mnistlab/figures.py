"""Figures of the chapter beside ours, and what is kept of many seeds to compare with them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from mnistlab.data.folders import ImageData
from mnistlab.report.pictures import Curves
from mnistlab.studies.seeds import ManyMetrics, wide_mnist_loss

SMOOTHING = 0.98


@dataclass(frozen=True)
class Figure:
    """One row: the chapter's value, ours, and how they compare.

    verdict: `equal`, `inside`, `differs` or `left out`. For a spread, `ours` is the
    median and `percentile` the share (0…100) of our seeds at or below the chapter's value.
    """

    section: str
    item: str
    chapter: Any
    ours: Any
    verdict: str
    low: float | None = None
    high: float | None = None
    percentile: float | None = None
    seeds: int | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}


def hits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Logits (n, S), labels (n,) → whether each is right, bool (n, S)."""
    return (logits > 0) == (labels == 0).unsqueeze(1)


def batch_means_of(right: torch.Tensor) -> torch.Tensor:
    """The chapter's `validate_epoch`: a mean of the means of batches of 256."""
    return torch.stack([batch.double().mean(0) for batch in right.split(256)]).mean(0)


def spread(
    section: str, item: str, chapter: float, ours: torch.Tensor, digits: int | None = None
) -> Figure:
    """Whether the chapter's value lies within the range of ours, (seeds,).

    `digits` are those that the chapter prints: its value stands for half a unit either way.
    """
    half = 0.0 if digits is None else 0.5 * 10.0**-digits
    values = ours.double()
    low, high = values.min().item(), values.max().item()
    inside = low - half <= chapter <= high + half
    return Figure(
        section,
        item,
        chapter,
        values.median().item(),
        "inside" if inside else "differs",
        low=low,
        high=high,
        percentile=100 * (values <= chapter + half).double().mean().item(),
        seeds=len(values),
    )


class Track:
    """What the chapter prints of each epoch, for many seeds."""

    def __init__(self, data: ImageData, seeds: int) -> None:
        self.labels = data.valid_ds.tensors[1]
        self.targets = (self.labels == 0).float().unsqueeze(1)
        self.smooth = torch.zeros(seeds, dtype=torch.float64)
        self.steps = 0
        self.train_losses: list[torch.Tensor] = []
        self.valid_losses: list[torch.Tensor] = []
        self.accuracies: list[torch.Tensor] = []
        self.batch_means: list[torch.Tensor] = []

    def add(self, metrics: ManyMetrics) -> None:
        """Take in an epoch of all seeds."""
        # The chapter's train_loss: an exponential average over batches, carried on across epochs
        # and corrected for its start.
        for losses in metrics.batch_losses.double():
            self.smooth = SMOOTHING * self.smooth + (1 - SMOOTHING) * losses
            self.steps += 1
        self.train_losses.append(self.smooth / (1 - SMOOTHING**self.steps))
        self.valid_losses.append(wide_mnist_loss(metrics.valid_logits, self.targets))
        right = hits(metrics.valid_logits, self.labels)
        self.accuracies.append(right.double().mean(0))
        self.batch_means.append(batch_means_of(right))

    def batch_mean_figures(self, title: str, values: Sequence[float]) -> list[Figure]:
        """The chapter's `validate_epoch` of each epoch beside ours."""
        return [
            spread("6 training", f"{title}, mean of batch means, epoch {epoch}", value, ours, 4)
            for epoch, (value, ours) in enumerate(zip(values, self.batch_means, strict=True))
        ]

    def table_figures(
        self, title: str, table: dict[int, tuple[float, float, float]]
    ) -> list[Figure]:
        """The three columns of a table of the chapter, by epoch, beside ours."""
        columns = (
            ("train_loss (smoothed)", self.train_losses),
            ("valid_loss", self.valid_losses),
            ("accuracy", self.accuracies),
        )
        return [
            spread("6 training", f"{title}, {name}, epoch {epoch}", value, ours[epoch], 6)
            for place, (name, ours) in enumerate(columns)
            for epoch, value in ((epoch, row[place]) for epoch, row in table.items())
        ]

    def curves(
        self, title: str, chapter: Sequence[float] | dict[int, float], ours: list[torch.Tensor]
    ) -> Curves:
        """The chapter's curve inside the band of our seeds."""
        known = chapter if isinstance(chapter, dict) else dict(enumerate(chapter))
        epochs = [float(epoch) for epoch in range(len(ours))]
        low, high = ([float(bound(v)) for v in ours] for bound in (torch.min, torch.max))
        return Curves(
            f"{title}: the chapter inside {len(ours[0])} seeds",
            {"our median": (epochs, [float(v.median()) for v in ours])},
            "epoch",
            "accuracy",
            dots={"the chapter": ([float(e) for e in known], list(known.values()))},
            bands={"our seeds, min to max": (epochs, low, high)},
        )


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
