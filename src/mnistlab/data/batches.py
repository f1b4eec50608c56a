"""Which images are in which batch, as a function of (seed, epoch) alone.

Because an order is computed and not drawn from a running generator, the place of a run is a few
integers, and nothing else that happens (an evaluation, a save) can change training.
"""

import hashlib
from collections.abc import Iterator

import torch
from torch.utils.data import TensorDataset


def epoch_order(n: int, seed: int, epoch: int) -> torch.Tensor:
    """The shuffled indices 0…n-1 (int64, (n,)) for one epoch."""
    # Hashed, not added: seed + epoch would let seed 0 epoch 1 repeat seed 1 epoch 0.
    mixed = hashlib.sha256(f"order {seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(mixed[:8], "little") >> 1)
    return torch.randperm(n, generator=generator)


def batches(
    ds: TensorDataset, batch_size: int, order: torch.Tensor | None = None, start: int = 0
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield whole batches (xb, yb, …) of `ds`; the last one holds what is left.

    `order` None keeps the order of the dataset. `start` skips that many batches.
    """
    for first in range(start * batch_size, len(ds), batch_size):
        if order is None:
            yield tuple(tensor[first : first + batch_size] for tensor in ds.tensors)
        else:
            # index_select copies a uint8 row at a time: ten times the speed of ds[indices]
            indices = order[first : first + batch_size]
            yield tuple(tensor.index_select(0, indices) for tensor in ds.tensors)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 (b, H, W), 0…255 → float32 (b, 1, H, W), 0…1: what every model takes."""
    return images.unsqueeze(1) / 255
