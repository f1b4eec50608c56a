"""`lesson batches`: counted by hand, and the noise of the gradient by its law."""

import pytest
import torch

from mnistlab.data.folders import ImageData
from mnistlab.lessons import batches
from mnistlab.lessons.kit import Check, Show
from mnistlab.report.pictures import Curves


@pytest.fixture(autouse=True)
def loaded(sample: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # two of them spin when the machine is busy
    monkeypatch.setattr(batches, "load_data", lambda: sample)


@pytest.mark.parametrize("seed", range(20))
def test_every_check_holds_for_20_seeds(seed: int) -> None:
    state = torch.get_rng_state()
    checks = [item for item in batches.lesson(seed) if isinstance(item, Check)]
    assert [check for check in checks if not check.holds] == []
    assert torch.equal(torch.get_rng_state(), state)


def test_the_chapters_figures_are_checked() -> None:
    checks = [item for item in batches.cutting_and_order(0) if isinstance(item, Check)]
    figures = [check.expected for check in checks if check.source == "the chapter"]
    assert figures == [3, [5, 2]]


def test_the_letters_come_in_order_and_the_numbers_do_not() -> None:
    shown = {
        item.title: item.value for item in batches.cutting_and_order(0) if isinstance(item, Show)
    }
    assert shown["letters"] == ["abcdef", "ghijkl", "mnopqr", "stuvwx", "yz"]
    numbers = [number for batch in shown["numbers"] for number in batch]
    assert sorted(numbers) == list(range(15))
    assert numbers != sorted(numbers)


def test_the_two_means_differ_by_the_weight_of_the_last_batch(sample: ImageData) -> None:
    items = list(batches.means_of_means(sample, 3))
    (shown,) = [item.value for item in items if isinstance(item, Show)]
    of_means, of_images = shown
    # 2038 x the one is a count; the other is off by (1/8 - 246/2038) x (last batch - the rest)
    assert 2038 * of_images == pytest.approx(round(2038 * of_images), abs=1e-9)
    assert of_means != of_images
    assert abs(of_means - of_images) < 1 / 8 - 246 / 2038


def test_noise_falls_with_the_size_and_is_drawn_beside_its_law(sample: ImageData) -> None:
    (picture,) = [item for item in batches.noise(sample, 0) if isinstance(item, Curves)]
    powers, noise = picture.lines["measured"]
    assert list(powers) == [0, 2, 4, 6, 8, 10]
    assert list(noise) == sorted(noise, reverse=True)
    law = picture.lines["1 / root of the size"][1]
    assert [law[0] / share for share in law] == pytest.approx([1, 2, 4, 8, 16, 32])


def test_an_epoch_has_1_or_13_or_49_steps(sample: ImageData) -> None:
    shown = [item.value for item in batches.steps(sample, 0) if isinstance(item, Show)]
    assert [count for count, _loss in shown] == [1, 13, 49]
