"""Every run in a line: what it was, what came of it, and whether its files agree. No torch."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistlab.errors import ConfigError
from mnistlab.names import natural_key, nearest
from mnistlab.runs import Run, list_runs

if TYPE_CHECKING:  # it brings pydantic, which --help does without
    from mnistlab.records import RunRecord


@dataclass(frozen=True)
class RunSummary:
    """What a run was and what came of it; None for what its folder does not say.

    status: done, stopped, running, killed (it says running, but nobody holds it), diverged, edited
    (its result is not the one in its model file), damaged (`run.json` cannot be read). epochs:
    those done. accuracy: the last one (of several seeds, the median seed's). best: that of the
    best epoch (of several seeds, of the best seed). seconds: of all epochs and seeds.
    """

    name: str
    path: str
    created: str | None = None
    model: str | None = None
    seed: int | None = None
    seeds: int = 1
    status: str = "damaged"
    epochs: int | None = None
    accuracy: float | None = None
    best: float | None = None
    seconds: float | None = None
    data: str | None = None
    lr: float | None = None


def summarize(run: Run) -> RunSummary:
    """The summary of one run; never fails for what is in its folder."""
    record = run.known_record()
    if record is None:
        return RunSummary(run.name, str(run.path))
    status = record.status
    if status == "running" and not run.is_locked():
        status = "killed"
    elif not result_is_sealed(run, record):
        status = "edited"
    config, result = record.config, record.result
    epochs = result.epochs if result else []
    # of several seeds the epochs are one seed's; the band has the time of all
    band = [float(row.get("seconds", 0.0)) for row in (result and result.band) or []]
    seconds = band or [row.seconds for row in epochs]
    return RunSummary(
        name=run.name,
        path=str(run.path),
        created=record.created or None,
        model=record.model,
        seed=config.seed,
        seeds=config.seeds,
        status=status,
        epochs=len(epochs) if result else None,
        accuracy=result.accuracy if result else None,
        best=result.best.accuracy if result and result.best else None,
        seconds=round(sum(seconds), 6) if seconds else None,
        data=config.data,
        lr=config.lr if config.applies("lr") else None,
    )


SORTABLE = ("created", "name", "model", "status", "epochs", "accuracy", "best", "seconds")


def summaries(
    folder: Path, sort: str = "created", *, reverse: bool = False, limit: int | None = None
) -> list[RunSummary]:
    """Every run in `folder`, sorted; those that have no such value come last.

    `limit` keeps so many of those that have one: the first of a reversed order, else the last.
    Raises ConfigError for an unknown `sort`, RunError if the folder cannot be listed.
    """
    if sort not in SORTABLE:
        raise ConfigError(f"--sort {sort}{nearest(sort, SORTABLE)}")
    runs = [summarize(run) for run in list_runs(folder)]
    known = [run for run in runs if getattr(run, sort) is not None]
    key: Any = natural_key if sort in ("name", "model", "status", "created") else float
    known.sort(key=lambda run: key(getattr(run, sort)), reverse=reverse)
    if limit is None:
        return known + [run for run in runs if getattr(run, sort) is None]
    return known[:limit] if reverse else known[-limit:]


def result_is_sealed(run: Run, record: "RunRecord") -> bool:
    """Whether the result in `run.json` is the one in the model file; True if that lacks it.

    Only its header is read, so that hundreds of runs take no time; `verify` and `eval` check the
    seal.
    """
    result = record.result
    if result is None or record.status == "running":
        return True
    from safetensors import SafetensorError, safe_open  # only here: --help shall be quick

    broken = (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError)
    with contextlib.suppress(*broken), safe_open(run.model_file, "numpy") as file:
        sealed = json.loads(file.metadata()["mnistlab"])["result"]
        return sealed in (None, result.digest())
    return True
