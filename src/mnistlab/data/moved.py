"""The data of a run, found again: where they were, or where they are now; never other data."""

import os

from mnistlab.data.datasets import NAMED
from mnistlab.data.store import ImageData
from mnistlab.errors import DataError
from mnistlab.names import printable
from mnistlab.runs import Run


def whereabouts(run: Run, recorded: str, given: str | None = None) -> str:
    """How `--data` names the data of `run`: as `given`, else as it was `recorded`.

    Raises DataError, which names the flag, where nothing is left at the recorded place.
    """
    if given is not None:
        return given
    if recorded in NAMED or os.path.exists(recorded):
        return recorded
    why = f"no such folder; the data of {printable(run.name)} were there; name the place now with"
    raise DataError(recorded, [f"{printable(recorded)}: {why} --data"])


def require_same(run: Run, data: ImageData, fingerprint: str) -> None:
    """Raise DataError unless `data` have the `fingerprint` of those that `run` was trained on."""
    if data.fingerprint != fingerprint:
        why = f"not the data that {printable(run.name)} was trained on"
        changed = "images, labels or classes have changed"
        raise DataError(data.name, [f"{printable(data.root)}: {why} ({changed})"])
