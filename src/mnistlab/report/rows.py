"""One line an epoch, the same on a terminal and off it. No rich: a plain run need not import it."""

from collections.abc import Mapping
from typing import Any

HEADER = "epoch  train_loss  valid_loss  accuracy     time"


def epoch_line(row: Mapping[str, Any]) -> str:
    """One epoch under `HEADER`; a row of `metrics.csv` as a mapping."""
    return (
        f"{row['epoch']:>5}  {row['train_loss']:>10.6f}  {row['valid_loss']:>10.6f}  "
        f"{row['accuracy']:>8.6f}  {row['seconds']:>6.2f}s"
    )
