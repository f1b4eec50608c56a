"""The same answers in the browser as in Python."""

import base64
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mnistlab.calibration import Calibration
from mnistlab.losses import predictions, probabilities
from mnistlab.models import ModelCard
from mnistlab.play.page import FOLDER, model_payload
from mnistlab.runs import Run
from mnistlab.scoring import RunScore, open_model, score_run
from mnistlab.storage import weights_sha256
from tests.play.conftest import Opened

TEN = tuple("0123456789")
# Images as a text -> of each the number of the answer, and the probabilities.
ANSWERS = """([model, text]) => {
  const pixels = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const size = model.height * model.width;
  return Array.from({length: pixels.length / size}, (_, i) => {
    const image = Float32Array.from(pixels.subarray(i * size, (i + 1) * size), v => v / 255);
    const judged = mnistlab.judge(model, image, mnistlab.forward(model, image).logits);
    return [model.classes.indexOf(judged.class), ...judged.probabilities];
  });
}"""
OWN = f"text => ({ANSWERS})([mnistlab.readModel(JSON.parse(payload.textContent)), text])"
GIVEN = f"([payload, text]) => ({ANSWERS})([mnistlab.readModel(payload), text])"


def as_text(images: torch.Tensor) -> str:
    return base64.b64encode(images.numpy().tobytes()).decode()


def require_same(found: list[list[float]], logits: torch.Tensor) -> None:
    """The classes and probabilities of the page are those of `logits`."""
    table = np.array(found)
    expected = probabilities(logits.double()).numpy()
    assert np.abs(table[:, 1:] - expected).max() < 1e-5
    top = np.sort(expected, axis=1)
    sure = top[:, -1] - top[:, -2] > 1e-5
    assert sure.mean() >= 0.95
    assert (table[sure, 0] == predictions(logits).numpy()[sure]).all()


@pytest.mark.parametrize(
    ("model", "classes", "settings"),
    [
        ("linear", TEN, {"init": "normal"}),
        ("two-layer", TEN, {"hidden": 7}),
        ("two-layer", TEN[:2], {"hidden": 5}),
        ("pixel-similarity", TEN[:3], {"distance": "rmse"}),
        ("pixel-similarity", TEN[:2], {"distance": "l1"}),
        ("cnn", TEN, {}),
        ("cnn", TEN, {"channels": (4, 6, 8), "depth": 2, "padding": True, "batch_norm": True}),
        ("cnn", TEN[:2], {"channels": (8, 3), "kernel": 7, "stride": 3, "cosines": True}),
        ("cnn", TEN, {"channels": (4, 5), "kernel": 4, "stride": 2, "padding": True, "hidden": 9}),
        ("cnn", TEN, {"channels": (4,), "cosines": True, "batch_norm": True, "kernel": 3}),
    ],
)
def test_every_setting_of_a_model_gives_the_probabilities_of_torch(
    browser: Any, model: str, classes: tuple[str, ...], settings: dict[str, Any]
) -> None:
    card = ModelCard(model, classes, (27, 30), settings, "any", 0.0)
    net = card.build().eval()
    random = torch.Generator().manual_seed(1)
    for buffer in net.buffers():  # means of images, means and variances of a batch norm
        if buffer.dtype == torch.float32 and not settings.get("cosines"):
            buffer.copy_(torch.rand(buffer.shape, generator=random))
    images = torch.randint(256, (20, *card.image_size), generator=random, dtype=torch.uint8)
    page = browser.new_page()
    page.add_script_tag(content=(FOLDER / "net.js").read_text(encoding="utf-8"))
    found = page.evaluate(GIVEN, [model_payload(net, card), as_text(images)])
    page.close()
    with torch.no_grad():
        require_same(found, net(images[:, None].float() / 255))


@pytest.mark.parametrize(
    "flags",
    [
        ("--model", "linear", "--epochs", "2"),
        ("--model", "two-layer", "--epochs", "2"),
        ("--config", "cnn", "--epochs", "1"),
    ],
    ids=lambda flags: flags[1],
)
def test_every_validation_image_gets_the_answer_of_eval(
    runs: Callable[..., Run], opened: Opened, flags: tuple[str, ...]
) -> None:
    run = runs(*flags)
    score = score_run(run)
    assert len(score.labels) == 2038
    found = opened(run).evaluate(OWN, as_text(score.split.ds.tensors[0]))
    require_same(found, score.logits)


@pytest.mark.parametrize("config", ["linear", "two-layer", "mnist-cnn"])
def test_the_ten_thousand_test_digits_get_the_answers_of_eval(
    runs: Callable[..., Run],
    opened: Opened,
    mnist: Path,
    config: str,
    request: pytest.FixtureRequest,
) -> None:
    if not request.config.getoption("campaign"):
        pytest.skip("takes half a minute; --campaign runs it")
    run = runs("--config", config, "--data", str(mnist), "--epochs", "1")
    score: RunScore = score_run(run)
    assert len(score.labels) == 10_000
    found = opened(run).evaluate(OWN, as_text(score.split.ds.tensors[0]))
    require_same(found, score.logits)


def test_a_calibrated_page_is_sure_where_predict_is(
    runs: Callable[..., Run], opened: Opened, tmp_path: Path
) -> None:
    own = runs("--model", "linear", "--epochs", "2")
    run = Run(shutil.copytree(own.path, tmp_path / "calibrated"))
    net = {"channels": (6, 4), "kernel": 7, "stride": 3, "cosines": True, "hidden": 5}
    card = ModelCard("cnn", TEN[:3], (28, 28), net, "cross-entropy", 0.0)
    model, score = open_model(run)[0], score_run(run)
    images = score.split.ds.tensors[0]
    weights = weights_sha256(model.state_dict())
    drawn = Calibration(weights, 3.0, 0.2, 0.0, card.build().eval(), card)
    # half of the images are then strange to a guard that has learned nothing
    calibration = replace(drawn, threshold=float(drawn.familiarity(images).median()))
    calibration.save(run.calibration_file)
    judged = OWN.replace("...judged.probabilities", "judged.sure, judged.fits")
    found = opened(run).evaluate(judged, as_text(images))
    sure, fits, shares = calibration.judge(score.logits, images)
    close = (calibration.familiarity(images) - calibration.threshold).abs() < 1e-4
    close |= ((shares - 0.8).abs() < 1e-5).any(1)
    assert close.float().mean() < 0.05
    assert 0.2 < sure.float().mean() < 0.8
    for row, is_sure, own_fits, unclear in zip(found, sure, fits, close, strict=True):
        names = [name for name, one in zip(score.card.classes, own_fits, strict=True) if one]
        assert unclear or (bool(row[1]), sorted(row[2])) == (bool(is_sure), sorted(names))


def test_the_probability_of_a_model_changes_with_its_weights(browser: Any) -> None:
    # what the tests above compare is not the same for any weights
    card = ModelCard("linear", TEN, (2, 2), {}, "any", 0.0)
    net = card.build()
    nn.init.constant_(net.get_parameter("bias"), 0.0)
    nn.init.constant_(net.get_parameter("weights"), 0.0)
    with torch.no_grad():
        net.get_parameter("weights")[0, 3] = 1.0
    image = torch.tensor([[[255, 0], [0, 0]]], dtype=torch.uint8)
    page = browser.new_page()
    page.add_script_tag(content=(FOLDER / "net.js").read_text(encoding="utf-8"))
    [found] = page.evaluate(GIVEN, [model_payload(net, card), as_text(image)])
    page.close()
    assert found[0] == 3
    assert found[4] == pytest.approx(np.e / (np.e + 9))
