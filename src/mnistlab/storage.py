"""Tensors and plain data in one sealed file: safetensors with a checksum over every byte.

safetensors cannot run code when opened, but it does not notice a flipped bit in a weight. So the
header carries `seal`: the SHA-256 of the whole file with the seal's own 64 digits set to zero.
The files stay ordinary safetensors for every other reader.
"""

import hashlib
import json
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from torch import nn

from mnistlab.config import SETTINGS_OF_MODELS, TrainConfig
from mnistlab.errors import ConfigError, DamagedFileError, RunError
from mnistlab.files import write_whole
from mnistlab.losses import losses_for
from mnistlab.models import MODELS, build_model
from mnistlab.names import printable

_BLANK = b"0" * 64
_SEAL = re.compile(rb'"seal":"([0-9a-f]{64})"')
_MAX_FILE = 8 * 2**30
_MAX_HEADER = 64 * 2**20
_MAX_TENSORS = 2**15  # the deepest net that can be asked for has 27,000 in its whole state
_CODES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = list(_CODES)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Any) -> None:
    """Write `tensors` and JSON-able `metadata` to `path`, whole or not at all.

    The same content gives the same bytes. Raises OSError; `path` is then as it was.
    """
    write_whole(path, *_sealed(tensors, metadata))


def _sealed(tensors: Mapping[str, torch.Tensor], metadata: Any) -> list[bytes | memoryview]:
    # The sealed header, then each tensor's own memory: nothing is copied, as safetensors' save()
    # would do twice; a dataset would take three times its size to be written.
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header: dict[str, Any] = {}
    payload: list[memoryview] = []
    end = 0
    # safetensors' own order: the wide types first, so that every tensor is aligned
    for name in sorted(on_cpu, key=lambda name: (_DTYPES.index(on_cpu[name].dtype), name)):
        piece = _memory(on_cpu[name])
        start, end = end, end + piece.nbytes
        header[name] = {
            "dtype": _CODES[on_cpu[name].dtype],
            "shape": list(on_cpu[name].shape),
            "data_offsets": [start, end],
        }
        payload.append(piece)
    header["__metadata__"] = {"mnistlab": json.dumps(metadata), "seal": _BLANK.decode()}
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)  # safetensors aligns the payload to 8 bytes
    start_of_file = len(text).to_bytes(8, "little") + text
    seal = hashlib.sha256(start_of_file)
    for piece in payload:
        seal.update(piece)
    digits = seal.hexdigest().encode()
    return [start_of_file.replace(b'"seal":"' + _BLANK, b'"seal":"' + digits, 1), *payload]


def _memory(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor, little-endian."""
    flat = tensor.reshape(-1)
    if sys.byteorder == "big" and flat.element_size() > 1:  # pragma: no cover
        flat = flat.view(torch.uint8).reshape(-1, flat.element_size()).flip(1).reshape(-1)
    return flat.view(torch.uint8).numpy().data


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """The tensors and the metadata of a sealed file, every byte verified.

    Raises DamagedFileError for anything that `write_tensors` did not write, RunError where the
    file cannot be read, FileNotFoundError where there is none.
    """
    where = printable(path)
    content = _content(path, where)
    header_end = 8 + int.from_bytes(content[:8], "little")
    seal = _SEAL.search(content, 8, header_end)
    if seal is None:
        raise _damaged(where, "it carries no seal")
    view = memoryview(content)
    digest = hashlib.sha256(view[: seal.start(1)])
    digest.update(_BLANK)
    digest.update(view[seal.end(1) :])
    if digest.hexdigest().encode() != seal[1]:
        raise _damaged(where, "its checksum does not match")
    try:
        if content.count(b'"dtype"', 8, header_end) > _MAX_TENSORS:
            raise ValueError
        stated = json.loads(content[8:header_end], object_pairs_hook=_once)
        metadata = json.loads(stated["__metadata__"]["mnistlab"], object_pairs_hook=_once)
        tensors = safetensors.torch.load(content)
    # A well-sealed file that somebody else made can still hold anything.
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise _damaged(where, f"its content makes no sense ({type(error).__name__})") from error
    return tensors, metadata


def _content(path: Path, where: str) -> bytes:
    """All bytes of a file that may be one of ours; of others no more than the header is read."""
    try:
        # Asked before it is opened: a pipe would wait for ever, a device has no end.
        found = path.stat()
        if found.st_size > _MAX_FILE:
            raise DamagedFileError(
                f"{where}: {found.st_size:,} bytes; no file of mnistlab is that large"
            )
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise DamagedFileError(f"{where}: not a regular file; nothing loaded")
        with path.open("rb") as file:
            length = file.read(8)
            header_end = 8 + int.from_bytes(length, "little")
            if len(length) < 8 or header_end > min(found.st_size, _MAX_HEADER):
                raise _damaged(where, "its header is cut off or no header at all")
            if not _SEAL.search(file.read(header_end - 8)):
                raise _damaged(where, "it carries no seal")
            file.seek(0)
            return file.read(found.st_size + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"{where}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise RunError(f"{where}: not enough memory to read it") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # of two values with one name, two readers may take different ones
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _damaged(where: str, why: str) -> DamagedFileError:
    return DamagedFileError(f"{where}: damaged or not written by mnistlab: {why}; nothing loaded")


FORMAT = 1
_MAX_SIDE = 2**16  # pixels


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


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    epoch: int
    train_loss: FiniteFloat
    valid_loss: FiniteFloat
    accuracy: FiniteFloat
    seconds: FiniteFloat


class _Best(BaseModel):
    model_config = ConfigDict(strict=True)

    epoch: int
    accuracy: FiniteFloat


class _Plain(BaseModel):
    """What a state file says beside its tensors and its card."""

    model_config = ConfigDict(strict=True)

    config: dict[str, Any]
    data_fingerprint: str
    environment: dict[str, Any]
    epoch: int = Field(ge=0, le=2**31)
    batch: int = Field(ge=0, le=2**31)
    seconds: FiniteFloat = Field(ge=0)
    history: list[_Row]
    best: _Best | None
    mixed: bool


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
    _require_fit(path, card, weights)
    model = card.build()
    model.load_state_dict(dict(weights))
    return model


def _require_fit(path: Path, card: ModelCard, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise DamagedFileError unless `weights` are those of the model of `card`, and finite."""
    expected, found = _needed(path, card), _forms(weights)
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        needs, has = (forms.get(wrong, "no such tensor") for forms in (expected, found))
        raise _not_ours(path, f"tensor {printable(wrong)}: {card.model} needs {needs}, found {has}")
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise _not_ours(path, f"tensor {printable(name)} holds a value that is not finite")


def _needed(path: Path, card: ModelCard) -> dict[str, str]:
    """What tensors the model of `card` has, found out without the memory that they would take."""
    try:
        # so that no card asks for a hundred thousand layers
        TrainConfig(**{k: v for k, v in card.settings.items() if k in SETTINGS_OF_MODELS})
        with torch.device("meta"):
            return _forms(card.build().state_dict())
    except ValidationError as error:
        keys = ", ".join(str(item["loc"][0]) for item in error.errors())
        raise _not_ours(path, f"its model cannot be built: {keys} out of range") from error
    except (ConfigError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise _not_ours(path, f"its model cannot be built: {printable(error)[:200]}") from error


def _forms(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Type and shape of each tensor, as `float32 784 x 1`."""
    return {
        name: f"{tensor.dtype} {' x '.join(map(str, tensor.shape))}".removeprefix("torch.").strip()
        for name, tensor in tensors.items()
    }


def save_state(path: Path, state: RunState) -> None:
    """Write a run's whole state, whole or not at all. Raises OSError."""
    tensors = {f"model.{name}": tensor for name, tensor in state.weights.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best_weights.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in state.optimizer.items()}
    tensors["losses"] = state.losses
    plain = {key: getattr(state, key) for key in _Plain.model_fields}
    meta = {"kind": "resume", "format": FORMAT, "card": asdict(state.card), **plain}
    write_tensors(path, tensors, meta)


def load_state(path: Path) -> RunState:
    """Read what `save_state` wrote. Raises as `load_model` does."""
    tensors, meta = read_tensors(path)
    card = _card(path, _require_kind(path, meta, "resume"))
    groups: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    try:
        plain = _Plain.model_validate(meta)
        losses = tensors.pop("losses")
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
    except ValidationError as error:
        keys = sorted({str(item["loc"][0]) for item in error.errors()})
        raise _not_ours(path, f"nonsense in its {', '.join(keys)}") from error
    except KeyError as error:
        raise _not_ours(path, f"tensor {printable(error)[:200]} is missing or unknown") from error
    weights, best, optimizer = groups.values()
    if losses.shape != (plain.batch,) or losses.dtype != torch.float32:
        raise _not_ours(path, "its losses are not those of its batches")
    for kept in (weights, best) if best else (weights,):
        _require_fit(path, card, kept)
    if plain.epoch and not plain.history:
        raise _not_ours(path, "its history is not that of its epochs")
    if (plain.best is None) != (not plain.history):
        raise _not_ours(path, "its best epoch is none of its history")
    if "steps" in optimizer and _forms(optimizer)["steps"] != "int64":
        raise _not_ours(path, "its optimizer's steps are no number")
    fields = {key: meta[key] for key in _Plain.model_fields}
    return RunState(
        card, weights=weights, best_weights=best, optimizer=optimizer, losses=losses, **fields
    )


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
        if not isinstance(card["classes"], list):
            raise ValueError("its classes are no list")
        return _checked(
            ModelCard(
                card["model"],
                tuple(card["classes"]),
                (height, width),
                dict(card["settings"]),
                card["loss"],
                card.get("ground"),
            )
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _not_ours(path, f"its card makes no sense ({printable(error)[:200]})") from error


def _checked(card: ModelCard) -> ModelCard:
    """The card, if a model can be used that says this of itself. Raises ValueError."""
    classes = card.classes
    if len(set(classes)) < max(len(classes), 2) or {type(name) for name in classes} != {str}:
        raise ValueError("its classes are not two names or more, each another")
    if not all(type(side) is int and 1 <= side <= _MAX_SIDE for side in card.image_size):
        raise ValueError("its image size is none")
    if card.model not in MODELS:
        raise ValueError(f"there is no model {card.model}")
    if card.loss not in losses_for(len(classes)):
        raise ValueError(f"{card.loss} is no loss for {len(classes)} classes")
    if card.ground is not None and not (type(card.ground) is float and 0 <= card.ground <= 1):
        raise ValueError("its ground is no grey level")
    return card


def _not_ours(path: Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"{printable(path)}: cannot be loaded: {why}")
