"""Values that the settings must refuse and values that they must take, made from their schema."""

import itertools
import math
from collections.abc import Iterator
from datetime import date
from typing import Any, Literal, get_args, get_origin

import tomli_w

from mnistlab.config import TrainConfig

# Beside a setting, what gives it a meaning.
BESIDE: dict[str, dict[str, Any]] = {
    "momentum": {"optimizer": "momentum"},
    "beta2": {"optimizer": "adam"},
    "weight_decay": {"optimizer": "adamw"},
    "warmup": {"schedule": "one-cycle"},
}
_ODD: tuple[Any, ...] = (
    True, 0, -1, 1, 3, 2**63, 2**64, -(2**63), 10**40, 1e39, -0.5, 1.5, 5e-324, 1e308, math.nan,
    math.inf, -math.inf, "", " ", "1", "0x10", "1e400", "nan", "-inf", "true", "x" * 5000, "日本",
    "\x1b[2J", "a\nb", [], [0], [[1]], ["x"], [1] * 100, {}, {"a": 1}, date(2026, 1, 1),
)  # fmt: skip


def singles() -> Iterator[tuple[str, Any]]:
    """Every setting with every value that its schema does not allow."""
    for key, field in TrainConfig.model_fields.items():
        near = [name[:-1] for name in _choices(field.annotation) if isinstance(name, str)]
        ends = [beyond for bound, beyond in _bounds(key) if beyond is not None]
        for value in (*_ODD, *near, *ends):
            if not allowed(field.annotation, key, value):
                yield key, value


def edges() -> Iterator[tuple[str, Any]]:
    """Every setting with the values on the edges of what its schema allows."""
    for key, field in TrainConfig.model_fields.items():
        values = [*_choices(field.annotation), *(bound for bound, _ in _bounds(key))]
        if field.annotation is bool:
            values = [True, False]
        for value in values:
            if allowed(field.annotation, key, value):
                yield key, value


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The names that a setting may have."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(itertools.chain.from_iterable(map(_choices, get_args(annotation))))


def _limits(key: str) -> dict[str, Any]:
    """`ge`, `gt`, `le`, `lt`, `min_length` and `max_length` of a setting."""
    found: dict[str, Any] = {}
    field = TrainConfig.model_fields[key]
    inner = [
        one for part in get_args(field.annotation) for one in getattr(part, "__metadata__", ())
    ]
    for mark in (*field.metadata, *(m for one in inner for m in getattr(one, "metadata", ()))):
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length"):
            if getattr(mark, name, None) is not None:
                found[name] = getattr(mark, name)
    return found


def _bounds(key: str) -> Iterator[tuple[Any, Any]]:
    """The last value within each bound of a number, and the first one beyond."""
    kind = TrainConfig.model_fields[key].annotation
    limits = _limits(key)
    if kind not in (int, float):
        kind = int if key == "order_seed" else None
    for name, bound in limits.items():
        sign = 1 if name in ("le", "lt") else -1
        if kind is int and name in ("ge", "le"):
            yield bound, bound + sign
        elif kind is int and name in ("gt", "lt"):
            yield bound - sign, bound
        elif kind is float and name in ("ge", "le"):
            yield float(bound), math.nextafter(bound, sign * math.inf)
        elif kind is float and name in ("gt", "lt"):
            yield math.nextafter(bound, -sign * math.inf), float(bound)


def allowed(annotation: Any, key: str, value: Any) -> bool:
    """Whether the schema allows `value`, as the words of the schema say, not the code that reads
    it."""
    if get_origin(annotation) is Literal:
        return isinstance(value, str) and value in get_args(annotation)
    if key == "order_seed":
        return value == "own" or (type(value) is int and 0 <= value < 2**63)
    if key == "channels":
        sound = isinstance(value, list) and 1 <= len(value) <= 16
        return sound and all(type(one) is int and 1 <= one <= 2**16 for one in value)
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str) and len(value) >= 1
    number = type(value) is int or (annotation is float and type(value) is float)
    limits = _limits(key)
    return (
        number
        and math.isfinite(value)
        and value >= limits.get("ge", -math.inf)
        and value > limits.get("gt", -math.inf)
        and value <= limits.get("le", math.inf)
        and value < limits.get("lt", math.inf)
    )


def in_toml(value: Any) -> bool:
    """Whether a TOML file of other software can say it."""
    try:
        tomli_w.dumps({"key": value})
    except (TypeError, ValueError):
        return False
    return True
