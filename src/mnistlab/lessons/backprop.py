"""Two layers by hand: the backward pass is the chain rule, a line for each line forwards.

The chapter's notes train 64 examples, 1000 -> 100 -> 10, with a wrong factor in the gradient. It
hides: it acts as another learning rate, so training goes on and no error shows.
"""

import math

import torch
from torch import Tensor

from mnistlab import Curves
from mnistlab.language import _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true

Pair = tuple[Tensor, Tensor]

N, RATE, STEPS = 64, 1e-2, 400


def forward(x: Tensor, w1: Tensor, w2: Tensor) -> Pair:
    """x (N, 1000) -> hidden activations (N, 100), predictions (N, 10)."""
    hidden = (x @ w1).clamp(min=0)
    return hidden, hidden @ w2


def squared_error(preds: Tensor, y: Tensor) -> Tensor:
    """The sum of squares over an example's 10 outputs; the mean of it over the N examples."""
    return (preds - y).square().sum() / N


def backward(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor, notes: bool = False) -> Pair:
    """The gradients of the squared error in w1 and w2; if `notes`, with the factor of the notes."""
    hidden, preds = forward(x, w1, w2)
    d_preds = 2 * (preds - y) / N  # the square gives the 2, the mean the 1 / N
    if notes:
        d_preds = (preds - y) / N / N  # without the 2, and divided by N a second time
    d_w2 = hidden.T @ d_preds
    d_hidden = d_preds @ w2.T
    d_w1 = x.T @ (d_hidden * (hidden > 0))  # ReLU has slope 1 above 0, else 0
    return d_w1, d_w2


def train(
    x: Tensor, y: Tensor, weights: Pair, rate: float, notes: bool = False
) -> tuple[list[float], Pair]:
    """The loss before the first of 400 steps and after each 50th, and the weights at the end."""
    x, y, w1, w2 = (tensor.float() for tensor in (x, y, *weights))
    losses = []
    for step in range(STEPS + 1):
        if step % 50 == 0:
            losses.append(squared_error(forward(x, w1, w2)[1], y).item())
        if step == STEPS or not math.isfinite(losses[-1]):
            break
        d_w1, d_w2 = backward(x, w1, w2, y, notes)
        w1, w2 = w1 - rate * d_w1, w2 - rate * d_w2
    return losses, (w1, w2)


def lesson(seed: int = 0) -> Lesson:
    """Gradients checked, then what the wrong factor does; `seed` draws data and weights."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (N, 1000), (N, 10), (1000, 100), (100, 10)
    draw = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    x, y, w1, w2 = draw
    small = (w1 / 1000**0.5, w2 / 100**0.5)  # over the root of a layer's inputs: outputs near 1

    yield Say("""Setup: 64 random examples, a net of two layers, 1000 -> 100 -> 10, and the squared
        error, as in the notes. Are gradients by hand right? Those of backward() beside those of
        autograd:""")
    right = backward(x, *small, y)
    leaves = [weight.clone().requires_grad_() for weight in small]
    autograd = torch.autograd.grad(squared_error(forward(x, leaves[0], leaves[1])[1], y), leaves)
    for name, ours, theirs in zip(("w1", "w2"), right, autograd, strict=True):
        yield check("gradient of {name}", ours, theirs, within=1e-12, source="autograd", name=name)

    yield Say("The notes drop the 2 and divide by N twice: 2 * 64 = 128 times too small.")
    wrong = backward(x, *small, y, notes=True)
    ratios = [ours.norm() / theirs.norm() for ours, theirs in zip(right, wrong, strict=True)]
    yield check("right over notes', w1 and w2", ratios, [128, 128], within=1e-9, source="2 * 64")

    yield Ask("Does a net learn with gradients that are 128 times too small?")
    yield Say("Yet the notes' training works. From normal weights, rate 0.01, every 50 steps:")
    normal = (w1, w2)
    notes, notes_weights = train(x, y, normal, RATE, notes=True)
    yield Show("loss, the notes' gradients", notes)
    yield check_true("it falls all the way", notes == sorted(notes, reverse=True))
    blown_up = train(x, y, normal, RATE)[0]
    yield Show("loss, the right gradients", blown_up)
    yield check_true("at that rate they blow up", not math.isfinite(blown_up[-1]))
    weights = train(x, y, normal, RATE / 128)[1]
    same = all(torch.equal(a, b) for a, b in zip(weights, notes_weights, strict=True))
    yield check_true("at rate 0.01 / 128 they end in the notes' weights, bit for bit", same)
    yield Say("So the factor was a rate of 0.000078 in disguise; it hid weights far too large.")

    yield Say("Divided by the root of their inputs, the weights bear the rate of 0.01:")
    losses = train(x, y, small, RATE)[0]
    notes = train(x, y, small, RATE, notes=True)[0]
    yield Show("loss, the right gradients", losses)
    ahead = all(ours < theirs for ours, theirs in zip(losses[1:], notes[1:], strict=True))
    yield check_true("ahead of the notes' gradients all the way", ahead)
    steps = list(range(0, STEPS + 1, 50))
    lines = {_("right gradients"): (steps, losses), _("the notes' gradients"): (steps, notes)}
    yield Curves(_("400 steps from small weights"), lines, _("step"), _("loss"))
    yield Say("""Now change this: leave out `* (hidden > 0)` in backward(). Which checks notice it,
        and does the loss still fall?""")
