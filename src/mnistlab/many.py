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
from mnistlab.losses import Loss
from mnistlab.models import LinearModel, TwoLayerModel
from mnistlab.training import EVAL_BATCH, Place


class Steps(Protocol):
    """What `train_many` needs of an optimizer: BasicOptim has it, and so has torch's SGD."""

    def step(self) -> None:
        """Move the parameters."""

    def zero_grad(self) -> None:
        """Forget the gradients."""


class StackedLinear(nn.Module):
    """S linear models as one: weights (pixels, S·K), bias (S·K,) for K logits each.

    Logits (b, S) for two classes, (b, S, C) for more.
    """

    def __init__(self, models: Sequence[LinearModel]) -> None:
        super().__init__()
        self.each = models[0].weights.shape[1]
        self.weights = nn.Parameter(torch.cat([m.weights.detach() for m in models], dim=1))
        self.bias = nn.Parameter(torch.cat([m.bias.detach() for m in models]))

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → the logits of each model, (b, S) or (b, S, C)."""
        logits = torch.addmm(self.bias, xb.flatten(1), self.weights)
        return logits if self.each == 1 else logits.unflatten(1, (-1, self.each))

    def state_of(self, index: int) -> dict[str, torch.Tensor]:
        """The state dict of model `index` alone."""
        own = slice(index * self.each, (index + 1) * self.each)
        weights, bias = self.weights.detach()[:, own], self.bias.detach()[own]
        return {"weights": weights.cpu().clone(), "bias": bias.cpu().clone()}


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
    """One epoch of S models. batch_losses: (batches, S); valid_logits: (n, S) or (n, S, C)."""

    epoch: int
    batch_losses: torch.Tensor
    valid_logits: torch.Tensor


def wide_mnist_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """`mnist_loss` of each of S models: logits (b, S), targets (b, 1) → (S,)."""
    _require_column(logits, targets)
    return (logits.sigmoid() - targets).abs().mean(0)


def wide_binary_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """`binary_cross_entropy` of each of S models: logits (b, S), targets (b, 1) → (S,)."""
    _require_column(logits, targets)
    return (logits.clamp(min=0) - logits * targets + (-logits.abs()).exp().log1p()).mean(0)


def wide_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """`cross_entropy` of each of S models: logits (b, S, C), targets int64 (b,) → (S,)."""
    if logits.ndim != 3 or targets.shape != logits.shape[:1]:
        raise ValueError(f"targets must be ({len(logits)},), not {tuple(targets.shape)}")
    log_probs = logits - logits.logsumexp(dim=2, keepdim=True)
    own = targets[:, None, None].expand(-1, logits.shape[1], 1)
    return -log_probs.gather(2, own).squeeze(2).mean(0)


WIDE_LOSSES: dict[str, Loss] = {
    "mnist": wide_mnist_loss,
    "bce": wide_binary_cross_entropy,
    "cross-entropy": wide_cross_entropy,
}


def train_many(
    stack: nn.Module,
    make_opt: Callable[[Sequence[nn.Parameter]], Steps],
    train_ds: TensorDataset,
    valid_ds: TensorDataset,
    *,
    epochs: int,
    batch_size: int = 256,
    order_seed: int | None = None,
    loss_func: Loss = wide_mnist_loss,
    n_classes: int = 2,
    place: Place | None = None,
    stop: Callable[[], bool] = lambda: False,
    keep_going: bool = False,
) -> Generator[ManyMetrics]:
    """The loop of `train_epochs` for a stack of models and a wide loss.

    All models see the same batches: in the order of the dataset, or shuffled by `order_seed`.
    `place` is kept up to date; it ends early, after a whole batch, when `stop()` is true. A model
    whose loss is no longer finite raises DivergedError unless `keep_going`: it cannot touch the
    others.
    """
    place = Place() if place is None else place
    opt = make_opt(list(stack.parameters()))
    images, labels = train_ds.tensors
    ds = TensorDataset(images, targets_for(labels, n_classes))
    for place.epoch in range(epochs):
        losses = []
        order = None if order_seed is None else epoch_order(len(ds), order_seed, place.epoch)
        order = order if order is None else order.to(images.device)
        for place.batch, (xb, targets) in enumerate(batches(ds, batch_size, order)):
            if stop():
                return
            each = loss_func(stack(to_float(xb)), targets)
            each.sum().backward()
            opt.step()
            opt.zero_grad()
            losses.append(each.detach())
        found = torch.stack(losses)
        if not keep_going and not found.isfinite().all():
            raise DivergedError(f"a loss is no longer a finite number in epoch {place.epoch}")
        yield ManyMetrics(place.epoch, found, wide_logits(stack, valid_ds))


def wide_logits(stack: nn.Module, ds: TensorDataset) -> torch.Tensor:
    """Logits (n, S) or (n, S, C) of every image of `ds`, without gradients."""
    with torch.no_grad():
        return torch.cat([stack(to_float(xb)) for xb in ds.tensors[0].split(EVAL_BATCH)])


def _require_column(logits: torch.Tensor, targets: torch.Tensor) -> None:
    if targets.shape != (len(logits), 1):
        raise ValueError(f"targets must be ({len(logits)}, 1), not {tuple(targets.shape)}")
