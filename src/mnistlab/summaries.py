"""Every run of a folder in a line: read from `run.json` alone, so that hundreds take no time."""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnistlab.errors import ConfigError, DamagedFileError
from mnistlab.names import natural_key, nearest
from mnistlab.runs import Run, list_runs


@dataclass(frozen=True)
class RunSummary:
    """What a run was and what came of it; None for what its folder does not say.

    `status`: done, stopped, running, killed (it says running, but nobody holds it), diverged,
    damaged (`run.json` cannot be read). `epochs` are those done; `accuracy` is the last one (of
    several seeds, the median seed's); `best` is that of the best epoch (of several seeds, of the
    best seed); `seconds` is the time of all epochs and seeds.
    """

    name: str
    path: str
    created: str | None
    model: str | None
    seed: int | None
    seeds: int
    status: str
    epochs: int | None
    accuracy: float | None
    best: float | None
    seconds: float | None
    data: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def summarize(run: Run) -> RunSummary:
    """The summary of one run; never fails for what is in its folder."""
    info: dict[str, Any] = {}
    status = "damaged"
    with contextlib.suppress(OSError, DamagedFileError):
        info = run.info()
        status = str(info.get("status", "damaged"))
    if status == "running" and not run.is_held():
        status = "killed"
    result, config = _part(info, "result"), _part(info, "config")
    epochs = result.get("epochs")
    rows = [row for row in epochs if isinstance(row, dict)] if isinstance(epochs, list) else []
    # of several seeds the epochs are one seed's; the band has the time of all
    timed = result.get("band") or rows
    seconds = [row["seconds"] for row in timed if isinstance(row.get("seconds"), int | float)]
    return RunSummary(
        name=run.name,
        path=str(run.path),
        created=_text(info.get("created")),
        model=_text(info.get("model")),
        seed=_whole(config.get("seed")),
        seeds=_whole(config.get("seeds")) or 1,
        status=status,
        epochs=len(rows) if result else None,
        accuracy=_number(result.get("accuracy")),
        best=_number(_part(result, "best").get("accuracy")),
        seconds=round(sum(seconds), 6) if rows else None,
        data=_text(config.get("data")),
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
    found: Sequence[RunSummary] = [summarize(run) for run in list_runs(folder)]
    known = [one for one in found if getattr(one, sort) is not None]
    known.sort(key=lambda one: _sort_key(getattr(one, sort)), reverse=reverse)
    rest = [one for one in found if getattr(one, sort) is None]
    if limit is None:
        return known + rest
    return known[:limit] if reverse else known[-limit:]


def _sort_key(value: Any) -> Any:
    return natural_key(value) if isinstance(value, str) else value


def _part(info: dict[str, Any], key: str) -> dict[str, Any]:
    part = info.get(key)
    return part if isinstance(part, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
