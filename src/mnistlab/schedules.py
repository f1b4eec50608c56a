"""How the learning rate and the momentum change from step to step.

A schedule is a function of the step alone, so that a resumed run needs to know nothing more.
"""

import math
from collections.abc import Callable

Schedule = Callable[[int], tuple[float, float]]
"""schedule(step) → (lr, momentum); steps count from 0 over the whole run."""


def constant(lr: float, momentum: float) -> Schedule:
    """The same lr and momentum at every step."""
    return lambda step: (lr, momentum)


def one_cycle(
    lr: float,
    momentum: float,
    total: int,
    *,
    warmup: float = 0.25,
    start: float = 25.0,
    end: float = 1e5,
    dip: float = 0.1,
) -> Schedule:
    """What fastai's `fit_one_cycle` does: the rate rises to `lr` and falls to nearly nothing.

    It rises along a cosine from lr / `start` over the share `warmup` of `total` steps, then falls
    to lr / `end`. The momentum mirrors it: from `momentum` down by `dip`, and back. L. N. Smith,
    arXiv:1803.09820; the step at which it turns is that of torch's OneCycleLR.
    """
    peak = warmup * total - 1
    last = total - 1
    low = max(momentum - dip, 0.0)

    def at(step: int) -> tuple[float, float]:
        if step <= peak:
            done = step / peak if peak > 0 else 1.0
            return _cosine(lr / start, lr, done), _cosine(momentum, low, done)
        done = min((step - peak) / (last - peak), 1.0) if last > peak else 1.0
        return _cosine(lr, lr / end, done), _cosine(low, momentum, done)

    return at


def _cosine(first: float, last: float, done: float) -> float:
    """From `first` to `last` as `done` goes from 0 to 1, slowly at both ends."""
    return last + (first - last) / 2 * (1 + math.cos(math.pi * done))


SCHEDULES = ("constant", "one-cycle")
