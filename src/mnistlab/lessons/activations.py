"""Sigmoid, tanh and ReLU: what they do to a number, and what they do to its gradient.

fastbook ch. 4, "Sigmoid" and "Adding a Nonlinearity".
"""

import math
from collections.abc import Callable

import torch

from mnistlab import Curves
from mnistlab.language import _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    """Any number to a number between 0 and 1."""
    return 1 / (1 + (-x).exp())


def tanh(x: torch.Tensor) -> torch.Tensor:
    """Any number to a number between -1 and 1: a sigmoid, stretched."""
    return 2 * sigmoid(2 * x) - 1


def relu(x: torch.Tensor) -> torch.Tensor:
    """Negative numbers to 0; others stay."""
    return x.clamp(min=0)


def gradient_sizes(activation: Callable[[torch.Tensor], torch.Tensor], seed: int) -> list[float]:
    """The size of the gradient in each of 20 layers' weights, first layer first."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(64, 64, generator=generator) * (2 / 64) ** 0.5 for _ in range(20)]
    x = torch.randn(32, 64, generator=generator)  # 32 made examples
    for weight in weights:
        x = activation(x @ weight.requires_grad_())
    gradients = torch.autograd.grad(x.square().mean(), weights)
    return [gradient.norm().item() for gradient in gradients]


def lesson(seed: int = 0) -> Lesson:
    """Values, curves, slopes; `seed` draws the deep networks of the last part."""
    wide, narrow = torch.linspace(-100, 100, 10), torch.linspace(-1, 1, 10)
    yield Say("""Setup: no images; ten points of a line, and three functions that stand between the
        layers of a net. What do they make of a number, and of a gradient on its way back?""")
    yield Show("ten points from -100 to 100", wide)
    yield Show("sigmoid of them", sigmoid(wide))
    # (value, one unit of the last printed digit)
    printed = [(0.0, 1e-40), (1.6655e-34, 1e-38), (7.4564e-25, 1e-29), (3.3382e-15, 1e-19)]
    printed += [(1.4945e-05, 1e-9), (0.99999, 1e-5), *[(1.0, 1e-4)] * 4]
    for x, (value, unit) in zip(wide, printed, strict=True):
        yield check("sigmoid({x:.2f})", sigmoid(x), value, within=unit / 2, x=x)
    yield Say("Between -100 and 100 there is nearly nothing but 0 and 1. From -1 to 1, the others:")
    by_math = [math.tanh(x) for x in narrow.tolist()]
    yield Show("ten points from -1 to 1", narrow)
    yield check("tanh of them", tanh(narrow), by_math, within=1e-6, source="math.tanh")
    ends = [-1.0] * 5 + [1.0] * 5
    yield check("tanh from -100 to 100", tanh(wide), ends, within=1e-6, source="math.tanh")
    expected = [0, 0, 0, 0, 0, 0.1111, 0.3333, 0.5556, 0.7778, 1]
    yield check("ReLU from -1 to 1", relu(narrow), expected, within=0.00005)
    positive = [0.0] * 5 + wide[5:].tolist()
    yield check("ReLU from -100 to 100", relu(wide), positive, source="0, or the number itself")
    pairs = (sigmoid, torch.sigmoid), (tanh, torch.tanh), (relu, torch.relu)
    same = all(torch.allclose(ours(wide), theirs(wide), atol=1e-6) for ours, theirs in pairs)
    yield check_true("torch's own three agree", same)

    xs = torch.linspace(-4, 4, 81, requires_grad=True)
    ys = sigmoid(xs)
    # The sum has one derivative for each x: the slope of the sigmoid there.
    (slopes,) = torch.autograd.grad(ys.sum(), xs)
    lines = {"sigmoid": (xs.tolist(), ys.tolist()), _("its slope"): (xs.tolist(), slopes.tolist())}
    yield Curves(_("Sigmoid"), lines, x_label="x")
    x = torch.linspace(-2, 2, 41)
    lines = {"ReLU": (x.tolist(), relu(x).tolist()), "tanh": (x.tolist(), tanh(x).tolist())}
    yield Curves(_("ReLU and tanh"), lines, x_label="x")
    yield Say("Turn the sigmoid half a turn about (0, 0.5) and it is the same curve.")
    yield check("sigmoid(0)", sigmoid(torch.tensor(0.0)), 0.5)
    yield check("sigmoid(-x)", sigmoid(-xs), 1 - ys, within=1e-6, source="1 - sigmoid(x)")
    yield check("its slope", slopes, ys * (1 - ys), within=1e-6, source="s (1 - s)")
    yield check("its greatest slope, at 0", slopes.max(), 0.25, within=1e-6, source="1/2 * 1/2")

    yield Ask("Through 20 sigmoids: how much of a gradient of 1 is left? And through 20 ReLUs?")
    yield Say("A chain multiplies slopes. Twenty in a row, starting from 1:")
    slope = {}
    for activation in (sigmoid, relu):
        x = y = torch.tensor(1.0, requires_grad=True)
        for _layer in range(20):
            y = activation(y)
        (slope[activation],) = torch.autograd.grad(y, x)
    yield Show("derivative through 20 times sigmoid", slope[sigmoid])
    yield check_true("it is below a quarter to the 20th", bool(slope[sigmoid] < 0.25**20))
    yield Show("derivative through 20 times relu", slope[relu])
    yield check("it passes a positive number untouched", slope[relu], 1, source="slope 1")

    yield Say("The same in a network of 20 layers, 64 wide, weights drawn alike for both.")
    sizes = {"sigmoid": gradient_sizes(sigmoid, seed), "relu": gradient_sizes(relu, seed)}
    ratio = {name: each[0] / each[-1] for name, each in sizes.items()}
    yield Show("size of the first layer's gradient over the last layer's", ratio)
    yield check_true("sigmoid: less than a millionth is left", ratio["sigmoid"] < 1e-6)
    yield check_true("ReLU: within a factor of 100", 0.01 < ratio["relu"] < 100)
    lines = {name: (list(range(1, 21)), each) for name, each in sizes.items()}
    title = _("Gradients on their way back")
    yield Curves(title, lines, _("layer"), _("size of the gradient"))
    yield Say("""Now change this: give `sizes` also `"tanh": gradient_sizes(tanh, seed)`. Does it
        lose the gradient as the sigmoid does?""")
