"""`lesson pixels`: what it shows is what the files and the chapter say."""

import pytest
import torch
from PIL import Image

from mnistlab.data.folders import ImageData
from mnistlab.lessons.kit import Check, Item, Show
from mnistlab.lessons.pixels import CORNER, lesson
from mnistlab.models import PixelSimilarity
from mnistlab.report.pictures import Images


@pytest.fixture(scope="module")
def sample_items(sample: ImageData, shared_cache: object) -> list[Item]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNISTLAB_CACHE", str(shared_cache))
        return list(lesson())


def test_every_check_holds(sample_items: list[Item]) -> None:
    checks = [item for item in sample_items if isinstance(item, Check)]
    assert len(checks) >= 12
    assert [check for check in checks if not check.holds] == []


def test_the_chapters_figures_are_checked(sample_items: list[Item]) -> None:
    figures = [
        item.expected
        for item in sample_items
        if isinstance(item, Check) and item.source == "the chapter"
    ]
    for figure in (CORNER, (6131, 28, 28), 3, 6265, (12396, 784), (12396, 1), (2038, 784)):
        assert figure in figures


def test_the_corner_is_what_pillow_reads_from_the_file(
    sample: ImageData, sample_items: list[Item]
) -> None:
    with Image.open(sample.root / "train" / "3" / "10000.png") as image:
        # left, upper, right, lower
        read = list(image.crop((4, 4, 10, 10)).tobytes())
    assert read == [pixel for row in CORNER for pixel in row]
    shown = [item.value for item in sample_items if isinstance(item, Show)]
    corners = [value for value in shown if isinstance(value, torch.Tensor) and value.ndim == 2]
    assert corners[0].tolist() == CORNER


def test_the_mean_images_are_those_of_the_baseline(
    sample: ImageData, sample_items: list[Item]
) -> None:
    pictures = {item.title: item for item in sample_items if isinstance(item, Images)}
    means = pictures["The mean digits"].images
    baseline = PixelSimilarity(sample.image_size, 2).fit(*sample.train_ds.tensors).means
    torch.testing.assert_close(means["mean 3"], baseline[0, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(means["mean 7"], baseline[1, 0], rtol=0, atol=1e-5)
    assert pictures["The second 3"].images["train/3/10000.png"].shape == (28, 28)
