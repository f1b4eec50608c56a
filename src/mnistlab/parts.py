"""A batch cut into parts: several processes compute the gradient that one would, to the bit.

A sum of floats depends on the order in which it is added. So a batch is cut into the same M parts,
however many processes there are, and the gradients of the parts are added as a tree. With M = 8 and
four processes, each computes two neighbouring parts and adds them; then it swaps its sum with that
of its neighbour, then with that of the other pair, and all have the same sum:

    ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from mnistlab.errors import ConfigError
from mnistlab.processes import ALONE, Team


class Parts:
    """How batches are cut: into n parts, a power of two, for the processes of `team`.

    A step differs from one with the whole batch in the last bits of the gradient, and in batch
    norm, which normalises each part by itself and follows the statistics of one part after another.
    """

    def __init__(self, n: int, team: Team = ALONE) -> None:
        self.n, self.team = n, team

    def backward(
        self,
        calc_grad: Callable[..., torch.Tensor],
        xb: torch.Tensor,
        targets: torch.Tensor,
        model: nn.Module,
        least: int,
        place: Any,
    ) -> torch.Tensor:
        """Fill `param.grad` for a batch; its loss, a scalar, by `calc_grad` for each part.

        least: how few images a part may have, 1 or 2; it may also have none.
        Raises LostError when another process is lost; the model is then as it was.
        """
        params = [param for param in model.parameters() if param.requires_grad]
        norms = _running_norms(model)
        before = [(norm.momentum, copy.deepcopy(norm.state_dict())) for norm in norms]
        n_own, n_statistics = self.n // self.team.size, len(_statistics(norms))
        # The parts end here: as equal as can be, and the last one takes what is left over.
        ends = [len(xb) // least * part // self.n * least for part in range(self.n)] + [len(xb)]
        # What is added is one vector: the gradient, the loss, the statistics of every part (each in
        # a place of its own, with 0 in all others), how many parts gave each parameter a gradient,
        # and how many processes were asked to stop.
        sizes = [param.numel() for param in params]
        sizes += [1, *[n_statistics] * self.n, len(params), 1]

        def added(part: int, n: int) -> torch.Tensor:
            """The sum of n vectors, from that of `part` on: the left half and the right half."""
            if n > 1:
                return added(part, n // 2) + added(part + n // 2, n // 2)
            vector = params[0].new_zeros(sum(sizes))
            own = slice(ends[part], ends[part + 1])
            if images := len(xb[own]):
                # it counts as a batch, which draws random numbers of its own
                at = replace(place, batch=place.batch * self.n + part)
                loss = calc_grad(xb[own], targets[own], place=at, share=images / len(xb))
                places = vector.split(sizes)
                for number, param in enumerate(params):
                    if param.grad is not None:
                        places[number].copy_(param.grad.flatten())
                        places[-2][number] = 1
                        param.grad = None  # the next part starts afresh
                places[len(params)].copy_(loss)
                places[len(params) + 1 + part].copy_(_statistics(norms))
            return vector

        try:
            for norm in norms:
                norm.momentum = 1.0  # it then keeps what it saw last, and nothing of before
            vector = added(self.team.rank * n_own, n_own)
            vector[-1] += self.team.asked()
            vector = self.team.add(vector)
        finally:
            for norm, (momentum, state) in zip(norms, before, strict=True):
                norm.momentum = momentum
                norm.load_state_dict(state)
        places = vector.split(sizes)
        *used, stop = torch.cat(places[-2:]).tolist()
        for param, place, times in zip(params, places, used, strict=False):
            if times:
                param.grad = torch.empty_like(param).copy_(place.view(param.shape))
        for part, values in enumerate(places[len(params) + 1 : -2]):
            if ends[part] < ends[part + 1]:
                _follow(norms, values)
        self.team.stopped = self.team.size > 1 and stop > 0
        loss: torch.Tensor = places[len(params)].squeeze()
        return loss


def check_divisible(model: nn.Module, xb: torch.Tensor) -> None:
    """Raise ConfigError if training on `xb` changes more of `model` than the parts can agree on.

    xb: two images or more, float (b, 1, H, W). Running statistics of batch norm are fine.
    """
    trial = copy.deepcopy(model).train()
    known = {id(buffer) for norm in _running_norms(trial) for buffer in norm.buffers()}
    before = {name: buffer.clone() for name, buffer in trial.named_buffers()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        trial(xb)
    for name, buffer in trial.named_buffers():
        if id(buffer) not in known and not torch.equal(buffer, before[name]):
            raise ConfigError(
                f"--micro-batches: the model changes its buffer {name} in training, and what the "
                "parts of a batch make of it cannot be put together; use --micro-batches 1"
            )


def _running_norms(model: nn.Module) -> list[_NormBase]:
    """The layers that follow means and variances of what they see: batch norm, mostly."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    return [norm for norm in norms if norm.track_running_stats and norm.training]


def _statistics(norms: list[_NormBase]) -> torch.Tensor:
    """Means and variances that `norms` have, in a row."""
    each: list[Any] = [part for norm in norms for part in (norm.running_mean, norm.running_var)]
    return torch.cat(each) if each else torch.empty(0)


def _follow(norms: list[Any], values: torch.Tensor) -> None:
    """Move the running statistics towards those of one part, as batch norm itself does."""
    places = iter(values.split([norm.num_features for norm in norms for _ in range(2)]))
    for norm in norms:
        norm.num_batches_tracked += 1
        # without a momentum: the mean of all so far
        mean = 1 / float(norm.num_batches_tracked)
        share = mean if norm.momentum is None else norm.momentum
        for running in (norm.running_mean, norm.running_var):
            running.mul_(1 - share).add_(next(places), alpha=share)
