"""The lessons on the bundled images, which are loaded once."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from mnistlab.data.datasets import DATASETS
from mnistlab.data.download import obtain
from mnistlab.data.named import load_data
from mnistlab.data.store import ImageData
from mnistlab.lessons import LESSONS, kit, run_lesson, source_of
from mnistlab.lessons.kit import Item

ItemsOf = Callable[[str], list[Item]]


@pytest.fixture(autouse=True)
def loaded_once(sample: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str = "mnist_sample") -> ImageData:
        return sample if name == "mnist_sample" else load_data(name)

    modules = [import_module(f"mnistlab.lessons.{source_of(name).stem}") for name in LESSONS]
    for module in (kit, *modules):
        if hasattr(module, "load_data"):
            monkeypatch.setattr(module, "load_data", load)


@pytest.fixture
def all_digits(mnist: Path, shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that has MNIST's ten digits."""
    cache = shared_folder / "ten digits"
    monkeypatch.setenv("MNISTLAB_CACHE", str(cache))
    with FileLock(f"{cache}.lock"):
        if not DATASETS["mnist"].folder.exists():
            obtain(DATASETS["mnist"], str(mnist))


@cache
def _items(name: str) -> list[Item]:
    state = torch.get_rng_state()
    items = list(run_lesson(name))
    assert torch.equal(torch.get_rng_state(), state), "it takes the caller's random numbers"
    return items


@pytest.fixture
def items_of(loaded_once: None) -> ItemsOf:
    """`items_of("pixels")`: all that the lesson yields with its defaults."""
    return _items
