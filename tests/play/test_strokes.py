"""Drawings: what is drawn on the page, and the same as a PNG file through `predict`."""

import base64
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnistlab.runs import Run
from mnistlab.scoring import open_model, predict_images
from tests.conftest import Examples
from tests.drawn import HANDS, _bezier, _curves
from tests.play.conftest import Opened

Stroke = list[tuple[float, float]]
SIDE = 280  # pixels of the paper
SEEN = """pen => {
  const model = mnistlab.readModel(JSON.parse(payload.textContent)), paper = canvas;
  const {data} = paper.getContext('2d').getImageData(0, 0, 280, 280);
  const {image, steps} = mnistlab.prepare(data.filter((_, i) => i % 4 === 0), 280, 280, model);
  return [paper.toDataURL(), [...image], steps];
}"""
IDLE = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"""


def strokes(path: str, random: np.random.Generator) -> list[Stroke]:
    """The strokes of a digit somewhere on the paper, in its pixels: turned, stretched, shaken."""
    tall = random.uniform(0.35, 0.85) * SIDE
    scale, turn, stretch = tall / 1.6, random.normal(0, 0.1), random.uniform(0.75, 1.15)
    corner = random.uniform(0.3, 0.7, 2) * (SIDE - 0.75 * tall, SIDE - tall)
    made: list[Stroke] = []
    end = None
    for curve in _curves(path):
        shaken = [(x + random.normal(0, 0.02), y + random.normal(0, 0.02)) for x, y in curve]
        line = []
        for t in np.linspace(0, 1, int(random.integers(4, 10))):
            x, y = _bezier(shaken, float(t))
            x, y = stretch * (x * math.cos(turn) - y * math.sin(turn)), x * math.sin(turn) + y
            line.append((float(corner[0] + scale * x), float(corner[1] + scale * y)))
        if curve[0] == end:
            made[-1] += line
        else:
            made.append(line)
        end = curve[-1]
    return made


def draw(page: Any, drawn: list[Stroke]) -> None:
    """Draw with the mouse, whose moves reach the page as pointer events."""
    box = page.locator("#canvas").bounding_box()
    scale = box["width"] / SIDE
    for stroke in drawn:
        for number, (x, y) in enumerate(stroke):
            page.mouse.move(box["x"] + x * scale, box["y"] + y * scale)
            if number == 0:
                page.mouse.down()
        page.mouse.up()
    page.evaluate(IDLE)


def test_a_drawing_gets_the_answer_that_predict_gives_its_file(
    runs: Callable[..., Run], opened: Opened, examples: Examples
) -> None:
    run = runs("--model", "two-layer", "--epochs", "2")
    page, random = opened(run), np.random.default_rng(15)
    model, card = open_model(run)
    answers, close, files = [], [], []
    paths = list(HANDS.values())
    for number in range(examples(6, 200)):
        page.keyboard.press("Escape")
        page.fill("#pen", str(random.integers(6, 40)))
        draw(page, strokes(paths[number % len(paths)], random))
        url, image, steps = page.evaluate(SEEN)
        png = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L")
        [made], _ = predict_images(model, card, [png])
        answers.append(page.inner_text("#answer") == made.predicted)
        difference = np.abs(np.array(image).reshape(made.levels.shape) * 255 - made.levels)
        close.append(bool(difference.max() < 2.5 and tuple(steps) == made.steps))
        files.append(made.file)
    assert sum(answers) >= 0.99 * len(answers)
    assert sum(close) >= 0.9 * len(close)


def test_what_is_no_drawing_is_left_out_as_predict_does(
    runs: Callable[..., Run], opened: Opened
) -> None:
    run = runs("--model", "two-layer", "--epochs", "2")
    page = opened(run)
    model, card = open_model(run)
    seven = [(60.0, 60.0), (150.0, 60.0), (100.0, 190.0)]
    for more in ([(250.0, 250.0), (251.0, 251.0)], [(90.0, 120.0), (130.0, 120.0)]):
        page.keyboard.press("Escape")
        draw(page, [seven, more])
        url, image, steps = page.evaluate(SEEN)
        png = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L")
        [made], _ = predict_images(model, card, [png])
        assert tuple(steps) == made.steps
        assert np.abs(np.array(image).reshape(28, 28) * 255 - made.levels).max() < 2.5
    page.keyboard.press("Escape")
    page.evaluate(IDLE)
    with pytest.raises(Exception, match="no ink found"):
        page.evaluate(SEEN)
