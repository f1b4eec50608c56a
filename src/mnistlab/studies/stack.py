"""Models side by side as one wide model: each is trained as it would be alone.

S linear models that see the same batches are one (pixels, S) matrix. The sum of their S losses has
for each model the gradient of its own loss and nothing of the others.
"""

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.data.batches import count_batches, epoch_order
from mnistlab.losses import Loss, mnist_loss, targets_for
from mnistlab.training import Place, Recipe, compute_logits, train_batches

_AXES = {"weights": 1}  # where the models lie side by side; the others lie below one another


class Stack(nn.Module):
    """S linear, or two-layer, models as one: logits (b, S) for two classes, (b, S, C) for more.

    Its parameters are copies of the models' own, side by side, for K logits each: `weights`
    (pixels, S·K) and `bias` (S·K,); or `hidden_weight` (S·H, pixels), `hidden_bias` (S·H,),
    `out_weight` (S·K, H) and `out_bias` (S·K,).
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.n_models = len(models)
        for name, _ in models[0].named_parameters():
            parts = [model.get_parameter(name).detach() for model in models]
            param = nn.Parameter(torch.cat(parts, dim=_AXES.get(name, 0)))
            self.register_parameter(name.replace(".", "_"), param)

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → the logits of each model, (b, S) or (b, S, C)."""
        own, shape = dict(self.named_parameters()), (self.n_models, -1)
        logits: torch.Tensor
        if "weights" in own:
            logits = torch.addmm(own["bias"], xb.flatten(1), own["weights"]).unflatten(1, shape)
            return logits.squeeze(2)  # (b, S, 1) → (b, S)
        hidden = torch.addmm(own["hidden_bias"], xb.flatten(1), own["hidden_weight"].T).relu()
        # the hidden layers lie side by side: (b, S·H) → (b, S, H). Each model has out weights of
        # its own, for C logits (S, C, H): each logit is a sum over H products
        hidden = hidden.unflatten(1, shape)
        if len(own["out_bias"]) == self.n_models:
            logits = (hidden * own["out_weight"]).sum(2) + own["out_bias"]
        else:
            weights, bias = (own[name].unflatten(0, shape) for name in ("out_weight", "out_bias"))
            logits = torch.einsum("bsh,sch->bsc", hidden, weights) + bias
        return logits

    def state_of(self, index: int) -> dict[str, torch.Tensor]:
        """The state dict of model `index` alone."""
        state = {}
        for name, param in self.named_parameters():
            own = param.detach().chunk(self.n_models, dim=_AXES.get(name, 0))[index]
            state[name.replace("_", ".")] = own.cpu().clone()
        return state


def wide_loss(loss_func: Loss, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """`loss_func` of each of S models: logits (b, S) or (b, S, C), the targets of one → (S,)."""
    if logits.ndim == 2:
        if targets.shape == (len(logits), 1):  # not what would become a square
            targets = targets.expand_as(logits)
        return loss_func(logits, targets).reshape(-1)
    if logits.requires_grad:  # a gradient of another layout is rounded differently further on
        logits.register_hook(torch.Tensor.contiguous)
    losses: torch.Tensor = torch.vmap(loss_func, in_dims=(1, None))(logits, targets)
    return losses


def train_stack(
    stack: Stack,
    opt: Any,
    train_ds: TensorDataset,
    valid_ds: TensorDataset,
    *,
    epochs: int,
    batch_size: int = 256,
    order_seed: int | None = None,
    loss_func: Loss = mnist_loss,
    n_classes: int = 2,
    place: Place | None = None,
) -> Generator[tuple[torch.Tensor, torch.Tensor]]:
    """The loop of `train_epochs` for a stack of models; `loss_func` is that of each.

    All models see the same batches: in the order of the dataset, or shuffled by `order_seed`.
    Yields after each epoch the losses of its batches (batches, S) and the logits of the validation
    images (n, S) or (n, S, C). `place` is kept up to date; it ends early, between two batches, when
    `place.stop()` is true. A model whose loss is no longer finite cannot touch the others.
    """
    place = Place() if place is None else place
    images, labels = train_ds.tensors
    ds = TensorDataset(images, targets_for(labels, n_classes))
    losses, order = partial(wide_loss, loss_func), None
    while place.epoch < epochs:
        if order_seed is not None:
            order = epoch_order(len(ds), order_seed, place.epoch).to(images.device)
        for _ in train_batches(stack, opt, losses, ds, batch_size, order, 0, Recipe(), place):
            pass
        if place.batch < count_batches(len(ds), batch_size):  # stopped
            return
        done = torch.stack(place.losses), compute_logits(stack, valid_ds.tensors[0])
        place.epoch, place.batch, place.losses = place.epoch + 1, 0, []
        yield done
