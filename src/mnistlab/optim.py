"""The optimizers, by hand. `BasicOptim` is that of fastbook ch. 4, § "Creating an Optimizer".

Each gives what torch.optim gives (`tests/test_optim.py`), and saves the second that importing
torch.optim takes. A schedule may set `lr` and `momentum` before any step.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from mnistlab.config import TrainConfig
from mnistlab.errors import DamagedFileError
from mnistlab.own_code import SourceCode

Params = Iterable[torch.nn.Parameter]
Buffers = Mapping[str, torch.Tensor]
"""The tensors that an optimizer keeps for one parameter, by name."""


class BasicOptim:
    """Plain gradient descent: every parameter moves by -lr times its gradient.

    params: the parameters to move; lr: step size, > 0. As in the chapter, `step` and `zero_grad`
    are all there is. Bit for bit the same as `torch.optim.SGD(params, lr)`.
    """

    buffer_names: tuple[str, ...] = ()  # the tensors it keeps for each parameter, by name

    def __init__(self, params: Params, lr: float) -> None:
        self.params = list(params)
        self.lr = lr
        self.momentum = 0.0
        self.steps = 0
        self.buffers = [
            {name: torch.zeros_like(param) for name in self.buffer_names} for param in self.params
        ]

    # no_grad: the steps themselves are no part of what is differentiated
    @torch.no_grad()
    def step(self) -> None:
        """Move each parameter that has a gradient, in place."""
        self.steps += 1
        for param, buffers in zip(self.params, self.buffers, strict=True):
            if param.grad is not None:  # None: the loss did not depend on this parameter
                self.move(param, param.grad, buffers)

    def move(self, param: torch.Tensor, grad: torch.Tensor, buffers: Buffers) -> None:
        """Move one parameter by its gradient."""
        # The gradient points to where the loss grows: go the other way, lr times as far. The
        # underscore of add_ means in place: no second tensor is made.
        param.add_(grad, alpha=-self.lr)

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward pass starts afresh instead of adding to them."""
        # None instead of zeros: the next backward then writes its result without adding to it
        for param in self.params:
            param.grad = None

    def state(self) -> dict[str, torch.Tensor]:
        """All that the next step depends on beside lr, momentum and the weights, copied."""
        if not self.buffer_names:
            return {}
        state = {
            f"{kind}.{i}": tensor.detach().cpu().clone()
            for i, buffers in enumerate(self.buffers)
            for kind, tensor in buffers.items()
        }
        return state | {"steps": torch.tensor(self.steps)}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` gave. Raises DamagedFileError if it is of another optimizer."""
        own = self.state()
        if {k: t.shape for k, t in own.items()} != {k: t.shape for k, t in state.items()}:
            raise DamagedFileError(f"the optimizer's state is not one of {type(self).__name__}")
        for i, buffers in enumerate(self.buffers):
            for kind, tensor in buffers.items():
                tensor.copy_(state[f"{kind}.{i}"])
        self.steps = int(state.get("steps", 0))


class Momentum(BasicOptim):
    """Gradient descent that keeps rolling: velocity = momentum · velocity + gradient.

    momentum: 0…1. Bit for bit `torch.optim.SGD(params, lr, momentum)`.
    """

    buffer_names = ("velocity",)

    def __init__(self, params: Params, lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, lr)
        self.momentum = momentum

    def move(self, param: torch.Tensor, grad: torch.Tensor, buffers: Buffers) -> None:
        """Move one parameter along its velocity."""
        # Steps of one direction add up to 1 / (1 - momentum) times the gradient, ten times for 0.9;
        # steps to and fro cancel out. So the same lr goes further than without momentum.
        velocity = buffers["velocity"].mul_(self.momentum).add_(grad)
        param.add_(velocity, alpha=-self.lr)


class Nesterov(Momentum):
    """Momentum that looks ahead: the step is taken from where the velocity will carry it.

    Bit for bit `torch.optim.SGD(params, lr, momentum, nesterov=True)`. Y. Nesterov (1983).
    """

    def move(self, param: torch.Tensor, grad: torch.Tensor, buffers: Buffers) -> None:
        """Move one parameter along its gradient and the velocity to come."""
        # As Momentum, but the new gradient counts at once and once more by way of the velocity.
        velocity = buffers["velocity"].mul_(self.momentum).add_(grad)
        param.add_(grad.add(velocity, alpha=self.momentum), alpha=-self.lr)


class Adam(BasicOptim):
    """Momentum with a step size of its own for every weight. Kingma and Ba, arXiv:1412.6980.

    momentum (beta 1) and beta2: how much of the averages of gradients and of their squares remains
    after each step, 0…1. Bit for bit `torch.optim.Adam(params, lr, (momentum, beta2))`.
    """

    buffer_names = ("mean", "square")

    def __init__(
        self, params: Params, lr: float, momentum: float = 0.9, beta2: float = 0.999
    ) -> None:
        super().__init__(params, lr)
        self.momentum, self.beta2 = momentum, beta2

    def move(self, param: torch.Tensor, grad: torch.Tensor, buffers: Buffers) -> None:
        """Move one parameter by the mean of its gradients over the root of their mean square."""
        # Running averages of the gradient and of its square: each step adds a share of the new one.
        # lerp_ goes from the old value towards the gradient by that share.
        mean = buffers["mean"].lerp_(grad, 1 - self.momentum)
        square = buffers["square"].mul_(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
        # Both averages began at zero and are too small at first; dividing by these undoes it.
        mean_share = 1 - self.momentum**self.steps
        square_share = 1 - self.beta2**self.steps
        # A weight whose gradients are always small takes steps as large as any other: about lr.
        # 1e-8 keeps the division safe where all gradients were zero.
        root = square.sqrt().div_(square_share**0.5).add_(1e-8)
        param.addcdiv_(mean, root, value=-self.lr / mean_share)


class AdamW(Adam):
    """Adam whose weights also shrink by lr · weight_decay a step. Loshchilov, arXiv:1711.05101.

    Bit for bit `torch.optim.AdamW(params, lr, (momentum, beta2), weight_decay=…)`.
    """

    def __init__(
        self, params: Params, lr: float, *, weight_decay: float = 0.01, **settings: float
    ) -> None:
        super().__init__(params, lr, **settings)
        self.weight_decay = weight_decay

    def move(self, param: torch.Tensor, grad: torch.Tensor, buffers: Buffers) -> None:
        """Shrink one parameter, then move it as Adam does."""
        # Apart from the gradient, so that a weight with large gradients shrinks as much as others.
        param.mul_(1 - self.lr * self.weight_decay)
        super().move(param, grad, buffers)


OPTIMIZERS: dict[str, Callable[..., BasicOptim]] = {
    "basic": BasicOptim,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "adamw": AdamW,
}
RATES = ("momentum", "beta2", "weight_decay")


def new_optimizer(
    config: TrainConfig, model: torch.nn.Module, sources: Mapping[str, SourceCode] = {}
) -> Any:
    """The optimizer that `config` asks for, perhaps of the user's own, at its first step."""
    extra = {key: getattr(config, key) for key in RATES if config.applies(key)}
    if own := sources.get("optimizer"):
        return own.make(model.parameters(), **own.asked({"lr": config.lr, **extra}))
    return OPTIMIZERS[config.optimizer](model.parameters(), config.lr, **extra)


Schedule = Callable[[int], tuple[float, float]]
"""schedule(step) → (lr, momentum); steps count from 0 over the whole run."""


def one_cycle(lr: float, momentum: float, total: int, *, warmup: float = 0.25) -> Schedule:
    """What fastai's `fit_one_cycle` does: the rate rises to `lr` and falls to nearly nothing.

    It rises along a cosine from lr / 25 over the share `warmup` of `total` steps, then falls to
    lr / 100,000. The momentum mirrors it: from `momentum` down by 0.1, and back. L. N. Smith,
    arXiv:1803.09820; the step at which it turns is that of torch's OneCycleLR.
    """
    peak = warmup * total - 1
    last = total - 1
    low = max(momentum - 0.1, 0.0)

    def at(step: int) -> tuple[float, float]:
        if step <= peak:  # rising: small steps while the weights are still random
            done = step / peak if peak > 0 else 1.0
            return _cosine(lr / 25, lr, done), _cosine(momentum, low, done)
        # falling: large steps to cross the plain, ever smaller ones to settle in a minimum
        done = min((step - peak) / (last - peak), 1.0) if last > peak else 1.0
        return _cosine(lr, lr / 1e5, done), _cosine(low, momentum, done)

    return at


def _cosine(first: float, last: float, done: float) -> float:
    """From `first` to `last` as `done` goes from 0 to 1, slowly at both ends."""
    return last + (first - last) / 2 * (1 + math.cos(math.pi * done))
