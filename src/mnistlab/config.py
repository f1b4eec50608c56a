"""The settings of a run, each in one place: type, range, default, flag, help, and where it applies.

`resolving.py` makes a config of flags and files. No torch in here.
"""

# ruff: noqa: RUF009 - `setting` makes a field

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args, get_type_hints

from annotated_types import Interval, Len, Predicate

from mnistlab import system

PIN = "@sha256:"  # in `from_run`, between the run and the hash of its weights
CODE = ("model", "loss", "optimizer")  # the settings that may name code of the user's own


def is_own(name: object) -> bool:
    """Whether a name is that of the user's own code, `FILE.py:NAME`."""
    return isinstance(name, str) and bool(re.fullmatch(r"(?s).+\.py:[^\W\d]\w*", name))


def short(name: str) -> str:
    """The name of own code without its folder; any other name as it is."""
    return re.split(r"[/\\]", name)[-1]


Fit = Literal["pad", "crop", "stretch", "ink"]
ModelName = Literal["linear", "two-layer", "cnn", "resnet18", "pixel-similarity"]
MODEL_NAMES: tuple[str, ...] = get_args(ModelName)
Own = Annotated[str, Predicate(is_own)]
Scalar = bool | int | float | str
Share = Annotated[float, Interval(ge=0, lt=1)]
Seed = Annotated[int, Interval(ge=0, lt=2**63)]
Width = Annotated[int, Interval(ge=1, le=2**16)]

# The steps of a deep net: a rate of its own for every weight, one cycle, smoothed targets.
# docs/benchmarks.md says what each of them gives.
_DEEP = {
    "optimizer": "adam",
    "schedule": "one-cycle",
    "label_smoothing": 0.1,
    "precision": "auto",
    "threads": 0,
}
# What a model has of its own in place of the defaults below.
MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "linear": {"epochs": 20, "lr": 1.0},
    "two-layer": {"epochs": 40, "lr": 0.1},
    "cnn": {**_DEEP, "epochs": 2, "lr": 0.01, "momentum": 0.75, "beta2": 0.9, "hidden": 128},
    "resnet18": {**_DEEP, "epochs": 1, "lr": 0.003, "momentum": 0.95, "beta2": 0.99},
    "pixel-similarity": {"epochs": 1},
    "own models": {"epochs": 5, "optimizer": "adam", "lr": 0.001},
}


@dataclass(frozen=True)
class Setting:
    """What a setting is beside its type, range and default.

    help: one sentence for `--help`. needs: the other settings, with their values, without which
    this one means nothing.
    """

    help: str
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def setting(default: Any, text: str, **needs: tuple[str, ...]) -> Any:
    """A field of `TrainConfig`; a `default` that can be changed is given as a function."""
    kind = "default_factory" if callable(default) else "default"
    return field(**{kind: default, "metadata": {"setting": Setting(text, needs)}})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of a training run. Units: lr is per step, batch_size in images.

    Made by `checked`, which holds types and ranges, or by `resolve`.
    """

    __pydantic_config__: ClassVar[Any] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}

    model: ModelName | Own = setting("linear", "What to train; your own: FILE.py:CLASS.")
    data: Annotated[str, Len(1)] = setting(
        "mnist_sample",
        "A named dataset (mnist_sample: the bundled real data; the others: mnistlab data list) "
        "or a folder of images: class folders, with or without train/ and valid/, or a table.",
    )
    valid: str = setting("", "The validation images, in a folder of their own.")
    valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = setting(
        0.2, "Share of the images for validation, where none are set apart."
    )
    layout: Literal["auto", "splits", "classes", "table"] = setting(
        "auto", "How a folder is to be read that can be read in two ways."
    )
    image_size: str = setting(
        "own", "N or HxW in pixels; own: that of the images, 28 where they have several."
    )
    fit: Fit = setting("pad", "How images are brought to that size; ink: framed as handwriting is.")
    transpose: bool = setting(False, "Images in IDX files and arrays lie on their side.")
    exclude: str = setting("", "A list of images to leave out, as data doubt --csv writes it.")
    from_run: str = setting(
        "", "Begin with the weights of a run; the last layer is drawn anew for other classes."
    )
    # at most so many that their history fits the header of a file
    epochs: Annotated[int, Interval(ge=1, le=100_000)] = setting(
        20, "Passes over the training images."
    )
    # float32 ends at 3e38
    lr: Annotated[float, Interval(gt=0, le=1e38)] = setting(
        1.0, "Learning rate, its peak in one-cycle."
    )
    batch_size: Annotated[int, Interval(ge=1, le=2**31)] = setting(256, "Images per step.")
    micro_batches: Annotated[int, Interval(ge=1, le=4096)] = setting(
        1,
        "Parts of a batch, which processes share (torchrun: 8); the weights depend on them, not "
        "on the number of processes.",
    )
    init: Literal["uniform", "normal"] = setting(
        "uniform",
        "First weights: as nn.Linear draws them, or the chapter's standard normal.",
        model=("linear",),
    )
    hidden: Annotated[int, Interval(ge=1, le=2**20)] = setting(
        30, "Width of the hidden layer.", model=("two-layer", "cnn")
    )
    channels: Annotated[list[Width], Len(1, 16)] = setting(
        lambda: [16, 32], "Widths of the stages.", model=("cnn",)
    )
    depth: Annotated[int, Interval(ge=1, le=100)] = setting(
        1, "Convolutions per stage, from the second stage on.", model=("cnn",)
    )
    padding: bool = setting(False, "Keep the image size through a convolution.", model=("cnn",))
    batch_norm: bool = setting(False, "Batch norm after each convolution.", model=("cnn",))
    kernel: Annotated[int, Interval(ge=1, le=99)] = setting(
        5, "Side of the first convolution, in pixels.", model=("cnn",)
    )
    stride: Annotated[int, Interval(ge=1, le=99)] = setting(
        1,
        "Pixels from one place of the first convolution to the next; 2 or more: no pooling.",
        model=("cnn",),
    )
    cosines: bool = setting(
        False, "The first convolution looks for fixed waves, and is not trained.", model=("cnn",)
    )
    distance: Literal["l1", "rmse"] = setting(
        "l1",
        "Mean absolute difference, or root of the mean square.",
        model=("pixel-similarity",),
    )
    model_set: dict[Annotated[str, Predicate(str.isidentifier)], Scalar | list[Scalar]] = setting(
        dict, "An argument of your own model, in TOML or as text; can be repeated."
    )
    optimizer: Literal["basic", "momentum", "nesterov", "adam", "adamw"] | Own = setting(
        "basic", "How to step; your own: FILE.py:CLASS."
    )
    momentum: Share = setting(
        0.9,
        "Momentum, Adam's first beta; one-cycle dips 0.1 below.",
        optimizer=("momentum", "nesterov", "adam", "adamw"),
    )
    beta2: Share = setting(0.999, "Adam's second beta.", optimizer=("adam", "adamw"))
    weight_decay: Annotated[float, Interval(ge=0, le=1e6)] = setting(
        0.01, "Shrinks the weights each step.", optimizer=("adamw",)
    )
    schedule: Literal["constant", "one-cycle"] = setting(
        "constant", "How the rate changes from step to step."
    )
    warmup: Annotated[float, Interval(ge=0, le=1)] = setting(
        0.25, "Share of the steps until the peak.", schedule=("one-cycle",)
    )
    loss: Literal["auto", "mnist", "bce", "cross-entropy"] | Own = setting(
        "auto",
        "auto: the chapter's mnist_loss for its models on two classes, else cross-entropy; "
        "your own: FILE.py:FUNCTION.",
    )
    label_smoothing: Share = setting(0.0, "Share of each target spread over all classes.")
    class_weights: Literal["none", "balanced"] = setting(
        "none", "balanced: every class weighs alike in the loss, however few images it has."
    )
    augment: bool = setting(False, "Shift, turn and scale the training images a little.")
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "fp32",
        "Numbers that the model computes with; auto: bf16 where the processor has instructions "
        "for it and gets the known answers right, else fp32.",
    )
    keep: Literal["last", "best"] = setting("last", "Which epoch's weights are the run's model.")
    patience: Annotated[int, Interval(ge=0, le=1_000_000)] = setting(
        0, "Stop after N epochs without a better one; 0: never."
    )
    shuffle: bool = setting(True, "A new order each epoch, or the chapter's fixed one.")
    seed: Seed = setting(0, "Decides weights and order.")
    seeds: Annotated[int, Interval(ge=1, le=10_000)] = setting(
        1, "Train N seeds from --seed on, to see how much is luck."
    )
    folds: Annotated[int, Interval(ge=0, le=1000)] = setting(
        0, "Train N models, each without its part of the images, and score it on that; 0: one."
    )
    order_seed: Seed | Literal["own"] = setting(
        "own",
        "Seed of the order of the batches alone; own: that of --seed; linear with --seeds: "
        "one order for all.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = setting("auto", "Where to compute.")
    # One thread for models this small: a second one gains little on an idle machine, costs tenfold
    # on a busy one, and would make the last bits depend on how many cores there are.
    threads: Annotated[int, Interval(ge=0, le=4096)] = setting(
        1, "CPU threads, 0 for torch's choice; another count gives other last bits."
    )
    skip_bad: bool = setting(False, "Go on without files that cannot be used, and say which.")

    def applies(self, key: str) -> bool:
        """Whether the setting `key` means anything beside the others."""
        if key in ("valid", "exclude", "model_set"):
            return bool(getattr(self, key))
        if self.model == "pixel-similarity":
            return key in BASELINE_SETTINGS
        needs = SETTINGS[key].needs
        if "optimizer" in needs and is_own(self.optimizer):
            return True  # handed in if it asks for it
        return all(getattr(self, other) in values for other, values in needs.items())

    def applicable(self) -> dict[str, Any]:
        """All settings that apply, in their order."""
        return {key: value for key, value in asdict(self).items() if self.applies(key)}

    def model_settings(self) -> dict[str, Any]:
        """The settings that are arguments of the model itself."""
        if is_own(self.model):
            return dict(self.model_set)
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
        """Whether all seeds train at once: the chapter's models, on the same batches, plainly.

        Two-layer models only where an order is asked for: each seed else equals its own run.
        A new setting that changes what a step does must be named here, unless a wide step does the
        same, as it does with class weights.
        """
        shared = self.order_seed != "own" or (self.model == "linear" and not self.shuffle)
        plain = self.schedule == "constant" and self.precision == "fp32" and not self.augment
        plain = plain and not self.label_smoothing and not self.patience and self.keep == "last"
        plain = plain and not is_own(self.loss) and not is_own(self.optimizer)
        plain = plain and self.micro_batches == 1
        return self.seeds > 1 and self.model in ("linear", "two-layer") and shared and plain


SETTINGS: dict[str, Setting] = {one.name: one.metadata["setting"] for one in fields(TrainConfig)}
# The types without their ranges, which pydantic reads.
TYPES: dict[str, Any] = {key: get_type_hints(TrainConfig)[key] for key in SETTINGS}
# The settings that only some models have: the arguments of those models' classes.
MODEL_SETTINGS = [key for key, one in SETTINGS.items() if "model" in one.needs]
READING = ("layout", "valid", "valid_fraction", "transpose")  # where images are, not of what size
DATA_SETTINGS = ("data", *READING, "image_size", "fit", "skip_bad", "exclude")
# A baseline is fitted in one pass: of the loop it has nothing.
BASELINE_SETTINGS = ("model", *DATA_SETTINGS, "folds", "distance", "loss", "device", "threads")


def checked(values: Mapping[str, Any]) -> TrainConfig:
    """The config with these values, their types and ranges checked.

    Raises pydantic's ValidationError; `resolve` makes plain messages of it.
    """
    return TrainConfig(**vars(_checker()(**values)))


@cache
def _checker() -> Any:
    """`TrainConfig` as pydantic checks it, whose import takes as long as all of `--help`."""
    from pydantic.dataclasses import dataclass as with_checks

    return with_checks(TrainConfig, frozen=True)


def device_name(value: object) -> object:
    """The name in `--device` of what others call gpu, cuda:0 or 0; any other value as it is."""
    text = str(value).lower()
    if text in ("gpu", "gpu:0", "cuda:0", "0"):
        return "mps" if text == "gpu" and system.MACOS else "cuda"
    return text if text in choices_of("device") else value


def flag_of(key: str) -> str:
    """The flag of a setting: `batch_size` → `--batch-size`."""
    # Python has another use for the word `from`
    return "--from" if key == "from_run" else f"--{key.replace('_', '-')}"


def choices_of(key: str) -> list[str]:
    """The names that a setting can have; empty where it is no choice between names."""
    literals = [TYPES[key], *get_args(TYPES[key])]
    return [name for literal in literals for name in get_args(literal) if isinstance(name, str)]
