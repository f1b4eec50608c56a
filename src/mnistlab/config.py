"""The settings of a run, each in one place: type, range, default, flag, help, and where it applies.

Precedence: a flag, then the `--config` file, then the default of the model, then the default.
Config files are flat TOML; a preset is one that ships in `configs/`. No torch in here.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import tomli_w
from annotated_types import Interval, Len

from mnistlab import system
from mnistlab.errors import ConfigError
from mnistlab.files import packaged, user_path
from mnistlab.names import nearest, printable

_MAX_CONFIG_BYTES = 1_000_000
_MAX_VALUE_CHARACTERS = 100  # of a wrong value, in a message
_SIZE = re.compile(r"own|0*[1-9]\d{0,3}(x0*[1-9]\d{0,3})?")
_WIDE = 32  # seeds at once: from here on the matrices are worth a second thread

PIN = "@sha256:"  # in `from_run`, between the run and the hash of its weights

Fit = Literal["pad", "crop", "stretch", "ink"]
ModelName = Literal["linear", "two-layer", "cnn", "resnet18", "pixel-similarity"]
MODEL_NAMES: tuple[str, ...] = get_args(ModelName)
Width = Annotated[int, Interval(ge=1, le=2**16)]


@dataclass(frozen=True)
class Setting:
    """What a setting is beside its type, range and default.

    help: one sentence for `--help`. defaults: by model, where a model has its own.
    needs: the other settings, with their values, without which this one means nothing.
    show_default: whether `--help` names the default; not where the help does so already.
    """

    help: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    show_default: bool = True


# The steps of a deep net: a rate of its own for every weight, one cycle, smoothed targets.
# docs/benchmarks.md says what each of them gives.
_DEEP = ("cnn", "resnet18")
_ADAM = {"optimizer": ("adam", "adamw")}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of a training run. Units: lr is per step, batch_size in images.

    Made by `checked`, which holds types and ranges, or by `resolve`.
    """

    __pydantic_config__: ClassVar[Any] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}

    model: Annotated[ModelName, Setting("What to train.")] = "linear"
    data: Annotated[
        str,
        Len(1),
        Setting(
            "A named dataset (mnist_sample: the bundled real data; the others: mnistlab data list) "
            "or a folder of images: class folders, with or without train/ and valid/, or a table.",
            show_default=False,
        ),
    ] = "mnist_sample"
    valid: Annotated[
        str,
        Setting("The validation images, in a folder of their own.", show_default=False),
    ] = ""
    valid_fraction: Annotated[
        float,
        Interval(gt=0, lt=1),
        Setting("Share of the images for validation, where none are set apart."),
    ] = 0.2
    layout: Annotated[
        Literal["auto", "splits", "classes", "table"],
        Setting("How a folder is to be read that can be read in two ways."),
    ] = "auto"
    image_size: Annotated[
        str,
        Setting(
            "N or HxW in pixels; own: that of the images, 28 where they have several.",
        ),
    ] = "own"
    fit: Annotated[
        Fit,
        Setting("How images are brought to that size; ink: framed as handwriting is."),
    ] = "pad"
    transpose: Annotated[
        bool, Setting("Images in IDX files and arrays lie on their side.", show_default=False)
    ] = False
    exclude: Annotated[
        str,
        Setting(
            "A list of images to leave out, as data doubt --csv writes it.", show_default=False
        ),
    ] = ""
    from_run: Annotated[
        str,
        Setting(
            "Begin with the weights of a run; the last layer is drawn anew for other classes.",
            show_default=False,
        ),
    ] = ""
    epochs: Annotated[
        int,
        Interval(ge=1, le=100_000),  # their history must fit the header of a file
        Setting(
            "Passes over the training images.",
            {"linear": 20, "two-layer": 40, "cnn": 2, "resnet18": 1, "pixel-similarity": 1},
        ),
    ] = 20
    lr: Annotated[
        float,
        Interval(gt=0, le=1e38),  # float32 ends at 3e38
        Setting(
            "Learning rate, its peak in one-cycle.",
            {"linear": 1.0, "two-layer": 0.1, "cnn": 0.01, "resnet18": 0.003},
        ),
    ] = 1.0
    batch_size: Annotated[int, Interval(ge=1, le=2**31), Setting("Images per step.")] = 256
    init: Annotated[
        Literal["uniform", "normal"],
        Setting(
            "First weights: as nn.Linear draws them, or the chapter's standard normal.",
            needs={"model": ("linear",)},
        ),
    ] = "uniform"
    hidden: Annotated[
        int,
        Interval(ge=1, le=2**20),
        Setting("Width of the hidden layer.", {"cnn": 128}, {"model": ("two-layer", "cnn")}),
    ] = 30
    channels: Annotated[
        list[Width],
        Len(1, 16),
        Setting("Widths of the stages.", needs={"model": ("cnn",)}),
    ] = field(default_factory=lambda: [16, 32])
    depth: Annotated[
        int,
        Interval(ge=1, le=100),
        Setting("Convolutions per stage, from the second stage on.", needs={"model": ("cnn",)}),
    ] = 1
    padding: Annotated[
        bool,
        Setting("Keep the image size through a convolution.", needs={"model": ("cnn",)}),
    ] = False
    batch_norm: Annotated[
        bool, Setting("Batch norm after each convolution.", needs={"model": ("cnn",)})
    ] = False
    distance: Annotated[
        Literal["l1", "rmse"],
        Setting(
            "Mean absolute difference, or root of the mean square.",
            needs={"model": ("pixel-similarity",)},
        ),
    ] = "l1"
    optimizer: Annotated[
        Literal["basic", "momentum", "nesterov", "adam", "adamw"],
        Setting("How to step.", dict.fromkeys(_DEEP, "adam")),
    ] = "basic"
    momentum: Annotated[
        float,
        Interval(ge=0, lt=1),
        Setting(
            "Momentum, Adam's first beta; one-cycle dips 0.1 below.",
            {"cnn": 0.75, "resnet18": 0.95},
            {"optimizer": ("momentum", "nesterov", "adam", "adamw")},
        ),
    ] = 0.9
    beta2: Annotated[
        float,
        Interval(ge=0, lt=1),
        Setting("Adam's second beta.", {"cnn": 0.9, "resnet18": 0.99}, _ADAM),
    ] = 0.999
    weight_decay: Annotated[
        float,
        Interval(ge=0, le=1e6),
        Setting("Shrinks the weights each step.", needs={"optimizer": ("adamw",)}),
    ] = 0.01
    schedule: Annotated[
        Literal["constant", "one-cycle"],
        Setting("How the rate changes from step to step.", dict.fromkeys(_DEEP, "one-cycle")),
    ] = "constant"
    warmup: Annotated[
        float,
        Interval(ge=0, le=1),
        Setting("Share of the steps until the peak.", needs={"schedule": ("one-cycle",)}),
    ] = 0.25
    loss: Annotated[
        Literal["auto", "mnist", "bce", "cross-entropy"],
        Setting(
            "auto: the chapter's mnist_loss for its models on two classes, else cross-entropy."
        ),
    ] = "auto"
    label_smoothing: Annotated[
        float,
        Interval(ge=0, lt=1),
        Setting("Share of each target spread over all classes.", dict.fromkeys(_DEEP, 0.1)),
    ] = 0.0
    class_weights: Annotated[
        Literal["none", "balanced"],
        Setting("balanced: every class weighs alike in the loss, however few images it has."),
    ] = "none"
    augment: Annotated[bool, Setting("Shift, turn and scale the training images a little.")] = False
    precision: Annotated[
        Literal["fp32", "bf16"],
        Setting("bf16 computes the model in bfloat16: faster where the processor can."),
    ] = "fp32"
    keep: Annotated[
        Literal["last", "best"], Setting("Which epoch's weights are the run's model.")
    ] = "last"
    patience: Annotated[
        int,
        Interval(ge=0, le=1_000_000),
        Setting("Stop after N epochs without a better one; 0: never."),
    ] = 0
    shuffle: Annotated[bool, Setting("A new order each epoch, or the chapter's fixed one.")] = True
    seed: Annotated[int, Interval(ge=0, lt=2**63), Setting("Decides weights and order.")] = 0
    seeds: Annotated[
        int,
        Interval(ge=1, le=10_000),
        Setting("Train N seeds from --seed on, to see how much is luck."),
    ] = 1
    folds: Annotated[
        int,
        Interval(ge=0, le=1000),
        Setting(
            "Train N models, each without its part of the images, and score it on that; 0: one."
        ),
    ] = 0
    order_seed: Annotated[
        Annotated[int, Interval(ge=0, lt=2**63)] | Literal["own"],
        Setting(
            "Seed of the order of the batches alone; own: that of --seed; linear with --seeds: "
            "one order for all.",
            show_default=False,
        ),
    ] = "own"
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], Setting("Where to compute.")] = "auto"
    # One thread for models this small: a second one gains little on an idle machine, costs tenfold
    # on a busy one, and would make the last bits depend on how many cores there are.
    threads: Annotated[
        int,
        Interval(ge=0, le=4096),
        Setting(
            "CPU threads, 0 for torch's choice; another count gives other last bits.",
            dict.fromkeys(_DEEP, 0),
        ),
    ] = 1
    skip_bad: Annotated[
        bool,
        Setting("Go on without files that cannot be used, and say which.", show_default=False),
    ] = False

    def applies(self, key: str) -> bool:
        """Whether the setting `key` means anything beside the others."""
        if key in ("valid", "exclude"):
            return bool(getattr(self, key))
        if self.model == "pixel-similarity":
            return key in BASELINE_SETTINGS
        return all(getattr(self, other) in values for other, values in SETTINGS[key].needs.items())

    def applicable(self) -> dict[str, Any]:
        """All settings that apply, in their order."""
        return {key: value for key, value in asdict(self).items() if self.applies(key)}

    def model_settings(self) -> dict[str, Any]:
        """The settings that are arguments of the model itself."""
        return {key: getattr(self, key) for key in MODEL_SETTINGS if self.applies(key)}

    def order_of(self, seed: int) -> int:
        """The seed that decides the order of the batches of a model drawn from `seed`."""
        return seed if self.order_seed == "own" else self.order_seed

    @property
    def is_study(self) -> bool:
        """Whether several models are trained, of several seeds or on several folds."""
        return self.seeds > 1 or self.folds > 0

    @property
    def is_wide(self) -> bool:
        """Whether all seeds train at once: linear models that see the same batches, plainly.

        A new setting that changes what a step does must be named here, unless a wide step does the
        same, as it does with class weights.
        """
        shared = not self.shuffle or self.order_seed != "own"
        plain = self.schedule == "constant" and self.precision == "fp32" and not self.augment
        plain = plain and not self.label_smoothing and not self.patience and self.keep == "last"
        return self.seeds > 1 and self.model == "linear" and shared and plain


# From the field `lr: Annotated[float, Interval(gt=0, le=1e38), Setting("Learning rate")]` come
# TYPES["lr"], which is float, and SETTINGS["lr"]; pydantic reads the range.
_ANNOTATIONS: dict[str, Any] = {item.name: item.type for item in fields(TrainConfig)}
SETTINGS: dict[str, Setting] = {
    key: next(item for item in get_args(annotation) if isinstance(item, Setting))
    for key, annotation in _ANNOTATIONS.items()
}
TYPES: dict[str, Any] = {key: get_args(item)[0] for key, item in _ANNOTATIONS.items()}
# The settings that only some models have: the arguments of those models' classes.
MODEL_SETTINGS = [key for key, setting in SETTINGS.items() if "model" in setting.needs]
READING = ("layout", "valid", "valid_fraction", "transpose")  # where images are, not of what size
# A baseline is fitted in one pass: of the loop it has nothing.
DATA_SETTINGS = (
    *("data", "valid", "valid_fraction", "layout", "image_size", "fit", "transpose", "skip_bad"),
    "exclude",
)
BASELINE_SETTINGS = ("model", *DATA_SETTINGS, "folds", "distance", "loss", "device", "threads")


def defaults_of(model: str) -> dict[str, Any]:
    """The defaults that `model` has of its own."""
    return {
        key: setting.defaults[model]
        for key, setting in SETTINGS.items()
        if model in setting.defaults
    }


@dataclass(frozen=True)
class Resolved:
    """A checked config and, for each setting, where its value came from (`--lr`, `default`, …)."""

    config: TrainConfig
    origins: dict[str, str]


def resolve(
    flags: Mapping[str, Any],
    source: str | None = None,
    begin: Callable[[str], tuple[str, dict[str, Any]]] = lambda run: (run, {}),
) -> Resolved:
    """Merge flags (None = not given) over the config `source` (file or preset) over defaults.

    begin: finds the run that `from_run` names, and the model and its settings that it has, which
    come before the defaults (`runs.source`). Raises ConfigError that lists every fault at once.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    faults: list[str] = []
    if source is not None:
        path = find_config(source)
        for key, value in read_toml(path).items():
            if key in SETTINGS:
                values[key], origins[key] = value, f"config {printable(source)}"
            else:
                faults.append(
                    f"{printable(path)}: unknown setting {printable(key)}{nearest(key, SETTINGS)}"
                )
    given = {key: value for key, value in flags.items() if value is not None}
    for key, value in given.items():
        if key in SETTINGS:
            values[key], origins[key] = value, flag_of(key)
        else:
            faults.append(f"unknown setting {printable(key)}{nearest(key, SETTINGS)}")
    if "device" in values:
        values["device"] = device_name(values["device"])
    if values.get("from_run"):
        values["from_run"], own = begin(str(values["from_run"]))
        if values.get("model", own.get("model")) == own.get("model"):
            values = own | values
            origins = dict.fromkeys(own, "that of the run to begin with") | origins
    _add_defaults(values, origins)
    from pydantic import ValidationError

    try:
        config = checked(values)
    except ValidationError as error:
        # a setting of two types has an error for each
        by_key = {str(item["loc"][0]): item for item in reversed(error.errors())}
        faults += [_fault(by_key[key], origins) for key in values if key in by_key]
        model = values.get("model", "linear")
        faults += _misplaced({**asdict(TrainConfig()), "model": model}, given, only="model")
    else:
        faults += _misplaced(asdict(config), given) + _contradictions(config)
    if faults:
        raise ConfigError("\n".join(faults))
    return Resolved(config, {key: origins.get(key, "default") for key in SETTINGS})


def checked(values: Mapping[str, Any]) -> TrainConfig:
    """The config with these values, their types and ranges checked.

    Raises pydantic's ValidationError; `resolve` makes plain messages of it.
    """
    valid = _checker()(**values)
    return TrainConfig(**{key: getattr(valid, key) for key in SETTINGS})


@cache
def _checker() -> Any:
    """The pydantic model of the settings. Importing pydantic takes as long as all of `--help`."""
    from pydantic import create_model

    defaults = asdict(TrainConfig())
    typed: Any = {key: (item, defaults[key]) for key, item in _ANNOTATIONS.items()}
    return create_model("Settings", __config__=TrainConfig.__pydantic_config__, **typed)


def _add_defaults(values: dict[str, Any], origins: dict[str, str]) -> None:
    """Add the model's own defaults, and those of a study of seeds, where nothing else was said."""
    model = values.get("model", "linear")
    for key, value in defaults_of(str(model)).items():
        if key not in values:
            values[key], origins[key] = value, f"default of {model}"
    seed, seeds = values.get("seed", 0), values.get("seeds", 1)
    if model != "linear" or seeds == 1 or "order_seed" in values or values.get("from_run"):
        return
    if isinstance(seed, int):
        values["order_seed"] = seed
        origins["order_seed"] = "shared, so that all seeds train at once"
        if isinstance(seeds, int) and seeds >= _WIDE and "threads" not in values:
            values["threads"], origins["threads"] = 0, "torch's choice for so wide a matrix"


def _misplaced(values: Mapping[str, Any], given: Mapping[str, Any], only: str = "") -> list[str]:
    """A fault for each flag that means nothing beside the other settings.

    In a file, where all settings stand side by side, such a setting is ignored. `only`: the one
    need to look at, where the other settings are not known to be right.
    """
    faults = []
    for key in given:
        for other, allowed in SETTINGS[key].needs.items() if key in SETTINGS else ():
            value = values[other]
            if value in allowed or (only and other != only):
                continue
            if other != "model":
                needs = f"needs {other.replace('_', '-')} {' or '.join(allowed)}, not {value}"
            elif value in MODEL_NAMES:
                needs = (
                    f"the {value} model has no such setting; it belongs to --model "
                    f"{' or '.join(allowed)}"
                )
            else:
                continue  # an unknown model is a fault of its own
            faults.append(f"{flag_of(key)}: {needs}")
    return faults


def _contradictions(config: TrainConfig) -> list[str]:
    faults = []
    if not _SIZE.fullmatch(config.image_size):
        faults.append(f"image_size: N or HxW, 1 to 4096 pixels, or own, not {config.image_size!r}")
    if config.folds and (config.patience or config.keep == "best"):
        faults.append("folds: patience and keep choose by the images that score; leave them out")
    if config.folds and config.seeds > 1:
        faults.append("folds: every fold is trained from one seed; leave seeds out")
    if config.folds == 1:
        faults.append("folds: 1 leaves nothing to train on; from 2 on, or 0 for none")
    if config.seeds > 1 and (config.patience or config.keep == "best"):
        faults.append("seeds: patience and keep are of one seed's training; leave them out")
    if config.seeds > 1 and config.model == "pixel-similarity":
        faults.append("seeds: pixel-similarity draws nothing; every seed gives the same")
    if config.from_run and config.model == "pixel-similarity":
        faults.append("from: pixel-similarity is fitted, not trained; it begins with nothing")
    if config.from_run and config.seeds > 1 and not (config.shuffle and config.order_seed == "own"):
        faults.append("seeds: with --from they begin alike; each needs an order of its own")
    if config.seed + config.seeds > 2**63:
        faults.append(f"seed {config.seed}: {config.seeds} seeds from there pass 2^63")
    return faults


def _fault(item: Any, origins: Mapping[str, str]) -> str:
    """One error of pydantic as a line: which setting, from where, what is wrong, what it got."""
    key = str(item["loc"][0])
    origin = origins.get(key, "default")
    label = origin if origin.startswith("--") else f"{key} ({origin})"
    message = str(item["msg"])
    if item["type"] == "literal_error":
        message = "not a known name" + nearest(str(item["input"]), choices_of(key))
        gpu = re.fullmatch(r"(?:cuda:|gpu:)?(\d+)", str(item["input"]).lower())
        if key == "device" and gpu:
            message = (
                f"a run takes the first GPU that it sees; set CUDA_VISIBLE_DEVICES={gpu[1]} "
                "and take cuda"
            )
    elif key == "order_seed":
        message = "must be an integer from 0 on, or own"
    elif item["type"] == "string_unicode":
        message = "the path is not UTF-8; rename or move the folder"
    else:
        message = message[0].lower() + message[1:]
    value = printable(repr(item["input"]))
    if len(value) > _MAX_VALUE_CHARACTERS:
        value = f"{value[:_MAX_VALUE_CHARACTERS]}..., {len(value):,} characters"
    return f"{label}: {message} (got {value})"


def device_name(value: object) -> object:
    """The name in `--device` of what others call gpu, cuda:0 or 0; any other value as it is."""
    text = str(value).lower()
    if text == "gpu":
        return "mps" if system.MACOS else "cuda"
    if text in ("0", "cuda:0", "gpu:0"):
        return "cuda"
    return text if text in choices_of("device") else value


def flag_of(key: str) -> str:
    """The flag of a setting: `batch_size` → `--batch-size`."""
    if key == "from_run":  # Python has another use for the word
        return "--from"
    return f"--{key.replace('_', '-')}"


def choices_of(key: str) -> list[str]:
    """The names that a setting can have; empty where it is no choice between names."""
    literals = [TYPES[key], *get_args(TYPES[key])]
    return [name for literal in literals for name in get_args(literal) if isinstance(name, str)]


def to_toml(config: TrainConfig, origins: Mapping[str, str]) -> str:
    """Every setting that applies as flat TOML, one per line, with its origin; for `--config`."""
    lines = ["# Every setting of this run; use it again with --config."]
    for key, value in config.applicable().items():
        setting = tomli_w.dumps({key: value}).rstrip("\n")
        lines.append(f"{setting:<28} # {origins.get(key, 'default')}")
    return "\n".join(lines) + "\n"


def presets() -> dict[str, Path]:
    """Every preset: its name and its file, in order of name."""
    return {path.stem: path for path in sorted(packaged("configs").glob("*.toml"))}


def find_config(source: str) -> Path:
    """The file that `--config` means: a path, or the name of a preset in `configs/`.

    Raises ConfigError with the nearest preset where there is neither.
    """
    try:
        path = user_path(source)
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
    except FileNotFoundError as error:
        raise ConfigError(f"{where}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not UTF-8 text; configs are TOML files") from error
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid TOML: {printable(error)}") from error
