"""The chapter's exact figures on the bundled data (fastbook ch. 4), by the package's own models.

The lessons compute the others: tests/lessons/.
"""

import math

import pytest

from mnistlab.data.folders import ImageData
from mnistlab.models import LinearModel, PixelSimilarity, build_model
from mnistlab.optim import BasicOptim
from mnistlab.studies.seeds import StackedLinear, train_many
from tests.command import run_in_process


def test_the_data_is_the_chapters(sample: ImageData) -> None:
    images, labels = sample.train_ds.tensors
    assert sample.classes == ("3", "7")
    assert images.shape == (12396, 28, 28)
    assert labels.tolist() == [0] * 6131 + [1] * 6265  # the 3s first
    assert sample.valid_ds.tensors[1].tolist() == [0] * 1010 + [1] * 1028
    assert sample.train.files[:3] == ["3/10.png", "3/10000.png", "3/10011.png"]


@pytest.mark.parametrize(("distance", "to_seven"), [("l1", 0.1586), ("rmse", 0.3021)])
def test_the_second_three_against_the_mean_images(
    sample: ImageData, distance: str, to_seven: float
) -> None:
    model = PixelSimilarity(sample.image_size, 2, distance).fit(*sample.train_ds.tensors)
    second = sample.train_ds.tensors[0][1:2].unsqueeze(1) / 255
    three, seven = model.distances(second)[0].tolist()
    assert round(seven, 4) == to_seven
    assert three < seven
    assert distance == "rmse" or round(three, 4) == 0.1114


@pytest.mark.parametrize(
    ("distance", "threes", "sevens", "balanced", "correct"),
    [("l1", 0.9168, 0.9854, 0.9511, 1939), ("rmse", 0.9584, 0.9737, 0.9661, 1969)],
)
def test_pixel_similarity_scores_the_chapters_figures(
    distance: str, threes: float, sevens: float, balanced: float, correct: int
) -> None:
    score = run_in_process("baseline", "pixel-similarity", "--distance", distance, "--json").ok()
    per_class = {name: round(value, 4) for name, value in score.json["per_class"].items()}
    assert per_class == {"3": threes, "7": sevens}
    assert round(score.json["balanced_accuracy"], 4) == balanced
    assert (score.json["correct"], score.json["n"]) == (correct, 2038)


@pytest.mark.parametrize("seed", range(2))
def test_book_linear_ends_within_the_chapters_range(seed: int) -> None:
    run = run_in_process("train", "--config", "book-linear", "--seed", str(seed), "--json").ok()
    assert 0.977 <= run.json["accuracy"] <= 0.980
    assert math.isclose(run.json["epochs"][0]["accuracy"], 0.4956, abs_tol=0.02)


def test_book_two_layer_ends_within_the_chapters_range() -> None:
    run = run_in_process("train", "--config", "book-two-layer", "--json").ok()
    assert 0.981 <= run.json["accuracy"] <= 0.984


def test_twenty_seeds_of_book_linear_end_within_the_chapters_range(sample: ImageData) -> None:
    # trained as one stack, whose members equal seeds trained alone
    models = [build_model("linear", (28, 28), sample.classes, seed) for seed in range(20)]
    stack = StackedLinear([model for model in models if isinstance(model, LinearModel)])
    *_, last = train_many(
        stack, lambda p: BasicOptim(p, 1.0), sample.train_ds, sample.valid_ds, epochs=20
    )
    right = (last.valid_logits > 0) == (sample.valid_ds.tensors[1] == 0).unsqueeze(1)
    accuracies = right.double().mean(0)
    assert 0.977 <= accuracies.min() <= accuracies.max() <= 0.980
