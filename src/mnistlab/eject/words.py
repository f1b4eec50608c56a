"""What a run's settings are in its script: the flags and the words of `parts.py`."""

from itertools import groupby
from typing import Any

from torch import nn

from mnistlab.config import TrainConfig
from mnistlab.data.folders import ImageData
from mnistlab.eject import parts
from mnistlab.losses import n_logits
from mnistlab.models import MNIST_MEAN, MNIST_STD, Cnn, build_model
from mnistlab.names import printable
from mnistlab.training import EVAL_BATCH


def flags_for(config: TrainConfig, data: ImageData) -> set[str]:
    """The flags that a script of these settings has: which lines of the parts are in it."""
    counted = config.augment or config.schedule == "one-cycle"
    asked = {
        "two": len(data.classes) == 2,
        "skip": data.skipped,
        "kept": not (data.root / "train").is_dir(),  # a dataset by name
        "shuffle": config.shuffle,
        "augment": config.augment,
        "math": counted,
        "counted": counted,
        "smoothing": config.label_smoothing,
        "norm": config.model == "resnet18" or (config.applies("batch_norm") and config.batch_norm),
        "velocity": config.optimizer in ("momentum", "nesterov"),
        "torchs": config.optimizer in ("adam", "adamw"),
        "keep": config.keep == "best",
        "patience": config.patience,
        "best": config.keep == "best" or config.patience,
        "steps": _of_steps(config),
        "more": _more(config),
    }
    chosen = {config.model, config.init, config.optimizer, config.schedule, config.precision}
    return {flag for flag, wanted in asked.items() if wanted} | chosen


def words_for(config: TrainConfig, data: ImageData, flags: set[str]) -> dict[str, object]:
    """What stands in a script for each `@WORD@` of the parts."""
    cycle = "one-cycle" in flags
    values = {key.upper(): getattr(config, key) for key in ("epochs", "batch_size", "lr", "seed")}
    return values | {
        "WHAT": f"the {config.model} model on {printable(config.data)}",
        "NEEDS": "torch, torchvision and Pillow" if "resnet18" in flags else "torch and Pillow",
        "TORCHVISION": parts.TORCHVISION,
        "PIL": "Image, ImageOps" if "full" in flags else "Image",
        "DATA": repr(config.data if "kept" in flags else str(data.root.absolute())),
        "BRING": f"mnistlab data download {config.data} --to {config.data}",
        "CLASSES": repr(list(data.classes)),
        "DEVICE": repr(config.device),
        "STEPS": _assigned(_of_steps(config)),
        "MORE": _assigned(_more(config)),
        "SKIP": repr(sorted(data.skipped)),
        "THREADS": config.threads,
        "HIDDEN": config.hidden,
        "OUT": n_logits(len(data.classes)),
        "MEAN": MNIST_MEAN,
        "STD": MNIST_STD,
        "MOMENTUM": "MOMENTUM" if config.applies("momentum") else 0.0,
        "ADAM": {"adam": "Adam", "adamw": "AdamW"}.get(config.optimizer),
        "OPTIONS": _options(config),
        "ORDER_SEED": "ORDER_SEED" if "order_seed" in _more(config) else "SEED",
        "XB": "xb" if config.augment else "x[idx].unsqueeze(1) / 255",
        "RATE": "lr" if cycle else "LR",
        "NOW": "momentum" if cycle else "MOMENTUM",
        "AT_ONCE": EVAL_BATCH,
        **_net(config, data, "kept" if "keep" in flags else None),
    }


def _of_steps(config: TrainConfig) -> dict[str, Any]:
    """The settings of optimizer and schedule, beside the rate, that the script names."""
    keys = ("momentum", "beta2", "weight_decay", "warmup")
    return {key: getattr(config, key) for key in keys if config.applies(key)}


def _more(config: TrainConfig) -> dict[str, Any]:
    """The other settings, beside the usual ones, that the script names."""
    asked = {"smoothing": config.label_smoothing, "patience": config.patience}
    found: dict[str, Any] = {key: value for key, value in asked.items() if value}
    if config.order_seed != "own" and (config.shuffle or config.augment):
        found["order_seed"] = config.order_seed
    return found


def _assigned(values: dict[str, Any]) -> str:
    names = ", ".join(values).upper()
    return f"{names} = {', '.join(map(repr, values.values()))}"


def _options(config: TrainConfig) -> str:
    """What torch's Adam is told beside rate and betas."""
    decay = ", weight_decay=WEIGHT_DECAY" if config.applies("weight_decay") else ""
    # on a GPU torch would step all tensors at once, and round elsewhere
    return decay + ("" if config.device == "cpu" else ", foreach=False")


def _net(config: TrainConfig, data: ImageData, kept: str | None) -> dict[str, object]:
    """The words that depend on the kind of model; those of a cnn are read off the net itself."""
    if config.model not in ("cnn", "resnet18"):
        return {"PARAMS": "params.values()", "STATE": "params", "KEPT": kept or "params"}
    state = "net.state_dict()"
    words: dict[str, object] = {"PARAMS": "net.parameters()", "STATE": state, "KEPT": kept or state}
    if config.model == "cnn":
        net = build_model("cnn", data.image_size, data.classes, **config.model_settings())
        assert isinstance(net, Cnn)
        words |= {"STAGES": _layers(net.stages), "FEATURES": net.hidden.in_features}
    return words


def _layers(stages: nn.Sequential) -> str:
    """The layers as they are written, a line a convolution; equal lines once."""
    blocks: list[list[str]] = [[]]
    for layer in stages:
        blocks[-1].append(_layer(layer))
        if isinstance(layer, nn.ReLU):
            blocks.append([])
    lines = []
    for block, same in groupby(", ".join(block) + "," for block in blocks[:-1]):
        if (times := len(list(same))) == 1:
            lines.append(block)
        else:
            lines += [f"*(layer for _ in range({times}) for layer in (", f"    {block}", ")),"]
    return "\n".join(f"    {line}" for line in lines)


def _layer(layer: nn.Module) -> str:
    match layer:
        case nn.Conv2d():
            size = f"{layer.in_channels}, {layer.out_channels}, {layer.kernel_size[0]}"
            padding = f", padding={layer.padding[0]}" if layer.padding[0] else ""
            return f"nn.Conv2d({size}{padding}{'' if layer.bias is not None else ', bias=False'})"
        case nn.BatchNorm2d():
            return f"nn.BatchNorm2d({layer.num_features})"
        case nn.MaxPool2d():
            return f"nn.MaxPool2d({layer.kernel_size})"
        case nn.ReLU():
            return "nn.ReLU()"
    raise AssertionError(f"no text for {layer}")
