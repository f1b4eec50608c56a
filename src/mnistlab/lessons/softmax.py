"""From logits to probabilities: the softmax, what overflows in it, and its temperature.

fastbook ch. 5, "Softmax" and "Log Likelihood".
"""

import torch
from torch import Tensor

from mnistlab import Curves
from mnistlab.language import N_, _
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
    probs, rounded = as_written(logits), [0.4102, 0.2748, 0.3150]
    title, source = N_("softmax of the chapter's three logits"), N_("the notes, rounded")
    yield check(title, probs, rounded, within=0.0001, source=source)
    yield check("they sum to", probs.sum(), 1, within=1e-6, source="a share of all")
    higher = as_written(logits + 5)
    yield check("all logits 5 higher: the same", higher, probs, within=1e-6, source="e^5 cancels")

    yield Ask("What is the softmax of 1000, 1000 and 0, computed as it is written?")
    large = torch.tensor([1000.0, 1000.0, 0.0])
    yield Show("e^1000, as a float", large.exp()[0])
    yield Show("softmax as it is written", as_written(large))
    yield check_true("infinite / infinite is no number", bool(as_written(large).isnan().any()))
    yield check("the largest logit subtracted", shifted(large), [0.5, 0.5, 0], source="by hand")
    xs = torch.arange(80.0, 96.0)
    largest = xs[xs.exp().isfinite()].max()
    yield check("the largest x with a finite e^x", largest, 88, source="float32 ends at 3.4e38")

    yield Ask("The model is sure and wrong: what does the log make of a probability of 0?")
    sure = torch.tensor([[200.0, 0.0, 0.0]])
    yield Show("the probability of the true class", shifted(sure[0])[1])
    yield Show("minus its log", -shifted(sure[0])[1].log())
    loss = cross_entropy(sure, torch.tensor([1]))
    title = N_("from logits: largest - own + log(1 + ...)")
    yield check(title, loss, 200, within=1e-4, source="by hand")
    yield Say("""So a loss takes logits. The gradient of a log of 0 is infinite too, and one such
        image would turn all weights into no numbers.""")

    yield Say("""Divide the logits by a temperature before the softmax: above 1 the model is less
        sure, below 1 surer. The order of the classes stays, and so does the accuracy.""")
    temperatures = [2 ** (step / 4) for step in range(-12, 17)]
    rows = torch.stack([shifted(logits / t) for t in temperatures]).T.tolist()
    lines = {
        _("logit {name}").format(name=f"{logit:.4f}"): (temperatures, row)
        for logit, row in zip(logits.tolist(), rows, strict=True)
    }
    yield Curves(_("Temperature"), lines, _("temperature"), _("probability"), log_x=True)
    yield check("hot, 16: nearly equal", rows[0][-1], 1 / 3, within=0.02, source="one third")
    yield check("cold, 1/8: nearly sure", rows[0][0], 1, within=0.2, source="sure")
    yield Say("""Now change this: let the softmax as it is written run in float64. At which logit
        does it overflow now? (`mnistlab calibrate` finds the temperature of a trained model.)""")
