"""The schedules against torch's own and against fastai's end points."""

import pytest
import torch

from mnistlab.optim import one_cycle


@pytest.mark.parametrize(("total", "warmup"), [(77, 0.25), (49, 0.3), (1000, 0.5), (30, 0.1)])
def test_one_cycle_equals_torchs_at_every_step(total: int, warmup: float) -> None:
    opt = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 0.1, (0.95, 0.99))
    torchs = torch.optim.lr_scheduler.OneCycleLR(
        opt, max_lr=0.1, total_steps=total, pct_start=warmup, div_factor=25,
        final_div_factor=1e5 / 25, base_momentum=0.85, max_momentum=0.95,
    )  # fmt: skip
    schedule = one_cycle(0.1, 0.95, total, warmup=warmup)
    for step in range(total):
        lr, momentum = schedule(step)
        assert lr == pytest.approx(opt.param_groups[0]["lr"], rel=1e-12)
        assert momentum == pytest.approx(opt.param_groups[0]["betas"][0], rel=1e-12)
        opt.step()
        if step + 1 < total:
            torchs.step()


def test_one_cycle_has_the_ends_of_fit_one_cycle() -> None:
    # fastai: lr_max / 25 → lr_max → lr_max / 1e5, moms 0.95 → 0.85 → 0.95, pct_start 0.25
    schedule = one_cycle(1.0, 0.95, 400)
    assert schedule(0) == pytest.approx((0.04, 0.95))
    assert schedule(99) == pytest.approx((1.0, 0.85))
    assert schedule(399) == pytest.approx((1e-5, 0.95))


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.25, 1.0])
def test_the_shortest_runs_have_a_schedule(total: int, warmup: float) -> None:
    schedule = one_cycle(0.5, 0.05, total, warmup=warmup)
    for step in range(total + 1):
        lr, momentum = schedule(step)
        assert 0 < lr <= 0.5
        assert 0 <= momentum <= 0.05
