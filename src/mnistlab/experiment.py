"""Where a config becomes objects: dataset, model, optimizer, run folder. Start, train, save."""

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.config import (
    SETTINGS_OF_MODELS,
    Resolved,
    TrainConfig,
    applies,
    read_config,
    resolve,
    to_toml,
)
from mnistlab.data.folders import ImageData, Progress
from mnistlab.data.ground import even_ground
from mnistlab.data.named import NAMED, load_data
from mnistlab.devices import choose_device, environment, keep_freed_memory, set_threads
from mnistlab.errors import ConfigError, DamagedFileError, DataError, DivergedError, RunError
from mnistlab.files import write_whole
from mnistlab.losses import LOSSES, SMOOTHABLE, losses_for, smoothed
from mnistlab.metrics import EpochMetrics
from mnistlab.names import printable
from mnistlab.optim import OPTIMIZERS, BasicOptim, Schedule, one_cycle
from mnistlab.runs import DEFAULT_FOLDER, Run, create_run, unwritable
from mnistlab.storage import (
    ModelCard,
    RunState,
    load_state,
    restore,
    save_model,
    save_state,
    weights_sha256,
)
from mnistlab.training import Place, train_epochs

_OF_THE_CHAPTER = ("linear", "two-layer")
_UNSOUND_SIDE = 16  # pixels: on 8 to 16 no two runs were equal, from 17 on all were


def fitting_loss(config: TrainConfig, n_classes: int) -> str:
    """The name of the loss that `config` means for so many classes.

    `auto` is the chapter's `mnist` for its own models on two classes, else a cross-entropy.
    Raises ConfigError for a loss that does not fit.
    """
    fitting = losses_for(n_classes)
    if config.label_smoothing:
        fitting = tuple(name for name in fitting if name in SMOOTHABLE)
    if config.loss == "auto":
        return fitting[0] if config.model in _OF_THE_CHAPTER else fitting[-1]
    if config.loss in fitting:
        return config.loss
    smooth = f" with label smoothing {config.label_smoothing:g}" if config.label_smoothing else ""
    raise ConfigError(
        f"--loss {config.loss} does not fit {n_classes} classes{smooth}; use {' or '.join(fitting)}"
    )


def require_sound(config: TrainConfig, image_size: tuple[int, int]) -> None:
    """Refuse what torch computes wrongly on a CPU: resnet18 in bfloat16 on small images.

    Its last stages are then a single pixel wide, and there the gradients of torch 2.13's bfloat16
    convolutions are of whatever was in memory. Raises ConfigError.
    """
    small = min(image_size) <= _UNSOUND_SIDE
    if config.model == "resnet18" and config.precision == "bf16" and small:
        raise ConfigError(
            f"--precision bf16: torch computes resnet18 wrongly in it on images of "
            f"{_UNSOUND_SIDE} pixels or less; use fp32, which is as fast"
        )


def model_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that are the model's own."""
    return {
        key: getattr(config, key)
        for key, models in SETTINGS_OF_MODELS.items()
        if config.model in models
    }


def new_optimizer(config: TrainConfig, model: nn.Module) -> BasicOptim:
    """The optimizer that `config` asks for, at its first step."""
    extra = {
        key: getattr(config, key)
        for key in ("momentum", "beta2", "weight_decay")
        if applies(key, config)
    }
    return OPTIMIZERS[config.optimizer](model.parameters(), config.lr, **extra)


def schedule_of(config: TrainConfig, n_images: int) -> Schedule | None:
    """The schedule over all epochs of `n_images`; None if nothing changes from step to step."""
    if config.schedule == "constant":
        return None
    total = config.epochs * -(-n_images // config.batch_size)
    momentum = config.momentum if applies("momentum", config) else 0.0
    return one_cycle(config.lr, momentum, total, warmup=config.warmup)


def run_epochs(
    config: TrainConfig,
    model: nn.Module,
    opt: BasicOptim,
    train_ds: TensorDataset,
    valid_ds: TensorDataset,
    classes: Sequence[str],
    *,
    seed: int,
    place: Place,
    stop: Callable[[], bool],
) -> Generator[EpochMetrics]:
    """`train_epochs` as `config` says, for a model that was drawn from `seed`."""
    return train_epochs(
        model,
        opt,
        LOSSES[config.loss],
        train_ds,
        valid_ds,
        classes,
        epochs=config.epochs,
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        seed=config.order_of(seed),
        train_loss=smoothed(config.loss, config.label_smoothing),
        schedule=schedule_of(config, len(train_ds)),
        augmented=config.augment,
        bf16=config.precision == "bf16",
        place=place,
        stop=stop,
    )


SAVE_EVERY = 2.0  # seconds between saves; a hard kill loses at most this and the epoch under way


@dataclass
class Experiment:
    """A training run in memory: everything made from one config, at one place of the run."""

    config: TrainConfig
    origins: dict[str, str]
    data: ImageData
    device: torch.device
    model: nn.Module
    opt: BasicOptim
    card: ModelCard
    run: Run | None = None
    command: list[str] = field(default_factory=list)
    created: str = ""
    place: Place = field(default_factory=Place)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    mixed: bool = False  # trained in parts, on machines or thread counts that differ

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(param.numel() for param in self.model.parameters())

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` epochs have passed since the best one."""
        if not self.config.patience or self.best is None:
            return False
        return self.place.epoch - 1 - int(self.best["epoch"]) >= self.config.patience

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.place.epoch >= self.config.epochs or self.out_of_patience

    def train(self, stop: Callable[[], bool] = lambda: False) -> Generator[EpochMetrics]:
        """Train to the last epoch, saving on the way; one `EpochMetrics` after each epoch.

        When `stop()` turns true, the batch under way is finished, all is saved, and it ends.
        Raises DivergedError (the last good weights are saved), RunError if a save fails.
        """
        train_ds, valid_ds = (
            TensorDataset(*(tensor.to(self.device) for tensor in ds.tensors))
            for ds in (self.data.train_ds, self.data.valid_ds)
        )
        good = self.capture()
        saved_at = time.monotonic()
        try:
            for metrics in run_epochs(
                self.config, self.model, self.opt, train_ds, valid_ds, self.data.classes,
                seed=self.config.seed, place=self.place, stop=stop,
            ):  # fmt: skip
                self._record(metrics)
                good = self.capture()
                yield metrics
                if self.out_of_patience:
                    break
                if time.monotonic() - saved_at > SAVE_EVERY:
                    self.save(good, "running")
                    saved_at = time.monotonic()
        except DivergedError as error:
            self.save(good, "diverged")
            kept = (
                f"; the last good weights ({_done(good)}) are in {printable(self.run.path)}"
                if self.run
                else ""
            )
            raise DivergedError(f"{error}{kept}") from error
        self.save(self.capture(), "done" if self.finished else "stopped")

    def capture(self) -> RunState:
        """The run as it stands, copied, so that training on does not change it."""
        losses = torch.stack(self.place.losses).cpu() if self.place.losses else torch.empty(0)
        return RunState(
            card=self.card,
            config=self.config.model_dump(),
            data_fingerprint=self.data.fingerprint,
            environment=environment(self.device),
            weights=copied(self.model.state_dict()),
            best_weights=self.best_weights,
            losses=losses,
            epoch=self.place.epoch,
            batch=self.place.batch,
            seconds=self.place.seconds,
            history=list(self.history),
            best=self.best,
            optimizer=self.opt.state(),
            mixed=self.mixed,
        )

    def save(self, state: RunState, status: str) -> None:
        """Write `state` to the run folder, if there is one. Raises RunError.

        The state file comes first: it alone decides where a resumed run goes on. The others
        follow from it and are written again at the next save.
        """
        if self.run is None:
            return
        try:
            save_state(self.run.state_file, state)
            save_model(self.run.model_file, kept_weights(state), state.card)
            if state.best_weights:
                save_model(self.run.best_file, state.best_weights, state.card)
            self.run.write_metrics(state.history)
            self.run.write_info(self.info(status, state))
        except OSError as error:
            kept = "its folder is gone, and with it the last save"
            if self.run.path.is_dir():
                kept = (
                    "the files of the last save are as they were; when this is mended: mnistlab "
                    f"train --resume {printable(self.run.reference)}"
                )
            raise RunError(
                f"{printable(self.run.path)}: the run cannot be saved: {error.strerror or error}; "
                f"{kept}"
            ) from error

    def info(self, status: str, state: RunState | None = None) -> dict[str, Any]:
        """The content of `run.json`."""
        return {
            "status": status,
            "created": self.created,
            "saved": datetime.now(UTC).isoformat(),
            "pid": os.getpid(),
            "command": self.command,
            "model": self.card.model,
            "classes": list(self.card.classes),
            "seed": self.config.seed,
            "config": self.config.model_dump(),
            "origins": self.origins,
            "data": self.data.describe(),
            "environment": environment(self.device),
            "mixed": self.mixed,
            "result": None if state is None else result_of(state),
        }

    def _record(self, metrics: EpochMetrics) -> None:
        self.history.append(metrics.as_row())
        if self.best is None or metrics.accuracy > self.best["accuracy"]:
            self.best = {"epoch": metrics.epoch, "accuracy": metrics.accuracy}
            self.best_weights = copied(self.model.state_dict())


def prepare(resolved: Resolved, progress: Progress | None = None) -> Experiment:
    """Load the data and make model and optimizer. Writes nothing.

    Every setting that was left open (loss, device, threads) is decided here and noted in the
    config, so that the config alone repeats the run. Raises ConfigError, DataError.
    """
    config, origins = resolved.config, dict(resolved.origins)
    device = choose_device(config.device)
    set_threads(config.threads)
    keep_freed_memory()
    data = load_data(config.data, skip_bad=config.skip_bad, progress=progress)
    if device.type == "cpu":
        require_sound(config, data.image_size)
    loss = fitting_loss(config, len(data.classes))
    if config.loss == "auto" and origins.get("loss", "default") == "default":
        origins["loss"] = f"default for {len(data.classes)} classes"
    config = config.model_copy(
        update={
            "loss": loss,
            "device": device.type,
            "threads": torch.get_num_threads(),
            "data": config.data if config.data in NAMED else str(Path(config.data).absolute()),
        }
    )
    card = ModelCard(
        config.model,
        data.classes,
        data.image_size,
        model_settings(config),
        config.loss,
        even_ground(data.train_ds.tensors[0]),
    )
    model = card.build(config.seed).to(device)
    return Experiment(config, origins, data, device, model, new_optimizer(config, model), card)


def start(experiment: Experiment, folder: Path, command: list[str]) -> Run:
    """Give the experiment a new run folder below `folder`, already usable to resume from.

    Raises RunError where it cannot be written, before any training.
    """
    experiment.command, experiment.created = command, datetime.now(UTC).isoformat()
    config = experiment.config
    experiment.run = create_run(
        folder, config.model, config.seed, lambda run: _write_start(experiment, run)
    )
    return experiment.run


def train_run(
    settings: Mapping[str, Any] | None = None,
    config: str | None = None,
    folder: Path = DEFAULT_FOLDER,
) -> Run:
    """Train one run from beginning to end, as `mnistlab train` does, without a word.

    `settings` are those of the command line by name; `config` is a file or a preset. Raises
    ConfigError, DataError, RunError.
    """
    resolved = resolve(settings or {}, config)
    if resolved.config.seeds > 1:
        raise ConfigError("train_run trains one seed; for several see seeds.SeedStudy")
    experiment = prepare(resolved)
    run = start(experiment, folder, ["train_run"])
    with run.locked():
        for _ in experiment.train():
            pass
    return run


def note_start(experiment: Experiment) -> None:
    """Write config and `run.json`, so that the run can be resumed from now on. Raises RunError."""
    run = experiment.run
    assert run is not None
    try:
        _write_start(experiment, run)
    except OSError as error:
        raise unwritable(run.path, error) from error


def _write_start(experiment: Experiment, run: Run) -> None:
    text = to_toml(experiment.config, experiment.origins)
    write_whole(run.config_file, text.encode())
    run.write_info(experiment.info("running", experiment.capture()))


def kept_weights(state: RunState) -> dict[str, torch.Tensor]:
    """The weights that are the run's model: the last, or with `keep = "best"` the best ones."""
    best = state.config.get("keep") == "best" and state.best_weights
    return state.best_weights if best else state.weights


def result_of(state: RunState) -> dict[str, Any]:
    """What came out of a run, as plain data; accuracy and hash are those of the kept weights."""
    accuracy = state.history[-1]["accuracy"] if state.history else None
    if state.config.get("keep") == "best" and state.best:
        accuracy = state.best["accuracy"]
    return {
        "epochs": state.history,
        "accuracy": accuracy,
        "best": state.best,
        "weights_sha256": weights_sha256(kept_weights(state)),
    }


def copied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of its own, on the CPU, which training on does not change."""
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}


def _done(state: RunState) -> str:
    return f"after epoch {state.epoch - 1}" if state.epoch else "as drawn, before training"


def resume(
    run: Run,
    command: list[str],
    *,
    epochs: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """Take up `run` where it stopped; `epochs` is the new total.

    The thread count is that of the first part unless `threads` says otherwise, since another
    count gives other last bits. `notices` of the result names all that differs from then.
    Raises ConfigError, DataError if the data has changed, DamagedFileError.
    """
    try:
        state = load_state(run.state_file)
        settings = state.config
    except FileNotFoundError:
        state = None  # stopped before its first save: begin again, which gives the same weights
        settings = read_config(run.config_file)
    if epochs is not None:
        if settings.get("schedule") == "one-cycle" and epochs != settings.get("epochs"):
            raise ConfigError(
                f"--epochs {epochs}: the one cycle of {printable(run.name)} was laid out over "
                f"{settings.get('epochs')} epochs, and its rate ends at nothing; start a new run"
            )
        settings["epochs"] = epochs
    if threads is not None:
        settings["threads"] = threads
    try:
        config = TrainConfig(**settings)
    except ValidationError as error:
        keys = ", ".join(str(item["loc"][0]) for item in error.errors())
        raise DamagedFileError(
            f"{printable(run.path)}: its settings do not hold: {printable(keys)}"
        ) from error
    if state is not None and (config.epochs, 0) < (state.epoch, state.batch):
        begun = f" and begun epoch {state.epoch}" if state.batch else ""
        raise ConfigError(
            f"--epochs {config.epochs}: {printable(run.name)} has done {state.epoch} epochs "
            f"already{begun}"
        )
    info = _info_or_empty(run)
    origins = {**dict.fromkeys(TrainConfig.model_fields, "resumed run"), **info.get("origins", {})}
    if epochs is not None:
        origins["epochs"] = "--epochs"
    if threads is not None:
        origins["threads"] = "--threads"
    experiment = prepare(Resolved(config, origins), progress)
    experiment.run, experiment.command = run, command
    experiment.created = str(info.get("created", ""))
    if state is not None:
        _take_over(experiment, state)
    return experiment


def _take_over(experiment: Experiment, state: RunState) -> None:
    assert experiment.run is not None
    if experiment.data.fingerprint != state.data_fingerprint:
        raise DataError(
            experiment.config.data,
            [
                f"{printable(experiment.data.root)}: not the data that "
                f"{printable(experiment.run.name)} was "
                "trained on (images, labels or classes have changed); start a new run"
            ],
        )
    if state.card != experiment.card:
        raise DamagedFileError(
            f"{printable(experiment.run.state_file)}: model and settings do not agree"
        )
    restored = restore(experiment.run.state_file, state.card, state.weights)
    experiment.model.load_state_dict(restored.state_dict())
    experiment.opt.load_state(state.optimizer)
    experiment.place = Place(state.epoch, state.batch, list(state.losses.unbind()), state.seconds)
    experiment.history = state.history
    experiment.best, experiment.best_weights = state.best, state.best_weights
    experiment.mixed = state.mixed
    now = environment(experiment.device)
    for key in ("torch", "threads", "device", "platform", "processor"):
        then = state.environment.get(key)
        if then != now[key]:
            experiment.notices.append(
                f"{key} was {then}, now {now[key]}: the weights can differ in their last bits from "
                "those of an unbroken run"
            )
            experiment.mixed = True


def _info_or_empty(run: Run) -> dict[str, Any]:
    try:
        return run.info()
    except (FileNotFoundError, DamagedFileError):
        return {}
