"""From logits to probabilities: the softmax, what overflows in it, and its temperature.

Why does no library compute e^x / sum(e^x) as it is written, why is the loss computed from logits
and not from probabilities, and what makes a net surer? fastbook ch. 5, "Softmax" and "Log
Likelihood".
"""

import math

import torch
from torch import Tensor

from mnistlab import Curves
from mnistlab.language import _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true
from mnistlab.losses import cross_entropy


def as_written(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum()


def shifted(logits: Tensor) -> Tensor:
    """The same for any logits: a number that is taken from all of them cancels."""
    powers = (logits - logits.max()).exp()
    return powers / powers.sum()


def lesson() -> Lesson:
    yield Say("""Setup: three logits, no images, no net. A softmax makes probabilities of them; the
        cross-entropy is minus the log of the one of the true class.""")
    logits = torch.tensor([0.9376, 0.5373, 0.6736])
    yield check(
        "softmax of the chapter's three logits",
        as_written(logits),
        [0.4102, 0.2748, 0.3150],
        within=0.0001,
        source="the notes, rounded",
    )
    yield check("they sum to", as_written(logits).sum(), 1, within=1e-6, source="a share of all")
    yield check(
        "all logits 5 higher: the same",
        as_written(logits + 5),
        as_written(logits),
        within=1e-6,
        source="e^5 cancels",
    )

    yield Ask("What is the softmax of 1000, 1000 and 0, computed as it is written?")
    large = torch.tensor([1000.0, 1000.0, 0.0])
    yield Show("e^1000, as a float", large.exp()[0])
    yield Show("softmax as it is written", as_written(large))
    yield check_true("infinite / infinite is no number", bool(as_written(large).isnan().any()))
    yield check("the largest logit subtracted", shifted(large), [0.5, 0.5, 0], source="by hand")
    largest = torch.arange(80.0, 96.0)
    yield check(
        "the largest x with a finite e^x",
        largest[largest.exp().isfinite()].max(),
        88,
        source="float32 ends at 3.4e38",
    )

    yield Ask("The model is sure and wrong: what does the log make of a probability of 0?")
    sure = torch.tensor([[200.0, 0.0, 0.0]])
    true = torch.tensor([1])
    yield Show("the probability of the true class", shifted(sure[0])[1])
    yield Show("minus its log", -shifted(sure[0])[1].log())
    yield check(
        "from logits: largest - own + log(1 + ...)",
        cross_entropy(sure, true),
        200,
        within=1e-4,
        source="by hand",
    )
    yield Say("""So a loss takes logits. The gradient of a log of 0 is infinite too, and one such
        image would turn all weights into no numbers.""")
    for classes in (3, 10, 100):
        start = cross_entropy(torch.zeros(1, classes), torch.tensor([0]))
        yield check(
            "the loss of a model that knows nothing, of {classes} classes",
            start,
            math.log(classes),
            within=1e-6,
            source="ln C",
            classes=classes,
        )

    yield Say("""Divide the logits by a temperature before the softmax: above 1 the model is less
        sure, below 1 surer. The order of the classes stays, and so does the accuracy.""")
    temperatures = [2 ** (step / 4) for step in range(-12, 17)]
    rows = torch.stack([shifted(logits / t) for t in temperatures]).T.tolist()
    names = ("0.9376", "0.5373", "0.6736")
    lines = {
        _("logit {name}").format(name=name): (temperatures, row)
        for name, row in zip(names, rows, strict=True)
    }
    yield Curves(_("Temperature"), lines, _("temperature"), _("probability"), log_x=True)
    yield check("hot, 16: nearly equal", rows[0][-1], 1 / 3, within=0.02, source="one third")
    yield check("cold, 1/8: nearly sure", rows[0][0], 1, within=0.2, source="sure")
    yield Say("""Now change this: let the softmax as it is written run in float64. At which logit
        does it overflow now? (`mnistlab calibrate` finds the temperature of a trained model.)""")
