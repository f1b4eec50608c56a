"""The files that hold tensors: a model, and the state of a run that can be resumed.

They are ordinary safetensors files, which cannot run code when they are opened. safetensors does
not notice a flipped bit in a weight, so the header carries `seal`: the SHA-256 of the file with the
64 digits of the seal itself set to zero. A file with a single wrong bit is refused.
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

from mnistlab.errors import ConfigError, DamagedFileError, RunError
from mnistlab.files import write_whole
from mnistlab.models import ModelCard, shapes_of
from mnistlab.names import printable
from mnistlab.records import Best, EpochRow

FORMAT = 1
_BLANK = b"0" * 64
_SEAL = re.compile(rb'"seal":"([0-9a-f]{64})"')
_MAX_FILE = 8 * 2**30
_MAX_HEADER = 64 * 2**20
_MAX_TENSORS = 2**15  # the deepest net that can be asked for has 27,000 in its state
_DTYPES = {
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
_ORDER = list(_DTYPES)


class StateRecord(BaseModel):
    """What a state file says of a run beside its tensors and its card.

    config: the settings. epoch, batch: the next ones to do. seconds: spent on the unfinished epoch.
    mixed: parts of it were trained on machines or thread counts that differ, so that its last bits
    repeat nowhere. The random state is no more than the seed in `config` with `epoch` and `batch`.
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
    _check_weights(weights, card)
    content = {"kind": "model", "format": FORMAT, "card": asdict(card), "result": result}
    write_tensors(Path(path), weights, content)


def load_model(path: str | Path) -> tuple[nn.Module, ModelCard]:
    """The model in `path`, on the CPU, in eval mode.

    Raises DamagedFileError for a file that is damaged, not ours, or does not fit its own card;
    FileNotFoundError where there is none.
    """
    tensors, content = _read(Path(path), "model")
    card = _card_of(Path(path), content)
    try:
        _check_weights(tensors, card)
    except ConfigError as error:
        raise _unusable(Path(path), str(error)) from error
    model = card.build()
    model.load_state_dict(dict(tensors))
    return model.eval(), card


def save_state(path: Path, state: RunState) -> None:
    """Write the state of a run, as a whole or not at all. Raises OSError."""
    tensors = {f"model.{name}": tensor for name, tensor in state.weights.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best_weights.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in state.optimizer.items()}
    tensors["losses"] = state.losses
    content = {"kind": "resume", "format": FORMAT, "card": asdict(state.card)}
    write_tensors(path, tensors, content | state.record.model_dump(exclude_none=True))


def load_state(path: Path) -> RunState:
    """Read what `save_state` wrote. Raises as `load_model` does."""
    tensors, content = _read(path, "resume")
    card = _card_of(path, content)
    groups: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    try:
        record = StateRecord.model_validate(content)
        losses = tensors.pop("losses")
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        for weights in filter(None, (groups["model"], groups["best"])):
            _check_weights(weights, card)
    except ValidationError as error:
        keys = sorted({str(item["loc"][0]) for item in error.errors()})
        raise _unusable(path, f"its {', '.join(keys)} cannot be right") from error
    except KeyError as error:
        raise _unusable(path, f"tensor {printable(error)[:200]} is missing or unknown") from error
    except ConfigError as error:
        raise _unusable(path, str(error)) from error
    steps = groups["optimizer"].get("steps", torch.tensor(0))
    faults = {
        "its losses are not those of its batches": losses.shape == (record.batch,)
        and losses.dtype == torch.float32,
        "it has no weights": bool(groups["model"]),
        "its history is not that of its epochs": bool(record.history) or not record.epoch,
        "its best epoch is not in its history": (record.best is None) == (not record.history),
        "the step count of its optimizer is no number": shapes_of({"": steps})[""] == "int64",
    }
    for fault, holds in faults.items():
        if not holds:
            raise _unusable(path, fault)
    return RunState(card, record, groups["model"], groups["best"], losses, groups["optimizer"])


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


def _check_weights(weights: Mapping[str, torch.Tensor], card: ModelCard) -> None:
    """Raise ConfigError unless `weights` are those of the model of `card`, and finite."""
    expected, actual = card.state_shapes(), shapes_of(weights)
    if expected != actual:
        name = sorted(set(expected.items()) ^ set(actual.items()))[0][0]
        needs, has = (shapes.get(name, "no such tensor") for shapes in (expected, actual))
        raise ConfigError(f"tensor {printable(name)}: {card.model} needs {needs}, not {has}")
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ConfigError(f"tensor {printable(name)} holds a value that is not finite")


def _read(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, content = read_tensors(path)
    actual = content.get("kind") if isinstance(content, dict) else None
    if actual != kind:
        raise _unusable(path, f"it is a {printable(actual)} file, not a {kind} file")
    if content.get("format") != FORMAT:
        version = printable(content.get("format"))
        raise _unusable(path, f"format {version}; this mnistlab reads format {FORMAT}")
    return tensors, content


def _card_of(path: Path, content: dict[str, Any]) -> ModelCard:
    try:
        card = content["card"]
        if not isinstance(card["classes"], list):
            raise ConfigError("the model card needs classes: a list of names")
        classes, image_size = tuple(card["classes"]), tuple(card["image_size"])
        card = ModelCard(**card | {"classes": classes, "image_size": image_size})
        card.check()
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise _unusable(path, printable(error)[:200]) from error
    return card


def _unusable(path: Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"{printable(path)}: cannot be loaded: {why}")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Any) -> None:
    """Write `tensors` and JSON-able `metadata` to `path`, as a whole or not at all.

    The same content gives the same bytes. Raises OSError; `path` is then as it was.
    """
    # The sealed header, then the memory of each tensor: nothing is copied.
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header: dict[str, Any] = {}
    payload: list[memoryview] = []
    end = 0
    # the order of safetensors: the wide types first, so that every tensor is aligned
    for name in sorted(on_cpu, key=lambda name: (_ORDER.index(on_cpu[name].dtype), name)):
        tensor = on_cpu[name]
        data = _memory(tensor)
        start, end = end, end + data.nbytes
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        payload.append(data)
    header["__metadata__"] = {"mnistlab": json.dumps(metadata), "seal": _BLANK.decode()}
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)  # safetensors aligns the payload to 8 bytes
    head = len(text).to_bytes(8, "little") + text
    seal = hashlib.sha256(head)
    for data in payload:
        seal.update(data)
    digits = seal.hexdigest().encode()
    sealed = head.replace(b'"seal":"' + _BLANK, b'"seal":"' + digits, 1)
    write_whole(path, sealed, *payload)


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
    content, seal = _sealed_content(path, where)
    view = memoryview(content)
    digest = hashlib.sha256(view[: seal.start(1)])
    digest.update(_BLANK)
    digest.update(view[seal.end(1) :])
    if digest.hexdigest().encode() != seal[1]:
        raise _damaged(where, "its checksum does not match")
    header_end = 8 + int.from_bytes(content[:8], "little")
    try:
        if content.count(b'"dtype"', 8, header_end) > _MAX_TENSORS:
            raise ValueError
        header = json.loads(content[8:header_end], object_pairs_hook=_no_duplicates)
        metadata = json.loads(header["__metadata__"]["mnistlab"], object_pairs_hook=_no_duplicates)
        tensors = safetensors.torch.load(content)
    # A well-sealed file that somebody else made can still hold anything.
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise _damaged(where, f"its content cannot be read ({type(error).__name__})") from error
    return tensors, metadata


def _sealed_content(path: Path, where: str) -> "tuple[bytes, re.Match[bytes]]":
    """All bytes of a file that has a seal, and the seal; of others only the header is read."""
    try:
        # Asked before it is opened: a pipe would wait for ever, a device has no end.
        status = path.stat()
        if status.st_size > _MAX_FILE:
            raise DamagedFileError(
                f"{where}: {status.st_size:,} bytes; no file of mnistlab is that large"
            )
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise DamagedFileError(f"{where}: not a regular file; nothing loaded")
        with path.open("rb") as file:
            length = file.read(8)
            header_end = 8 + int.from_bytes(length, "little")
            if len(length) < 8 or header_end > min(status.st_size, _MAX_HEADER):
                raise _damaged(where, "its header is cut off or no header at all")
            if not _SEAL.search(file.read(header_end - 8)):
                raise _damaged(where, "it carries no seal")
            file.seek(0)
            content = file.read(status.st_size + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"{where}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise RunError(f"{where}: not enough memory to read it") from error
    seal = _SEAL.search(content, 8, header_end)
    if seal is None:
        raise _damaged(where, "it changed while it was read")
    return content, seal


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # of two values with one name, two readers may take different ones
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is there twice")
    return values


def _damaged(where: str, why: str) -> DamagedFileError:
    return DamagedFileError(f"{where}: damaged or not written by mnistlab: {why}; nothing loaded")
