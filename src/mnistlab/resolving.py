"""From flags and config files to a checked config, with a plain message for all that is wrong.

Precedence: a flag, then the `--config` file, then the default of the model, then the default.
Config files are flat TOML; a preset is one that ships in `configs/`. No torch in here.
"""

import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from mnistlab import runs
from mnistlab.config import (
    CODE,
    MODEL_DEFAULTS,
    SETTINGS,
    TrainConfig,
    checked,
    choices_of,
    device_name,
    flag_of,
    is_own,
)
from mnistlab.errors import ConfigError
from mnistlab.files import packaged, user_path
from mnistlab.launcher import DEFAULT_PARTS
from mnistlab.names import nearest, printable
from mnistlab.own_code import SourceCode, of_object

_MAX_CONFIG_BYTES = 1_000_000
_MAX_VALUE_CHARACTERS = 100  # of a wrong value, in a message
_SIZE = re.compile(r"own|0*[1-9]\d{0,3}(x0*[1-9]\d{0,3})?")
_WIDE = {"linear": 32, "two-layer": 2}  # seeds at once: matrices that are worth a second thread


@dataclass(frozen=True)
class Resolved:
    """A checked config and, for each setting, where its value came from (`--lr`, `default`, …).

    sources: own code by the setting that names it, where it is not to be read from the file.
    """

    config: TrainConfig
    origins: dict[str, str]
    sources: Mapping[str, SourceCode] = field(default_factory=dict)


def resolve(
    flags: Mapping[str, Any],
    source: str | None = None,
    folder: Path = runs.DEFAULT_FOLDER,
    torchrun: bool = False,
) -> Resolved:
    """Merge flags (None = not given) over the config `source` (file or preset) over defaults.

    folder: where the run is that `from_run` names; its model and the settings of that come before
    the defaults. torchrun: several processes have defaults of their own.
    Raises ConfigError that lists every fault at once.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    faults: list[str] = []
    given = {key: value for key, value in flags.items() if value is not None}
    layers = [("", given)]
    if source is not None:
        path = find_config(source)
        layers.insert(0, (f"{printable(path)}: ", read_toml(path)))
    for where, content in layers:
        for key, value in content.items():
            if key in SETTINGS:
                values[key] = value
                origins[key] = f"config {printable(source)}" if where else flag_of(key)
            else:
                faults.append(f"{where}unknown setting {printable(key)}{nearest(key, SETTINGS)}")
    if "device" in values:
        values["device"] = device_name(values["device"])
    sources: dict[str, SourceCode] = {}
    for key in CODE:
        if callable(values.get(key)):
            values[key], sources[key] = of_object(values[key])
        elif is_own(values.get(key)):
            values[key] = str(user_path(values[key]).absolute())
    wanted = values.get("from_run")
    if wanted and isinstance(wanted, str):
        values["from_run"], own = runs.source(wanted, folder)
        if values.get("model", own.get("model")) == own.get("model"):
            values = own | values
            origins = dict.fromkeys(own, "that of the run to begin with") | origins
    _add_defaults(values, origins, torchrun)
    from pydantic import ValidationError

    try:
        config = checked(values)
    except ValidationError as error:
        # a setting of two types has an error for each
        by_key = {str(item["loc"][0]): item for item in reversed(error.errors())}
        faults += [_fault(by_key[key], origins) for key in values if key in by_key]
    else:
        faults += _contradictions(config)
    faults += _misplaced(asdict(TrainConfig()) | values, given)
    if faults:
        raise ConfigError("\n".join(faults))
    return Resolved(config, {key: origins.get(key, "default") for key in SETTINGS}, sources)


def _add_defaults(values: dict[str, Any], origins: dict[str, str], torchrun: bool) -> None:
    """Add the defaults of several processes, of the model, and of a study of seeds."""
    model = values.get("model", "linear")
    if torchrun and not {values.get("seeds", 1), values.get("folds", 0)} - {0, 1}:
        values.setdefault("micro_batches", DEFAULT_PARTS)
        origins.setdefault("micro_batches", "default of torchrun")
    shared = torchrun or values.get("micro_batches", 1) != 1
    if shared and not origins.get("threads", "").startswith("--"):
        values["threads"], origins["threads"] = 1, "one for each process"
    kind = "own models" if is_own(model) else str(model)
    for key, value in MODEL_DEFAULTS.get(kind, {}).items():
        if key not in values:
            values[key], origins[key] = value, f"default of {kind}"
    seed, seeds = values.get("seed", 0), values.get("seeds", 1)
    if seeds == 1 or values.get("from_run") or any(is_own(values.get(key)) for key in CODE):
        return
    if model == "linear" and "order_seed" not in values and isinstance(seed, int):
        values["order_seed"] = seed
        origins["order_seed"] = "shared, so that all seeds train at once"
    wide = isinstance(seeds, int) and seeds >= _WIDE.get(str(model), math.inf)
    if wide and values.get("order_seed", "own") != "own" and "threads" not in values:
        values["threads"], origins["threads"] = 0, "torch's choice for so wide a matrix"


def _misplaced(values: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """A fault for each flag that means nothing beside the other settings.

    In a file, where all settings stand side by side, such a setting is ignored.
    """
    return [
        f"{flag_of(key)}: needs {flag_of(other)} {' or '.join(allowed)}, not {values[other]}"
        for key in given
        if key in SETTINGS
        for other, allowed in SETTINGS[key].needs.items()
        if values[other] not in allowed
        if values[other] in choices_of(other) or (is_own(values[other]) and other == "model")
    ]


def _contradictions(config: TrainConfig) -> list[str]:
    chooses = config.patience > 0 or config.keep == "best"
    several, baseline = config.seeds > 1, config.model == "pixel-similarity"
    own_orders = config.shuffle and config.order_seed == "own"
    faults = {
        f"image_size: N or HxW, 1 to 4096 pixels, or own, not {config.image_size!r}": (
            not _SIZE.fullmatch(config.image_size)
        ),
        "model_set: goes with a model of your own, --model FILE.py:CLASS": (
            config.model_set and not is_own(config.model)
        ),
        "folds: patience and keep choose by the images that score; leave them out": (
            config.folds and chooses
        ),
        "folds: every fold is trained from one seed; leave seeds out": config.folds and several,
        f"micro_batches: 1, 2, 4, 8, ..., a power of two, not {config.micro_batches}": (
            config.micro_batches.bit_count() != 1
        ),
        f"threads: 1 with micro_batches above 1, for every process, not {config.threads}": (
            config.micro_batches > 1 and config.threads != 1
        ),
        "folds: 1 leaves nothing to train on; from 2 on, or 0 for none": config.folds == 1,
        "seeds: patience and keep are of one seed's training; leave them out": several and chooses,
        "seeds: pixel-similarity draws nothing; every seed gives the same": several and baseline,
        "from: pixel-similarity is fitted, not trained; it begins with nothing": (
            config.from_run and baseline
        ),
        "seeds: with --from they begin alike; each needs an order of its own": (
            config.from_run and several and not own_orders
        ),
        f"seed {config.seed}: {config.seeds} seeds from there pass 2^63": (
            config.seed + config.seeds > 2**63
        ),
    }
    return [fault for fault, holds in faults.items() if holds]


def _fault(item: Any, origins: Mapping[str, str]) -> str:
    """One error of pydantic as a line: which setting, from where, what is wrong, what it got."""
    key = str(item["loc"][0])
    origin = origins.get(key, "default")
    label = origin if origin.startswith("--") else f"{key} ({origin})"
    message = str(item["msg"])
    if item["type"] == "literal_error":
        message = "not a known name" + nearest(str(item["input"]), choices_of(key))
        if key in CODE and str(item["input"]).endswith(".py"):
            kind = "FUNCTION" if key == "loss" else "CLASS"
            message = f"write it as {printable(item['input'])}:{kind}"
    elif key == "order_seed":
        message = "must be an integer from 0 on, or own"
    elif key == "model_set":
        message = "write KEY=VALUE; a value is a text, a number, true, false or a list of these"
    else:
        message = message[0].lower() + message[1:]
    value = printable(repr(item["input"]))
    if len(value) > _MAX_VALUE_CHARACTERS:
        value = f"{value[:_MAX_VALUE_CHARACTERS]}..., {len(value):,} characters"
    return f"{label}: {message} (got {value})"


def to_toml(settings: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """The settings as flat TOML, one per line, with its origin; for `--config`."""
    lines = ["# Every setting of this run; use it again with --config."]
    for key, value in settings.items():
        for name, one in value.items() if isinstance(value, dict) else [(key, value)]:
            dotted = f"{key}." if isinstance(value, dict) else ""
            setting = dotted + tomli_w.dumps({name: one}).rstrip("\n")
            lines.append(f"{setting:<28} # {origins.get(key, 'default')}")
    return "\n".join(lines) + "\n"


def presets() -> dict[str, Path]:
    """Every preset: its name and its file, in order of name."""
    return {path.stem: path for path in sorted(packaged("configs").glob("*.toml"))}


def find_config(source: str) -> Path:
    """The file that `--config` means: a path, or the name of a preset in `configs/`.

    Raises ConfigError with the nearest preset where there is neither.
    """
    path, known = user_path(source), presets()
    if path.suffix == ".toml" or os.path.isfile(path):
        return path
    if source in known:
        return known[source]
    raise ConfigError(
        f"--config {printable(source)}: no such file or preset{nearest(source, known)}"
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The values in one TOML file. Raises ConfigError for what cannot be read or is not TOML."""
    where = printable(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_CONFIG_BYTES + 1)  # /dev/zero has no end
        if len(content) > _MAX_CONFIG_BYTES:
            raise ConfigError(f"{where}: larger than {_MAX_CONFIG_BYTES:,} bytes; not a config")
        # some editors put a byte order mark in front
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid TOML: {printable(error)}") from error
