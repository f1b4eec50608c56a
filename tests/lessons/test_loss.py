"""`lesson loss`: the chapter's three predictions, and a staircase worked out by hand."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import TensorDataset

from mnistlab.data.folders import ImageData
from mnistlab.lessons import loss
from mnistlab.lessons.kit import Check
from mnistlab.report.pictures import Curves


@pytest.fixture(autouse=True)
def loaded(sample: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # two of them spin when the machine is busy
    monkeypatch.setattr(loss, "load_data", lambda: sample)


@pytest.mark.parametrize("seed", range(20))
def test_every_check_holds_for_20_seeds(
    seed: int, sample: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    # every second image, which halves the time; all of them below, for one seed
    half = TensorDataset(*(tensor[::2] for tensor in sample.train_ds.tensors))
    halved = replace(sample, train=replace(sample.train, ds=half))
    monkeypatch.setattr(loss, "load_data", lambda: halved)
    state = torch.get_rng_state()
    checks = [item for item in loss.lesson(seed) if isinstance(item, Check)]
    assert [check for check in checks if not check.holds] == []
    assert torch.equal(torch.get_rng_state(), state)


def test_the_chapters_figures_are_checked() -> None:
    items = [*loss.three_predictions(), *loss.sigmoid_inside()]
    checks = [item for item in items if isinstance(item, Check) and item.source == "the chapter"]
    assert [check.expected for check in checks] == [[0.1, 0.4, 0.8], 0.4333, 0.2333, 0.4333]


def test_accuracy_counts_logits_above_zero_and_nothing_else() -> None:
    logits = torch.tensor([[2.0], [0.0], [-1.0], [0.1]])
    assert loss.accuracy(logits, torch.tensor([[1.0], [1.0], [0.0], [0.0]])) == 0.5


def test_a_staircase_of_three_images_jumps_where_each_logit_crosses_zero() -> None:
    # all three are 3s; moving the weight down by d takes d, 2 d and nothing off their logits
    pixel = torch.tensor([[1.0], [2.0], [0.0]], dtype=torch.float64)
    logits = torch.tensor([[0.0102], [0.0502], [1.0]], dtype=torch.float64)
    items = loss.staircase(pixel, logits, torch.ones(3, 1, dtype=torch.float64))
    (picture,) = [item for item in items if isinstance(item, Curves)]
    moves, wrong = picture.lines["images wrong"]
    jumps = [move for move, a, b in zip(moves[1:], wrong, wrong[1:], strict=False) if a != b]
    # the second is wrong up to -0.0255, the first up to -0.0105
    assert jumps == [-0.025, -0.01]
    assert [wrong[0], wrong[-1]] == [2, 0]
    assert list(picture.lines["mnist_loss x images"][1]) == sorted(
        picture.lines["mnist_loss x images"][1], reverse=True
    )


def test_the_loss_of_one_image_and_the_staircase_are_drawn() -> None:
    items = list(loss.lesson())
    assert all(item.holds for item in items if isinstance(item, Check))
    pictures = [item for item in items if isinstance(item, Curves)]
    assert [[*picture.lines] for picture in pictures] == [
        ["a 3", "a 7"],
        ["images wrong", "mnist_loss x images"],
    ]
    sizes = {len(axis) for picture in pictures for line in picture.lines.values() for axis in line}
    assert sizes == {121, 201}
