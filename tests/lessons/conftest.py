"""The lessons on the bundled images, which are loaded once."""

from collections.abc import Callable
from functools import cache
from importlib import import_module

import pytest

from mnistlab.data.store import ImageData
from mnistlab.lessons import LESSONS, run_lesson
from mnistlab.lessons.kit import Item

ItemsOf = Callable[[str], list[Item]]


@pytest.fixture(autouse=True)
def loaded_once(sample: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LESSONS:
        module = import_module(f"mnistlab.lessons.{name}")
        if hasattr(module, "load_data"):
            monkeypatch.setattr(module, "load_data", lambda: sample)


@cache
def _items(name: str) -> list[Item]:
    return list(run_lesson(name))


@pytest.fixture
def items_of(loaded_once: None) -> ItemsOf:
    """`items_of("pixels")`: all that the lesson yields with its defaults."""
    return _items
