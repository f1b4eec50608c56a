"""The chapter's exact figures on the bundled data (fastbook ch. 4)."""

import math

import pytest
import torch

from mnistlab.data.folders import ImageData
from mnistlab.losses import LOSSES, mnist_loss
from mnistlab.models import LinearModel, PixelSimilarity, build_model
from mnistlab.optim import BasicOptim
from mnistlab.studies.seeds import StackedLinear, train_many
from mnistlab.training import evaluate
from tests.command import run_in_process

SECOND_THREE = [
    [0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 29],
    [0, 0, 0, 48, 166, 224],
    [0, 93, 244, 249, 253, 187],
    [0, 107, 253, 253, 230, 48],
    [0, 3, 20, 20, 15, 0],
]


def test_the_data_is_the_chapters(sample: ImageData) -> None:
    images, labels = sample.train_ds.tensors
    assert sample.classes == ("3", "7")
    assert images.shape == (12396, 28, 28)
    assert (int((labels == 0).sum()), int((labels == 1).sum())) == (6131, 6265)
    assert labels.tolist() == sorted(labels.tolist())  # the 3s first
    valid = sample.valid_ds.tensors[1]
    assert (int((valid == 0).sum()), int((valid == 1).sum())) == (1010, 1028)
    assert sample.train.files[:3] == ["3/10.png", "3/10000.png", "3/10011.png"]
    assert images[1, 4:10, 4:10].tolist() == SECOND_THREE


@pytest.mark.parametrize(("distance", "to_seven"), [("l1", 0.1586), ("rmse", 0.3021)])
def test_the_second_three_against_the_mean_images(
    sample: ImageData, distance: str, to_seven: float
) -> None:
    model = PixelSimilarity(sample.image_size, 2, distance).fit(*sample.train_ds.tensors)
    second = sample.train_ds.tensors[0][1:2].unsqueeze(1) / 255
    three, seven = model.distances(second)[0].tolist()
    assert round(seven, 4) == to_seven
    assert three < seven
    if distance == "l1":
        assert round(three, 4) == 0.1114


@pytest.mark.parametrize(
    ("distance", "threes", "sevens", "balanced", "correct"),
    [("l1", 0.9168, 0.9854, 0.9511, 1939), ("rmse", 0.9584, 0.9737, 0.9661, 1969)],
)
def test_pixel_similarity_scores_the_chapters_figures(
    distance: str, threes: float, sevens: float, balanced: float, correct: int
) -> None:
    found = run_in_process("baseline", "pixel-similarity", "--distance", distance, "--json").ok()
    assert {name: round(value, 4) for name, value in found.json["per_class"].items()} == {
        "3": threes,
        "7": sevens,
    }
    assert round(found.json["balanced_accuracy"], 4) == balanced
    assert (found.json["correct"], found.json["n"]) == (correct, 2038)


def test_multiplying_one_weight_by_1_0001_leaves_the_accuracy_unchanged(
    sample: ImageData,
) -> None:
    model = build_model("linear", sample.image_size, sample.classes, seed=0, init="normal")
    before = evaluate(model, sample.train_ds, sample.classes, mnist_loss)
    model.get_parameter("weights").data[0] *= 1.0001
    after = evaluate(model, sample.train_ds, sample.classes, mnist_loss)
    assert after.accuracy == before.accuracy


def test_gradients_of_a_batch_of_four_accumulate(sample: ImageData) -> None:
    # book.md §5 prints -0.0017, -0.0034, -0.0051 for an unknown draw: once, twice, three times
    model = build_model("linear", sample.image_size, sample.classes, seed=0)
    xb = sample.train_ds.tensors[0][:4].unsqueeze(1) / 255
    bias = model.get_parameter("bias")
    found = []
    for _ in range(3):
        mnist_loss(model(xb), torch.ones(4, 1)).backward()
        assert bias.grad is not None
        found.append(bias.grad.item())
    assert found == pytest.approx([found[0], 2 * found[0], 3 * found[0]], rel=1e-6)
    assert found[0] < 0


def test_an_untrained_linear_model_guesses(sample: ImageData) -> None:
    accuracies = [
        evaluate(
            build_model("linear", (28, 28), sample.classes, seed, init="normal"),
            sample.valid_ds,
            sample.classes,
            LOSSES["mnist"],
        ).accuracy
        for seed in range(20)
    ]
    assert min(accuracies) < 0.465 < max(accuracies)


@pytest.mark.parametrize("seed", range(3))
def test_book_linear_ends_within_the_chapters_range(seed: int) -> None:
    found = run_in_process("train", "--config", "book-linear", "--seed", str(seed), "--json").ok()
    assert 0.977 <= found.json["accuracy"] <= 0.980
    assert math.isclose(found.json["epochs"][0]["accuracy"], 0.4956, abs_tol=0.02)


def test_book_two_layer_ends_within_the_chapters_range() -> None:
    found = run_in_process("train", "--config", "book-two-layer", "--json").ok()
    assert 0.981 <= found.json["accuracy"] <= 0.984


def test_twenty_seeds_of_book_linear_end_within_the_chapters_range(sample: ImageData) -> None:
    # trained as one stack, whose members equal seeds trained alone (test_many.py)
    models = [build_model("linear", (28, 28), sample.classes, seed) for seed in range(20)]
    stack = StackedLinear([model for model in models if isinstance(model, LinearModel)])
    *_, last = train_many(
        stack, lambda p: BasicOptim(p, 1.0), sample.train_ds, sample.valid_ds, epochs=20
    )
    right = (last.valid_logits > 0) == (sample.valid_ds.tensors[1] == 0).unsqueeze(1)
    accuracies = right.double().mean(0)
    assert 0.977 <= accuracies.min() <= accuracies.max() <= 0.980
