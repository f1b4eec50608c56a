"""Derivatives, the loss of a parabola, and gradient descent. fastbook ch. 4, "SGD"."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mnistlab.exercises.kit import CUT, Exercise, Tries, gradient
from mnistlab.language import N_


def cubic(x: Tensor) -> Tensor:
    return 2 * x**3 + 3 * x**2 + 4 * x + 1


def slope(x: Tensor) -> Tensor:
    # by finite differences: no formula is believed; in float64 exact to 1e-8
    return (cubic(x + 1e-5) - cubic(x - 1e-5)) / 2e-5


def try_derivative(derivative: Any) -> Tries:
    yield N_("at 1.5"), derivative(torch.tensor(1.5, dtype=torch.float64))
    x = torch.tensor([-2, -0.5, 0, 1, 3], dtype=torch.float64)
    yield N_("at -2, -0.5, 0, 1 and 3"), derivative(x)


derivative = Exercise(
    task=N_("""Write the derivative of f(x) = 2x^3 + 3x^2 + 4x + 1, worked out by hand.
x: one number or many, any shape. The result, of the same shape, is the slope of f at each x:
how much f grows if x grows by a little, divided by that little."""),
    code="def derivative(x: Tensor) -> Tensor: ...",
    right={"derivative": slope},
    scenario=try_derivative,
    mistakes={
        N_("This is f itself; asked is its slope."): cubic,
        N_("The constant 1 does not grow: its derivative is 0."): lambda x: slope(x) + 1,
        N_("The power falls by one: x^3 becomes 3x^2."): lambda x: 6 * x**3 + 6 * x**2 + 4 * x,
        N_("The old power is a factor: x^3 becomes 3x^2."): lambda x: 2 * x**2 + 3 * x + 4,
    },
    hints=N_("""The derivative of a sum is the sum of the derivatives of its parts.
x^n has the derivative n x^(n-1); a factor in front stays.
The first part: 2x^3 becomes 2 times 3x^2."""),
)


def parabola(t: Tensor, params: Any) -> Tensor:
    a, b, c = params
    curve: Tensor = a * t**2 + b * t + c
    return curve


def squares(preds: Tensor, targets: Tensor) -> Tensor:
    return (preds - targets).square()


# a roller coaster over a hump: its speed each second, as in `mnistlab lesson rollercoaster`
TIME = torch.arange(20.0)
SPEED = 0.75 * (TIME - 9.5) ** 2 + 1


def try_mse(f: Any, mse: Any) -> Tries:
    params = torch.tensor([0.5, -2.0, 3.0], requires_grad=True)
    yield N_("f at 0, 1 and 2, of the parameters 0.5, -2 and 3"), f(TIME[:3], params)
    yield N_("mse of (0, 1, 2) and (0, 4, 2)"), mse(TIME[:3], torch.tensor([0.0, 4.0, 2.0]))
    loss = mse(f(TIME, params), SPEED)
    yield N_("mse of f and a speed that was measured"), loss
    yield N_("its gradient"), gradient(loss, params)


mse = Exercise(
    task=N_("""Write a model and its loss. f: the parabola a t^2 + b t + c, of params = (a, b, c).
mse: the mean squared error, one number. t, preds and targets have the shape (n,).
Gradients must flow through both, from the loss to params."""),
    code="""\
def f(t: Tensor, params: Tensor) -> Tensor: ...


def mse(preds: Tensor, targets: Tensor) -> Tensor: ...
""",
    right={"f": parabola, "mse": lambda preds, targets: squares(preds, targets).mean()},
    scenario=try_mse,
    mistakes={
        N_("params holds a, b and c in this order; you take the last one first."): {
            "f": lambda t, params: parabola(t, params.flip(0))
        },
        N_("This is the RMSE, the root of it; asked is the MSE, without the root."): {
            "mse": lambda preds, targets: squares(preds, targets).mean().sqrt()
        },
        CUT: {"mse": lambda preds, targets: squares(preds, targets).mean().detach()},
    },
    hints=N_("""A tensor of three numbers can be taken apart: `a, b, c = params`.
Each word of the name is a step of the loss, the last one first: error, squared, mean.
The error is the difference of predictions and targets."""),
)

Move = Callable[[Tensor, float], None]


def move(param: Tensor, lr: float, share: float = 1.0, clear: bool = True) -> None:
    assert param.grad is not None
    param.data -= share * lr * param.grad
    if clear:
        param.grad = None


def try_step(step: Any) -> Tries:
    param = torch.tensor([3.0, -2.0], requires_grad=True)
    param.square().sum().backward()
    step(param, 0.1)
    yield N_("3 and -2 after a step with lr 0.1; the gradient is 6 and -4"), param
    yield N_("the gradient that is left"), torch.zeros(2) if param.grad is None else param.grad


step = Exercise(
    task=N_("""Write one step of gradient descent: go lr times the gradient, downhill.
param requires a gradient, and its gradient is in param.grad already. Change param itself, in place.
Then clear the gradient, so that the next one is not added to it. Return nothing."""),
    code="def step(param: Tensor, lr: float) -> None: ...",
    right={"step": move},
    scenario=try_step,
    mistakes={
        N_("You step uphill: subtract the gradient."): partial(move, share=-1.0),
        N_("You forgot to clear the gradient."): partial(move, clear=False),
        N_("`param = ...` is a new tensor: change param, by `-=`."): lambda param, lr: None,
        N_("The step must not be recorded: use `param.data`, or `torch.no_grad()`."): (
            lambda param, lr: param.sub_(lr * param.grad)
        ),
    },
    hints=N_("""Two lines: the first changes param, the second clears its gradient.
`param.data` is the same memory without the record that gradients need.
`-=` changes in place; a gradient is cleared by `None` or by `zero_()`."""),
)


def descend(
    time: Tensor, speed: Tensor, params: Tensor, lr: float, steps: int, move: Move = move
) -> list[float]:
    losses = []
    for _ in range(steps):
        loss = squares(parabola(time, params), speed).mean()
        loss.backward()
        move(params, lr)
        losses.append(loss.item())
    return losses


def try_seven_steps(seven_steps: Any) -> Tries:
    params = torch.tensor([1.0, -10.0, 20.0], requires_grad=True)
    yield N_("the losses of five steps"), seven_steps(TIME, SPEED, params, 1e-5, 5)
    yield N_("the parameters at the end"), params


seven_steps = Exercise(
    task=N_("""Write all of: 1 initialise, 2 predict, 3 loss, 4 gradient, 5 step, 6 repeat, 7 stop.
params is there already, (a, b, c) of the parabola a t^2 + b t + c, and requires a gradient. Do 2 to
5 `steps` times, with the mean squared error as the loss; params changes in place. Return the
losses, a list with one number for each time."""),
    code="""\
def seven_steps(
    time: Tensor, speed: Tensor, params: Tensor, lr: float, steps: int
) -> list[float]: ...
""",
    right={"seven_steps": descend},
    scenario=try_seven_steps,
    mistakes={
        N_("You forgot to clear the gradients."): partial(descend, move=partial(move, clear=False)),
        N_("You step uphill: subtract."): partial(descend, move=partial(move, share=-1)),
        N_("Change params in place."): partial(descend, move=lambda *given: None),
    },
    hints=N_("""A loop of `steps` rounds, with four lines for 2 to 5 in it, and a list.
The gradient comes by `loss.backward()`; the step is that of the exercise before.
`loss.item()` is the loss as a plain number, to be kept in the list."""),
)
