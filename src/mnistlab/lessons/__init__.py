"""The chapter's small experiments, one short file each. `LESSONS` names them in reading order."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistlab.errors import ConfigError
from mnistlab.language import N_
from mnistlab.names import nearest, printable

if TYPE_CHECKING:
    from mnistlab.lessons.kit import Lesson

LESSONS = {
    "pixels": N_("An image is a tensor: slices, shape, rank, the mean digits"),
    "similarity": N_("Two distances between images, and what broadcasting saves"),
    "derivative": N_("What autograd returns, stores, adds up and refuses"),
    "line": N_("A line through three points: by hand, by autograd, as a module"),
    "rollercoaster": N_("Gradient descent in seven named steps on a noisy parabola"),
    "backprop": N_("Two layers by hand, beside autograd and finite differences"),
    "activations": N_("Sigmoid, tanh, ReLU: curves, values, and gradients that vanish"),
    "loss": N_("Why accuracy cannot be the loss"),
    "batches": N_("Mini-batches: how many, how large, in what order"),
    "optimizer": N_("BasicOptim beside the library's SGD, bit for bit"),
    "momentum": N_("Leaving a local minimum with momentum"),
    "step": N_("One real SGD step on real images, number by number"),
    "mistakes": N_("The classic errors, each trained beside its control"),
    "init": N_("Four starts: zero, equal, too large, right"),
    "overfit": N_("Learning a hundred images by heart"),
    "batch-size": N_("Batches of 1, 16, 256 and all: steps, time, accuracy"),
    "data-size": N_("Accuracy by the number of images"),
    "units": N_("What hidden units look like, and how many are needed"),
    "depth": N_("Any curve by straight pieces: 1 to 50 ReLUs"),
    "softmax": N_("Overflow, the log of 0, temperature"),
    "numpy": N_("Broadcasting, views and copies, and the usual errors"),
}


def run_lesson(name: str, **options: Any) -> "Lesson":
    """The items of lesson `name`; `options` are the lesson's own (seed, digits, model, lr).

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
