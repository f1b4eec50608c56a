"""The losses, by hand, and what logits mean.

A logit is any real number, the raw output of a model; only here it becomes a probability. With two
classes there is one logit, for the first class; with more there is one for each class.

fastbook ch. 4: `mnist_loss` (§ "Sigmoid") is `mnist_loss` here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from mnistlab.config import is_own
from mnistlab.errors import ConfigError


def n_logits(n_classes: int) -> int:
    """How many logits a model for `n_classes` ≥ 2 classes gives for one image."""
    return 1 if n_classes == 2 else n_classes


def targets_for(labels: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Labels int64 (n,) → targets: float (n, 1) of 1 and 0 for two classes, else int64 (n,)."""
    if n_classes != 2:
        return labels  # cross-entropy picks the logit of the true class by its number
    # The chapter: 1 for a three (label 0), 0 for a seven (label 1). unsqueeze: (n,) → (n, 1), the
    # shape of the logits, so that the two are compared pair by pair.
    return (labels == 0).float().unsqueeze(1)


def predictions(logits: torch.Tensor) -> torch.Tensor:
    """Logits (n, 1) or (n, C) → the predicted label of each image, int64 (n,)."""
    if logits.shape[1] == 1:
        # A logit of exactly 0 is not above 0: the second class, as in the chapter.
        return (logits.squeeze(1) <= 0).long()
    # The softmax keeps the order, so the largest logit is the most probable class: (n, C) → (n,).
    return logits.argmax(dim=1)


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Logits (n, 1) or (n, C) → the probability of each class, (n, 2) or (n, C); rows sum to 1."""
    if logits.shape[1] == 1:
        first = logits.sigmoid()
        # 1 - sigmoid(x) loses all digits for large x; sigmoid(-x) is the same number, exact
        return torch.cat((first, (-logits).sigmoid()), dim=1)
    # e^logit, divided by the sum over the classes: all positive, each row sums to 1
    return logits.softmax(dim=1)


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""loss(logits, targets) → a scalar, the mean over the batch."""


def class_weights(labels: torch.Tensor, n_classes: int) -> torch.Tensor:
    """How much an image of each class counts, float (C,), so that every class counts alike.

    n / (C n_c) for n images, n_c of them of class c: with 90 of one class and 10 of the other, 0.56
    and 5. The mean over all images is 1. A loss is then the mean of weight times loss: divided by
    the number of images, so that those of the batches still add up to that of the epoch.
    """
    counts = torch.bincount(labels, minlength=n_classes)
    return len(labels) / (n_classes * counts.clamp(min=1))


def mnist_loss(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """The chapter's loss: how far each probability is from its target, on average.

    logits: (b, 1), any real; targets: (b, 1), each 1 or 0. Returns a scalar in 0…1; for S models
    side by side, logits and targets (b, S), the loss of each, (S,). `weights`: those of the classes
    (`class_weights`), for every loss.
    The chapter writes `torch.where(targets == 1, 1 - probs, probs).mean()`; for targets of 1 and
    0 that is this distance, value and gradient, to the last bit, in fewer operations.
    """
    _require_one_logit(logits, targets)
    # Any real number → 0…1: 1 / (1 + e^-x). Without it, a logit of 5 for a target of 1, which is
    # right and sure of it, would count as 4 away from the truth.
    probs = logits.sigmoid()
    # Accuracy cannot be the loss: a small step of a weight changes no answer, so its gradient is 0
    # nearly everywhere. This distance changes a little with every weight.
    distances = (probs - targets).abs()
    if weights is not None:
        distances = distances * torch.where(targets == 1, weights[0], weights[1])
    return distances.mean(0).squeeze()  # (b, 1) → (1,) → one number


def binary_cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Minus the log of the probability given to the truth, on average.

    logits: (b, 1), any real; targets: (b, 1), each 1 or 0. Returns a scalar ≥ 0; S models side by
    side as `mnist_loss` has them. Computed as
    max(x, 0) - x t + log(1 + e^-|x|), which no logit overflows. `smoothing`: see `cross_entropy`.
    """
    _require_one_logit(logits, targets)
    # 1 and 0 become 0.95 and 0.05 for a smoothing of 0.1: nothing is ever quite sure
    smooth = targets * (1 - smoothing) + smoothing / 2 if smoothing else targets
    # log1p(y) is log(1 + y) without losing the digits of a small y
    losses = logits.clamp(min=0) - logits * smooth + (-logits.abs()).exp().log1p()
    if weights is not None:
        losses = losses * torch.where(targets == 1, weights[0], weights[1])
    return losses.mean(0).squeeze()


def cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Minus the log softmax of the true class, on average.

    logits: (b, C), C > 2; targets: int64 (b,), each 0…C-1. Returns a scalar ≥ 0. `smoothing`, 0…1,
    is the share of each target that is spread evenly over all classes, so that no logit need grow
    without end. Szegedy et al., arXiv:1512.00567.
    """
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(
            f"cross_entropy needs logits (b, C) and int64 targets (b,), not "
            f"{tuple(logits.shape)} and {targets.dtype} {tuple(targets.shape)}"
        )
    # log softmax: x - log(sum of e^x) over the classes. logsumexp takes the largest x out first, so
    # that no e^x overflows. keepdim: (b, C) → (b, 1), which broadcasts back over the classes.
    log_probs = logits - logits.logsumexp(dim=1, keepdim=True)
    if weights is not None:
        log_probs = log_probs * weights  # (b, C) * (C,): the column of each class by its weight
    # gather: of each row, the value in the column of the true class, (b, C) → (b, 1)
    loss = -log_probs.gather(1, targets.unsqueeze(1)).mean()
    return loss * (1 - smoothing) - log_probs.mean() * smoothing if smoothing else loss


SMOOTHABLE = ("bce", "cross-entropy")  # those whose targets can be smoothed
LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "mnist": mnist_loss,
    "bce": binary_cross_entropy,
    "cross-entropy": cross_entropy,
}


def training_loss(
    loss_func: Callable[..., torch.Tensor], smoothing: float, weights: torch.Tensor | None = None
) -> Loss:
    """A loss as training makes it smaller: with smoothed targets, with class weights.

    Scores are always of the plain loss. Only those of `SMOOTHABLE` take a smoothing other than 0.
    """
    extra: dict[str, Any] = {"smoothing": smoothing} if smoothing else {}
    extra |= {} if weights is None else {"weights": weights}
    return partial(loss_func, **extra) if extra else loss_func


def losses_for(n_classes: int) -> tuple[str, ...]:
    """Names of the losses that fit `n_classes`, the default first."""
    return ("mnist", "bce") if n_classes == 2 else ("cross-entropy",)


def fitting_loss(name: str, n_classes: int, smoothing: float, *, chapter: bool) -> str:
    """The name of the loss that the setting `name` means for so many classes.

    `auto` is the chapter's `mnist` for its own models (`chapter`) on two classes, else a
    cross-entropy. Raises ConfigError for a loss that does not fit; one of the user's own does.
    """
    if is_own(name):
        return name
    fitting = [one for one in losses_for(n_classes) if not smoothing or one in SMOOTHABLE]
    if name == "auto":
        return fitting[0] if chapter else fitting[-1]
    if name not in fitting:
        smoothed = f" with label smoothing {smoothing:g}" if smoothing else ""
        raise ConfigError(
            f"--loss {name} does not fit {n_classes} classes{smoothed}; use {' or '.join(fitting)}"
        )
    return name


def _require_one_logit(logits: torch.Tensor, targets: torch.Tensor) -> None:
    # (256, 1) against (256,) would broadcast to (256, 256) and still give a mean.
    if logits.shape != targets.shape or logits.ndim != 2:
        raise ValueError(
            f"logits and targets must both be (b, 1), not {tuple(logits.shape)} and "
            f"{tuple(targets.shape)}; shapes that differ would broadcast to a square and still "
            "give a mean"
        )
