"""One file that holds a model and how to make it again; one more that holds a run's whole state.

Both are sealed tensor files (`tensorfiles.py`): nothing in them can run code, and a file with a
single wrong bit is refused.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnistlab.errors import ConfigError, DamagedFileError
from mnistlab.models import build_model
from mnistlab.names import printable
from mnistlab.tensorfiles import read_tensors, write_tensors

FORMAT = 1


@dataclass(frozen=True)
class ModelCard:
    """What a model file says beside the weights: enough to build the model and to use it.

    `settings` are the model's own arguments; `loss` names the loss it is scored with. `ground` is
    the grey level around the ink of the training images, 0…1, None if they have no even one.
    """

    model: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    settings: dict[str, Any]
    loss: str
    ground: float | None = None

    def build(self, seed: int = 0) -> nn.Module:
        """The model with freshly drawn weights."""
        return build_model(self.model, self.image_size, self.classes, seed, **self.settings)


@dataclass
class RunState:
    """A run at one moment, complete: training from here equals never having stopped.

    `weights` and `best_weights` are state dicts; `optimizer` is the optimizer's own tensors;
    `losses` (float32) are those of the batches done in the unfinished epoch. The random state is
    no more than the seed in `config` with `epoch` and `batch`. `mixed` says that parts of it were
    trained on machines or thread counts that differ, so that its last bits repeat nowhere.
    """

    card: ModelCard
    config: dict[str, Any]
    data_fingerprint: str
    environment: dict[str, Any]
    weights: dict[str, torch.Tensor]
    best_weights: dict[str, torch.Tensor]
    losses: torch.Tensor
    epoch: int
    batch: int
    seconds: float
    history: list[dict[str, Any]]
    best: dict[str, Any] | None
    optimizer: dict[str, torch.Tensor] = field(default_factory=dict)
    mixed: bool = False


def save_model(path: str | Path, weights: Mapping[str, torch.Tensor], card: ModelCard) -> None:
    """Write a model file, whole or not at all. Raises OSError."""
    write_tensors(Path(path), weights, {"kind": "model", "format": FORMAT, "card": asdict(card)})


def load_model(path: str | Path) -> tuple[nn.Module, ModelCard]:
    """The model in `path`, on the CPU, in eval mode.

    Raises DamagedFileError for a file that is not whole, not ours, or does not fit its own card;
    FileNotFoundError where there is none.
    """
    path = Path(path)
    tensors, meta = read_tensors(path)
    card = _card(path, _require_kind(path, meta, "model"))
    return restore(path, card, tensors).eval(), card


def restore(path: Path, card: ModelCard, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Build the model of `card` and give it `weights`; `path` is named in errors."""
    try:
        model = card.build()
    except (ConfigError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise _not_ours(path, f"its model cannot be built: {error}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise _not_ours(
            path,
            f"tensor {wrong}: {card.model} needs {expected.get(wrong)}, found {found.get(wrong)}",
        )
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise _not_ours(path, f"tensor {printable(name)} holds a value that is not finite")
    model.load_state_dict(dict(weights))
    return model


def save_state(path: Path, state: RunState) -> None:
    """Write a run's whole state, whole or not at all. Raises OSError."""
    tensors = {f"model.{name}": tensor for name, tensor in state.weights.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best_weights.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in state.optimizer.items()}
    tensors["losses"] = state.losses
    plain = {
        key: getattr(state, key)
        for key in (
            "config",
            "data_fingerprint",
            "environment",
            "epoch",
            "batch",
            "seconds",
            "history",
            "best",
            "mixed",
        )
    }
    meta = {"kind": "resume", "format": FORMAT, "card": asdict(state.card), **plain}
    write_tensors(path, tensors, meta)


def load_state(path: Path) -> RunState:
    """Read what `save_state` wrote. Raises as `load_model` does."""
    tensors, meta = read_tensors(path)
    _require_kind(path, meta, "resume")
    groups: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    try:
        losses = tensors.pop("losses")
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        return RunState(
            card=_card(path, meta),
            config=dict(meta["config"]),
            data_fingerprint=str(meta["data_fingerprint"]),
            environment=dict(meta["environment"]),
            weights=groups["model"],
            best_weights=groups["best"],
            losses=losses,
            epoch=int(meta["epoch"]),
            batch=int(meta["batch"]),
            seconds=float(meta["seconds"]),
            history=list(meta["history"]),
            best=meta["best"],
            optimizer=groups["optimizer"],
            mixed=bool(meta["mixed"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _not_ours(path, f"{type(error).__name__} {error}") from error


def weights_sha256(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over a state dict, the same on every machine for the same weights.

    For each tensor in order of name: a line `name dtype shape` (shape as `784x1`, UTF-8, ended by
    a newline), then its values in row-major order, little-endian.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        kind = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name} {kind} {'x'.join(map(str, tensor.shape))}\n".encode())
        values = tensor.numpy()
        digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _require_kind(path: Path, meta: Any, kind: str) -> dict[str, Any]:
    found = meta.get("kind") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or found != kind:
        raise _not_ours(path, f"it is a {printable(found)} file, not a {kind} file")
    if meta.get("format") != FORMAT:
        raise _not_ours(
            path, f"format {printable(meta.get('format'))}; this mnistlab reads format {FORMAT}"
        )
    return meta


def _card(path: Path, meta: dict[str, Any]) -> ModelCard:
    try:
        card = meta["card"]
        height, width = card["image_size"]
        return ModelCard(
            str(card["model"]),
            tuple(str(name) for name in card["classes"]),
            (int(height), int(width)),
            dict(card["settings"]),
            str(card["loss"]),
            None if card.get("ground") is None else float(card["ground"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _not_ours(path, f"its card makes no sense ({error})") from error


def _not_ours(path: Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"{printable(path)}: cannot be loaded: {why}")
