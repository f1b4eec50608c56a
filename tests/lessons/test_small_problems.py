"""Lessons without images: beside plain arithmetic, numpy, and torch's own modules."""

import numpy as np
import pytest
import torch
from torch import nn

from mnistlab.lessons import backprop, line, momentum, rollercoaster
from mnistlab.lessons.kit import Check, Say, Show
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves
from tests.lessons.conftest import ItemsOf


def test_derivative_shows_the_refusals_in_torchs_words(items_of: ItemsOf) -> None:
    titles = " ".join(item.title for item in items_of("derivative") if isinstance(item, Check))
    assert "grad can be implicitly created only for scalar outputs" in titles
    assert "Trying to backward through the graph a second time" in titles


def test_the_mean_gradient_of_the_line_is_the_one_worked_out_by_hand() -> None:
    # at w = 1: 2 x (x - 2x) = -2 x^2 = -2, -8, -18; their mean is -28/3
    assert line.mean_gradient(1.0) == pytest.approx(-28 / 3)
    assert line.mean_gradient(2.0) == 0


def test_the_module_of_the_line_descends_as_under_torchs_own_sgd() -> None:
    x, y = torch.tensor(line.POINTS).T
    ours, theirs = line.Line(-0.5, 0.5), line.Line(-0.5, 0.5)
    for model, opt in (
        (ours, BasicOptim(ours.parameters(), line.LR)),
        (theirs, torch.optim.SGD(theirs.parameters(), line.LR)),
    ):
        for _ in range(50):
            (model(x) - y).square().sum().backward()
            opt.step()
            opt.zero_grad()
    assert (ours.weight.item(), ours.bias.item()) == (theirs.weight.item(), theirs.bias.item())


def test_the_rollercoaster_names_seven_steps_and_draws_five_fits(items_of: ItemsOf) -> None:
    text = " ".join(item.text for item in items_of("rollercoaster") if isinstance(item, Say))
    assert all(f"Step {number}, " in text for number in range(1, 8))
    pictures = [item for item in items_of("rollercoaster") if isinstance(item, Curves)]
    titles = [picture.title[:5] for picture in pictures]
    assert titles == ["Fit 1", "Fit 2", "Fit 3", "Fit 4", "Point"]
    for picture in pictures:
        assert picture.y_range == (-20.0, 100.0)
        assert (len(picture.lines["fit"][0]), len(picture.dots["measured"][0])) == (20, 20)


def test_the_bottom_of_the_bowl_is_numpys_least_squares(items_of: ItemsOf) -> None:
    speed = rollercoaster.measure(torch.Generator().manual_seed(0)).double().numpy()
    times = np.arange(20.0)
    best = float(np.mean((np.polyval(np.polyfit(times, speed, 2), times) - speed) ** 2))
    values = {
        item.title: item.value for item in items_of("rollercoaster") if isinstance(item, Show)
    }
    assert values["loss after 100 steps, and at the bottom"][1] == pytest.approx(best, rel=1e-6)


def test_the_backward_pass_by_hand_agrees_with_torchs_modules_and_loss() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False))
    x, y = torch.randn(backprop.N, 5), torch.randn(backprop.N, 3)
    # torch's mean is over all numbers, 3 an example
    (3 * nn.functional.mse_loss(net(x), y)).backward()
    first, second = net.parameters()
    by_hand = backprop.backward(x, first.detach().T, second.detach().T, y)
    for ours, theirs in zip(by_hand, (first.grad, second.grad), strict=True):
        assert theirs is not None
        torch.testing.assert_close(ours, theirs.T)


def test_only_momentum_ends_in_the_deeper_valley() -> None:
    def height(x: float) -> float:
        return x**4 / 4 - x**2 + 0.3 * x

    plain, rolling = momentum.descend(0.0)[-1], momentum.descend(0.9)[-1]
    # on a fine grid: the lowest place of all, and the lowest on the right of the hill
    grid = [k / 10_000 for k in range(-30_000, 30_001)]
    assert rolling == pytest.approx(min(grid, key=height), abs=1e-3)
    assert plain == pytest.approx(min((x for x in grid if x > 0.5), key=height), abs=1e-3)


def test_the_activations_are_drawn_over_the_chapters_ranges(items_of: ItemsOf) -> None:
    pictures = {item.title: item for item in items_of("activations") if isinstance(item, Curves)}
    xs, ys = pictures["Sigmoid"].lines["sigmoid"]
    assert (xs[0], xs[-1], ys[40]) == (-4, 4, 0.5)
    xs, ys = pictures["ReLU and tanh"].lines["ReLU"]
    assert (xs[0], xs[-1], ys[0], ys[-1]) == (-2, 2, 0, 2)
    sizes = pictures["Gradients on their way back"].lines
    assert sizes["sigmoid"][1][0] < 1e-6 * sizes["relu"][1][0]
