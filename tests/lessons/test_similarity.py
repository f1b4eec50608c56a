"""`lesson similarity`: the distances by hand, the chapter's accuracies, broadcasting."""

import pytest
import torch

from mnistlab.data.folders import ImageData
from mnistlab.lessons.kit import Check, Item
from mnistlab.lessons.similarity import l1, lesson, rmse
from mnistlab.report.pictures import Images


@pytest.fixture(scope="module")
def items(sample: ImageData, shared_cache: object) -> list[Item]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNISTLAB_CACHE", str(shared_cache))
        return list(lesson())


def test_every_check_holds(items: list[Item]) -> None:
    checks = [item for item in items if isinstance(item, Check)]
    assert len(checks) >= 14
    assert [check for check in checks if not check.holds] == []


def test_the_chapters_figures_are_checked(items: list[Item]) -> None:
    checks = [item for item in items if isinstance(item, Check)]
    figures = [check.expected for check in checks if check.source == "the chapter"]
    assert figures == [0.1114, 0.1586, 0.3021, 0.9168, 0.9854, 0.9511]


def test_distances_of_two_by_two_images_are_those_worked_out_by_hand() -> None:
    a, b = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert l1(a, b).item() == 0.5
    assert rmse(a, b).item() == pytest.approx(0.5**0.5)
    c = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert (l1(c, b).item(), rmse(c, b).item()) == (0.25, 0.5)


def test_a_stack_against_one_image_gives_a_distance_each() -> None:
    stack = torch.stack([torch.full((2, 2), value) for value in (0.0, 0.25, 1.0)])
    assert l1(stack, torch.zeros(2, 2)).tolist() == [0.0, 0.25, 1.0]
    assert rmse(stack, torch.zeros(2, 2)).tolist() == [0.0, 0.25, 1.0]


def test_the_compared_images_are_drawn(items: list[Item]) -> None:
    (picture,) = [item for item in items if isinstance(item, Images)]
    assert len(picture.images) == 3
    assert all(image.shape == (28, 28) for image in picture.images.values())
