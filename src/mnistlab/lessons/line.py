"""A line through three points, three times: by hand, by autograd, as a module.

fastbook ch. 4, "Stochastic Gradient Descent" and "Creating an Optimizer".
"""

from itertools import pairwise

import torch
from torch import nn

from mnistlab import BasicOptim, Curves
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true

POINTS = [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]
LR = 0.01


def mean_gradient(w: float) -> float:
    """Derivative in w of the mean of (w x - y)^2 over the points: the mean of 2 x (w x - y)."""
    return sum(2 * x * (w * x - y) for x, y in POINTS) / len(POINTS)


class Line(nn.Module):
    """weight * x + bias. x: (n,) -> (n,)."""

    def __init__(self, weight: float, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x + self.bias


def lesson(seed: int = 0) -> Lesson:
    """By hand, one example at a time, and with an optimizer; `seed` draws the module's start."""
    yield Say("""Setup: three points of the line y = 2x. Which weight does a descent find that does
        not know the line? First by hand: the prediction is w x, w starts at 1, and no library is
        involved.""")
    yield Show("the points (x, y)", POINTS)
    w, by_hand = 1.0, [1.0]
    yield check("prediction at 4 before", w * 4, 4.0)
    for _epoch in range(100):
        w -= LR * mean_gradient(w)
        by_hand.append(w)
    yield Show("w after 100 epochs", w)
    yield check("prediction at 4 after: about 8", w * 4, 8, within=0.005)
    yield Say("""Each epoch multiplies the distance of w from 2 by the same factor, 1 - 0.01 * 28/3,
        so the descent can be computed beforehand.""")
    formula = [2 - (1 - LR * 28 / 3) ** epoch for epoch in range(101)]
    yield check("w after each epoch", by_hand, formula, within=1e-9, source="2 - 0.9067^epoch")

    yield Ask("One step an epoch, or three smaller ones: which arrives in fewer epochs?")
    yield Say("""Then one example at a time, and autograd computes the derivative: backward() leaves
        it in w.grad, the step moves w, and the gradient is cleared for the next example.""")
    weight, by_autograd = torch.tensor(1.0, requires_grad=True), [1.0]
    for _epoch in range(100):
        for x, y in POINTS:
            loss = (weight * x - y) ** 2
            loss.backward()
            assert weight.grad is not None  # backward left it there
            weight.data -= LR * weight.grad  # .data: the step itself is not differentiated
            weight.grad = None
        by_autograd.append(weight.item())
    yield check("prediction at 4: about 8", weight * 4, 8, within=0.005)
    # x = 1, 2, 3 multiply the distance from 2 by 0.98, 0.92 and 0.82
    formula = [2 - (0.98 * 0.92 * 0.82) ** epoch for epoch in range(101)]
    yield check("w after each epoch", by_autograd, formula, within=1e-5, source="2 - 0.7393^epoch")
    yield Say("Three small steps an epoch got there sooner than one step by their mean.")
    sooner = next(epoch for epoch, w in enumerate(by_autograd) if abs(w - 2) < 0.001)
    yield Show("epochs until w is within 0.001 of 2", sooner)
    epochs = list(range(101))
    lines = {
        _("mean gradient, one step an epoch"): (epochs, by_hand),
        _("one example at a time, three steps"): (epochs, by_autograd),
    }
    yield Curves(_("w on its way from 1 to 2"), lines, x_label=_("epoch"), y_label="w")

    yield Say("""Last as a module, with a bias as well. The module holds the parameters, the
        optimizer steps and clears, the loss is the sum of the squared errors. Nothing says that the
        bias should be 0; the points do.""")
    xb, yb = torch.tensor(POINTS).T
    start = torch.rand(2, generator=torch.Generator().manual_seed(seed)) * 2 - 1  # from -1 to 1
    model = Line(*start.tolist())
    opt = BasicOptim(model.parameters(), lr=LR)
    losses = []
    for _epoch in range(1000):
        loss = (model(xb) - yb).square().sum()
        loss.backward()
        opt.step()
        opt.zero_grad()
        losses.append(loss.item())
    yield Show("weight and bias: at the start", start)
    yield Show("after 1000 epochs", [model.weight, model.bias])
    yield Show("loss: first, 10th, 100th, 1000th", [losses[n - 1] for n in (1, 10, 100, 1000)])
    yield check("prediction at 4: about 8", model(torch.tensor(4.0)), 8, within=0.01)
    source = N_("the line through the points")
    yield check("weight and bias", [model.weight, model.bias], [2, 0], within=0.01, source=source)
    yield Say("With two parameters the way is longer: weight and bias trade off along a valley.")
    # but for the rounding of float32, once the errors themselves are as small as that
    falls = all(after <= before + 1e-9 for before, after in pairwise(losses))
    yield check_true("the loss never rises", falls)
    yield Say("""Now change this: `LR = 0.1`. Which of the three still arrive, and which goes too
        far, further with every step?""")
