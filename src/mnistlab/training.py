"""The loop: `train_epochs` and `evaluate`. What fastbook ch. 4 calls `learn.fit`.

chapter                          here
for xb, yb in dl                 batches(ds, …)
calc_grad(xb, yb, model)         calc_grad: logits = model(xb), …, loss.backward()
opt.step(); opt.zero_grad()      the same
train_epoch                      train_batches
validate_epoch                   evaluate
"""

import copy
import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from mnistlab.data.batches import augment, batches, count_batches, epoch_order, eval_batch, to_float
from mnistlab.devices import keep_freed_memory
from mnistlab.errors import ConfigError, DivergedError, is_out_of_memory
from mnistlab.losses import Loss, n_logits, targets_for
from mnistlab.metrics import EpochMetrics, Evaluation, score
from mnistlab.optim import BasicOptim, Schedule
from mnistlab.parts import Parts
from mnistlab.processes import ALONE, Team


@dataclass
class Place:
    """Where a run stands: all that the loop itself must remember to go on exactly.

    epoch, batch: the next ones to do. losses: those of the batches done in this epoch.
    seconds: the time already spent on this epoch. stop: asked before each batch; true ends the
    loop there. Others may read all of it while the loop runs.
    """

    epoch: int = 0
    batch: int = 0
    losses: list[torch.Tensor] = field(default_factory=list)
    seconds: float = 0.0
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Recipe:
    """What deep nets add to the chapter's loop; the default adds nothing.

    train_loss: what is minimised, where it is not the loss that scores (smoothed targets).
    schedule: lr and momentum of each step. augment: move the training images about a little.
    bf16: compute the model in bfloat16, the loss and the weights in float32.
    parts: cut each batch into parts, which several processes can share.
    The loop finds the last two out itself (`check_model`). draws: the model draws random numbers
    (dropout). least: how few images it can be trained on at once, 1 or 2 (batch norm).
    """

    train_loss: Loss | None = None
    schedule: Schedule | None = None
    augment: bool = False
    bf16: bool = False
    parts: Parts | None = None
    draws: bool = False
    least: int = 1


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
    recipe: Recipe = Recipe(),
    place: Place | None = None,
) -> Generator[EpochMetrics]:
    """Train `model` in place, one `EpochMetrics` after each epoch; the caller does the rest.

    train_ds, valid_ds: images uint8 (n, H, W) and labels int64 (n,), on the model's device.
    Starts at `place` (default: the beginning) and keeps it up to date. Ends early, between two
    batches, when `place.stop()` is true. Batches depend on (seed, epoch, position) alone.
    Raises ConfigError for data or a model that break the contract, DivergedError when a loss or a
    weight is no longer finite.
    """
    place = Place() if place is None else place
    draws, least = check_model(model, train_ds, len(classes))
    recipe = replace(recipe, draws=draws, least=least)
    images, labels = train_ds.tensors
    # Targets are made once, so that the loop gathers images and targets in the same way.
    ds = TensorDataset(images, targets_for(labels, len(classes)))
    n_batches = count_batches(len(ds), batch_size, least)
    step_loss = recipe.train_loss or loss_func  # what a step makes smaller
    while place.epoch < epochs:  # one pass over all images: 12,396 in batches of 256 are 49 steps
        started = time.perf_counter() - place.seconds
        order = epoch_order(len(ds), seed, place.epoch).to(images.device) if shuffle else None
        for _ in train_batches(model, opt, step_loss, ds, batch_size, order, seed, recipe, place):
            pass  # each step is done when its loss arrives; `lr-find` looks at these losses
        if place.batch < n_batches:  # stopped
            place.seconds = time.perf_counter() - started
            _check_finite(model, opt, place, place.losses)
            return
        # On images that no step has seen: the training loss falls also when a model learns its
        # training images by heart.
        team = recipe.parts.team if recipe.parts else ALONE
        evaluation = evaluate(model, valid_ds, classes, loss_func, team)
        losses = torch.stack(place.losses).cpu()  # between two batches nothing waits for a GPU
        _check_finite(model, opt, place, [*losses, torch.tensor(evaluation.loss)])
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


def train_batches(
    model: nn.Module,
    opt: BasicOptim,
    loss_func: Loss,
    ds: TensorDataset,
    batch_size: int,
    order: torch.Tensor | None,
    seed: int,
    recipe: Recipe,
    place: Place,
) -> Generator[torch.Tensor]:
    """The rest of one epoch from `place.batch` on; yields the loss of each batch after its step.

    ds: images uint8 (n, H, W) and targets. order: int64 (n,), None for that of the dataset.
    The loss is a scalar, or (S,) for S models that are trained as one wide model.
    """
    n_batches = count_batches(len(ds), batch_size, recipe.least)
    keep_freed_memory()
    model.train()  # dropout and batch norm behave differently in training
    for xb, targets in batches(ds, batch_size, order, place.batch, recipe.least):
        if place.stop():
            return
        if recipe.schedule is not None:
            # steps count on over all epochs
            opt.lr, opt.momentum = recipe.schedule(place.epoch * n_batches + place.batch)
        if recipe.parts is None:
            loss = calc_grad(xb, targets, model, loss_func, seed, recipe, place)
        else:
            calc = partial(calc_grad, model=model, loss_func=loss_func, seed=seed, recipe=recipe)
            loss = recipe.parts.backward(calc, xb, targets, model, recipe.least, place)
        opt.step()  # the other way: param -= lr * grad
        opt.zero_grad()  # else the next backward would add to these gradients
        place.losses.append(loss)
        place.batch += 1
        yield loss


def calc_grad(
    xb: torch.Tensor,
    targets: torch.Tensor,
    model: nn.Module,
    loss_func: Loss,
    seed: int,
    recipe: Recipe,
    place: Place,
    share: float = 1.0,
) -> torch.Tensor:
    """Fill `param.grad` from images uint8 (b, H, W) and their targets; their loss, without a graph.

    seed and place decide all that is random. share: of a batch, by which its loss counts.
    """
    # uint8 (b, H, W) → float32 (b, 1, H, W) in 0…1. Converting one batch at a time costs as
    # much as gathering floats, at a quarter of the memory.
    xb = to_float(xb)
    if recipe.augment:
        xb = augment(xb, seed, place.epoch, place.batch)
    device = xb.device
    precision = torch.autocast(device.type, torch.bfloat16) if recipe.bf16 else nullcontext()
    with precision, _randomness(recipe.draws, device, seed, place):
        logits = model(xb)  # predict: (b, 1, H, W) → (b, 1) or (b, C)
    # How wrong? One model gives one number. S models side by side give S numbers: the gradient
    # of their sum is for each model that of its own loss.
    loss = loss_func(logits.float(), targets)
    loss = loss if share == 1 else loss * share
    # backward follows the operations back to the weights, at about twice the cost of the
    # prediction, and fills param.grad of every parameter: where to does the loss grow?
    (loss.sum() if loss.ndim else loss).backward()
    # detach: the loss without its graph, which would keep every activation in memory.
    # No .item() here: on a GPU it would wait for the result in every batch.
    return loss.detach()


def evaluate(
    model: nn.Module,
    ds: TensorDataset,
    classes: Sequence[str],
    loss_func: Loss,
    team: Team = ALONE,
) -> Evaluation:
    """Score `model` on images uint8 (n, H, W) and labels (n,) of `ds`; changes nothing.

    Every image counts once, however the batches fall; the processes of `team` share them out.
    Raises ConfigError for other data.
    """
    _check_dataset(ds, len(classes))
    images, labels = ds.tensors
    if team.size == 1:
        return score_logits(compute_logits(model, images), labels, classes, loss_func)
    logits = torch.zeros(len(images), n_logits(len(classes)), device=images.device)
    places = torch.arange(len(images), device=images.device)
    for rows in places.split(eval_batch(*images.shape[1:]))[team.rank :: team.size]:
        logits[rows] = compute_logits(model, images[rows])
    # each row is 0 in all processes but one
    return score_logits(team.add(logits), labels, classes, loss_func)


def score_logits(
    logits: torch.Tensor, labels: torch.Tensor, classes: Sequence[str], loss_func: Loss
) -> Evaluation:
    """Score logits (n, 1) or (n, C) against labels int64 (n,). Raises ConfigError for others."""
    check_logits(logits, len(labels), len(classes))
    loss = loss_func(logits, targets_for(labels, len(classes)))
    return score(logits, labels, classes, loss.item())


def compute_logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits (n, 1) or (n, C) of images uint8 (n, H, W), without gradients, in eval mode."""
    was_training = model.training
    # dropout then leaves nothing out, and batch norm uses what it has learned: the logits of an
    # image do not depend on the other images beside it
    model.eval()
    parts = images.split(eval_batch(*images.shape[1:]))
    # no_grad: nothing is noted down for a backward pass, which saves time and memory
    with torch.no_grad():
        logits = torch.cat([model(to_float(xb)) for xb in parts])
    model.train(was_training)
    return logits


def mean_over_images(losses: torch.Tensor, n: int, batch_size: int) -> torch.Tensor:
    """The mean loss over `n` images from those of their batches: (batches, …) → (…), float64."""
    # The loss of a batch is the mean over its images, and the last batch may differ.
    sizes = torch.full((len(losses),), batch_size, dtype=torch.float64)
    sizes[-1] = n - batch_size * (len(losses) - 1)
    total: torch.Tensor = torch.tensordot(sizes, losses.double(), dims=1)
    return total / n


def fit_epoch(
    model: nn.Module,
    loss_func: Loss,
    train_ds: TensorDataset,
    valid_ds: TensorDataset,
    classes: Sequence[str],
    place: Place,
) -> Generator[EpochMetrics]:
    """For a model that is fitted and not trained (the baseline): one epoch, the same figures."""
    if place.epoch > 0 or place.stop():
        return
    started = time.perf_counter()
    # Nothing to step down: a mean is computed in one pass. So there is one epoch, number 0.
    model.fit(*train_ds.tensors)  # type: ignore[operator]
    valid = evaluate(model, valid_ds, classes, loss_func)
    train = evaluate(model, train_ds, classes, loss_func)
    place.epoch = 1
    seconds = time.perf_counter() - started
    losses = torch.tensor([train.loss])
    yield EpochMetrics(0, train.loss, valid.loss, valid.accuracy, seconds, losses)


@contextmanager
def _randomness(draws: bool, device: torch.device, seed: int, place: Place) -> Generator[None]:
    """Context in which torch's random numbers are a function of (seed, epoch, batch), if `draws`.

    So a model with dropout repeats and resumes to the bit, and the caller's own random numbers
    stay as they were.
    """
    if not draws:
        yield
        return
    mixed = hashlib.sha256(f"step {seed} {place.epoch} {place.batch}".encode()).digest()
    # fork_rng puts the generators back as they were at the end
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(mixed[:8], "little") >> 1)
        yield


def check_model(model: nn.Module, ds: TensorDataset, n_classes: int) -> tuple[bool, int]:
    """Whether `model` draws random numbers in training, and how few images it can be trained on.

    Found by a trial on a copy of it: with two images, then with one, which a batch norm refuses
    where it would see a single value of each channel.
    Raises ConfigError, which names the shapes, for data that is not images uint8 (n, H, W) and
    labels int64 (n,), or a model that does not give logits (b, 1) for two classes, (b, C) for more.
    """
    _check_dataset(ds, n_classes)
    trial = copy.deepcopy(model).train()  # batch norm counts what it sees: not on the original
    xb = to_float(ds.tensors[0][:2])
    xb = torch.cat([xb, xb]) if len(xb) == 1 else xb
    # A model that draws random numbers moves on the state of torch's generator.
    before = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            logits = trial(xb)
        except (RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            raise ConfigError(
                f"the model cannot take images {tuple(xb.shape)}: {str(error).splitlines()[0]}"
            ) from error
        draws, least = not torch.equal(before, torch.get_rng_state()), 1
        try:
            trial(xb[:1])
        except (RuntimeError, ValueError):
            least = 2
    check_logits(logits, len(xb), n_classes)
    return draws, least


def _check_dataset(ds: Dataset[tuple[torch.Tensor, ...]], n_classes: int) -> None:
    if not isinstance(ds, TensorDataset) or len(ds.tensors) != 2:
        raise ConfigError(
            f"a dataset must be a TensorDataset of images and labels, not {type(ds).__name__}"
        )
    images, labels = ds.tensors
    if images.ndim != 3 or images.dtype != torch.uint8:
        raise ConfigError(
            f"images must be uint8 (n, H, W) with levels 0 to 255, not {images.dtype} "
            f"{tuple(images.shape)}; the loop itself makes floats in 0 to 1 of them"
        )
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise ConfigError(f"labels must be int64 (n,), not {labels.dtype} {tuple(labels.shape)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        raise ConfigError(
            f"labels must be 0 to {n_classes - 1} for {n_classes} classes, not "
            f"{int(labels.min())} to {int(labels.max())}"
        )


def check_logits(logits: object, n: int, n_classes: int) -> None:
    expected = (n, n_logits(n_classes))
    if not isinstance(logits, torch.Tensor) or logits.shape != expected:
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ConfigError(
            f"the model gives {shape} for {n} images of {n_classes} classes; it must give logits "
            f"{expected}"
        )


def _check_finite(
    model: nn.Module, opt: BasicOptim, place: Place, losses: Sequence[torch.Tensor]
) -> None:
    finite = torch.stack([loss.cpu() for loss in losses]).isfinite().tolist() if losses else []
    if all(finite) and all(param.isfinite().all() for param in model.parameters()):
        return
    # where every loss is finite, it is the last step that made a weight infinite
    bad = finite.index(False) if False in finite else place.batch - 1
    where = f"batch {bad}" if bad < place.batch else "validation"
    rate = f", at lr {opt.lr:g}" if hasattr(opt, "lr") else ""  # an own optimizer need not say it
    raise DivergedError(
        f"training diverged in epoch {place.epoch}, {where}{rate}: a loss or a weight is no longer "
        "a finite number; try a lower --lr"
    )
