"""What can be done on the page of `mnistlab play`, done in a Chromium with mouse and keyboard."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from PIL import Image

from mnistlab.data.store import ImageData
from mnistlab.play.page import make_page
from mnistlab.runs import Run
from tests.command import run_in_process

SEVEN = [(70, 60), (210, 60), (120, 240)]  # in pixels of the paper, 280 x 280
INK = """() => document.querySelector('#canvas').getContext('2d').getImageData(0, 0, 280, 280)
    .data.filter((level, i) => i % 4 === 0 && level > 127).length"""
OUTSIDE = """() => [...document.querySelectorAll('body *')]
    .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
    .map(element => element.outerHTML.slice(0, 80))"""


class Page:
    """A page of a run; the errors in it are collected."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page, self.errors = page, list[str]()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text))
        page.goto(file.as_uri())
        self.wait_for("#now", "right")  # what is shown last

    def wait_for(self, selector: str, text: str) -> None:
        self.page.locator(selector).filter(has_text=text).wait_for()

    def text(self, selector: str) -> str:
        """What stands there once the screen has been drawn anew."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => done()))")
        text: str = self.page.inner_text(selector)
        return text

    def ink(self) -> int:
        """How many of the pixels of the paper are ink."""
        self.text("#answer")
        count: int = self.page.evaluate(INK)
        return count

    def draw(self, *points: tuple[float, float]) -> None:
        """One stroke, with the mouse."""
        box = self.page.locator("#canvas").bounding_box()
        scale = box["width"] / 280
        places = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, sample: ImageData) -> Path:
    """The page of a linear model, two epochs, on MNIST_SAMPLE."""
    folder = tmp_path_factory.mktemp("play")
    with mock.patch.dict(os.environ, {"MNISTLAB_CACHE": str(shared_cache)}):
        run_in_process("train", "--epochs", "2", "--run-dir", folder / "runs", "-q").ok()
        [path] = (folder / "runs").iterdir()
        (folder / "play.html").write_text(make_page(Run(path))[0], encoding="utf-8", newline="\n")
    return folder / "play.html"


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Page]:
    """The page, newly opened."""
    opened = Page(browser.new_page(viewport={"width": 1280, "height": 800}), file)
    yield opened
    opened.page.close()
    assert opened.errors == []


def test_undo_takes_back_one_stroke_and_also_a_clearing(page: Page) -> None:
    assert (page.ink(), page.text("#answer")) == (0, "–")
    page.draw((140, 140))
    dot = page.ink()
    page.draw(*SEVEN)
    both = page.ink()
    assert (both > 10 * dot > 0, page.text("#answer")) == (True, "7")
    page.press("Control+z")
    assert page.ink() == dot
    page.draw(*SEVEN)
    page.press("Escape")
    assert (page.ink(), page.text("#answer")) == (0, "–")
    page.page.click("#undo")
    assert (page.ink(), page.text("#answer")) == (both, "7")
    page.page.click("#clear")
    assert page.ink() == 0


def test_a_wider_pen_leaves_more_ink(page: Page) -> None:
    page.draw((40, 40), (240, 40))
    narrow = page.ink()
    page.page.focus("#pen")
    page.press("End")
    page.draw((40, 140), (240, 140))
    assert page.ink() > 2.5 * narrow


def test_the_mistakes_are_stepped_through_in_both_directions(page: Page) -> None:
    page.press("n")
    every = int(re.findall(r"^1 of (\d+)", page.text("#which"))[0])
    page.press("m")
    count = int(re.findall(r"^1 of (\d+)", page.text("#which"))[0])
    assert 0 < count < every
    for number in (1, 2, 3):
        place, is_, says = re.findall(
            r"^(\d+) of .* is (\d); the model says (\d)$", page.text("#which")
        )[0]
        assert (int(place), page.text("#answer")) == (number, says)
        assert is_ != says
        # what the pictures of the inside add up to is what the answer is made of
        logit = float(page.text("#sum").split()[-1].rstrip(".").replace("−", "-"))
        first = float(page.page.get_attribute("#bars tr", "data-probability"))
        assert first == pytest.approx(1 / (1 + math.exp(-logit)), abs=0.005)
        page.page.click("#next")
    page.press("p", "p", "p", "p")
    assert page.text("#which").startswith(f"{count} of {count}: ")


def test_a_stroke_on_an_image_makes_it_a_drawing(page: Page) -> None:
    page.press("n")
    assert page.text("#steps") == ""
    page.draw(*SEVEN)
    assert (page.text("#which"), "framed" in page.text("#steps")) == ("", True)


def test_a_file_is_shown_as_it_is_or_refused(page: Page, tmp_path: Path) -> None:
    with Image.new("L", (90, 60), 255) as image:
        image.paste(0, (40, 10, 50, 50))
        image.save(tmp_path / "line.png")
    page.page.set_input_files("#file", tmp_path / "line.png")
    page.wait_for("#which", "line.png, 90 × 60 pixels")
    assert "inverted" in page.text("#steps")
    (tmp_path / "text.png").write_text("no image")
    page.page.set_input_files("#file", tmp_path / "text.png")
    page.wait_for("#which", "This cannot be read as an image.")


def test_a_nudge_moves_the_loss_where_accuracy_stays(page: Page) -> None:
    right, trained = re.findall(r"(\d+) of 200 right, loss (0\.\d{6})", page.text("#before"))[0]
    page.page.focus("#nudge")
    losses = [float(trained)]
    for _ in range(3):
        page.press("ArrowRight")
        same, loss = re.findall(r"(\d+) of 200 right, loss (0\.\d{6})", page.text("#now"))[0]
        assert same == right
        losses.append(float(loss))
    assert len(set(losses)) == 4
    page.page.click("#reset")
    assert page.text("#now") == page.text("#before")


def test_a_weight_is_chosen_by_keys_and_by_a_click(page: Page) -> None:
    weights = page.page.locator("#inside li").first
    box = weights.locator("canvas").bounding_box()
    page.page.mouse.click(box["x"] + 0.5 * box["width"] / 28, box["y"] + 2.5 * box["width"] / 28)
    assert page.text("#weight").startswith("row 3, column 1: ")
    weights.focus()
    page.press("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowRight", "ArrowUp")
    assert page.text("#weight").startswith("row 4, column 2: ")


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    page.draw(*SEVEN)
    assert page.text("#answer") == "7"
    for width in (320, 360, 640, 1920):
        page.page.set_viewport_size({"width": width, "height": 740})
        assert page.page.evaluate(OUTSIDE) == []
