"""What several seeds of one training came to, one by one and as a spread."""

import statistics
from dataclasses import dataclass, field
from typing import Any

import torch

from mnistlab.checkpoint import weights_sha256

Row = dict[str, Any]


@dataclass
class SeedResult:
    """One seed: its epochs, and its weights after the last one it finished.

    `diverged` says what happened if its loss stopped being a finite number.
    """

    seed: int
    epochs: list[Row] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    diverged: str | None = None

    @property
    def accuracy(self) -> float:
        """Accuracy after the last epoch, 0…1."""
        return float(self.epochs[-1]["accuracy"])

    def as_row(self) -> Row:
        """Its last epoch, with the time of all."""
        last = self.epochs[-1] if self.epochs else {}
        seconds = round(sum(row["seconds"] for row in self.epochs), 6)
        return {"seed": self.seed, **last, "seconds": seconds, "diverged": self.diverged}

    def as_dict(self) -> Row:
        """Plain data for `run.json`."""
        last = self.epochs[-1] if self.epochs else {}
        best = max(self.epochs, key=lambda row: float(row["accuracy"]), default=None)
        return {
            "seed": self.seed,
            **{key: last.get(key) for key in ("train_loss", "valid_loss", "accuracy")},
            "best": best and {"epoch": best["epoch"], "accuracy": best["accuracy"]},
            "weights_sha256": weights_sha256(self.weights) if self.weights else None,
            "diverged": self.diverged,
        }


def band(histories: list[list[Row]], epoch: int) -> Row:
    """How accuracy and losses spread over the seeds after `epoch`, without the diverged ones."""
    rows = [history[epoch] for history in histories if len(history) > epoch]
    accuracies = [row["accuracy"] for row in rows]
    return {
        "epoch": epoch,
        "n": len(rows),
        "train_loss": statistics.fmean(row["train_loss"] for row in rows) if rows else None,
        "valid_loss": statistics.fmean(row["valid_loss"] for row in rows) if rows else None,
        **(spread(accuracies) if rows else dict.fromkeys(("mean", "sd", "min", "max"))),
        "seconds": round(sum(row["seconds"] for row in rows), 6),
    }


def spread(values: list[float]) -> Row:
    """Mean, sample standard deviation (n - 1; 0 for a single value), smallest and largest."""
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
    }
