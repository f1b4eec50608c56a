"""Where a config becomes objects: dataset, model, optimizer, run folder. Start, train, save."""

import os
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.checkpoint import (
    ModelCard,
    RunState,
    save_model,
    save_state,
    weights_sha256,
)
from mnistlab.config import Resolved, TrainConfig, resolve, to_toml
from mnistlab.data.folders import ImageFolders, Progress
from mnistlab.data.ground import even_ground
from mnistlab.data.named import NAMED, load_data
from mnistlab.devices import choose_device, environment, keep_freed_memory, set_threads
from mnistlab.errors import ConfigError, DivergedError, RunError
from mnistlab.files import write_whole
from mnistlab.metrics import EpochMetrics
from mnistlab.names import printable
from mnistlab.optim import BasicOptim
from mnistlab.recipe import (
    fitting_loss,
    model_settings,
    new_optimizer,
    require_sound,
    run_epochs,
)
from mnistlab.runs import DEFAULT_FOLDER, Run, create_run, unwritable
from mnistlab.training import Place

SAVE_EVERY = 2.0  # seconds between saves; a hard kill loses at most this and the epoch under way


@dataclass
class Experiment:
    """A training run in memory: everything made from one config, at one place of the run."""

    config: TrainConfig
    origins: dict[str, str]
    data: ImageFolders
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
