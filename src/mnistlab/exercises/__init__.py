"""The chapter as gaps to fill: about 20 exercises, from the first tensor to an own `Learner`.

An exercise (`kit.Exercise`) is a file with a gap, a scenario that tries what the learner wrote,
the tool's own answer, the classic mistakes, and three hints. `running.py` runs the learner's file
in a process of its own; `kit.judge` compares what came back. `EXERCISES` names them in order.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mnistlab.errors import ConfigError
from mnistlab.language import N_
from mnistlab.names import nearest, printable

if TYPE_CHECKING:
    from mnistlab.exercises.kit import Exercise

# Name → the module that holds it and its title.
EXERCISES = {
    "mean_image": ("pixels", N_("The mean 3")),
    "mnist_distance": ("pixels", N_("How far is one image from another?")),
    "is_3": ("pixels", N_("A 3 or a 7? The nearer mean decides")),
    "accuracy": ("pixels", N_("How many answers are right?")),
    "derivative": ("gradients", N_("A derivative by hand")),
    "mse": ("gradients", N_("A parabola and its mean squared error")),
    "step": ("gradients", N_("One step down the slope")),
    "seven_steps": ("gradients", N_("Gradient descent in seven steps")),
    "init_params": ("linear", N_("Random parameters")),
    "linear1": ("linear", N_("The linear model")),
    "mnist_loss": ("linear", N_("The loss of the chapter")),
    "calc_grad": ("linear", N_("The gradients of one batch")),
    "basic_optim": ("training", N_("An optimizer: step and zero_grad")),
    "train_epoch": ("training", N_("One epoch of training")),
    "validate_epoch": ("training", N_("The accuracy after an epoch")),
    "momentum": ("training", N_("An optimizer that keeps rolling")),
    "simple_net": ("nets", N_("Two layers and a ReLU")),
    "cross_entropy": ("nets", N_("Softmax and cross-entropy")),
    "ten_digits": ("nets", N_("All ten digits")),
    "data_loader": ("learner", N_("Batches: a DataLoader")),
    "learner": ("learner", N_("A Learner of your own")),
}


def number_of(name: str) -> int:
    """The place of an exercise, from 1."""
    return list(EXERCISES).index(name) + 1


def load(name: str) -> "Exercise":
    """The exercise `name`; imports torch. Raises ConfigError with the nearest name."""
    if name not in EXERCISES:
        raise ConfigError(f"exercise {printable(name)}: no such exercise{nearest(name, EXERCISES)}")
    exercise: Exercise = getattr(import_module(f"mnistlab.exercises.{EXERCISES[name][0]}"), name)
    return exercise
