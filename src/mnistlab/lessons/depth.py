"""Why one hidden layer can follow any curve: with ReLUs it is drawn by straight pieces.

We build such a net by hand, without training: each hidden unit bends the line once. fastbook ch. 4,
"Adding a Nonlinearity": the universal approximation theorem.
"""

import torch
from torch import Tensor

from mnistlab import Curves
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true


def wiggly(x: Tensor) -> Tensor:
    """A curve that no straight line follows, x from 0 to 1."""
    return (6 * x).sin() + 0.5 * (17 * x).sin()


def net_of(units: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bends (units,), slopes (units,) and start of a net that meets the curve at units + 1 points.

    The net is start + sum of slopes * relu(x - bends): after each bend the line has another slope.
    """
    points = torch.linspace(0, 1, units + 1, dtype=torch.float64)
    heights = wiggly(points)
    slopes = heights.diff() * units  # of each piece
    # what a unit adds: the slope of its piece minus that of the piece before
    return points[:-1], torch.cat([slopes[:1], slopes.diff()]), heights[0]


def output(x: Tensor, net: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The net at each x (n,): (n, units) ReLUs, times their slopes."""
    bends, slopes, start = net
    return start + (x.unsqueeze(1) - bends).relu() @ slopes


def lesson() -> Lesson:
    yield Say("""Setup: one wiggly curve, and a net with one number as input, a hidden layer of
        ReLUs and one number as output. Can such a net follow any curve?""")
    x = torch.linspace(0, 1, 1025, dtype=torch.float64)
    xs, lines = x.tolist(), {_("the curve"): (x.tolist(), wiggly(x).tolist())}
    for units in (1, 5, 10):
        lines[_("{n} ReLUs").format(n=units)] = (xs, output(x, net_of(units)).tolist())
    yield Curves(_("A curve by straight pieces"), lines, "x")
    yield Say("""One ReLU is 0 up to its bend and a straight line after it. Each further unit bends
        the sum once more, so with n units the net draws n straight pieces.""")
    ends = torch.linspace(0, 1, 6, dtype=torch.float64)
    five, title = output(ends, net_of(5)), N_("five pieces meet the curve at six points")
    yield check(title, five, wiggly(ends), within=1e-12, source="the curve")

    yield Ask("Twice as many units: how much smaller is the largest error?")
    counts = [1, 2, 5, 10, 20, 40, 50]
    errors = {n: float((output(x, net_of(n)) - wiggly(x)).abs().max()) for n in counts}
    yield Show("the largest error, by units", {n: round(e, 4) for n, e in errors.items()})
    dots = {_("largest error"): (list(errors), list(errors.values()))}
    law = {"1 / units^2": (counts[3:], [errors[10] * (10 / n) ** 2 for n in counts[3:]])}
    title = _("The error falls with the square")
    yield Curves(title, law, _("units"), _("error"), dots, log_x=True)
    title, ratio = N_("from 20 to 40 units the error is divided by"), errors[20] / errors[40]
    yield check(title, ratio, 4, within=0.5, source="2 squared")
    yield check_true("50 pieces: less than 0.02 off", errors[50] < 0.02)
    yield Say("""That such a net exists does not say that training finds it, nor that a wide net is
        the cheapest: a second layer bends what is bent already, and its pieces multiply.""")
    yield Say("""Now change this: let `wiggly` jump at x = 0.5 (add `(x > 0.5).double()`). How fast
        does the error fall now, and why?""")
