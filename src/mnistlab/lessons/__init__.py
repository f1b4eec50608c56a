"""The chapter's small experiments, one short file each. `LESSONS` names them in reading order."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistlab.errors import ConfigError
from mnistlab.names import nearest, printable

if TYPE_CHECKING:
    from mnistlab.lessons.kit import Lesson

LESSONS = {
    "pixels": "An image is a tensor: slices, shape, rank, the mean digits",
    "similarity": "Two distances between images, and what broadcasting saves",
    "derivative": "What autograd returns, stores, adds up and refuses",
    "line": "A line through three points: by hand, by autograd, as a module",
    "rollercoaster": "Gradient descent in seven named steps on a noisy parabola",
    "backprop": "Two layers by hand, beside autograd and finite differences",
    "activations": "Sigmoid, tanh, ReLU: curves, values, and gradients that vanish",
    "loss": "Why accuracy cannot be the loss",
    "batches": "Mini-batches: how many, how large, in what order",
    "optimizer": "BasicOptim beside the library's SGD, bit for bit",
    "momentum": "Leaving a local minimum with momentum",
    "step": "One real SGD step on real images, number by number",
    "mistakes": "The classic errors, each trained beside its control",
    "init": "Four starts: zero, equal, too large, right",
    "overfit": "Learning a hundred images by heart",
    "batch-size": "Batches of 1, 16, 256 and all: steps, time, accuracy",
    "data-size": "Accuracy by the number of images",
    "units": "What hidden units look like, and how many are needed",
    "depth": "Any curve by straight pieces: 1 to 50 ReLUs",
    "softmax": "Overflow, the log of 0, temperature",
    "numpy": "Broadcasting, views and copies, and the usual errors",
}


def run_lesson(name: str, **options: Any) -> "Lesson":
    """The items of lesson `name`; `options` are the lesson's own (seed, model, lr).

    Raises ConfigError with the nearest name, or for an option that the lesson does not have.
    """
    lesson = import_module(f"mnistlab.lessons.{source_of(name).stem}").lesson
    for option in options.keys() - inspect.signature(lesson).parameters:
        raise ConfigError(f"--{option}: the lesson {name} has no such setting")
    items: Lesson = lesson(**options)
    return items


def source_of(name: str) -> Path:
    """The file of lesson `name`. Raises ConfigError with the nearest name."""
    if name not in LESSONS:
        raise ConfigError(f"lesson {printable(name)}: no such lesson{nearest(name, LESSONS)}")
    return Path(__file__).with_name(f"{name.replace('-', '_')}.py")
