"""Plain lines of text, one per epoch or seed. No rich: a plain `train` need not import it."""

from collections.abc import Mapping
from typing import Any

HEADER = "epoch  train_loss  valid_loss  accuracy     time"
BAND_HEADER = "epoch  train_loss  valid_loss  accuracy        sd       min       max     time"
SEED_HEADER = " seed  train_loss  valid_loss  accuracy     time"


def epoch_line(row: Mapping[str, Any]) -> str:
    """One epoch under `HEADER`; a row of `metrics.csv` as a mapping."""
    return _line(row, "epoch", "accuracy")


def band_line(row: Mapping[str, Any]) -> str:
    """One epoch of several seeds under `BAND_HEADER`: means, and the spread of the accuracy."""
    if not row["n"]:
        return f"{row['epoch']:>5}  every seed has diverged"
    return _line(row, "epoch", "mean", "sd", "min", "max")


def seed_line(row: Mapping[str, Any]) -> str:
    """One finished seed or fold under its header; the figures are those of its last epoch."""
    kind = "fold" if "fold" in row else "seed"
    if row["diverged"] is not None:
        return f"{row[kind]:>5}  {row['diverged']}"
    return _line(row, kind, "accuracy")


def brief(value: float) -> str:
    """Six digits behind the point, and never wider than ten characters: 0.021164, 1.6270e+28."""
    return f"{value:.6f}" if abs(value) < 1000 else f"{value:.4e}"


def _line(row: Mapping[str, Any], first: str, *accuracies: str) -> str:
    losses = f"{brief(row['train_loss']):>10}  {brief(row['valid_loss']):>10}"
    shares = "  ".join(f"{row[key]:>8.6f}" for key in accuracies)
    return f"{row[first]:>5}  {losses}  {shares}  {row['seconds']:>6.2f}s"
