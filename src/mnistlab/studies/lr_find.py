"""Which learning rate? Let it grow from step to step and watch the loss.

fastbook ch. 5, § "The Learning Rate Finder"; L. N. Smith, arXiv:1506.01186. It trains a model of
its own: nothing that it does can change a training.
"""

import math
from dataclasses import dataclass, replace
from itertools import chain, count, islice

from torch.utils.data import TensorDataset

from mnistlab.data.batches import epoch_order
from mnistlab.errors import ConfigError
from mnistlab.experiment import Experiment, recipe_of
from mnistlab.losses import targets_for
from mnistlab.optim import new_optimizer
from mnistlab.training import Place, check_model, train_batches

_MOST_STEPS = 100_000
SMOOTH = 0.9  # share of the running mean of the losses that each step keeps
GIVE_UP = 4.0  # times the lowest smoothed loss: from there it only gets worse


@dataclass(frozen=True)
class Sweep:
    """A rate for each step, growing by the same factor; the loss of its batch; smoothed losses."""

    lrs: list[float]
    losses: list[float]
    smooth: list[float]
    complete: bool  # False if it ended early because the loss ran away

    @property
    def steepest(self) -> int:
        """The step at which the smoothed loss falls most per decade of lr."""
        # over a window, as one batch's luck is steeper than any trend
        half, lowest, smooth = max(len(self.lrs) // 20, 1), self.lowest, self.smooth
        steps = range(half, min(max(lowest - half, half) + 1, len(smooth)))
        return min(steps, key=lambda i: smooth[min(i + half, lowest)] - smooth[i - half], default=0)

    @property
    def lowest(self) -> int:
        """The step with the lowest smoothed loss."""
        return min(range(len(self.smooth)), key=lambda i: self.smooth[i])

    @property
    def suggestion(self) -> float:
        """A rate to train with, rounded to one digit; `reason` says why this one."""
        halfway = math.sqrt(self.lrs[self.steepest] * self.lrs[self.lowest])
        return float(f"{halfway:.0e}")  # one digit is all that a sweep can tell

    @property
    def reason(self) -> str:
        """Why `suggestion`."""
        return (
            f"halfway between {self.lrs[self.steepest]:.2g}, where the loss falls fastest, and "
            f"{self.lrs[self.lowest]:.2g}, where it is lowest and longer steps do harm"
        )


def find_lr(
    experiment: Experiment, *, start: float = 1e-4, end: float = 100.0, steps: int = 200
) -> Sweep:
    """Train a model like that of `experiment`, drawn anew, with lr growing from `start` to `end`.

    Ends early when the loss runs away. Raises ConfigError for a range that is none.
    """
    if not 0 < start < end or not math.isfinite(end) or not 10 <= steps <= _MOST_STEPS:
        raise ConfigError(
            f"a sweep from {start:g} to {end:g} in {steps} steps makes no sense: it needs "
            f"0 < start < end and 10 to {_MOST_STEPS:,} steps"
        )
    config, device = experiment.config, experiment.device
    if not config.applies("lr"):
        raise ConfigError(f"{config.model}: is fitted, not trained; it has no learning rate")
    model = experiment.draw(config.seed)
    opt = new_optimizer(config, model, experiment.card.sources)
    if not hasattr(opt, "lr"):
        raise ConfigError(f"{config.optimizer}: has no attribute lr, whose value could grow")
    train_ds, _ = experiment.on_device()
    images, labels = train_ds.tensors
    ds = TensorDataset(images, targets_for(labels, len(experiment.card.classes)))

    def growing(step: int) -> tuple[float, float]:
        return start * (end / start) ** (step / (steps - 1)), config.momentum

    draws, least = check_model(model, train_ds, len(experiment.card.classes))
    recipe = recipe_of(config, experiment.n_batches, experiment.train_loss())
    recipe = replace(recipe, schedule=growing, draws=draws, least=least)
    assert recipe.train_loss is not None
    batch_losses = chain.from_iterable(
        train_batches(
            model, opt, recipe.train_loss, ds, config.batch_size,
            epoch_order(len(ds), config.order_of(config.seed), epoch).to(device),
            config.seed, recipe, Place(epoch),
        )
        for epoch in count()
    )  # fmt: skip
    lrs, losses, smooth = list[float](), list[float](), list[float]()
    running = 0.0
    for loss in islice(batch_losses, steps):
        value = loss.item()
        if not math.isfinite(value):
            break
        running = SMOOTH * running + (1 - SMOOTH) * value
        lrs.append(opt.lr)
        losses.append(value)
        smooth.append(running / (1 - SMOOTH ** len(lrs)))  # it began at zero; this undoes it
        if len(lrs) > 10 and smooth[-1] > GIVE_UP * min(smooth):
            break
    return Sweep(lrs, losses, smooth, complete=len(lrs) == steps)
