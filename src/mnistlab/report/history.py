"""The epochs of a run as curves; of several seeds, inside the band that they make."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from mnistlab.report.pictures import Curves

Rows = list[dict[str, Any]]
# validation first: so it has the same colour in both pictures
_LOSSES = {"valid_loss": "validation", "train_loss": "training"}


def epochs_of(info: Mapping[str, Any]) -> Rows:
    """The epochs of a run (of its median seed, if it has several) that have all their figures."""
    return _rows(result_of(info).get("epochs"), ("epoch", *_LOSSES, "accuracy"))


def band_of(info: Mapping[str, Any]) -> Rows:
    """How all seeds of a run spread, epoch by epoch; empty for a run of one seed."""
    return _rows(result_of(info).get("band"), ("epoch", *_LOSSES, "mean", "min", "max"))


def seeds_of(info: Mapping[str, Any]) -> Rows:
    """The last figures of each seed of a run; empty for a run of one. A diverged one has none."""
    found = result_of(info).get("seeds")
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def result_of(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result in `run.json`; empty where there is none."""
    return mapping(info.get("result"))


def best_epoch(info: Mapping[str, Any]) -> Any:
    """The epoch of the best weights; None for a run of several seeds, whose best is a seed."""
    return None if seeds_of(info) else mapping(result_of(info).get("best")).get("epoch")


def curves_of(info: Mapping[str, Any]) -> list[Curves]:
    """Loss and accuracy by epoch; none for fewer than two epochs.

    Of a run of several seeds: the means, and the accuracies inside the range from the lowest to
    the highest seed.
    """
    rows, band = epochs_of(info), band_of(info)
    if len(rows) < 2:
        return []
    told, loss_rows = "mean over the images", rows
    accuracies = {"validation": _series(rows, "accuracy")}
    ranges = {}
    if len(band) > 1:
        told, loss_rows = "mean over images and seeds", band
        accuracies = {"mean": _series(band, "mean"), "median seed": _series(rows, "accuracy")}
        low, high = _series(band, "min")[1], _series(band, "max")[1]
        ranges = {"all seeds": (_series(band, "min")[0], low, high)}
    best = [row for row in rows if row["epoch"] == best_epoch(info)]
    return [
        Curves(
            "Loss",
            {name: _series(loss_rows, key) for key, name in _LOSSES.items()},
            "epoch",
            told,
        ),
        Curves(
            "Accuracy",
            accuracies,
            "epoch",
            "share of the validation images right",
            dots={"best": _series(best, "accuracy")} if best else {},
            bands=ranges,
        ),
    ]


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is one, else an empty one: `run.json` may hold anything."""
    return value if isinstance(value, dict) else {}


def number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite number."""
    return _number(value) and math.isfinite(value)


def _series(rows: Rows, key: str) -> tuple[list[float], list[float]]:
    return [row["epoch"] for row in rows], [row[key] for row in rows]


def _rows(found: Any, keys: Sequence[str]) -> Rows:
    """The rows that have a number for each of `keys`, in order of epoch."""
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    whole = [row for row in rows if all(_number(row.get(key)) for key in keys)]
    return sorted(whole, key=lambda row: float(row["epoch"]))


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
