"""The model file, and the state file from which a run can be resumed: what is in them.

Both are sealed files: tensors and plain data in one file, of which not a single bit can change
unseen. They are ordinary safetensors files, which cannot run code when they are opened.
safetensors does not notice a flipped bit in a weight, so the header carries `seal`: the SHA-256 of
the file with the 64 digits of the seal itself set to zero.
"""

import contextlib
import hashlib
import json
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from torch import nn

from mnistlab.config import PIN, TrainConfig, flag_of
from mnistlab.errors import ConfigError, DamagedFileError, RunError
from mnistlab.files import write_whole
from mnistlab.models import ModelCard, shapes_of
from mnistlab.names import printable
from mnistlab.own_code import kept
from mnistlab.records import Best, EpochRow, Result
from mnistlab.runs import Run

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
    mixed: bool = False  # the first versions did not say


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

    def result(self) -> Result:
        """What came out; accuracy and hash are those of the run's model."""
        record = self.record
        accuracy = record.history[-1].accuracy if record.history else None
        if record.config.get("keep") == "best" and record.best:
            accuracy = record.best.accuracy
        sha = weights_sha256(self.model_weights)
        return Result(
            epochs=record.history, accuracy=accuracy, best=record.best, weights_sha256=sha
        )


def copied(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of its own, on the CPU, which training on does not change."""
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}


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


def first_weights(config: TrainConfig, card: ModelCard) -> tuple[dict[str, torch.Tensor], str]:
    """What a model of `card` takes from the run that `config` names, and `from_run` with its hash.

    All its weights where both know the same classes in the same order, else those of all layers
    before the last. Raises ConfigError, DamagedFileError.
    """
    path, _, known = config.from_run.partition(PIN)
    where = f"--from {printable(path)}"
    try:
        model, source = load_model(Run(Path(path)).model_file)
    except FileNotFoundError as error:
        raise ConfigError(f"{where}: no such run, or it has saved no model") from error
    weights = model.state_dict()
    sha = weights_sha256(weights)
    if known not in ("", sha):
        raise ConfigError(f"{where}: has other weights than those to begin with ({known[:16]}...)")
    theirs, ours = ({"model": one.model, **one.settings} for one in (source, card))
    faults = [
        f"{flag_of(key)} {printable(value)}: {where} has {printable(theirs[key])}"
        for key, value in ours.items()
        if value != theirs.get(key, value)
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    if source.classes != card.classes:
        last = [*weights][-1].rpartition(".")[0]  # layers are named in their order
        weights = {k: v for k, v in weights.items() if last and not k.startswith(f"{last}.")}
    if not weights:
        raise ConfigError(
            f"{where}: knows other classes, and of a {card.model} model's only layer nothing is "
            "left then; begin with a model of more layers"
        )
    shapes = card.state_shapes()
    if any(shapes[name] != shape for name, shape in shapes_of(weights).items()):
        (height, width), (own_height, own_width) = source.image_size, card.image_size
        raise ConfigError(
            f"{where}: its {card.model} takes images of {width} x {height}, and these are "
            f"{own_width} x {own_height}; bring them to that with --image-size {height}x{width}"
        )
    return weights, f"{path}{PIN}{sha}"


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


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Any) -> None:
    """Write `tensors` and JSON-able `metadata` to `path`, as a whole or not at all.

    The same content gives the same bytes. Raises OSError; `path` is then as it was.
    """
    # The sealed header, then the memory of each tensor: nothing is copied.
    header: dict[str, Any] = {}
    payload: list[memoryview] = []
    end = 0
    # the order of safetensors: the wide types first, so that every tensor is aligned
    for name in sorted(tensors, key=lambda name: (_ORDER.index(tensors[name].dtype), name)):
        tensor = tensors[name].detach().cpu().contiguous()
        data = tensor.reshape(-1).view(torch.uint8).numpy().data
        start, end = end, end + data.nbytes
        dtype, shape = _DTYPES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
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


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """The tensors and the metadata of a sealed file, every byte verified.

    Raises DamagedFileError for what `write_tensors` did not write, RunError, FileNotFoundError.
    """
    where = printable(path)
    try:
        # Asked before it is opened: a pipe would wait for ever, a device has no end.
        status = path.stat()
        if status.st_size > _MAX_FILE:
            size = f"{status.st_size:,} bytes"
            raise DamagedFileError(f"{where}: {size}; no file of mnistlab is that large")
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise DamagedFileError(f"{where}: not a regular file; nothing loaded")
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"{where}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise RunError(f"{where}: not enough memory to read it") from error
    header_end = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or header_end > min(len(content), _MAX_HEADER):
        raise _damaged(where, "its header is cut off or no header at all")
    seal = _SEAL.search(content, 0, header_end)
    if seal is None:
        raise _damaged(where, "it carries no seal")
    digest = hashlib.sha256(content[: seal.start(1)] + _BLANK)
    digest.update(memoryview(content)[seal.end(1) :])
    if digest.hexdigest().encode() != seal[1]:
        raise _damaged(where, "its checksum does not match")
    try:
        if content.count(b'"dtype"', 8, header_end) > _MAX_TENSORS:
            raise ValueError
        header = json.loads(content[8:header_end], object_pairs_hook=_no_duplicates)
        metadata = json.loads(header["__metadata__"]["mnistlab"], object_pairs_hook=_no_duplicates)
        return safetensors.torch.load(content), metadata
    # A well-sealed file that somebody else made can still hold anything.
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise _damaged(where, f"its content cannot be read ({type(error).__name__})") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # of two values with one name, two readers may take different ones
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is there twice")
    return values


def _damaged(where: str, why: str) -> DamagedFileError:
    return DamagedFileError(f"{where}: damaged or not written by mnistlab: {why}; nothing loaded")
