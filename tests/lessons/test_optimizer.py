"""`lesson optimizer`: the chapter's three gradients, and SGD to the last bit."""

from collections.abc import Iterable

import pytest
import torch

from mnistlab.data.folders import ImageData
from mnistlab.lessons import optimizer
from mnistlab.lessons.kit import Check
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves


@pytest.fixture(autouse=True)
def loaded(sample: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # two of them spin when the machine is busy
    monkeypatch.setattr(optimizer, "load_data", lambda: sample)


@pytest.mark.parametrize("seed", range(20))
def test_every_check_holds_for_20_seeds(seed: int) -> None:
    state = torch.get_rng_state()
    checks = [item for item in optimizer.lesson(seed) if isinstance(item, Check)]
    assert [check for check in checks if not check.holds] == []
    assert torch.equal(torch.get_rng_state(), state)


def test_the_chapters_gradients_are_checked(sample: ImageData) -> None:
    checks = [item for item in optimizer.adding_up(sample, 0) if isinstance(item, Check)]
    (chapter,) = [check for check in checks if check.source == "the chapter"]
    assert chapter.expected == [-0.0017, -0.0034, -0.0051]
    assert [round(figure, 4) for figure in chapter.ours] == chapter.expected


def test_the_gradient_of_the_bias_is_minus_the_mean_of_p_times_1_minus_p(
    sample: ImageData,
) -> None:
    # four 3s: each loss is 1 - p, its slope along the bias -p (1 - p)
    assert sample.train_ds.tensors[1][:4].tolist() == [0, 0, 0, 0]
    model = build_model(
        "linear", (28, 28), sample.classes, optimizer.SEED_OF_THE_CHAPTER, init="normal"
    )
    p = model(sample.train_ds.tensors[0][:4].unsqueeze(1) / 255).detach().sigmoid()
    assert -(p * (1 - p)).mean().item() == pytest.approx(-0.0017, abs=0.00001)


class TooFar(BasicOptim):
    def __init__(self, params: Iterable[torch.nn.Parameter], lr: float) -> None:
        super().__init__(params, lr * 1.0001)


def test_an_optimizer_that_goes_a_little_too_far_is_found_out(
    sample: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizer, "BasicOptim", TooFar)
    items = optimizer.side_by_side(sample, 0, "linear", lr=1.0)
    assert [item.holds for item in items if isinstance(item, Check)] == [False, False]


def test_both_models_have_the_curves_of_both_optimizers() -> None:
    pictures = [item for item in optimizer.lesson() if isinstance(item, Curves)]
    assert len(pictures) == 2
    for picture in pictures:
        assert [*picture.lines] == ["BasicOptim", "torch.optim.SGD"]
        assert {len(axis) for line in picture.lines.values() for axis in line} == {49}
