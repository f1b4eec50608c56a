"""The pictures of a run: the right pixels under the right names."""

import math

import numpy as np
import pytest
import torch
from mnistlab.report.gallery import Gathered, weight_images
from torch import nn

from mnistlab.data.folders import ImageData
from mnistlab.models import build_model
from mnistlab.report import gallery
from mnistlab.scoring import RunScore
from mnistlab.storage import ModelCard

THREE = ("ant", "bee", "cat")


def card(model: str, classes: tuple[str, ...], size: tuple[int, int] = (2, 3)) -> ModelCard:
    return ModelCard(model, classes, size, {}, "mnist")


def test_the_mistakes_are_found_one_by_one(digits: Gathered) -> None:
    score = digits.score
    assert isinstance(score, RunScore)
    wrong = []
    for place, (logit, label) in enumerate(zip(score.logits[:, 0].tolist(), score.labels.tolist(),
                                               strict=True)):  # fmt: skip
        if (logit > 0) != (label == 0):
            wrong.append((-1 / (1 + math.exp(-abs(logit))), place))
    picture = gallery.mistake_images(score, 10)
    assert len(picture.images) == 10
    for (name, image), (sure, place) in zip(picture.images.items(), sorted(wrong), strict=False):
        taken, told, file = name.split("\n")
        assert file == f"valid/{score.split.files[place]}"
        assert taken in ("3 taken for 7", "7 taken for 3")
        assert float(told.removeprefix("probability ")) == pytest.approx(-sure, abs=5e-5)
        assert torch.equal(image, score.split.ds.tensors[0][place])


def test_samples_are_spread_evenly_over_each_class(sample: ImageData) -> None:
    picture = gallery.sample_images(sample.valid, "valid", 4)
    sevens = [file for file in sample.valid.files if file.startswith("7/")]
    expected = [f"7\nvalid/{sevens[place * len(sevens) // 4]}" for place in range(4)]
    assert list(picture.images)[4:] == expected
    everything = gallery.sample_images(sample.valid, "valid", 5000)
    assert len(everything.images) == 2038


def test_mean_images_are_the_mean(sample: ImageData) -> None:
    picture = gallery.mean_images(sample.valid, "valid")
    pixels, labels = (tensor.numpy() for tensor in sample.valid.ds.tensors)
    for place, name in enumerate(("3", "7")):
        expected = pixels[labels == place].mean(axis=0) / 255
        assert np.allclose(picture.images[name].numpy(), expected, atol=1e-6)


def test_a_linear_model_has_one_image_for_two_classes_and_one_each_for_more() -> None:
    two = build_model("linear", (2, 3), ("a", "b"))
    picture = weight_images(two, card("linear", ("a", "b")))
    assert picture is not None
    assert picture.signed
    [(name, image)] = picture.images.items()
    assert name == "a against b"
    assert image.tolist() == two.state_dict()["weights"].reshape(2, 3).tolist()
    three = build_model("linear", (2, 3), THREE)
    picture = weight_images(three, card("linear", THREE))
    assert picture is not None
    assert tuple(picture.images) == THREE
    weights = three.state_dict()["weights"]
    assert picture.images["cat"].flatten().tolist() == weights[:, 2].tolist()


def test_hidden_units_stand_in_order_of_what_they_say() -> None:
    model = build_model("two-layer", (2, 3), ("a", "b"), hidden=3)
    state = model.state_dict()
    state["out.weight"] = torch.tensor([[0.25, -2.0, 1.0]])
    model.load_state_dict(state)
    picture = weight_images(model, card("two-layer", ("a", "b")))
    assert picture is not None
    assert list(picture.images) == [
        "unit 1\n2.00 for b",
        "unit 2\n1.00 for a",
        "unit 0\n0.25 for a",
    ]
    assert (
        picture.images["unit 1\n2.00 for b"].flatten().tolist()
        == state["hidden.weight"][1].tolist()
    )
    assert picture.title == "Hidden units, by weight to the output"
    many = build_model("two-layer", (2, 3), THREE, hidden=70)
    state = many.state_dict()
    state["out.weight"] = torch.zeros(3, 70)
    state["out.weight"][2, 69] = -3.0
    many.load_state_dict(state)
    picture = weight_images(many, card("two-layer", THREE))
    assert picture is not None
    assert len(picture.images) == gallery.WEIGHTS_SHOWN
    assert next(iter(picture.images)) == "unit 69\n3.00 against cat"
    assert picture.title == "Hidden units, the 64 of 70 with most weight to the output"


def test_a_convolution_shows_its_first_filters_and_other_models_nothing() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 2, 3))
    picture = weight_images(layers, card("cnn", ("a", "b")))
    assert picture is not None
    assert list(picture.images) == ["filter 0", "filter 1", "filter 2", "filter 3"]
    weights = layers.state_dict()["0.weight"]
    assert torch.equal(picture.images["filter 3"], weights[3, 0] + weights[3, 1] + weights[3, 2])
    assert weight_images(nn.Sequential(nn.Linear(6, 1)), card("mlp", ("a", "b"))) is None
    assert weight_images(nn.Sequential(nn.Conv2d(1, 1, 1)), card("cnn", ("a", "b"))) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.5000"), (0.99994, "0.9999"), (0.99996, "0.999960"), (0.9999999, "0.999999900"),
     (1 - 1e-11, "0.999999999990"), (1.0, "1.0000")],
)  # fmt: skip
def test_a_sure_model_does_not_read_as_certain(value: float, shown: str) -> None:
    assert gallery.probability(value) == shown
