"""An optimizer, one epoch, its score, momentum. fastbook ch. 4, "Creating an Optimizer"."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mnistlab.data.batches import batches, to_float
from mnistlab.exercises.kit import Exercise, Tries, sample
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


def follow(opt: Any, params: list[nn.Parameter], steps: int) -> Tries:
    """Some steps down the slope of the sum of squares, gradients cleared after each."""
    for _step in range(steps):
        torch.stack([(param**2).sum() for param in params]).sum().backward()
        yield N_("the gradients before a step"), [param.grad for param in params]
        opt.step()
        yield N_("the parameters after it"), list(params)
        opt.zero_grad()


def two_parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([[-4.0]]))]


def try_basic_optim(BasicOptim: Any) -> Tries:  # noqa: N803
    params = two_parameters()
    # from a generator, as model.parameters() is one
    yield from follow(BasicOptim((param for param in params), 0.25), params, 2)
    model, (xb, targets) = linear_model(), some_batches()[0]
    opt = BasicOptim(model.parameters(), 1.0)
    mnist_loss(model(xb), targets).backward()
    opt.step()
    yield N_("the weights of a linear model after a step on real images"), weights_of(model)


class NeverCleared(BasicOptim):
    def zero_grad(self) -> None:
        pass


class UsedUp(BasicOptim):
    def step(self) -> None:
        super().step()
        self.params, self.buffers = [], []


class WithGraph(BasicOptim):
    def step(self) -> None:
        for param in self.params:
            param -= param.grad * self.lr  # type: ignore[operator, misc]


basic_optim = Exercise(
    task=N_("""Write the optimizer of the chapter. `BasicOptim(params, lr)` is made with the
parameters of a model; `step()` moves each parameter by -lr times its gradient, in place;
`zero_grad()` forgets the gradients. params may be a generator, as `model.parameters()` is one."""),
    code="""
class BasicOptim:
    def __init__(self, params, lr): ...
    def step(self): ...
    def zero_grad(self): ...
""",
    right={"BasicOptim": BasicOptim},
    scenario=try_basic_optim,
    mistakes={
        N_("You go up the slope: subtract the gradient."): (
            lambda params, lr: BasicOptim(params, -lr)
        ),
        N_("You forgot to clear the gradients: they add up from pass to pass."): NeverCleared,
        N_("A generator can be used once: keep `list(params)`."): UsedUp,
        N_("The step is recorded for autograd: use `torch.no_grad()`."): WithGraph,
    },
    hints=N_("""Keep the parameters as a list, and lr.
A parameter has its gradient in `.grad`; change it in place under `torch.no_grad()`.
To forget a gradient, set `.grad` to None."""),
)


def try_train_epoch(train_epoch: Any) -> Tries:
    model, dl = linear_model(), some_batches()
    opt = BasicOptim(model.parameters(), 1.0)
    for _epoch in range(2):
        train_epoch(model, opt, mnist_loss, dl)
        yield N_("the weights after an epoch of 4 batches"), weights_of(model)


def train_epoch_of(model: nn.Module, opt: Any, loss_func: Any, dl: Any, clear: bool = True) -> None:
    for xb, yb in dl:
        loss_func(model(xb), yb).backward()
        opt.step()
        if clear:
            opt.zero_grad()


def one_step(model: nn.Module, opt: Any, loss_func: Any, dl: Any) -> None:
    for xb, yb in dl:
        loss_func(model(xb), yb).backward()
    opt.step()
    opt.zero_grad()


train_epoch = Exercise(
    task=N_("""Write one epoch of training: for each batch (xb, yb) of dl predict, compute the
loss, find the gradients, let the optimizer take its step, and clear the gradients.
loss_func(model(xb), yb) is a number with a graph; opt has `step` and `zero_grad`."""),
    code="def train_epoch(model, opt, loss_func, dl): ...",
    right={"train_epoch": train_epoch_of},
    scenario=try_train_epoch,
    mistakes={
        N_("The gradients are never cleared: each step repeats all before it."): (
            partial(train_epoch_of, clear=False)
        ),
        N_("No weight moves: is the step missing, or the gradient cleared before it?"): (
            lambda model, opt, loss_func, dl: None
        ),
        N_("You take one step in an epoch; it belongs into the loop."): one_step,
    },
    hints=N_("""A loop over dl gives xb and yb.
The loss has a method that fills the gradients of all parameters: `backward()`.
The order is: predict, loss, backward, step, zero_grad; all five inside the loop."""),
)


def try_validate_epoch(validate_epoch: Any) -> Tries:
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


def right_in(model: nn.Module, dl: Batches, above: float = 0.0) -> list[Tensor]:
    """For each batch, which answers are right."""
    return [(model(xb) > above) == (yb == 1) for xb, yb in dl]


validate_epoch = Exercise(
    task=N_("""Write the score of an epoch: the share of all images of dl for which the model is
right. model(xb) gives logits (b, 1): above 0 it says 3. yb has the targets (b, 1), 1 for a 3, 0
for a 7. Count every image once: the last batch is smaller than the others."""),
    code="def validate_epoch(model, dl): ...",
    right={"validate_epoch": lambda model, dl: torch.cat(right_in(model, dl)).float().mean()},
    scenario=try_validate_epoch,
    mistakes={
        # the chapter does the same
        N_("This is a mean of batch means: images of the last, small batch count more."): (
            lambda model, dl: torch.stack([b.float().mean() for b in right_in(model, dl)]).mean()
        ),
        N_("0.5 is the middle of probabilities; of logits it is 0."): (
            lambda model, dl: torch.cat(right_in(model, dl, 0.5)).float().mean()
        ),
        N_("This is how many are right: divide it by the number of images."): (
            lambda model, dl: torch.cat(right_in(model, dl)).sum()
        ),
    },
    hints=N_("""For each batch, which of its answers are right?
Add up how many are right, and how many there are.
Divide once, after the loop."""),
)


def try_momentum(Momentum: Any) -> Tries:  # noqa: N803
    params = two_parameters()
    yield from follow(Momentum((param for param in params), 0.1, 0.9), params, 3)


momentum = Exercise(
    task=N_("""Write an optimizer with momentum: each parameter has a velocity, which starts at
0. In a step it becomes momentum times the old velocity plus the gradient; then the parameter
moves by -lr times the velocity. `zero_grad()` clears the gradients, not the velocities."""),
    code="""
class Momentum:
    def __init__(self, params, lr, momentum=0.9): ...
    def step(self): ...
    def zero_grad(self): ...
""",
    right={"Momentum": Momentum},
    scenario=try_momentum,
    mistakes={
        N_("You take 1 - momentum times the gradient: take all of it."): (
            lambda params, lr, momentum: Momentum(params, lr * (1 - momentum), momentum)
        ),
        N_("The velocity is lost from step to step: keep it."): (
            lambda params, lr, momentum: Momentum(params, lr, 0.0)
        ),
        N_("The velocity never gets smaller: multiply it by momentum."): (
            lambda params, lr, momentum: Momentum(params, lr, 1.0)
        ),
    },
    hints=N_("""Keep one velocity for each parameter, in a list beside them.
`torch.zeros_like(param)` is a velocity at rest.
First the new velocity, then move the parameter by -lr times it."""),
)
