"""Taking up a run where it stopped, so that it ends as if it had never been stopped."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from mnistlab.config import MODEL_DEFAULTS, SETTINGS, checked
from mnistlab.data.named import require_same, whereabouts
from mnistlab.data.store import Progress
from mnistlab.devices import differences, environment, in_words
from mnistlab.errors import ConfigError, DamagedFileError
from mnistlab.experiment import Experiment, prepare
from mnistlab.names import printable
from mnistlab.own_code import kept
from mnistlab.processes import ALONE, Team
from mnistlab.resolving import Resolved, read_toml
from mnistlab.runs import Run
from mnistlab.storage import RunState, load_state
from mnistlab.training import Place


def resume(
    run: Run,
    command: Sequence[str],
    *,
    epochs: int | None = None,
    threads: int | None = None,
    data: str | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    team: Team = ALONE,
) -> Experiment:
    """Take up `run` where it stopped, so that it ends as if it had never been; `epochs` is the new
    total, `data` says where its data are now.

    The thread count is that of the first part unless `threads` says otherwise, since another
    count gives other last bits. `notices` of the result names all that differs from then; `strict`
    refuses it. Raises ConfigError, DataError if the data has changed, DamagedFileError.
    """
    try:
        state = load_state(run.state_file)
        settings = dict(state.record.config)
    except FileNotFoundError:
        state = None  # stopped before its first save: begin again, which gives the same weights
        written = read_toml(run.config_file)  # only what applies to its model
        settings = MODEL_DEFAULTS.get(str(written.get("model")), {}) | written
    name = printable(run.name)
    laid_out = settings.get("epochs")
    if settings.get("schedule") == "one-cycle" and epochs not in (None, laid_out):
        raise ConfigError(
            f"--epochs {epochs}: the one cycle of {name} was laid out over {laid_out} epochs, and "
            "its rate ends at nothing; start a new run"
        )
    flags = {"epochs": epochs, "threads": threads, "data": data}
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        config = checked(settings | given)
    except ValidationError as error:
        keys = ", ".join(str(item["loc"][0]) for item in error.errors())
        raise DamagedFileError(
            f"{printable(run.path)}: its settings cannot be right: {printable(keys)}"
        ) from error
    if state is not None and (config.epochs, 0) < (state.record.epoch, state.record.batch):
        begun = f" and begun epoch {state.record.epoch}" if state.record.batch else ""
        raise ConfigError(
            f"--epochs {config.epochs}: {name} has done {state.record.epoch} epochs already{begun}"
        )
    record = run.known_record()
    origins = dict.fromkeys(SETTINGS, "resumed run") | (record.origins if record else {})
    origins |= {key: f"--{key}" for key in given}
    config = replace(config, data=whereabouts(run, config.data, data))
    sources = state.card.sources if state else kept(record.sources) if record else {}
    resolved, restored = Resolved(config, origins, sources), state is not None
    experiment = prepare(resolved, progress, restored=restored, team=team)
    if state is not None:
        require_same(run, experiment.data, state.record.data_fingerprint)
    elif record is not None:
        require_same(run, experiment.data, record.data.fingerprint)
    created, own = record.created if record else "", run if team.rank == 0 else None
    experiment = replace(experiment, run=own, command=tuple(command), created=created)
    return experiment if state is None else _restored(experiment, run, state, strict)


@contextmanager
def known_to_all(run: Run | None, team: Team) -> Generator[Run | None]:
    """Context with the run that the first process resumes: in the others, with a copy of its files.

    Their machines need not have the folder. None where the first has none.
    """
    own = [run.config_file, run.record_file, run.state_file] if run is not None else []
    names = team.share([file.name for file in own if file.exists()])[0]
    with TemporaryDirectory() if team.rank > 0 else nullcontext(".") as folder:
        for name in names if team.size > 1 else []:
            if run is not None:
                team.put(name, (run.path / name).read_bytes())
            else:
                (Path(folder) / name).write_bytes(team.get(name))
        yield Run(Path(folder)) if names and run is None else run


def _restored(experiment: Experiment, run: Run, state: RunState, strict: bool) -> Experiment:
    """The experiment at the place and with the weights of `state`."""
    record, now = state.record, experiment.now
    # the first versions did not say what ground images have, which training does not use
    if state.card != replace(experiment.card, ground=state.card.ground):
        raise DamagedFileError(f"{printable(run.state_file)}: model and settings do not agree")
    now.model.load_state_dict(state.weights)
    if not hasattr(now.opt, "load_state"):
        why = "has no state and load_state, so it trains whole runs only; start a new run"
        raise ConfigError(f"--resume: {printable(experiment.config.optimizer)} {why}")
    now.opt.load_state(state.optimizer)
    now.place = Place(record.epoch, record.batch, list(state.losses.unbind()), record.seconds)
    now.history, now.best = list(record.history), record.best
    now.best_weights = state.best_weights
    here = environment(experiment.device, experiment.config.model)
    notices = tuple(
        f"{text}: the weights can differ in their last bits from those of an unbroken run"
        for text in in_words(differences(record.environment, here, strict=strict))
    )
    return replace(experiment, notices=notices, mixed=record.mixed or bool(notices))
