"""Where a config becomes objects: dataset, model, optimizer, run folder.

`prepare` makes everything that a config means, `start` gives it a run folder, `Experiment.train`
trains and saves. `resuming.py` makes the experiment of a run that stopped.

`mnistlab train` calls, from the outside in:

    prepare, start                 here: data, model, optimizer; the run folder
    Experiment.train               here: keeps the history, saves
      run_epochs                   here: hands over what the config says
        training.train_epochs      one EpochMetrics after each epoch
          training.train_batches   one step for each batch
"""

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.config import DATA_SETTINGS, TrainConfig, checked, short
from mnistlab.data.background import even_background
from mnistlab.data.batches import batches, count_batches, to_float
from mnistlab.data.layouts import options_of
from mnistlab.data.named import load_data
from mnistlab.data.splitting import Folds, folds_of
from mnistlab.data.store import ImageData, Progress
from mnistlab.devices import choose_device, choose_precision, environment, set_threads
from mnistlab.errors import ConfigError, DivergedError, RunError
from mnistlab.files import user_path, write_whole
from mnistlab.losses import Loss, class_weights, fitting_loss, training_loss
from mnistlab.metrics import EpochMetrics
from mnistlab.models import ModelCard, PixelSimilarity
from mnistlab.names import printable
from mnistlab.optim import BasicOptim, new_optimizer, one_cycle
from mnistlab.own_checks import check_own
from mnistlab.own_code import read, remember
from mnistlab.parts import Parts, check_divisible
from mnistlab.processes import ALONE, LostError, Team
from mnistlab.records import Best, DataRecord, EpochRow, Result, RunRecord
from mnistlab.resolving import Resolved, resolve, to_toml
from mnistlab.runs import DEFAULT_FOLDER, Run, create_run
from mnistlab.storage import (
    RunState,
    StateRecord,
    copied,
    first_weights,
    save_model,
    save_state,
    weights_sha256,
)
from mnistlab.training import Place, Recipe, check_model, fit_epoch, train_epochs

SAVE_EVERY = 2.0  # seconds between saves; a hard kill loses at most this and the epoch under way
_MODELS_OF_THE_CHAPTER = ("linear", "two-layer", "pixel-similarity")


@dataclass
class TrainingState:
    """What changes while a run is trained: weights, optimizer, place, and what came out so far."""

    model: nn.Module
    opt: BasicOptim
    place: Place = field(default_factory=Place)
    history: list[EpochRow] = field(default_factory=list)
    best: Best | None = None
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A training run in memory: everything made from one config.

    run: the folder that it is saved in, None for none. command, created: for `run.json`.
    notices: what differs from the machine on which it was begun. mixed: trained in parts, on
    machines or thread counts that differ. n_batches: of an epoch. taken: the weights of another run
    to begin with. folds: those of `train --folds`. team: the processes that train it, of which the
    first has `run`.
    """

    config: TrainConfig
    origins: dict[str, str]
    data: ImageData
    device: torch.device
    card: ModelCard
    now: TrainingState
    run: Run | None = None
    command: tuple[str, ...] = ()
    created: str = ""
    notices: tuple[str, ...] = ()
    mixed: bool = False
    n_batches: int = 0
    taken: Mapping[str, torch.Tensor] = field(default_factory=dict)
    folds: Folds | None = None
    team: Team = ALONE

    def draw(self, seed: int) -> nn.Module:
        """A new model on the device, drawn from `seed`, with what is taken from another run."""
        model = self.card.build(seed)
        model.load_state_dict(dict(self.taken), strict=False)
        return model.to(self.device)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(param.numel() for param in self.now.model.parameters())

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` epochs have passed since the best one."""
        if not self.config.patience or self.now.best is None:
            return False
        return self.now.place.epoch - 1 - self.now.best.epoch >= self.config.patience

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.now.place.epoch >= self.config.epochs or self.out_of_patience

    def train(self, stop: Callable[[], bool] = lambda: False) -> Generator[EpochMetrics]:
        """Train to the last epoch, saving on the way; one `EpochMetrics` after each epoch.

        When `stop()` turns true, the batch under way is finished, all is saved, and it ends.
        Raises DivergedError (the last good weights are saved), RunError if a save fails.
        """
        now, team = self.now, self.team
        team.asked = stop
        now.place.stop = stop if team.size == 1 else lambda: team.stopped
        good = self.capture()
        saved_at = time.monotonic()
        try:
            for metrics in run_epochs(self, now.model, now.opt, self.config.seed, now.place):
                now.history.append(metrics.as_row())
                if now.best is None or metrics.accuracy > now.best.accuracy:
                    now.best = Best(epoch=metrics.epoch, accuracy=metrics.accuracy)
                    now.best_weights = copied(now.model.state_dict())
                good = self.capture()
                if team.size > 1:
                    team.require_same({"weights": weights_sha256(good.weights)})
                yield metrics
                if self.out_of_patience:
                    break
                if time.monotonic() - saved_at > SAVE_EVERY:
                    self.save(good, "running")
                    saved_at = time.monotonic()
        except LostError as error:
            self.save(self.capture(), "stopped")
            if self.run is not None:
                again = f"mnistlab train --resume {printable(self.run.reference)}"
                error.args = (f"{error}\nall is saved; go on with: {again}",)
            raise
        except DivergedError as error:
            self.save(good, "diverged")
            if self.run is None:
                raise
            raise DivergedError(
                f"{error}; the last good weights (after {good.record.epoch} epochs) are in "
                f"{printable(self.run.path)}"
            ) from error
        self.save(self.capture(), "done" if self.finished else "stopped")

    def on_device(self) -> tuple[TensorDataset, TensorDataset]:
        """The training and the validation images and labels on the device."""
        both = [self.data.train_ds.tensors, self.data.valid_ds.tensors]
        train, valid = (TensorDataset(*(one.to(self.device) for one in part)) for part in both)
        return train, valid

    def train_loss(self) -> Loss:
        """What a step makes smaller."""
        smoothing, weights, data = self.config.label_smoothing, None, self.data
        if self.config.class_weights == "balanced":
            weights = class_weights(data.train_ds.tensors[1], len(data.classes)).to(self.device)
        return training_loss(self.card.loss_func(), smoothing, weights)

    def capture(self) -> RunState:
        """The run as it stands, copied, so that training on does not change it."""
        now = self.now
        losses = torch.stack(now.place.losses).cpu() if now.place.losses else torch.empty(0)
        record = StateRecord(
            config=asdict(self.config),
            data_fingerprint=self.data.fingerprint,
            environment=environment(self.device, self.config.model),
            epoch=now.place.epoch,
            batch=now.place.batch,
            seconds=now.place.seconds,
            history=list(now.history),
            best=now.best,
            mixed=self.mixed,
        )
        weights = copied(now.model.state_dict())
        state = copied(now.opt.state()) if hasattr(now.opt, "load_state") else {}
        return RunState(self.card, record, weights, now.best_weights, losses, state)

    def save(self, state: RunState, status: str) -> None:
        """Write `state` to the run folder, if there is one. Raises RunError.

        The state file comes first: it alone decides where a resumed run goes on. The others
        follow from it and are written again at the next save.
        """
        if self.run is None:
            return
        result = state.result()
        digest = result.digest()
        try:
            save_state(self.run.state_file, state)
            save_model(self.run.model_file, state.model_weights, state.card, digest)
            if state.best_weights:
                save_model(self.run.best_file, state.best_weights, state.card, digest)
            self.run.write_metrics([(None, row) for row in state.record.history])
            self.run.write_record(self.record(status, result))
        except OSError as error:
            raise RunError(
                f"{printable(self.run.path)}: the run cannot be saved: {error.strerror or error}; "
                "the files of the last save were not touched; when this is mended: mnistlab train "
                f"--resume {printable(self.run.reference)}"
            ) from error

    def record(self, status: str, result: Result | None = None) -> RunRecord:
        """The content of `run.json`."""
        return RunRecord(
            status=status,
            created=self.created,
            saved=datetime.now(UTC).isoformat(),
            pid=os.getpid(),
            command=list(self.command),
            model=self.card.model,
            classes=list(self.card.classes),
            seed=self.config.seed,
            config=self.config,
            origins={key: self.origins[key] for key in self.config.applicable()},
            data=DataRecord(**self.data.describe()),
            environment=environment(self.device, self.config.model),
            mixed=self.mixed,
            launch=self.team.run_id,
            result=result,
            sources=asdict(self.card)["sources"],
        )

    def write_start(self, run: Run) -> None:
        """Write config and `run.json` into `run`, which can then be resumed. Raises OSError."""
        write_whole(run.config_file, to_toml(self.config.applicable(), self.origins).encode())
        run.write_record(self.record("running", self.capture().result()))


def prepare(
    resolved: Resolved,
    progress: Progress | None = None,
    *,
    data: ImageData | None = None,
    restored: bool = False,
    team: Team = ALONE,
) -> Experiment:
    """Load the data, unless they are given, and make model and optimizer. Writes nothing.

    Every setting that was left open (loss, device, threads) is decided here and noted in the
    config, so that the config alone repeats the run. `restored`: the weights come from a save, so
    that a run to begin with is not needed. Raises ConfigError, DataError.
    """
    config, origins = resolved.config, dict(resolved.origins)
    device = choose_device(config.device)
    team.claim(device)
    set_threads(config.threads)
    sources = read(config, origins, resolved.sources)
    if data is None:
        with team.first_on_each_machine():
            data = load_data(config.data, options_of(config), progress=progress)
    chapter = config.model in _MODELS_OF_THE_CHAPTER
    loss = fitting_loss(config.loss, len(data.classes), config.label_smoothing, chapter=chapter)
    if config.loss == "auto" and origins.get("loss", "default") == "default":
        origins["loss"] = f"default for {len(data.classes)} classes"
    decided = {
        "loss": loss,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "data": data.name,
        "valid": config.valid and str(Path(config.valid).absolute()),
        "exclude": config.exclude and str(Path(config.exclude).absolute()),
        "image_size": "{}x{}".format(*data.image_size) if data.fit else config.image_size,
    }
    config = checked(asdict(config) | decided)
    ground, own = even_background(data.train_ds.tensors[0]), config.model_settings()
    model_name, size = short(config.model), data.image_size
    card = ModelCard(model_name, data.classes, size, own, short(loss), ground, data.fit, sources)
    if sources:
        check_own(card, config, origins, data.train_ds)
    model = card.build(config.seed)
    taken: dict[str, torch.Tensor] = {}
    if config.from_run and not restored:
        taken, from_run = first_weights(config, card)
        model.load_state_dict(taken, strict=False)
        config = replace(config, from_run=from_run)
    _, least = check_model(model, data.train_ds, len(data.classes))
    if config.micro_batches > 1:
        check_divisible(model, to_float(data.train_ds.tensors[0][:2]))
    n_batches = count_batches(len(data.train_ds), config.batch_size, least)
    model = model.to(device)
    if config.precision != "fp32":
        ends = [
            batches(data.train_ds, config.batch_size, None, at, least) for at in {0, n_batches - 1}
        ]
        tried = [to_float(next(end)[0]).to(device) for end in ends]
        bf16, why = choose_precision(config.precision, model, tried)
        config = replace(config, precision="bf16" if bf16 else "fp32")
        origins["precision"] = why or origins.get("precision", "default")
    now = TrainingState(model, new_optimizer(config, model, sources))
    folds = folds_of(data, config.folds) if config.folds else None
    made = Experiment(config, origins, data, device, card, now, n_batches=n_batches, taken=taken)
    return replace(made, folds=folds, team=team)


def start(experiment: Experiment, folder: Path, command: Sequence[str]) -> Experiment:
    """The experiment with a new run folder below `folder`, already usable to resume from.

    Of several processes the first one has the folder. Raises RunError where it cannot be written,
    before any training.
    """
    created = datetime.now(UTC).isoformat()
    started = replace(experiment, command=tuple(command), created=created)
    if started.team.rank > 0:
        return started
    run = create_run(folder, started.config.model, started.config.seed, started.write_start)
    remember(started.card.sources)
    return replace(started, run=run)


def train_run(
    settings: Mapping[str, Any] | None = None,
    config: str | None = None,
    folder: Path = DEFAULT_FOLDER,
    *,
    data: ImageData | None = None,
) -> Run:
    """Train one run from beginning to end, as `mnistlab train` does, and print nothing.

    `settings` are those of the command line by name; `config` is a file or a preset. `data`: images
    in memory, in place of the setting. Raises ConfigError, DataError, RunError.
    """
    settings = settings or {}
    resolved = resolve(settings, config, user_path(folder))
    if data is not None and (given := {*DATA_SETTINGS} & {*settings}):
        raise ConfigError(f"{', '.join(sorted(given))}: given twice, as `data` is too")
    if resolved.config.is_study:
        raise ConfigError(
            "train_run trains one seed and no folds; for several see studies.seeds.SeedStudy"
        )
    experiment = start(prepare(resolved, data=data), user_path(folder), ["train_run"])
    assert experiment.run is not None
    with experiment.run.locked():
        for _ in experiment.train():
            pass
    return experiment.run


def run_epochs(
    experiment: Experiment, model: nn.Module, opt: BasicOptim, seed: int, place: Place
) -> Generator[EpochMetrics]:
    """The loop as the config says, for a model that was drawn from `seed`."""
    config = experiment.config
    train_ds, valid_ds = experiment.on_device()
    loss_func, classes = experiment.card.loss_func(), experiment.card.classes
    if isinstance(model, PixelSimilarity):  # the baseline
        return fit_epoch(model, loss_func, train_ds, valid_ds, classes, place)
    return train_epochs(
        model,
        opt,
        loss_func,
        train_ds,
        valid_ds,
        classes,
        epochs=config.epochs,
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        seed=config.order_of(seed),
        recipe=recipe_of(config, experiment.n_batches, experiment.train_loss(), experiment.team),
        place=place,
    )


def recipe_of(config: TrainConfig, n_batches: int, train_loss: Loss, team: Team = ALONE) -> Recipe:
    """What `config` adds to the chapter's loop over `n_batches` an epoch."""
    schedule = None
    if config.schedule == "one-cycle":
        momentum = config.momentum if config.applies("momentum") else 0.0
        n_steps = config.epochs * n_batches
        schedule = one_cycle(config.lr, momentum, n_steps, warmup=config.warmup)
    return Recipe(
        train_loss=train_loss,
        schedule=schedule,
        augment=config.augment,
        bf16=config.precision == "bf16",
        parts=Parts(config.micro_batches, team) if config.micro_batches > 1 else None,
    )
