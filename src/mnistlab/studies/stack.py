"""Models side by side as one wide model: each is trained as it would be alone.

S linear models that see the same batches are one (pixels, S) matrix. The sum of their S losses has
for each model the gradient of its own loss and nothing of the others.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.data.batches import count_batches, epoch_order
from mnistlab.losses import LOSSES, Loss, targets_for
from mnistlab.training import Place, Recipe, compute_logits, train_batches


def _side_by_side(models: Sequence[nn.Module], name: str, dim: int = 0) -> nn.Parameter:
    """The parameter `name` of all models as one, a copy."""
    return nn.Parameter(torch.cat([m.get_parameter(name).detach() for m in models], dim=dim))


class StackedLinear(nn.Module):
    """S linear models as one: weights (pixels, S·K), bias (S·K,) for K logits each.

    Logits (b, S) for two classes, (b, S, C) for more.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.each = models[0].get_parameter("weights").shape[1]
        self.weights = _side_by_side(models, "weights", dim=1)
        self.bias = _side_by_side(models, "bias")

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → the logits of each model, (b, S) or (b, S, C)."""
        logits = torch.addmm(self.bias, xb.flatten(1), self.weights)
        return logits if self.each == 1 else logits.unflatten(1, (-1, self.each))

    def state_of(self, index: int) -> dict[str, torch.Tensor]:
        """The state dict of model `index` alone."""
        weights = self.weights.detach().split(self.each, dim=1)[index]
        bias = self.bias.detach().split(self.each)[index]
        return {"weights": weights.cpu().clone(), "bias": bias.cpu().clone()}


class StackedTwoLayer(nn.Module):
    """S two-layer models as one; logits (b, S) for two classes, (b, S, C) for more."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.each, self.size = models[0].get_parameter("out.weight").shape  # logits, hidden
        self.weights = nn.Parameter(_side_by_side(models, "hidden.weight").detach().T)
        self.bias = _side_by_side(models, "hidden.bias")
        self.out_weights = _side_by_side(models, "out.weight")
        self.out_bias = _side_by_side(models, "out.bias")

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → the logits of each model, (b, S) or (b, S, C)."""
        hidden: torch.Tensor = torch.addmm(self.bias, xb.flatten(1), self.weights).relu()
        # the hidden layers lie side by side: (b, S·H) → (b, S, H). Each model has out weights of
        # its own, for C logits (S, C, H): each logit is a sum over H products
        hidden = hidden.unflatten(1, (-1, self.size))
        logits: torch.Tensor
        if self.each == 1:
            logits = (hidden * self.out_weights).sum(2) + self.out_bias
        else:
            own, bias = (p.unflatten(0, (-1, self.each)) for p in (self.out_weights, self.out_bias))
            logits = torch.einsum("bsh,sch->bsc", hidden, own) + bias
        return logits

    def state_of(self, index: int) -> dict[str, torch.Tensor]:
        """The state dict of model `index` alone."""
        parts = {
            "hidden.weight": self.weights.T.split(self.size),
            "hidden.bias": self.bias.split(self.size),
            "out.weight": self.out_weights.split(self.each),
            "out.bias": self.out_bias.split(self.each),
        }
        return {name: part[index].detach().cpu().clone() for name, part in parts.items()}


STACKS: dict[str, type[StackedLinear | StackedTwoLayer]] = {
    "linear": StackedLinear,
    "two-layer": StackedTwoLayer,
}


@dataclass(frozen=True)
class StackMetrics:
    """One epoch of S models. batch_losses: (batches, S); valid_logits: (n, S) or (n, S, C)."""

    epoch: int
    batch_losses: torch.Tensor
    valid_logits: torch.Tensor


def wide(loss_func: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`loss_func` of each of S models: logits (b, S) or (b, S, C), the targets of one → (S,)."""

    def each(
        logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        if logits.ndim == 2:
            if targets.shape == (len(logits), 1):  # not what would become a square
                targets = targets.expand_as(logits)
            return loss_func(logits, targets, weights=weights).reshape(-1)
        if logits.requires_grad:  # a gradient of another layout is rounded differently further on
            logits.register_hook(torch.Tensor.contiguous)
        losses: Loss = torch.vmap(partial(loss_func, weights=weights), in_dims=(1, None))
        return losses(logits, targets)

    return each


WIDE_LOSSES = {name: wide(loss_func) for name, loss_func in LOSSES.items()}


def train_stack(
    stack: nn.Module,
    make_opt: Callable[[Sequence[nn.Parameter]], Any],
    train_ds: TensorDataset,
    valid_ds: TensorDataset,
    *,
    epochs: int,
    batch_size: int = 256,
    order_seed: int | None = None,
    loss_func: Loss = WIDE_LOSSES["mnist"],
    n_classes: int = 2,
    place: Place | None = None,
) -> Generator[StackMetrics]:
    """The loop of `train_epochs` for a stack of models and a wide loss.

    All models see the same batches: in the order of the dataset, or shuffled by `order_seed`.
    make_opt: parameters → anything with `step` and `zero_grad`. `place` is kept up to date; it
    ends early, between two batches, when `place.stop()` is true. A model whose loss is no longer
    finite cannot touch the others.
    """
    place = Place() if place is None else place
    opt = make_opt(list(stack.parameters()))
    images, labels = train_ds.tensors
    ds = TensorDataset(images, targets_for(labels, n_classes))
    n_batches = count_batches(len(ds), batch_size)
    while place.epoch < epochs:
        order = None if order_seed is None else epoch_order(len(ds), order_seed, place.epoch)
        order = order if order is None else order.to(images.device)
        for _ in train_batches(
            stack, opt, loss_func, ds, batch_size, order, order_seed or 0, Recipe(), place
        ):
            pass
        if place.batch < n_batches:  # stopped
            return
        logits = compute_logits(stack, valid_ds.tensors[0])
        metrics = StackMetrics(place.epoch, torch.stack(place.losses), logits)
        place.epoch, place.batch, place.losses = place.epoch + 1, 0, []
        yield metrics
