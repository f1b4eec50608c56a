"""`lesson line`: three descents on three points, beside torch's own optimizer."""

import pytest
import torch

from mnistlab.lessons.kit import Check
from mnistlab.lessons.line import LR, POINTS, Line, lesson, mean_gradient
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves

ITEMS = list(lesson())
CHECKS = [item for item in ITEMS if isinstance(item, Check)]


@pytest.mark.parametrize("seed", range(20))
def test_every_check_holds_for_20_seeds(seed: int) -> None:
    state = torch.get_rng_state()
    checks = [item for item in lesson(seed) if isinstance(item, Check)]
    assert [check for check in checks if not check.holds] == []
    assert torch.equal(torch.get_rng_state(), state)


def test_the_chapters_figures_are_checked() -> None:
    figures = [check.expected for check in CHECKS if check.source == "the chapter"]
    assert figures == [4.0, 8, 8, 8]


def test_the_mean_gradient_is_the_one_worked_out_by_hand() -> None:
    # at w = 1: 2 x (x - 2x) = -2 x^2 = -2, -8, -18; their mean is -28/3
    assert mean_gradient(1.0) == pytest.approx(-28 / 3)
    assert mean_gradient(2.0) == 0


def test_the_module_descends_as_under_torchs_own_sgd() -> None:
    x, y = torch.tensor(POINTS).T
    ours, theirs = Line(-0.5, 0.5), Line(-0.5, 0.5)
    for model, opt in (
        (ours, BasicOptim(ours.parameters(), LR)),
        (theirs, torch.optim.SGD(theirs.parameters(), LR)),
    ):
        for _ in range(50):
            (model(x) - y).square().sum().backward()
            opt.step()
            opt.zero_grad()
    assert (ours.weight.item(), ours.bias.item()) == (theirs.weight.item(), theirs.bias.item())


def test_both_descents_of_w_are_drawn_from_1_to_2() -> None:
    (picture,) = [item for item in ITEMS if isinstance(item, Curves)]
    assert len(picture.lines) == 2
    for xs, ys in picture.lines.values():
        assert (len(xs), len(ys)) == (101, 101)
        assert (ys[0], round(ys[-1], 3)) == (1.0, 2.0)
