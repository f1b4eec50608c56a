"""Take up a run where it stopped, so that it ends as if it had never been."""

from typing import Any

from pydantic import ValidationError

from mnistlab.checkpoint import RunState, load_state, restore
from mnistlab.config import Resolved, TrainConfig, read_config
from mnistlab.data.folders import Progress
from mnistlab.devices import environment
from mnistlab.errors import ConfigError, DamagedFileError, DataError
from mnistlab.experiment import Experiment, prepare
from mnistlab.names import printable
from mnistlab.runs import Run
from mnistlab.training import Place


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
