"""Does a run repeat? Train it again from its folder, in memory, and compare to the last bit."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from mnistlab.data.moved import require_same, whereabouts
from mnistlab.data.store import Progress
from mnistlab.devices import differences, environment
from mnistlab.errors import DamagedFileError, RunError
from mnistlab.experiment import Experiment, prepare
from mnistlab.names import printable
from mnistlab.own_code import kept
from mnistlab.records import Result
from mnistlab.resolving import resolve
from mnistlab.runs import Run
from mnistlab.storage import load_model, load_state, weights_sha256
from mnistlab.studies.seeds import SeedStudy
from mnistlab.summaries import result_is_sealed

_FIGURES = {"train_loss", "valid_loss", "accuracy"}


@dataclass
class Verification:
    """Weights then and now, and what has changed in between.

    expected, actual: what → SHA-256 of its weights then and now (`weights`, or `seed 3` where there
    are several). changed: what → (then, now). first_epoch: the first whose figures differ, None if
    none does. notes: what else must be known to judge it.
    """

    run: Run
    epochs: int = 0
    expected: dict[str, str | None] = field(default_factory=dict)
    actual: dict[str, str | None] = field(default_factory=dict)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    first_epoch: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def repeats(self) -> bool:
        """Whether all weights came out again, and the files of the run agree with them."""
        files = {"model.safetensors", "result in run.json"}
        return self.expected == self.actual and not files & self.changed.keys()


def verify_run(
    run: Run,
    data: str | None = None,
    *,
    strict: bool = False,
    progress: Progress | None = None,
    show: Callable[[int], None] = lambda total: None,
) -> Verification:
    """Train `run` again and compare; writes nothing. `data` says where its data are now.

    A run that was stopped is repeated up to where it stood. `strict` refuses, before any training,
    another torch, machine or thread count than the run's. `show` is called with the number of
    epochs or seeds before they are trained. Raises RunError if the folder does not hold what is
    needed, ConfigError, DataError, DamagedFileError, DivergedError.
    """
    record = run.record()
    if not run.config_file.exists():
        raise RunError(f"{printable(run.config_file)}: no such file; it has the settings")
    result = record.result or Result()
    outcome = Verification(run)
    resolved = replace(resolve({"data": data}, str(run.config_file)), sources=kept(record.sources))
    whereabouts(run, resolved.config.data, data)
    experiment = prepare(resolved, progress)
    if data is not None:
        require_same(run, experiment.data, record.data.fingerprint)
    here = environment(experiment.device, experiment.config.model)
    outcome.changed |= differences(record.environment, here, strict=strict)
    if experiment.config.is_study:
        study, outcome.expected = SeedStudy(experiment), result.models
        if not outcome.expected:
            why = f"no {study.kind} was finished; nothing to compare with"
            raise RunError(f"{printable(run.path)}: {why}")
        outcome.epochs = len(result.band or [])
        total = outcome.epochs if experiment.config.is_wide else len(outcome.expected)
        show(total)
        list(islice(study.train(), total))
        outcome.actual = {
            f"{study.kind} {one.seed}": one.as_seed_row().weights_sha256 for one in study.results
        }
    else:
        _train_again(outcome, experiment, result, show)
    then, now = record.config.applicable(), experiment.config.applicable()
    if record.data.fingerprint == experiment.data.fingerprint:
        now.pop("data")  # the same, wherever they are
    then["data fingerprint"] = record.data.fingerprint
    now["data fingerprint"] = experiment.data.fingerprint
    outcome.changed |= differences(then, now)
    # the files of the run among themselves
    if not result_is_sealed(run, record):
        outcome.changed["result in run.json"] = ("another", "not the one in the sealed files")
    try:
        weights = weights_sha256(load_model(run.model_file)[0].state_dict())
    except FileNotFoundError:
        weights = "no such file"
    except DamagedFileError as error:
        weights = str(error)
    if weights != result.weights_sha256:
        outcome.changed["model.safetensors"] = (result.weights_sha256, weights)
    return outcome


def _train_again(
    outcome: Verification, experiment: Experiment, result: Result, show: Callable[[int], None]
) -> None:
    run = outcome.run
    try:
        state = load_state(run.state_file)
        epoch, batch, history = state.record.epoch, state.record.batch, state.record.history
        outcome.expected["weights"] = weights_sha256(state.model_weights)
        if state.record.mixed:
            outcome.notes.append(
                "it was trained in parts, on machines or thread counts that differ: its last bits "
                "repeat nowhere"
            )
    except FileNotFoundError as error:  # deleted to save space: `run.json` says enough
        history = result.epochs
        epoch, batch = len(history), 0
        outcome.expected["weights"] = result.weights_sha256
        if not history:
            raise RunError(
                f"{printable(run.path)}: stopped before its first save; nothing to compare with"
            ) from error
    outcome.epochs = epoch
    place = experiment.now.place
    show(epoch)
    rows = experiment.train(lambda: (place.epoch, place.batch) >= (epoch, batch))
    again = [metrics.as_row().model_dump(include=_FIGURES) for metrics in rows]
    before = [row.model_dump(include=_FIGURES) for row in history]
    differing = (i for i, row in enumerate(again) if before[i : i + 1] != [row])
    outcome.first_epoch = next(differing, None)
    outcome.actual["weights"] = weights_sha256(experiment.capture().model_weights)
