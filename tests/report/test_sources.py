"""Where pictures come from: the right pixels under the right names."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mnistlab.data.store import ImageData
from mnistlab.models import Cosines, ModelCard, build_model
from mnistlab.records import RunRecord
from mnistlab.report import sources
from mnistlab.report.page import Report
from mnistlab.report.pictures import Images

THREE = ("ant", "bee", "cat")


def weights_of(model: nn.Module, name: str, classes: tuple[str, ...] = ("a", "b")) -> Images:
    picture = sources.weight_images(model, ModelCard(name, classes, (2, 3), {}, "mnist"))
    assert picture is not None
    assert picture.signed
    return picture


def record_of(accuracies: list[float], settings: dict[str, Any], **result: Any) -> RunRecord:
    rows = [
        {"epoch": k, "train_loss": 1.0, "valid_loss": 2.0, "accuracy": value, "seconds": 0.1}
        for k, value in enumerate(accuracies)
    ]
    config = {"data": "x", "model": "linear", **settings}
    record: dict[str, Any] = {"status": "done", "model": "linear", "config": config}
    record["result"] = {"epochs": rows, **result}
    return RunRecord.model_validate_json(json.dumps(record))


def test_the_mistakes_are_those_of_the_logits(digits: Report) -> None:
    score = digits.score
    assert score is not None
    pairs = zip(score.logits[:, 0].tolist(), score.labels.tolist(), strict=True)
    wrong = sorted(
        (-1 / (1 + math.exp(-abs(logit))), place)
        for place, (logit, label) in enumerate(pairs)
        if (logit > 0) != (label == 0)
    )
    picture = sources.mistake_images(score, 10)
    assert len(picture.images) == 10
    for (name, image), (sure, place) in zip(picture.images.items(), wrong, strict=False):
        classes, probability, file = name.split("\n")
        assert file == f"valid/{score.split.files[place]}"
        assert classes in ("3 taken for 7", "7 taken for 3")
        assert float(probability.removeprefix("probability ")) == pytest.approx(-sure, abs=5e-5)
        assert torch.equal(image, score.split.ds.tensors[0][place])


def test_samples_are_spread_evenly_over_each_class(sample: ImageData) -> None:
    picture = sources.sample_images(sample.valid, "valid", 4)
    sevens = [file for file in sample.valid.files if file.startswith("7/")]
    expected = [f"7\nvalid/{sevens[place * len(sevens) // 4]}" for place in range(4)]
    assert list(picture.images)[4:] == expected
    everything = sources.sample_images(sample.valid, "valid", 5000)
    assert len(everything.images) == 2038


def test_mean_images_are_the_mean(sample: ImageData) -> None:
    picture = sources.mean_images(sample.valid, "valid")
    pixels, labels = (tensor.numpy() for tensor in sample.valid.ds.tensors)
    for place, name in enumerate(("3", "7")):
        expected = pixels[labels == place].mean(axis=0) / 255
        assert np.allclose(picture.images[name].numpy(), expected, atol=1e-6)


def test_a_linear_model_has_one_image_for_two_classes_and_one_each_for_more() -> None:
    two = build_model("linear", (2, 3), ("a", "b"))
    [(name, image)] = weights_of(two, "linear").images.items()
    assert name == "a against b"
    assert image.tolist() == two.state_dict()["weights"].reshape(2, 3).tolist()
    three = build_model("linear", (2, 3), THREE)
    picture = weights_of(three, "linear", THREE)
    assert tuple(picture.images) == THREE
    weights = three.state_dict()["weights"]
    assert picture.images["cat"].flatten().tolist() == weights[:, 2].tolist()


def test_a_two_layer_model_has_its_units_and_of_many_the_first() -> None:
    large = build_model("two-layer", (2, 3), THREE, hidden=70)
    picture = weights_of(large, "two-layer", THREE)
    assert picture.title == "Units of the first layer, 64 of 70"
    assert len(picture.images) == sources.MAX_WEIGHTS
    first = large.state_dict()["hidden.weight"][1].reshape(2, 3)
    assert torch.equal(picture.images["unit 1"], first)


def test_other_models_have_the_filters_or_units_of_their_first_layer_or_no_picture() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 2, 3))
    picture = weights_of(layers, "cnn")
    assert list(picture.images) == ["filter 0", "filter 1", "filter 2", "filter 3"]
    weights = layers.state_dict()["0.weight"]
    assert torch.equal(picture.images["filter 3"], weights[3, 0] + weights[3, 1] + weights[3, 2])
    picture = weights_of(nn.Sequential(Cosines(4, 3, 2, 0), nn.Conv2d(4, 2, 3)), "cnn")
    assert picture.title == "Waves of the first layer"
    torch.testing.assert_close(picture.images["wave 0"], torch.full((3, 3), 1 / 6))
    assert torch.equal(picture.images["wave 3"], -picture.images["wave 1"])
    dense = nn.Sequential(nn.Flatten(), nn.Linear(6, 2), nn.ReLU(), nn.Linear(2, 1))
    units = weights_of(dense, "two-layer").images
    assert torch.equal(units["unit 1"], dense.state_dict()["1.weight"][1].reshape(2, 3))
    for other in (nn.Linear(7, 1), nn.Conv2d(1, 1, 1)):
        card = ModelCard("cnn", ("a", "b"), (2, 3), {}, "mnist")
        assert sources.weight_images(nn.Sequential(other), card) is None


def test_the_curves_of_a_run_mark_its_best_epoch() -> None:
    record = record_of([0.5, 0.9, 0.8], {}, best={"epoch": 1, "accuracy": 0.9})
    loss, accuracy = sources.curves_of(record)
    assert loss.lines == {"validation": ([0, 1, 2], [2.0] * 3), "training": ([0, 1, 2], [1.0] * 3)}
    assert accuracy.lines == {"validation": ([0, 1, 2], [0.5, 0.9, 0.8])}
    assert accuracy.dots == {"best": ([1], [0.9])}
    assert sources.curves_of(record_of([0.5], {})) == []


def test_a_training_loss_of_smoothed_labels_is_named_in_the_legend() -> None:
    settings = {"loss": "cross-entropy", "label_smoothing": 0.1}
    loss, _ = sources.curves_of(record_of([0.5, 0.6], settings))
    assert list(loss.lines) == ["validation", "training, labels smoothed by 0.1"]
    assert loss.note == "Smoothed labels raise the training loss; validation is without them."


def test_the_curves_of_several_seeds_lie_in_their_band() -> None:
    band = [
        {"epoch": epoch, "n": 2, "train_loss": 0.1, "valid_loss": 0.2, "mean": 0.6, "min": 0.5,
         "max": 0.7}
        for epoch in range(2)
    ]  # fmt: skip
    lost = {"epoch": 2, "n": 0, "train_loss": None, "valid_loss": None, "mean": None}
    result = {"seeds": [{"seed": 0}], "band": [*band, lost], "best": {"epoch": 1, "accuracy": 0.6}}
    loss, accuracy = sources.curves_of(record_of([0.5, 0.6], {"seeds": 2}, **result))
    assert list(map(list, loss.lines["validation"])) == [[0, 1], [0.2, 0.2]]
    lines = {"mean": ([0, 1], [0.6, 0.6]), "median seed": ([0, 1], [0.5, 0.6])}
    assert accuracy.lines == lines
    assert list(map(list, accuracy.bands["all seeds"])) == [[0, 1], [0.5, 0.5], [0.7, 0.7]]
