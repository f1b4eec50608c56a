"""Which settings a script follows. Any other is refused: a script must never be quietly wrong."""

from typing import Any

from mnistlab.config import SETTINGS, TrainConfig
from mnistlab.errors import ConfigError

# Every setting that a script follows, and with which values (None: any). A setting or a value that
# is new elsewhere is refused until it is written into the script's parts and here.
HONOURED: dict[str, tuple[Any, ...] | None] = {
    "model": ("linear", "two-layer", "cnn", "resnet18"),
    "data": None,
    "epochs": None,
    "lr": None,
    "batch_size": None,
    "init": ("uniform", "normal"),
    "hidden": None,
    "channels": None,
    "depth": None,
    "padding": None,
    "batch_norm": None,
    "optimizer": ("basic", "momentum", "nesterov", "adam", "adamw"),
    "momentum": None,
    "beta2": None,
    "weight_decay": None,
    "schedule": ("constant", "one-cycle"),
    "warmup": None,
    "loss": ("mnist", "bce", "cross-entropy"),
    "label_smoothing": None,
    "augment": None,
    "precision": ("fp32", "bf16"),
    "keep": ("last", "best"),
    "patience": None,
    "shuffle": None,
    "seed": None,
    "seeds": (1,),
    "order_seed": None,
    "device": ("cpu", "cuda", "mps"),
    "threads": None,
    "skip_bad": None,  # through the list of files that were skipped
}


def require_honoured(config: TrainConfig) -> None:
    """Raise ConfigError, which names them all, for settings that a script does not follow."""
    faults = []
    defaults = TrainConfig()
    for key in SETTINGS:
        value, values = getattr(config, key), HONOURED.get(key, (getattr(defaults, key),))
        if config.applies(key) and values is not None and value not in values:
            faults.append(f"{key.replace('_', '-')} {value}: a script cannot do this")
    if faults:
        raise ConfigError("\n".join(faults))
