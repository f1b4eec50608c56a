"""The settings of a run: their names, ranges and defaults, and where each value came from.

Precedence: a flag, then the `--config` file, then the default of the model, then the default.
Config files are flat TOML; a preset is one that ships in `configs/`. No torch in here.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnistlab.errors import ConfigError
from mnistlab.files import packaged
from mnistlab.names import nearest, printable

_MAX_CONFIG_BYTES = 1_000_000


class UnknownSettingsError(ConfigError):
    """A file has settings that nobody knows; `known` are the others."""

    def __init__(self, message: str, known: dict[str, Any]) -> None:
        super().__init__(message)
        self.known = known


def find_config(source: str) -> Path:
    """The file meant by `--config`: a path, or the name of a preset in `configs/`.

    Raises ConfigError with the nearest preset where there is neither.
    """
    path = Path(source)
    try:
        if path.suffix == ".toml" or path.is_file():
            return path
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {printable(source)}: {error}") from error
    known = presets()
    if source in known:
        return known[source]
    raise ConfigError(
        f"--config {printable(source)}: no such file or preset{nearest(source, known)}"
    )


def presets() -> dict[str, Path]:
    """Every preset: its name and its file, in order of name."""
    return {path.stem: path for path in sorted(packaged("configs").glob("*.toml"))}


def read_toml(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The settings in one TOML file, whose names must be among `known`; values as they stand.

    Raises ConfigError for what cannot be read or is not TOML, UnknownSettingsError for other names
    (all are told).
    """
    where = printable(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_CONFIG_BYTES + 1)  # /dev/zero has no end
        if len(content) > _MAX_CONFIG_BYTES:
            raise ConfigError(f"{where}: larger than {_MAX_CONFIG_BYTES:,} bytes; not a config")
        # some editors put a byte order mark in front
        values = tomllib.loads(content.decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"{where}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not UTF-8 text; configs are TOML files") from error
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid TOML: {printable(error)}") from error
    unknown = [key for key in values if key not in known]
    if unknown:
        told = [
            f"{where}: unknown setting {printable(key)}{nearest(key, known)}" for key in unknown
        ]
        raise UnknownSettingsError(
            "\n".join(told), {k: values[k] for k in values if k not in unknown}
        )
    return values


_SHOWN = 100  # characters of a wrong value

ModelName = Literal["linear", "two-layer", "cnn", "resnet18"]
Width = Annotated[int, Field(ge=1, le=2**16)]


class TrainConfig(BaseModel):
    """All settings of a training run, checked. Units: lr is per step, batch_size in images."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: ModelName = "linear"
    data: str = Field(default="mnist_sample", min_length=1)
    epochs: int = Field(default=20, ge=1, le=100_000)  # their history must fit a file's header
    lr: float = Field(default=1.0, gt=0, le=1e38, allow_inf_nan=False)  # float32 ends at 3e38
    batch_size: int = Field(default=256, ge=1, le=2**31)
    init: Literal["uniform", "normal"] = "uniform"
    hidden: int = Field(default=30, ge=1, le=2**20)
    channels: list[Width] = Field(default=[16, 32], min_length=1, max_length=16)
    depth: int = Field(default=1, ge=1, le=100)
    padding: bool = False
    batch_norm: bool = False
    optimizer: Literal["basic", "momentum", "nesterov", "adam", "adamw"] = "basic"
    momentum: float = Field(default=0.9, ge=0, lt=1, allow_inf_nan=False)
    beta2: float = Field(default=0.999, ge=0, lt=1, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, le=1e6, allow_inf_nan=False)
    schedule: Literal["constant", "one-cycle"] = "constant"
    warmup: float = Field(default=0.25, ge=0, le=1, allow_inf_nan=False)
    loss: Literal["auto", "mnist", "bce", "cross-entropy"] = "auto"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    augment: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    keep: Literal["last", "best"] = "last"
    patience: int = Field(default=0, ge=0, le=1_000_000)
    shuffle: bool = True
    seed: int = Field(default=0, ge=0, lt=2**63)
    seeds: int = Field(default=1, ge=1, le=10_000)
    order_seed: Annotated[int, Field(ge=0, lt=2**63)] | Literal["own"] = "own"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    # One thread for models this small: a second one gains little on an idle machine, costs tenfold
    # on a busy one, and would make the last bits depend on how many cores there are.
    threads: int = Field(default=1, ge=0, le=4096)
    skip_bad: bool = False

    def order_of(self, seed: int) -> int:
        """The seed that decides the order of the batches of a model drawn from `seed`."""
        return seed if self.order_seed == "own" else self.order_seed

    @property
    def is_wide(self) -> bool:
        """Whether all seeds train at once: linear models that see the same batches, plainly."""
        shared = not self.shuffle or self.order_seed != "own"
        plain = self.schedule == "constant" and self.precision == "fp32" and not self.augment
        plain = plain and not self.label_smoothing and not self.patience and self.keep == "last"
        return self.seeds > 1 and self.model == "linear" and shared and plain


# Steps of a deep net: a rate of its own for every weight, one cycle, and targets that no logit has
# to run after. Of each, `docs/benchmarks.md` says what it gives.
_DEEP = {"optimizer": "adam", "schedule": "one-cycle", "label_smoothing": 0.1, "threads": 0}

_WIDE = 32  # seeds at once: from here on the matrices are worth a second thread

MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "linear": {"epochs": 20, "lr": 1.0},
    "two-layer": {"epochs": 40, "lr": 0.1},
    "cnn": {**_DEEP, "epochs": 2, "lr": 0.01, "hidden": 128, "momentum": 0.75, "beta2": 0.9},
    "resnet18": {**_DEEP, "epochs": 1, "lr": 0.003, "momentum": 0.95, "beta2": 0.99},
}

# Settings that only some models have. A flag for another model is refused; in a file, where all
# settings stand side by side, it is left aside.
SETTINGS_OF_MODELS: dict[str, tuple[str, ...]] = {
    "init": ("linear",),
    "hidden": ("two-layer", "cnn"),
    "channels": ("cnn",),
    "depth": ("cnn",),
    "padding": ("cnn",),
    "batch_norm": ("cnn",),
}
# The same for settings that only some optimizers, or one schedule, have.
_SETTINGS_OF: dict[str, tuple[str, tuple[str, ...]]] = {
    "momentum": ("optimizer", ("momentum", "nesterov", "adam", "adamw")),
    "beta2": ("optimizer", ("adam", "adamw")),
    "weight_decay": ("optimizer", ("adamw",)),
    "warmup": ("schedule", ("one-cycle",)),
}


def applies(key: str, config: TrainConfig) -> bool:
    """Whether the setting `key` means anything beside the others of `config`."""
    if config.model not in SETTINGS_OF_MODELS.get(key, (config.model,)):
        return False
    other, values = _SETTINGS_OF.get(key, ("model", (config.model,)))
    return getattr(config, other) in values


@dataclass(frozen=True)
class Resolved:
    """A checked config and, for each setting, where its value came from (`--lr`, `default`, …)."""

    config: TrainConfig
    origins: dict[str, str]


def resolve(flags: Mapping[str, Any], source: str | None = None) -> Resolved:
    """Merge flags (None = not given) over the config `source` (file or preset) over defaults.

    Raises ConfigError that lists every fault at once.
    """
    from_file: dict[str, Any] = {}
    file_label = ""
    faults: list[str] = []
    if source is not None:
        file_label = f"config {printable(source)}"
        try:
            from_file = read_config(find_config(source))
        except UnknownSettingsError as error:  # told with all that is wrong with the others
            from_file = error.known
            faults.append(str(error))
    given = {key: value for key, value in flags.items() if value is not None}
    values = {**from_file, **given}
    origins = dict.fromkeys(from_file, file_label)
    origins |= {key: f"--{key.replace('_', '-')}" for key in given}

    faults += [
        f"unknown setting {printable(key)}{nearest(key, TrainConfig.model_fields)}"
        for key in given
        if key not in TrainConfig.model_fields
    ]
    values = {key: value for key, value in values.items() if key in TrainConfig.model_fields}
    model = values.get("model", TrainConfig.model_fields["model"].default)
    for key, models in SETTINGS_OF_MODELS.items():
        if key in given and str(model) in MODEL_DEFAULTS and model not in models:
            faults.append(
                f"{origins[key]}: the {printable(model)} model has no such setting; "
                f"it belongs to --model {' or '.join(models)}"
            )
    for key, value in MODEL_DEFAULTS.get(str(model), {}).items():
        if key not in values:
            values[key] = value
            origins[key] = f"default of {model}"
    if (
        values.get("seeds", 1) != 1
        and model == "linear"
        and "order_seed" not in values
        and isinstance(values.get("seed", 0), int)
    ):
        values["order_seed"] = values.get("seed", 0)
        origins["order_seed"] = "shared, so that all seeds train at once"
        if (
            isinstance(values["seeds"], int)
            and values["seeds"] >= _WIDE
            and "threads" not in values
        ):
            values["threads"] = 0
            origins["threads"] = "torch's choice for so wide a matrix"
    config = None
    try:
        config = TrainConfig(**values)
    except ValidationError as error:
        # a setting with two types has an error for each
        by_key = {str(item["loc"][0]): item for item in reversed(error.errors())}
        faults += [_fault(by_key[key], origins) for key in values if key in by_key]
    if config is not None:
        faults += [
            f"{origins[key]}: needs {other.replace('_', '-')} {' or '.join(values)}, not "
            f"{getattr(config, other)}"
            for key, (other, values) in _SETTINGS_OF.items()
            if key in given and getattr(config, other) not in values
        ]
    if config is not None and config.seeds > 1 and (config.patience or config.keep == "best"):
        faults.append("seeds: patience and keep are of one seed's training; leave them out")
    if config is not None and config.seed + config.seeds > 2**63:
        faults.append(f"seed {config.seed}: {config.seeds} seeds from there pass 2^63")
    if faults or config is None:
        raise ConfigError("\n".join(faults))
    return Resolved(config, {key: origins.get(key, "default") for key in TrainConfig.model_fields})


def read_config(path: Path) -> dict[str, Any]:
    """The settings in one TOML file, their names checked, their values not yet.

    Raises ConfigError as `read_toml`.
    """
    return read_toml(path, TrainConfig.model_fields)


def to_toml(config: TrainConfig, origins: Mapping[str, str]) -> str:
    """Every setting as flat TOML, one a line, its origin behind it; usable as `--config`."""
    lines = ["# Every setting of this run; use it again with --config."]
    for key, value in config.model_dump().items():
        if not applies(key, config):
            continue
        setting = tomli_w.dumps({key: value}).rstrip("\n")
        lines.append(f"{setting:<28} # {origins.get(key, 'default')}")
    return "\n".join(lines) + "\n"


def _fault(item: Any, origins: Mapping[str, str]) -> str:
    key = str(item["loc"][0])
    origin = origins.get(key, "default")
    label = origin if origin.startswith("--") else f"{key} ({origin})"
    message = str(item["msg"])
    if item["type"] == "literal_error":
        field = TrainConfig.model_fields[key]
        choices = list(getattr(field.annotation, "__args__", ()))
        message = "not a known name" + nearest(str(item["input"]), choices)
    elif key == "order_seed":
        message = "must be a whole number from 0 on, or own"
    elif item["type"] == "string_unicode":
        message = "the path is not UTF-8; rename or move the folder"
    else:
        message = message[0].lower() + message[1:]
    return f"{label}: {message} (got {_short(item['input'])})"


def _short(value: Any) -> str:
    told = printable(repr(value))
    return told if len(told) <= _SHOWN else f"{told[:_SHOWN]}..., {len(told):,} characters"
