"""Does a run repeat? Train it again from its folder, in memory, and compare to the last bit."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mnistlab.baseline import fit_baseline
from mnistlab.config import SETTINGS_OF_MODELS, resolve
from mnistlab.data.folders import ImageData, Progress
from mnistlab.data.named import load_data
from mnistlab.devices import choose_device, environment, set_threads
from mnistlab.errors import DamagedFileError, RunError
from mnistlab.experiment import Experiment, kept_weights, prepare
from mnistlab.names import printable
from mnistlab.runs import Run
from mnistlab.storage import load_model, load_state, weights_sha256
from mnistlab.studies.seeds import SeedStudy

Show = Callable[[int, int], None]
"""Called as show(done, total) after each epoch or seed."""

# What of an environment can change the last bits.
_BITS = ("mnistlab", "torch", "python", "platform", "processor", "device", "threads")


@dataclass
class Verification:
    """Weights then and now, and what has changed in between.

    `expected` and `found`: what → SHA-256 of its weights (`weights`, or `seed 3` where there are
    several). `changed`: what → (then, now). `first_epoch` is the first whose figures differ, None
    if none does. `notes` says what else must be known to judge it.
    """

    run: Run
    epochs: int = 0
    expected: dict[str, str | None] = field(default_factory=dict)
    found: dict[str, str | None] = field(default_factory=dict)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    first_epoch: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def repeats(self) -> bool:
        """Whether all weights came out again, and are those in the run's model file."""
        return self.expected == self.found and "model.safetensors" not in self.changed


def verify_run(
    run: Run, *, progress: Progress | None = None, show: Show = lambda done, total: None
) -> Verification:
    """Train `run` again and compare; writes nothing.

    A run that was stopped is repeated up to where it stood. Raises RunError if the folder does not
    hold what is needed, ConfigError, DataError, DamagedFileError, DivergedError.
    """
    record = _record(run)
    found = Verification(run)
    if record["config"].get("model") == "pixel-similarity":
        settings, data, device = _fit_again(found, record, progress)
    else:
        if not run.config_file.exists():
            raise RunError(f"{printable(run.config_file)}: no such file; it has the settings")
        experiment = prepare(resolve({}, str(run.config_file)), progress)
        again = _seeds_again if experiment.config.seeds > 1 else _train_again
        again(found, experiment, record["result"], show)
        settings, data = experiment.config.model_dump(), experiment.data
        device = experiment.device.type
    _compare_settings(found, record["config"], settings)
    _note(found, "data fingerprint", record["data"].get("fingerprint"), data.fingerprint)
    now = environment(choose_device(device))
    for key in _BITS:
        _note(found, key, record["environment"].get(key), now[key])
    _compare_model_file(found, record["result"])
    return found


def _record(run: Run) -> dict[str, Any]:
    """`run.json`, as far as it is needed. Raises RunError."""
    try:
        info = run.info()
        parts = {key: dict(info[key]) for key in ("config", "environment", "data")}
        return parts | {"result": dict(info["result"] or {})}
    except (OSError, KeyError, TypeError, ValueError, DamagedFileError) as error:
        raise RunError(
            f"{printable(run.info_file)}: does not say what came out; nothing to compare with"
        ) from error


def _fit_again(
    found: Verification, record: dict[str, Any], progress: Progress | None
) -> tuple[dict[str, Any], ImageData, str]:
    try:
        settings = tomllib.loads(found.run.config_file.read_text(encoding="utf-8"))
        name, skip = str(settings["data"]), bool(settings["skip_bad"])
        distance, device = str(settings["distance"]), str(settings["device"])
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{printable(found.run.config_file)}: does not hold the settings of a baseline"
        ) from error
    threads = record["environment"].get("threads")
    set_threads(threads if isinstance(threads, int) else None)
    data = load_data(name, skip_bad=skip, progress=progress)
    fitted = fit_baseline(data, distance, device)
    found.epochs = 1
    found.expected["weights"] = record["result"].get("weights_sha256")
    found.found["weights"] = weights_sha256(fitted.model.state_dict())
    return settings, data, device


def _train_again(
    found: Verification, experiment: Experiment, result: dict[str, Any], show: Show
) -> None:
    try:
        state = load_state(found.run.state_file)
        epoch, batch, history = state.epoch, state.batch, state.history
        found.expected["weights"] = weights_sha256(kept_weights(state))
        if state.mixed:
            found.notes.append(
                "it was trained in parts, on machines or thread counts that differ: its last bits "
                "repeat nowhere"
            )
    except FileNotFoundError as error:  # deleted to save space: `run.json` knows enough
        history = list(result.get("epochs") or [])
        epoch, batch = len(history), 0
        found.expected["weights"] = result.get("weights_sha256")
        if not history:
            raise RunError(
                f"{printable(found.run.path)}: stopped before its first save; nothing to compare "
                "with"
            ) from error
    found.epochs = epoch
    place = experiment.place
    show(0, epoch)
    for metrics in experiment.train(lambda: (place.epoch, place.batch) >= (epoch, batch)):
        show(metrics.epoch + 1, epoch)
        if found.first_epoch is None and not _same(history, metrics.as_row()):
            found.first_epoch = metrics.epoch
    found.found["weights"] = weights_sha256(kept_weights(experiment.capture()))


def _seeds_again(
    found: Verification, experiment: Experiment, result: dict[str, Any], show: Show
) -> None:
    then = {f"seed {row['seed']}": row["weights_sha256"] for row in result.get("seeds", [])}
    if not then:
        raise RunError(
            f"{printable(found.run.path)}: no seed was finished; nothing to compare with"
        )
    study = SeedStudy(experiment)
    found.epochs, wide = len(result["band"]), experiment.config.is_wide
    total = found.epochs if wide else len(then)
    show(0, total)
    rows = study.train(lambda: wide and study.place.epoch >= found.epochs)
    for done, _ in enumerate(rows, 1):
        show(done, total)
        if done == total:
            break
    found.expected = dict(then)
    found.found = {f"seed {one.seed}": one.as_dict()["weights_sha256"] for one in study.results}


def _compare_settings(found: Verification, then: dict[str, Any], now: dict[str, Any]) -> None:
    model = now.get("model")
    for key in now.keys() & then.keys():
        if model in SETTINGS_OF_MODELS.get(key, (model,)):
            _note(found, key, then[key], now[key])


def _compare_model_file(found: Verification, result: dict[str, Any]) -> None:
    recorded = result.get("weights_sha256")
    try:
        kept = weights_sha256(load_model(found.run.model_file)[0].state_dict())
    except FileNotFoundError:
        kept = "no such file"
    except DamagedFileError as error:
        kept = str(error)
    _note(found, "model.safetensors", recorded, kept)


def _note(found: Verification, what: str, then: Any, now: Any) -> None:
    if then != now:
        found.changed[what] = (then, now)


def _same(history: list[dict[str, Any]], row: dict[str, Any]) -> bool:
    if row["epoch"] >= len(history):
        return False
    keys = ("train_loss", "valid_loss", "accuracy")
    return all(history[row["epoch"]].get(key) == row[key] for key in keys)
