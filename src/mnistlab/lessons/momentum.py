"""Leaving a local minimum: a descent that keeps some of its speed rolls over a low hill.

Plain gradient descent stops wherever the slope is 0, in the nearest valley. Momentum adds up past
gradients, so the step still has speed at the bottom; that is no promise.
"""

import torch

from mnistlab import Curves
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true

START, LR, STEPS = 2.5, 0.05, 300


def height(x: torch.Tensor) -> torch.Tensor:
    """Two valleys, a hill between them, and a tilt that makes the left one the deeper."""
    return x**4 / 4 - x**2 + 0.3 * x


def descend(momentum: float, by_torch: bool = False) -> list[float]:
    """x at the start and after each step; momentum 0 is plain gradient descent."""
    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    velocity = torch.zeros_like(x)
    opt = torch.optim.SGD([x], lr=LR, momentum=momentum)  # the library's, for comparison
    path = [x.item()]
    for _step in range(STEPS):
        (x.grad,) = torch.autograd.grad(height(x), x)
        if by_torch:
            opt.step()
        else:
            velocity = momentum * velocity + x.grad  # with momentum 0, the slope alone
            x.data -= LR * velocity
        path.append(x.item())
    return path


def lesson() -> Lesson:
    yield Say("""Setup: a function of one number with two valleys, no net. Does a descent find the
        deeper one? The flat places are where the slope, a cubic, is 0.""")
    # The roots of x^3 - 2x + 0.3 are the eigenvalues of its companion matrix.
    cubic = torch.tensor([[0.0, 2.0, -0.3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    flat = torch.linalg.eigvals(cubic).real.sort().values
    deep, hill, shallow = flat.tolist()
    yield Show("deep valley, top of the hill, shallow valley", flat)
    yield Show("their heights", height(flat))
    yield check_true("the left valley is deeper", bool(height(flat)[0] < height(flat)[2]))
    yield check("slope there", flat**3 - 2 * flat + 0.3, [0, 0, 0], within=1e-9, source="flat")

    yield Ask("Plain descent from 2.5, and one with momentum: which valley does each end in?")
    yield Say("Both start on the right at 2.5, with the same rate. Plain descent first:")
    plain, end = descend(momentum=0.0), N_("it ends in the shallow valley")
    yield Show("its first steps", plain[:6])
    yield check(end, plain[-1], shallow, within=0.001, source="the cubic")
    yield check_true("it never comes near the hill", min(plain) > hill + 0.5)

    yield Say("Momentum 0.9: each step is the new slope and nine tenths of the step before.")
    rolling, by_torch = descend(momentum=0.9), descend(momentum=0.9, by_torch=True)
    over = next(step for step, x in enumerate(rolling) if x < hill)
    yield Show("its first steps", rolling[:6])
    yield Show("steps until it is over the hill", over)
    yield check("it ends in the deep valley", rolling[-1], deep, within=0.001, source="the cubic")
    yield check("torch's SGD, at each step", rolling, by_torch, within=1e-9, source="torch")

    xs = torch.linspace(-2.6, 2.6, 105)
    lines = {_("height"): (xs.tolist(), height(xs).tolist())}
    first = 40  # steps; then both have nearly settled
    paths = {_("plain"): plain[:first], _("momentum 0.9"): rolling[:first]}
    dots = {name: (path, height(torch.tensor(path)).tolist()) for name, path in paths.items()}
    yield Curves(_("Where the steps fall"), lines, "x", _("height"), dots)
    lines = {name: (list(range(first)), path) for name, path in paths.items()}
    yield Curves(_("The two paths, step by step"), lines, _("step"), "x")

    yield Say("No promise: it depends on how much. The same start and rate with other amounts:")
    little, much = descend(momentum=0.5), descend(momentum=0.95)
    yield check("0.5 stays", little[-1], shallow, within=0.001, source="the cubic")
    end = N_("0.95 ends in the shallow valley")
    yield check(end, much[-1], shallow, within=0.01, source="the cubic")
    passed = min(much) < deep
    yield check_true("though it was in the deep valley on its way, and left it again", passed)
    yield Say("""Now change this: `START = -2.5`, left of both valleys. Which amounts of momentum
        leave the deep valley now?""")
