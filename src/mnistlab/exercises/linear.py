"""The linear model, its loss and its gradients. fastbook ch. 4, "The MNIST Loss Function"."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from mnistlab.exercises.kit import CUT, Exercise, Tries, gradient, images_of
from mnistlab.language import N_
from mnistlab.losses import mnist_loss as loss_of


def drawn(size: Any, std: float = 1.0, draw: Any = torch.randn) -> Tensor:
    numbers: Tensor = draw(size) * std
    return numbers.requires_grad_()


def try_init_params(init_params: Any) -> Tries:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        params, wide = init_params((784, 30)), init_params((784, 30), 2.0)
    yield N_("the shape for the size (784, 30)"), getattr(params, "shape", params)
    # drawn in another way they are other numbers; rounded, mean and spread are the same
    yield N_("their mean, to one digit"), params.mean().round(decimals=1)
    yield N_("their spread, to one digit"), params.std().round(decimals=1)
    yield N_("their spread for std 2"), wide.std().round(decimals=1)
    yield N_("params.requires_grad"), str(params.requires_grad)
    yield N_("params.is_leaf"), str(params.is_leaf)


init_params = Exercise(
    task=N_("""Write the start of a model: a tensor of random numbers that requires a gradient.
They are from the normal distribution with mean 0 and standard deviation std.
size: the shape of the result, as (784, 1)."""),
    code="def init_params(size: tuple[int, ...], std: float = 1.0) -> Tensor: ...",
    right={"init_params": drawn},
    scenario=try_init_params,
    mistakes={
        N_("Use `randn`, not `rand`."): partial(drawn, draw=torch.rand),
        N_("Call `requires_grad_()` at the end."): lambda size, std=1.0: torch.randn(size) * std,
        N_("This is no leaf: call `requires_grad_()` last."): lambda size, std=1.0: (
            drawn(size) * std
        ),
    },
    hints=N_("""`torch.randn` draws from the normal distribution with the standard deviation 1.
Numbers that are multiplied by std spread std times as far.
`requires_grad_()` comes last, so that the multiplication is not recorded."""),
)


def batch(n: int) -> tuple[Tensor, Tensor]:
    """`n` images of each digit as rows, (2n, 784), and their targets, (2n, 1)."""
    xb = torch.cat([images_of("3")[:n], images_of("7")[:n]]).flatten(1)
    return xb, torch.tensor([[1.0]] * n + [[0.0]] * n)


def weights_and_bias() -> tuple[Tensor, Tensor]:
    """Always the same ones, which require gradients: (784, 1), from -0.1 to 0.1, and (1,)."""
    weights = torch.linspace(0, 500, 784).sin().unsqueeze(1) / 10
    return weights.requires_grad_(), torch.tensor([0.25], requires_grad=True)


def linear(xb: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    return xb @ weights + bias


def try_linear1(linear1: Any) -> Tries:
    xb, weights = torch.tensor([[1.0, 2, 3], [0, -1, 0.5]]), torch.tensor([[2.0], [1], [-1]])
    yield N_("two images of three pixels"), linear1(xb, weights, torch.tensor([10.0]))
    yield N_("three images of each digit"), linear1(batch(3)[0], *weights_and_bias())


linear1 = Exercise(
    task=N_("""Write the linear model: each pixel times its weight, added up, and the bias.
xb: images as rows, (b, 784); weights (784, 1); bias (1,). The result is one logit for each image,
any number, shape (b, 1)."""),
    code="def linear1(xb: Tensor, weights: Tensor, bias: Tensor) -> Tensor: ...",
    right={"linear1": linear},
    scenario=try_linear1,
    mistakes={
        N_("Add the bias at the end."): lambda xb, w, b: xb @ w,
        N_("`*` only multiplies; `@` adds up as well."): lambda xb, w, b: xb * w.T + b,
        N_("Asked is a column, (b, 1), not (b,)."): lambda xb, w, b: (xb @ w + b).squeeze(1),
    },
    hints=N_("""A sum of products for each row: this is what a matrix product does.
`@` is the matrix product: (b, 784) @ (784, 1) is (b, 1).
The bias, (1,), broadcasts over all rows."""),
)


def try_mnist_loss(mnist_loss: Any) -> Tries:
    logits, targets = torch.tensor([[0.0], [2], [-3]]), torch.tensor([[1.0], [0], [1]])
    yield N_("logits 0, 2 and -3 of a 3, a 7 and a 3"), mnist_loss(logits, targets)
    xb, yb = batch(50)
    weights, bias = weights_and_bias()
    loss = mnist_loss(linear(xb, weights, bias), yb)
    yield N_("the loss of 100 images"), loss
    yield N_("the gradient of the weights"), gradient(loss, weights)


mnist_loss = Exercise(
    task=N_("""Write the loss: how far each probability is from its target, on average.
logits: any numbers, (b, 1); the sigmoid, 1 / (1 + e^-x), makes probabilities of them.
targets: 1 for a 3 and 0 for a 7, (b, 1). The result is one number from 0 to 1."""),
    code="def mnist_loss(logits: Tensor, targets: Tensor) -> Tensor: ...",
    right={"mnist_loss": loss_of},
    scenario=try_mnist_loss,
    mistakes={
        N_("Take the sigmoid first."): lambda x, y: torch.where(y == 1, 1 - x, x).mean(),
        N_("For a 3 the distance is 1 - probability."): lambda x, y: loss_of(x, 1 - y),
        N_("This is the sum: the loss is the mean."): lambda x, y: loss_of(x, y) * len(x),
        CUT: lambda x, y: loss_of(x, y).detach(),
    },
    hints=N_("""First the probabilities, then their distances from the targets, then the mean.
For a target of 1 the distance is 1 - p, for a target of 0 it is p.
`torch.where(targets == 1, ..., ...)` chooses between the two, image by image."""),
)


def gradients(xb: Tensor, yb: Tensor, model: Any) -> None:
    loss_of(model(xb), yb).backward()


def try_calc_grad(calc_grad: Any) -> Tries:
    weights, bias = weights_and_bias()
    for n, title in ((2, N_("of four images")), (50, N_("of 100 more, added to the first"))):
        calc_grad(*batch(n), lambda xb: linear(xb, weights, bias))
        yield title, [None if one.grad is None else one.grad.clone() for one in (bias, weights)]


calc_grad = Exercise(
    task=N_("""Write the three lines that every training repeats: predict, loss, gradient.
xb: images (b, 784); yb: targets (b, 1); model: a function that makes logits (b, 1) of xb.
The gradients go into .grad of the parameters, added to what is there. Return nothing."""),
    code="""\
from mnistlab import mnist_loss


def calc_grad(xb: Tensor, yb: Tensor, model) -> None: ...
""",
    right={"calc_grad": gradients},
    scenario=try_calc_grad,
    mistakes={
        N_("There is no gradient: the loss needs a `backward()`."): lambda xb, yb, model: None,
        N_("You have exchanged the arguments of the loss: first the logits, then the targets."): (
            lambda xb, yb, model: loss_of(yb, model(xb)).backward()
        ),
        N_("`mnist_loss` takes logits: it has the sigmoid in it, and you take it once more."): (
            lambda xb, yb, model: gradients(xb, yb, lambda xb: model(xb).sigmoid())
        ),
    },
    hints=N_("""Three lines, one for each word: predict, loss, gradient.
The model is a function: call it with the batch.
`backward()` on the loss fills .grad of all that it depends on."""),
)
