"""The model file, and the state file from which a run can be resumed: what is in them.

Both are sealed files (`sealed.py`); here is checked that their tensors belong together.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from torch import nn

from mnistlab.config import TrainConfig
from mnistlab.errors import ConfigError, DamagedFileError
from mnistlab.models import ModelCard, shapes_of
from mnistlab.names import printable
from mnistlab.own_code import kept
from mnistlab.records import Best, EpochRow
from mnistlab.sealed import read_tensors, write_tensors

FORMAT = 1


class StateRecord(BaseModel):
    """What a state file says of a run beside its tensors and its card.

    epoch, batch: the next ones to do. seconds: spent on the unfinished epoch. mixed: parts of it
    were trained on machines or thread counts that differ, so that its last bits repeat nowhere. The
    random state is no more than the seed in `config` with `epoch` and `batch`.
    """

    model_config = ConfigDict(strict=True)

    config: dict[str, Any]
    data_fingerprint: str
    environment: dict[str, Any]
    epoch: int = Field(ge=0, le=2**31)
    batch: int = Field(ge=0, le=2**31)
    seconds: FiniteFloat = Field(ge=0)
    history: list[EpochRow]
    best: Best | None = None
    mixed: bool


@dataclass
class RunState:
    """A run at one moment, complete: training from here equals never having stopped.

    weights, best_weights: state dicts. losses: float32, those of the batches done in the unfinished
    epoch. optimizer: the optimizer's own tensors.
    """

    card: ModelCard
    record: StateRecord
    weights: dict[str, torch.Tensor]
    best_weights: dict[str, torch.Tensor]
    losses: torch.Tensor
    optimizer: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def model_weights(self) -> dict[str, torch.Tensor]:
        """The weights that are the run's model: the last, or with `keep = "best"` the best."""
        best = self.record.config.get("keep") == "best" and self.best_weights
        return self.best_weights if best else self.weights


def save_model(
    path: str | Path, weights: Mapping[str, torch.Tensor], card: ModelCard, result: str = ""
) -> None:
    """Write a model file, as a whole or not at all; `result` is a digest that goes into it.

    Raises OSError, and ConfigError where weights and card do not belong together, so that no file
    is written that `load_model` would refuse.
    """
    check_weights(weights, card)
    content = {"kind": "model", "format": FORMAT, "card": card.as_dict(), "result": result}
    write_tensors(Path(path), weights, content)


def load_model(path: str | Path, kind: str = "model") -> tuple[nn.Module, ModelCard]:
    """The model in `path`, a file of this kind, on the CPU, in eval mode.

    Raises DamagedFileError for a file that is damaged, not ours, or does not fit its own card;
    FileNotFoundError where there is none.
    """
    tensors, card, _ = _read(Path(path), kind)
    with _loading(Path(path)):
        check_weights(tensors, card)
    model = card.build()
    model.load_state_dict(tensors)
    return model.eval(), card


def save_state(path: Path, state: RunState) -> None:
    """Write the state of a run, as a whole or not at all. Raises OSError."""
    tensors = {f"model.{name}": tensor for name, tensor in state.weights.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best_weights.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in state.optimizer.items()}
    tensors["losses"] = state.losses
    content = {"kind": "resume", "format": FORMAT, "card": state.card.as_dict()}
    write_tensors(path, tensors, content | state.record.model_dump(exclude_none=True))


def load_state(path: Path) -> RunState:
    """Read what `save_state` wrote. Raises as `load_model` does."""
    tensors, card, content = _read(path, "resume")
    weights, best_weights, optimizer = (
        {name.removeprefix(group): tensors[name] for name in tensors if name.startswith(group)}
        for group in ("model.", "best.", "optimizer.")
    )
    losses = tensors.get("losses", torch.empty(0))
    steps = optimizer.get("steps", torch.tensor(0))
    with _loading(path):
        record = StateRecord.model_validate(content)
        check_weights(weights, card)
        if best_weights:
            check_weights(best_weights, card)
        faults = {
            "its losses are not those of its batches": losses.shape == (record.batch,)
            and losses.dtype == torch.float32,
            "its history is not that of its epochs": bool(record.history) or not record.epoch,
            "its best epoch is not in its history": (record.best is None) == (not record.history),
            "the step count of its optimizer is no number": shapes_of({"": steps})[""] == "int64"
            or "optimizer" in card.sources,
        }
        if wrong := [fault for fault, holds in faults.items() if not holds]:
            raise ConfigError(wrong[0])
    return RunState(card, record, weights, best_weights, losses, optimizer)


def weights_sha256(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over a state dict, the same on every machine for the same weights.

    For each tensor in order of name: a line `name dtype shape` (shape as `784x1`, UTF-8, ended by
    a newline), then its values in row-major order, little-endian.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name} {dtype} {'x'.join(map(str, tensor.shape))}\n".encode())
        values = tensor.numpy()
        digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def check_weights(weights: Mapping[str, torch.Tensor], card: ModelCard) -> None:
    """Raise ConfigError unless `weights` are those of the model of `card`, and finite."""
    expected, actual = card.state_shapes(), shapes_of(weights)
    if expected != actual:
        name = sorted(set(expected.items()) ^ set(actual.items()))[0][0]
        needs, has = (shapes.get(name, "no such tensor") for shapes in (expected, actual))
        raise ConfigError(f"tensor {printable(name)}: {card.model} needs {needs}, not {has}")
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ConfigError(f"tensor {printable(name)} holds a value that is not finite")


def _read(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], ModelCard, dict[str, Any]]:
    """The tensors, the card and all metadata of a file of that kind."""
    tensors, content = read_tensors(path)
    with _loading(path):
        actual = content.get("kind") if isinstance(content, dict) else None
        if actual != kind:
            raise ConfigError(f"it is a {actual} file, not a {kind} file")
        if (version := content.get("format")) != FORMAT:
            raise ConfigError(f"format {version}; this mnistlab reads format {FORMAT}")
        card = content["card"]
        if not isinstance(card["classes"], list):
            raise ConfigError("the model card needs classes: a list of names")
        classes, image_size = tuple(card["classes"]), tuple(card["image_size"])
        # a setting that its model got later has its default in older files
        own = TrainConfig(model=card["model"]).model_settings() | card["settings"]
        code = kept(card.get("sources", {}))
        changed = {"classes": classes, "image_size": image_size, "settings": own, "sources": code}
        card = ModelCard(**card | changed)
        card.check()
    for one in code.values():
        one.require_trust(str(path))
    return tensors, card, content


@contextlib.contextmanager
def _loading(path: Path) -> Iterator[None]:
    """Makes a DamagedFileError of whatever the content of `path` raises."""
    try:
        yield
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        why = printable(error)[:200]
        if isinstance(error, ValidationError):
            keys = sorted({str(item["loc"][0]) for item in error.errors()})
            why = f"its {', '.join(keys)} cannot be right"
        raise DamagedFileError(f"{printable(path)}: cannot be loaded: {why}") from error
