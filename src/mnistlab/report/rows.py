"""One line an epoch, the same on a terminal and off it. No rich: a plain run need not import it."""

from collections.abc import Mapping
from typing import Any

HEADER = "epoch  train_loss  valid_loss  accuracy     time"


def epoch_line(row: Mapping[str, Any]) -> str:
    """One epoch under `HEADER`; a row of `metrics.csv` as a mapping."""
    return (
        f"{row['epoch']:>5}  {_loss(row['train_loss']):>10}  {_loss(row['valid_loss']):>10}  "
        f"{row['accuracy']:>8.6f}  {row['seconds']:>6.2f}s"
    )


BAND_HEADER = "epoch  train_loss  valid_loss  accuracy        sd       min       max     time"
SEED_HEADER = " seed  train_loss  valid_loss  accuracy     time"


def band_line(row: Mapping[str, Any]) -> str:
    """One epoch of several seeds under `BAND_HEADER`: means, and how the accuracy spreads."""
    if not row["n"]:
        return f"{row['epoch']:>5}  every seed has diverged"
    return (
        f"{row['epoch']:>5}  {_loss(row['train_loss']):>10}  {_loss(row['valid_loss']):>10}  "
        f"{row['mean']:>8.6f}  {row['sd']:>8.6f}  {row['min']:>8.6f}  {row['max']:>8.6f}  "
        f"{row['seconds']:>6.2f}s"
    )


def seed_line(row: Mapping[str, Any]) -> str:
    """One finished seed under `SEED_HEADER`; losses and accuracy are those of its last epoch."""
    if row["diverged"] is not None:
        return f"{row['seed']:>5}  {row['diverged']}"
    return (
        f"{row['seed']:>5}  {_loss(row['train_loss']):>10}  {_loss(row['valid_loss']):>10}  "
        f"{row['accuracy']:>8.6f}  {row['seconds']:>6.2f}s"
    )


def _loss(value: float) -> str:
    """Never wider than its column: a training on its way to infinity keeps the table in shape."""
    return f"{value:.6f}" if abs(value) < 1000 else f"{value:.4e}"
