"""How a config trains: its loss, optimizer, schedule and the loop that they drive."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.config import SETTINGS_OF_MODELS, TrainConfig, applies
from mnistlab.errors import ConfigError
from mnistlab.losses import LOSSES, SMOOTHABLE, losses_for, smoothed
from mnistlab.metrics import EpochMetrics
from mnistlab.optim import OPTIMIZERS, BasicOptim
from mnistlab.schedules import Schedule, one_cycle
from mnistlab.training import Place, train_epochs

_OF_THE_CHAPTER = ("linear", "two-layer")
_UNSOUND_SIDE = 16  # pixels: on 8 to 16 no two runs were equal, from 17 on all were


def fitting_loss(config: TrainConfig, n_classes: int) -> str:
    """The name of the loss that `config` means for so many classes.

    `auto` is the chapter's `mnist` for its own models on two classes, else a cross-entropy.
    Raises ConfigError for a loss that does not fit.
    """
    fitting = losses_for(n_classes)
    if config.label_smoothing:
        fitting = tuple(name for name in fitting if name in SMOOTHABLE)
    if config.loss == "auto":
        return fitting[0] if config.model in _OF_THE_CHAPTER else fitting[-1]
    if config.loss in fitting:
        return config.loss
    smooth = f" with label smoothing {config.label_smoothing:g}" if config.label_smoothing else ""
    raise ConfigError(
        f"--loss {config.loss} does not fit {n_classes} classes{smooth}; use {' or '.join(fitting)}"
    )


def require_sound(config: TrainConfig, image_size: tuple[int, int]) -> None:
    """Refuse what torch computes wrongly on a CPU: resnet18 in bfloat16 on small images.

    Its last stages are then a single pixel wide, and there the gradients of torch 2.13's bfloat16
    convolutions are of whatever was in memory. Raises ConfigError.
    """
    small = min(image_size) <= _UNSOUND_SIDE
    if config.model == "resnet18" and config.precision == "bf16" and small:
        raise ConfigError(
            f"--precision bf16: torch computes resnet18 wrongly in it on images of "
            f"{_UNSOUND_SIDE} pixels or less; use fp32, which is as fast"
        )


def model_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that are the model's own."""
    return {
        key: getattr(config, key)
        for key, models in SETTINGS_OF_MODELS.items()
        if config.model in models
    }


def new_optimizer(config: TrainConfig, model: nn.Module) -> BasicOptim:
    """The optimizer that `config` asks for, at its first step."""
    extra = {
        key: getattr(config, key)
        for key in ("momentum", "beta2", "weight_decay")
        if applies(key, config)
    }
    return OPTIMIZERS[config.optimizer](model.parameters(), config.lr, **extra)


def schedule_of(config: TrainConfig, n_images: int) -> Schedule | None:
    """The schedule over all epochs of `n_images`; None if nothing changes from step to step."""
    if config.schedule == "constant":
        return None
    total = config.epochs * -(-n_images // config.batch_size)
    momentum = config.momentum if applies("momentum", config) else 0.0
    return one_cycle(config.lr, momentum, total, warmup=config.warmup)


def run_epochs(
    config: TrainConfig,
    model: nn.Module,
    opt: BasicOptim,
    train_ds: TensorDataset,
    valid_ds: TensorDataset,
    classes: Sequence[str],
    *,
    seed: int,
    place: Place,
    stop: Callable[[], bool],
) -> Generator[EpochMetrics]:
    """`train_epochs` as `config` says, for a model that was drawn from `seed`."""
    return train_epochs(
        model,
        opt,
        LOSSES[config.loss],
        train_ds,
        valid_ds,
        classes,
        epochs=config.epochs,
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        seed=config.order_of(seed),
        train_loss=smoothed(config.loss, config.label_smoothing),
        schedule=schedule_of(config, len(train_ds)),
        augmented=config.augment,
        bf16=config.precision == "bf16",
        place=place,
        stop=stop,
    )
