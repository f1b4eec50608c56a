"""Derivatives without algebra: what autograd returns, stores, adds up and refuses.

A tensor that requires gradients remembers how each result was computed from it; walking that
record backwards gives the derivative. fastbook ch. 4, "Calculating Gradients".
"""

from math import exp

import torch

from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true, refusal


def f(x: torch.Tensor) -> torch.Tensor:
    return 2 * x**3 + 3 * x**2 + 4 * x + 1


def lesson() -> Lesson:
    yield Say("""Setup: functions of a few numbers, no images, no net. What does autograd return,
        store, add up and refuse? A derivative is asked for in one of two ways. torch.autograd.grad
        returns it:""")
    x = torch.tensor(1.5, requires_grad=True)
    (slope,) = torch.autograd.grad(f(x), x)  # f'(x) = 6x^2 + 6x + 4
    yield check("derivative of 2x^3 + 3x^2 + 4x + 1 at 1.5", slope, 26.5)
    yield check_true("x.grad is still empty", x.grad is None)
    yield Say("backward() returns nothing and leaves it in .grad:")
    f(x).backward()
    yield check("the same, left in x.grad", x.grad, 26.5)

    yield Say("Several inputs: add up the results, and each input still gets its own derivative.")
    x = torch.tensor([3.0, 4.0, 10.0], requires_grad=True)
    total = f(x).sum()
    total.backward()
    yield check("sum of f over (3, 4, 10)", total.item(), 2628)
    yield check("its gradient", x.grad, [76, 124, 664])
    x = torch.tensor(1.0, requires_grad=True)
    y = 3 * x**3 + 4 * x**2 + 6
    y.backward()
    yield check("3x^3 + 4x^2 + 6 at 1, and its derivative", [y.item(), x.grad], [13, 17])
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (3 * x**3 + 4 * x**2 + 6).mean().backward()  # the mean divides each derivative by 4
    yield check("gradient of its mean over [[1, 2], [3, 4]]", x.grad, [[4.25, 13], [26.25, 44]])
    x, w = torch.tensor(1.0), torch.tensor(2.0, requires_grad=True)
    y = (w * x - 1) ** 2
    y.backward()
    yield check("(w x - 1)^2 for x = 1, w = 2, and its derivative", [y.item(), w.grad], [1, 2])

    yield Say("Leaves are tensors that no operation made; only they get a .grad.")
    a = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = torch.tensor([4.0, 5.0, 6.0], requires_grad=True)
    total = a + b
    yield Show("is a leaf: a, and a + b", (a.is_leaf, total.is_leaf))
    total.sum().backward(retain_graph=True)
    yield check("sum of two leaves: gradient of each", [a.grad, b.grad], [[1, 1, 1], [1, 1, 1]])
    yield Ask("backward() once more: is the gradient the same, or twice as large?")
    total.sum().backward()
    yield check("asked once more, gradients add up", a.grad, [2, 2, 2], source="by hand")
    a.grad = None
    (a + b).sum().backward()
    yield check("cleared first, they start afresh", a.grad, [1, 1, 1], source="by hand")

    yield Say("Two refusals. A result of several numbers has no one derivative:")
    message = refusal(lambda: (a * b).backward())
    yield check_true("(a * b).backward(): {message}", "scalar outputs" in message, message=message)
    (gradient,) = torch.autograd.grad(a * b, a, torch.tensor([1.0, 0.0, 10.0]))  # b x the weights
    yield check("a weight for each entry settles it", gradient, [4, 0, 60], source="by hand")
    yield Say("And the record of a computation is gone once used, unless retain_graph=True:")
    result = (a * b).sum()
    result.backward(retain_graph=True)  # the record stays
    result.backward()  # uses it up
    message = refusal(result.backward).split(" (")[0]
    title = N_("a third result.backward(): {message}")
    yield check_true(title, "a second time" in message, message=message)

    yield Say("Softmax: every output depends on every input, and the outputs always sum to 1.")
    z = torch.tensor([0.9376, 0.5373, 0.6736], requires_grad=True)
    p = z.softmax(0)
    near = 0.00007  # half a digit, and 0.00002 because the inputs are printed rounded, too
    yield check("softmax", p.detach(), [0.4102, 0.2748, 0.3150], within=near)
    for entry, expected in ((1, [-0.1127, 0.1993, -0.0866]), (2, [-0.1292, -0.0866, 0.2158])):
        (gradient,) = torch.autograd.grad(p[entry], z, retain_graph=True)
        yield check("gradient of p[{entry}]", gradient, expected, within=near, entry=entry)
    p.backward(p.detach(), retain_graph=True)
    p.backward(p.detach())
    yield check("twice, weighted by p", z.grad, [0.0551, -0.0375, -0.0176], within=near)

    yield Say("Partial derivatives in (w, b): autograd beside the formulas, at w = 0.5, b = 0.25.")
    w0, b0, x0, y0 = 0.5, 0.25, 1.5, 2.0
    w, b = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (w0, b0))
    line = w0 * x0 + b0
    error = y0 - line
    for name, result, partials in (
        ("w x + b", w * x0 + b, [x0, 1]),
        ("w^2 x + b^2", w**2 * x0 + b**2, [2 * w0 * x0, 2 * b0]),
        ("e^w x + e^b", w.exp() * x0 + b.exp(), [exp(w0) * x0, exp(b0)]),
        ("y log(w x + b)", y0 * (w * x0 + b).log(), [y0 * x0 / line, y0 / line]),
        ("(y - (w x + b))^2", (y0 - (w * x0 + b)) ** 2, [-2 * x0 * error, -2 * error]),
    ):
        yield check(name, torch.autograd.grad(result, (w, b)), partials, within=1e-12)

    yield Say("The notes drop the last pair's minus signs, so that a step down would go up:")
    for name, sign in ((N_("with them it falls"), -1), (N_("without it rises"), 1)):
        dw, db = sign * 2 * x0 * error, sign * 2 * error
        after = (y0 - ((w0 - 0.01 * dw) * x0 + (b0 - 0.01 * db))) ** 2
        title = N_("squared error before and after a step; {name}")
        yield Show(title, [error**2, after], name=_(name))
        yield check_true(name, (after < error**2) == (sign < 0))
    yield Say("""Now change this: clear `z.grad` between the two lines `p.backward(...)`. Which
        figure of the chapter is missed then, and by which factor?""")
