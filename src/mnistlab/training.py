"""The loop: `train_epochs` and `evaluate`. What fastbook ch. 4 calls `learn.fit`.

chapter                          here
for xb, yb in dl                 batches(train_ds, …)
calc_grad                        loss.backward()
opt.step(); opt.zero_grad()      the same
validate_epoch                   evaluate
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.data.batches import augment, batches, epoch_order, to_float
from mnistlab.errors import DivergedError
from mnistlab.losses import Loss, targets_for
from mnistlab.metrics import EpochMetrics, Evaluation, score
from mnistlab.optim import BasicOptim, Schedule

EVAL_BATCH = 1024  # images; about 3 MB of floats, which stay in the processor's cache


@dataclass
class Place:
    """Where a run stands: all that the loop itself must remember to go on exactly.

    `epoch` and `batch` are the next ones to do; `losses` are those of the batches done in this
    epoch; `seconds` is the time already spent on it. Others may read it while the loop runs.
    """

    epoch: int = 0
    batch: int = 0
    losses: list[torch.Tensor] = field(default_factory=list)
    seconds: float = 0.0


def train_epochs(
    model: nn.Module,
    opt: BasicOptim,
    loss_func: Loss,
    train_ds: TensorDataset,
    valid_ds: TensorDataset,
    classes: Sequence[str],
    *,
    epochs: int,
    batch_size: int = 256,
    shuffle: bool = True,
    seed: int = 0,
    train_loss: Loss | None = None,
    schedule: Schedule | None = None,
    augmented: bool = False,
    bf16: bool = False,
    place: Place | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[EpochMetrics]:
    """Train `model` in place, one `EpochMetrics` after each epoch; the caller does the rest.

    train_ds, valid_ds: images uint8 (n, H, W) and labels int64 (n,), on the model's device.
    `train_loss` is what is minimised where it is not the `loss_func` that scores (smoothed
    targets). `schedule` sets lr and momentum of each step; `augmented` moves the training images
    about; `bf16` computes the model in bfloat16, the loss and the weights in float32.
    Starts at `place` (default: the beginning) and keeps it up to date. Ends early, after a whole
    batch, when `stop()` is true. Batches depend on (seed, epoch, position) and nothing else.
    Raises DivergedError when a loss or a weight is no longer finite.
    """
    place = Place() if place is None else place
    images, labels = train_ds.tensors
    # targets are made once, so that the loop gathers images and targets alike
    ds = TensorDataset(images, targets_for(labels, len(classes)))
    train_loss = loss_func if train_loss is None else train_loss
    per_epoch = -(-len(ds) // batch_size)
    while place.epoch < epochs:
        started = time.perf_counter() - place.seconds
        order = epoch_order(len(ds), seed, place.epoch).to(images.device) if shuffle else None
        model.train()
        for xb, targets in batches(ds, batch_size, order, start=place.batch):
            if stop():
                place.seconds = time.perf_counter() - started
                _require_finite(model, opt, place, place.losses)
                return
            xb = to_float(xb)
            if augmented:
                xb = augment(xb, seed, place.epoch, place.batch)
            if schedule is not None:
                opt.lr, opt.momentum = schedule(place.epoch * per_epoch + place.batch)
            with precision(images.device, bf16):
                logits = model(xb)  # predict
            loss = train_loss(logits.float(), targets)  # how wrong?
            loss.backward()  # which way is down?
            opt.step()  # go there
            opt.zero_grad()
            place.losses.append(loss.detach())  # no .item(): on a GPU it would wait every batch
            place.batch += 1
        evaluation = evaluate(model, valid_ds, classes, loss_func)
        losses = torch.stack(place.losses).cpu()
        _require_finite(model, opt, place, [*losses, torch.tensor(evaluation.loss)])
        metrics = EpochMetrics(
            epoch=place.epoch,
            train_loss=float(mean_over_images(losses, len(ds), batch_size)),
            valid_loss=evaluation.loss,
            accuracy=evaluation.accuracy,
            seconds=time.perf_counter() - started,
            batch_losses=losses,
        )
        place.epoch, place.batch, place.losses, place.seconds = place.epoch + 1, 0, [], 0.0
        yield metrics


def precision(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    """Context in which a model computes in bfloat16 where that is safe, if `bf16`."""
    if not bf16:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def evaluate(
    model: nn.Module, ds: TensorDataset, classes: Sequence[str], loss_func: Loss
) -> Evaluation:
    """Score `model` on images uint8 (n, H, W) and labels (n,) of `ds`; changes nothing.

    Every image counts once, however the batches fall.
    """
    return score_logits(compute_logits(model, ds.tensors[0]), ds.tensors[1], classes, loss_func)


def score_logits(
    logits: torch.Tensor, labels: torch.Tensor, classes: Sequence[str], loss_func: Loss
) -> Evaluation:
    """Score logits (n, 1) or (n, C) against labels int64 (n,)."""
    loss = loss_func(logits, targets_for(labels, len(classes)))
    return score(logits, labels, classes, loss.item())


def compute_logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits (n, 1) or (n, C) of images uint8 (n, H, W), without gradients, in eval mode."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(to_float(xb)) for xb in images.split(EVAL_BATCH)])
    model.train(was_training)
    return logits


def mean_over_images(losses: torch.Tensor, n: int, batch_size: int) -> torch.Tensor:
    """The mean loss over `n` images from those of their batches: (batches, …) → (…), float64."""
    # A batch's loss is the mean over its images, and the last batch may be smaller.
    sizes = torch.full((len(losses),), batch_size, dtype=torch.float64)
    sizes[-1] = n - batch_size * (len(losses) - 1)
    total: torch.Tensor = torch.tensordot(sizes, losses.double(), dims=1)
    return total / n


def _require_finite(
    model: nn.Module, opt: BasicOptim, place: Place, losses: Sequence[torch.Tensor]
) -> None:
    finite = torch.stack([loss.cpu() for loss in losses]).isfinite().tolist() if losses else []
    if all(finite) and all(param.isfinite().all() for param in model.parameters()):
        return
    bad = finite.index(False) if False in finite else place.batch - 1
    where = f"batch {bad}" if bad < place.batch else "validation"
    raise DivergedError(
        f"training diverged in epoch {place.epoch}, {where}, at lr {opt.lr:g}: a loss or a weight "
        "is no longer a finite number; try a lower --lr"
    )
