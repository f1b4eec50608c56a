"""`lesson activations`: the printed values, the curves, and the gradients that vanish."""

import math

import pytest
import torch

from mnistlab.lessons.activations import lesson, relu, sigmoid, tanh
from mnistlab.lessons.kit import Check
from mnistlab.report.pictures import Curves

ITEMS = list(lesson())


@pytest.mark.parametrize("seed", range(20))
def test_every_check_holds_for_20_seeds(seed: int) -> None:
    state = torch.get_rng_state()
    checks = [item for item in lesson(seed) if isinstance(item, Check)]
    assert [check for check in checks if not check.holds] == []
    assert torch.equal(torch.get_rng_state(), state)


def test_the_chapters_figures_are_checked() -> None:
    checks = [item for item in ITEMS if isinstance(item, Check) and item.source == "the chapter"]
    figures = [check.expected for check in checks]
    sigmoids = [0.0, 1.6655e-34, 7.4564e-25, 3.3382e-15, 1.4945e-05, 0.99999, 1, 1, 1, 1]
    assert figures[:10] == sigmoids
    assert [0, 0, 0, 0, 0, 0.1111, 0.3333, 0.5556, 0.7778, 1] in figures
    assert 0.5 in figures  # the point of symmetry


def test_a_small_figure_is_compared_in_its_own_digits() -> None:
    (check,) = [
        item for item in ITEMS if isinstance(item, Check) and item.title == "sigmoid(-77.78)"
    ]
    assert float(check.ours) == pytest.approx(math.exp(-700 / 9), rel=1e-5)
    assert f"{float(check.ours):.4e}" == "1.6655e-34"


@pytest.mark.parametrize("x", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_the_three_functions_by_hand_agree_with_math(x: float) -> None:
    point = torch.tensor(x, dtype=torch.float64)
    assert sigmoid(point).item() == pytest.approx(1 / (1 + math.exp(-x)))
    assert tanh(point).item() == pytest.approx(math.tanh(x))
    assert relu(point).item() == max(x, 0)


def test_the_curves_are_drawn_over_the_chapters_ranges() -> None:
    pictures = {item.title: item for item in ITEMS if isinstance(item, Curves)}
    xs, ys = pictures["Sigmoid"].lines["sigmoid"]
    assert (xs[0], xs[-1]) == (-4, 4)
    assert ys[len(ys) // 2] == 0.5
    xs, ys = pictures["ReLU and tanh"].lines["ReLU"]
    assert (xs[0], xs[-1], ys[0], ys[-1]) == (-2, 2, 0, 2)
    back = pictures["Gradients on their way back"].lines
    assert [len(ys) for _, ys in back.values()] == [20, 20]
