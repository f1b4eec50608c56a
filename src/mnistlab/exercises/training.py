"""An optimizer, one epoch, its score, momentum. fastbook ch. 4, "Creating an Optimizer"."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mnistlab.data.batches import batches, to_float
from mnistlab.exercises.kit import Exercise, sample
from mnistlab.language import N_
from mnistlab.losses import mnist_loss, targets_for
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim, Momentum

Batches = list[tuple[Tensor, Tensor]]


def linear_model() -> nn.Module:
    """The linear model of seed 0 for images of 3s and 7s."""
    return build_model("linear", (28, 28), ("3", "7"), seed=0)


def some_batches(
    rows: slice = slice(None, None, 8), size: int = 400, ds: TensorDataset | None = None
) -> Batches:
    """Batches (xb float (b, 1, 28, 28), targets (b, 1)) of those training images, or of `ds`."""
    images, labels = (tensor[rows] for tensor in (ds or sample().train_ds).tensors)
    ds = TensorDataset(images, targets_for(labels, 2))
    return [(to_float(xb), targets) for xb, targets in batches(ds, size)]


def weights_of(model: nn.Module) -> Tensor:
    """All parameters in one row, copied."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def follow(opt: Any, params: list[nn.Parameter], steps: int) -> Iterator[tuple[str, Any]]:
    """Some steps down the slope of the sum of squares, gradients cleared after each."""
    for _step in range(steps):
        torch.stack([(param**2).sum() for param in params]).sum().backward()
        yield N_("the gradients before a step"), [param.grad for param in params]
        opt.step()
        yield N_("the parameters after it"), list(params)
        opt.zero_grad()


def two_parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([[-4.0]]))]


def try_basic_optim(BasicOptim: Any) -> Iterator[tuple[str, Any]]:  # noqa: N803
    params = two_parameters()
    # from a generator, as model.parameters() is one
    yield from follow(BasicOptim((param for param in params), 0.25), params, 2)
    model, (xb, targets) = linear_model(), some_batches()[0]
    opt = BasicOptim(model.parameters(), 1.0)
    mnist_loss(model(xb), targets).backward()
    opt.step()
    yield N_("the weights of a linear model after a step on real images"), weights_of(model)


class _Uphill(BasicOptim):
    def move(self, param: Tensor, grad: Tensor, buffers: Any) -> None:
        param.add_(grad, alpha=self.lr)


class _NeverCleared(BasicOptim):
    def zero_grad(self) -> None:
        pass


class _UsedUp(BasicOptim):
    def step(self) -> None:
        super().step()
        self.params, self.buffers = [], []


class _WithGraph(BasicOptim):
    def step(self) -> None:
        for param in self.params:
            param -= param.grad * self.lr  # type: ignore[operator, misc]


class _WithoutRate(BasicOptim):
    def move(self, param: Tensor, grad: Tensor, buffers: Any) -> None:
        param.sub_(grad)


basic_optim = Exercise(
    task=N_("""\
Write the optimizer of the chapter. `BasicOptim(params, lr)` is made with the parameters of a
model; `step()` moves each parameter by -lr times its gradient, in place; `zero_grad()` forgets
the gradients. params may be a generator, as `model.parameters()` is one.
"""),
    code="""\
class BasicOptim:
    def __init__(self, params, lr):
        ...

    def step(self):
        ...

    def zero_grad(self):
        ...
""",
    right={"BasicOptim": BasicOptim},
    scenario=try_basic_optim,
    mistakes={
        N_("You go up the slope: the gradient points to where the loss grows, so subtract it."): (
            _Uphill
        ),
        N_(
            "You forgot to clear the gradients: after two backward passes they are added up."
        ): _NeverCleared,
        N_("The second step moves nothing: a generator can be used once; keep `list(params)`."): (
            _UsedUp
        ),
        N_("The step itself is recorded for autograd: do it under `torch.no_grad()`."): _WithGraph,
        N_("The learning rate is left out: multiply the gradient by lr."): _WithoutRate,
    },
    hints=N_("""\
Keep the parameters as a list, and lr.
A parameter has its gradient in `.grad`; change it in place under `torch.no_grad()`.
To forget a gradient, set `.grad` to None.
"""),
)


def try_train_epoch(train_epoch: Any) -> Iterator[tuple[str, Any]]:
    model, dl = linear_model(), some_batches()
    opt = BasicOptim(model.parameters(), 1.0)
    for _epoch in range(2):
        train_epoch(model, opt, mnist_loss, dl)
        yield N_("the weights after an epoch of 4 batches"), weights_of(model)


def train_epoch_of(model: nn.Module, opt: Any, loss_func: Any, dl: Any) -> None:
    for xb, yb in dl:
        loss_func(model(xb), yb).backward()
        opt.step()
        opt.zero_grad()


def _without_clearing(model: nn.Module, opt: Any, loss_func: Any, dl: Any) -> None:
    for xb, yb in dl:
        loss_func(model(xb), yb).backward()
        opt.step()


def _cleared_too_early(model: nn.Module, opt: Any, loss_func: Any, dl: Any) -> None:
    """Nothing moves."""


def _one_step(model: nn.Module, opt: Any, loss_func: Any, dl: Any) -> None:
    for xb, yb in dl:
        loss_func(model(xb), yb).backward()
    opt.step()
    opt.zero_grad()


def _first_batch(model: nn.Module, opt: Any, loss_func: Any, dl: Any) -> None:
    train_epoch_of(model, opt, loss_func, dl[:1])


train_epoch = Exercise(
    task=N_("""\
Write one epoch of training: for each batch (xb, yb) of dl predict, compute the loss, find the
gradients, let the optimizer take its step, and clear the gradients.
loss_func(model(xb), yb) is a number with a graph; opt has `step` and `zero_grad`.
"""),
    code="""\
def train_epoch(model, opt, loss_func, dl):
    ...
""",
    right={"train_epoch": train_epoch_of},
    scenario=try_train_epoch,
    mistakes={
        N_("The gradients are never cleared: each step also goes along those of all before."): (
            _without_clearing
        ),
        N_("No weight moves: is the step missing, or are the gradients cleared before it?"): (
            _cleared_too_early
        ),
        N_("You take one step in an epoch: the step belongs into the loop, after each batch."): (
            _one_step
        ),
        N_("Only the first batch is used: does a `return` stand inside the loop?"): _first_batch,
    },
    hints=N_("""\
A loop over dl gives xb and yb.
The loss has a method that fills the gradients of all parameters: `backward()`.
The order is: predict, loss, backward, step, zero_grad; all five inside the loop.
"""),
)


def try_validate_epoch(validate_epoch: Any) -> Iterator[tuple[str, Any]]:
    logits = torch.tensor([[0.3], [-2.0], [4.0], [0.9], [-1.0]])
    targets = torch.tensor([[1.0], [0.0], [1.0], [0.0], [0.0]])
    halves = [(logits[:4], targets[:4]), (logits[4:], targets[4:])]
    yield (
        N_("batches of 4 and 1, of which 3 and 1 are right"),
        validate_epoch(nn.Identity(), halves),
    )
    model = linear_model()
    train_epoch_of(model, BasicOptim(model.parameters(), 1.0), mnist_loss, some_batches())
    dl = some_batches(slice(None, None, 5), 512)
    yield N_("a model after one epoch, batches of 512 and a smaller one"), validate_epoch(model, dl)


def validate(model: nn.Module, dl: Batches, above: float = 0.0) -> list[Tensor]:
    """For each batch, which answers are right."""
    return [(model(xb) > above) == (yb == 1) for xb, yb in dl]


validate_epoch = Exercise(
    task=N_("""\
Write the score of an epoch: the share of all images of dl for which the model is right.
model(xb) gives logits (b, 1): above 0 it says 3. yb has the targets (b, 1), 1 for a 3, 0 for a 7.
Count every image once: the last batch is smaller than the others.
"""),
    code="""\
def validate_epoch(model, dl):
    ...
""",
    right={"validate_epoch": lambda model, dl: torch.cat(validate(model, dl)).float().mean()},
    scenario=try_validate_epoch,
    mistakes={
        N_("This is the mean of the batches' means: an image of the last, small batch counts more. "
           "The chapter does the same; add up what is right and divide once, at the end."): (
            lambda model, dl: torch.stack([b.float().mean() for b in validate(model, dl)]).mean()
        ),
        N_("You compare logits with 0.5, but that is the middle of probabilities; of logits, 0."): (
            lambda model, dl: torch.cat(validate(model, dl, 0.5)).float().mean()
        ),
        N_("This is how many are right; divide it by the number of images."): (
            lambda model, dl: torch.cat(validate(model, dl)).sum()
        ),
        N_("This is the score of the last batch alone."): (
            lambda model, dl: validate(model, dl)[-1].float().mean()
        ),
        N_("This is the share of wrong answers: 1 minus it is right."): (
            lambda model, dl: 1 - torch.cat(validate(model, dl)).float().mean()
        ),
    },
    hints=N_("""\
For each batch, which of its answers are right?
Add up how many are right, and how many there are.
Divide once, after the loop.
"""),
)  # fmt: skip


def try_momentum(Momentum: Any) -> Iterator[tuple[str, Any]]:  # noqa: N803
    params = two_parameters()
    yield from follow(Momentum((param for param in params), 0.1, 0.9), params, 3)


class _Damped(Momentum):
    def move(self, param: Tensor, grad: Tensor, buffers: Any) -> None:
        super().move(param, grad * (1 - self.momentum), buffers)


class _Forgets(Momentum):
    def move(self, param: Tensor, grad: Tensor, buffers: Any) -> None:
        param.add_(grad, alpha=-self.lr)


class _NeverSlower(Momentum):
    def move(self, param: Tensor, grad: Tensor, buffers: Any) -> None:
        param.add_(buffers["velocity"].add_(grad), alpha=-self.lr)


class _LastGradient(Momentum):
    def move(self, param: Tensor, grad: Tensor, buffers: Any) -> None:
        step = grad + self.momentum * buffers["velocity"]
        buffers["velocity"].copy_(grad)
        param.add_(step, alpha=-self.lr)


momentum = Exercise(
    task=N_("""\
Write an optimizer with momentum: each parameter has a velocity, which starts at 0. In a step it
becomes momentum times the old velocity plus the gradient; then the parameter moves by -lr times
the velocity. `zero_grad()` clears the gradients, not the velocities.
"""),
    code="""\
class Momentum:
    def __init__(self, params, lr, momentum=0.9):
        ...

    def step(self):
        ...

    def zero_grad(self):
        ...
""",
    right={"Momentum": Momentum},
    scenario=try_momentum,
    mistakes={
        N_("You take 1 - momentum times the gradient; asked is the whole gradient."): (
            _Damped
        ),
        N_("The velocity is not kept from step to step, so there is no momentum."): _Forgets,
        N_("The velocity never gets smaller: multiply the old one by momentum."): _NeverSlower,
        N_("You keep the last gradient only; the velocity holds all before, each weaker."): (
            _LastGradient
        ),
        N_("You go up the slope: the gradient points to where the loss grows, so subtract it."): (
            type("_", (Momentum,), {"move": lambda self, param, grad, buffers: param.add_(
                buffers["velocity"].mul_(self.momentum).add_(grad), alpha=self.lr)})
        ),
    },
    hints=N_("""\
Keep one velocity for each parameter, in a list beside them.
`torch.zeros_like(param)` is a velocity at rest.
First the new velocity, then move the parameter by -lr times it.
"""),
)  # fmt: skip

EXERCISES = {
    "basic_optim": basic_optim,
    "train_epoch": train_epoch,
    "validate_epoch": validate_epoch,
    "momentum": momentum,
}
