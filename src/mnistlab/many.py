"""Many seeds at once: models that share one order of batches, trained as one wide model.

S linear models are one (pixels, S) matrix; the sum of their S losses has, for each, its own
gradient and nothing of the others. 128 of them cost about as much as four alone.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.data.batches import batches, epoch_order, to_float
from mnistlab.errors import DivergedError
from mnistlab.logits import targets_for
from mnistlab.models import LinearModel, TwoLayerModel
from mnistlab.training import EVAL_BATCH


class Steps(Protocol):
    """What `train_many` needs of an optimizer: BasicOptim has it, and so has torch's SGD."""

    def step(self) -> None:
        """Move the parameters."""

    def zero_grad(self) -> None:
        """Forget the gradients."""


class StackedLinear(nn.Module):
    """S two-class linear models as one: weights (pixels, S), bias (S,); logits (b, S)."""

    def __init__(self, models: Sequence[LinearModel]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.cat([m.weights.detach() for m in models], dim=1))
        self.bias = nn.Parameter(torch.cat([m.bias.detach() for m in models]))

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → one logit per model, (b, S)."""
        return torch.addmm(self.bias, xb.flatten(1), self.weights)

    def state_of(self, index: int) -> dict[str, torch.Tensor]:
        """The state dict of model `index` alone."""
        weights = self.weights.detach()[:, index : index + 1].clone()
        return {"weights": weights, "bias": self.bias.detach()[index : index + 1].clone()}


class StackedTwoLayer(nn.Module):
    """S two-class two-layer models as one; logits (b, S)."""

    def __init__(self, models: Sequence[TwoLayerModel]) -> None:
        super().__init__()
        first, last = [m.hidden for m in models], [m.out for m in models]
        self.size = len(models)
        self.weights = nn.Parameter(torch.cat([layer.weight.detach() for layer in first]).T)
        self.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in first]))
        self.out_weights = nn.Parameter(torch.cat([layer.weight.detach() for layer in last]))
        self.out_bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in last]))

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → one logit per model, (b, S)."""
        hidden = torch.addmm(self.bias, xb.flatten(1), self.weights).relu()
        each = hidden.reshape(len(hidden), self.size, -1)
        return (each * self.out_weights).sum(2) + self.out_bias


@dataclass(frozen=True)
class ManyMetrics:
    """One epoch of S models. batch_losses: (batches, S); valid_logits: (n, S)."""

    epoch: int
    batch_losses: torch.Tensor
    valid_logits: torch.Tensor


def wide_mnist_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """`mnist_loss` of each of S models: logits (b, S), targets (b, 1) → (S,)."""
    if targets.shape != (len(logits), 1):
        raise ValueError(f"targets must be ({len(logits)}, 1), not {tuple(targets.shape)}")
    return (logits.sigmoid() - targets).abs().mean(0)


def train_many(
    stack: nn.Module,
    make_opt: Callable[[Sequence[nn.Parameter]], Steps],
    train_ds: TensorDataset,
    valid_ds: TensorDataset,
    *,
    epochs: int,
    batch_size: int = 256,
    order_seed: int | None = None,
) -> Generator[ManyMetrics]:
    """The loop of `train_epochs` for a stack of two-class models with `mnist_loss`.

    All models see the same batches: in the order of the dataset, or shuffled by `order_seed`.
    Raises DivergedError.
    """
    opt = make_opt(list(stack.parameters()))
    images, labels = train_ds.tensors
    ds = TensorDataset(images, targets_for(labels, 2))
    for epoch in range(epochs):
        losses = []
        order = None if order_seed is None else epoch_order(len(ds), order_seed, epoch)
        for xb, targets in batches(ds, batch_size, order):
            each = wide_mnist_loss(stack(to_float(xb)), targets)
            each.sum().backward()
            opt.step()
            opt.zero_grad()
            losses.append(each.detach())
        found = torch.stack(losses)
        if not found.isfinite().all():
            raise DivergedError(f"a loss is no longer a finite number in epoch {epoch}")
        yield ManyMetrics(epoch, found, wide_logits(stack, valid_ds))


def wide_logits(stack: nn.Module, ds: TensorDataset) -> torch.Tensor:
    """Logits (n, S) of every image of `ds`, without gradients."""
    with torch.no_grad():
        return torch.cat([stack(to_float(xb)) for xb in ds.tensors[0].split(EVAL_BATCH)])
