"""What `run.json` says of a run, checked as far as others rely on it. No torch."""

import json
from typing import Any

METRICS = ("epoch", "train_loss", "valid_loss", "accuracy", "seconds")


def parse_record(content: bytes) -> dict[str, Any]:
    """The record in the bytes of a `run.json`.

    Raises ValueError, with the first part that is not what it should be.
    """
    try:
        loaded = json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError("not valid JSON") from error
    if not isinstance(loaded, dict):
        raise ValueError("not a JSON object")
    if wrong := _ill_formed(loaded):
        raise ValueError(f"{wrong} makes no sense")
    return loaded


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


# What the parts of a `run.json` are, as far as others rely on it.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("config", "origins", "data", "environment"), dict),
    **dict.fromkeys(("status", "created", "model"), str),
    **dict.fromkeys(("classes", "command"), list),
    "result": (dict, type(None)),
}


def _ill_formed(info: dict[str, Any]) -> str:
    """The first part of a `run.json` that is not what it should be; empty if all are."""
    for key, kind in _KINDS.items():
        if key in info and not isinstance(info[key], kind):
            return key
    result = info.get("result") or {}
    for key in ("epochs", "band", "seeds"):
        rows = result.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return f"result.{key}"
    for row in result.get("epochs", []):
        if not all(isinstance(row.get(column), int | float) for column in METRICS):
            return "result.epochs"
    if not isinstance(result.get("best", {}), dict | None):
        return "result.best"
    return ""
