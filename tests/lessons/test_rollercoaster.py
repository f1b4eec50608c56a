"""`lesson rollercoaster`: the chapter's ten losses, beside numpy's own least squares."""

import numpy as np
import pytest
import torch

from mnistlab.lessons.kit import Check, Say, Show
from mnistlab.lessons.rollercoaster import CHAPTER_LOSSES, TIME, lesson, measure, mse, parabola
from mnistlab.report.pictures import Curves

ITEMS = list(lesson())


@pytest.mark.parametrize("seed", range(20))
def test_every_check_holds_for_20_seeds(seed: int) -> None:
    state = torch.get_rng_state()
    checks = [item for item in lesson(seed) if isinstance(item, Check)]
    assert [check for check in checks if not check.holds] == []
    assert torch.equal(torch.get_rng_state(), state)


def test_the_chapters_ten_losses_are_checked_to_two_digits() -> None:
    (check,) = [item for item in ITEMS if isinstance(item, Check) and item.source == "the chapter"]
    assert check.expected == CHAPTER_LOSSES
    assert [round(loss, 2) for loss in check.ours] == [
        5435.54, 1577.45, 847.38, 709.22, 683.08, 678.12, 677.18, 677.00, 676.96, 676.95,
    ]  # fmt: skip


def test_seven_steps_are_named() -> None:
    text = " ".join(item.text for item in ITEMS if isinstance(item, Say))
    assert all(f"Step {number}, " in text for number in range(1, 8))


def test_four_panels_of_successive_fits_and_one_of_the_last() -> None:
    pictures = [item for item in ITEMS if isinstance(item, Curves)]
    assert [picture.title[:5] for picture in pictures] == [
        "Fit 1",
        "Fit 2",
        "Fit 3",
        "Fit 4",
        "Point",
    ]
    assert {picture.y_range for picture in pictures} == {(-20, 100)}
    for picture in pictures:
        assert (len(picture.lines["fit"][0]), len(picture.dots["measured"][0])) == (20, 20)
    assert pictures[0].lines["fit"] != pictures[1].lines["fit"]


def test_the_bottom_of_the_bowl_is_numpys_least_squares() -> None:
    speed = measure(torch.Generator().manual_seed(0))
    times, values = TIME.numpy().astype(np.float64), speed.numpy().astype(np.float64)
    best = float(np.mean((np.polyval(np.polyfit(times, values, 2), times) - values) ** 2))
    (shown,) = [
        item.value for item in ITEMS if isinstance(item, Show) and item.title.endswith("bottom")
    ]
    assert shown[1] == pytest.approx(best, rel=1e-6)


def test_parabola_and_loss_are_those_worked_out_by_hand() -> None:
    assert parabola(torch.tensor([1.0, 2.0, 3.0]))[:3].tolist() == [3, 6, 11]
    assert mse(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])).item() == 2
