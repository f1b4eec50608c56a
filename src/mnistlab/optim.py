"""The optimizer, by hand. fastbook ch. 4, § "Creating an Optimizer"."""

from collections.abc import Iterable

import torch


class BasicOptim:
    """Plain gradient descent: every parameter moves by -lr times its gradient.

    params: the parameters to move; lr: step size, > 0. As in the chapter, `step` and `zero_grad`
    are all there is. Bit for bit the same as `torch.optim.SGD(params, lr)`, which costs a second
    of imports more.
    """

    def __init__(self, params: Iterable[torch.nn.Parameter], lr: float) -> None:
        self.params = list(params)
        self.lr = lr

    def step(self) -> None:
        """Move each parameter that has a gradient, in place."""
        for param in self.params:
            if param.grad is not None:
                # .data: the step itself must not be recorded for the next gradient
                param.data.add_(param.grad, alpha=-self.lr)

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward pass starts afresh instead of adding to them."""
        for param in self.params:
            param.grad = None


OPTIMIZERS: dict[str, type[BasicOptim]] = {"basic": BasicOptim}
