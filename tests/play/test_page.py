"""What can be done on the page, done with mouse and keyboard."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mnistlab.language import use_language
from mnistlab.runs import Run
from tests.play.conftest import Opened
from tests.play.test_strokes import IDLE, draw

SEVEN = [(70.0, 60.0), (140.0, 60.0), (210.0, 60.0), (160.0, 160.0), (120.0, 240.0)]
INK = """() => document.querySelector('#canvas').getContext('2d').getImageData(0, 0, 280, 280)
    .data.filter((level, i) => i % 4 === 0 && level > 127).length"""
OUTSIDE = """() => [...document.querySelectorAll('body *')]
    .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
    .map(element => element.outerHTML.slice(0, 80))"""


@pytest.fixture
def page(runs: Callable[..., Run], opened: Opened) -> Any:
    """The page of a linear model on MNIST_SAMPLE."""
    page = opened(runs("--model", "linear", "--epochs", "2"))
    page.locator("#now").filter(has_text="right").wait_for()  # what is shown last
    return page


def text(page: Any, selector: str) -> str:
    """What stands there once the screen has been drawn anew."""
    page.evaluate(IDLE)
    shown: str = page.inner_text(selector)
    return shown


def drawn(page: Any) -> tuple[int, str]:
    """How many of the pixels of the paper are ink, and the answer."""
    answer = text(page, "#answer")
    return page.evaluate(INK), answer


def test_undo_takes_back_one_stroke_and_also_a_clearing(page: Any) -> None:
    assert drawn(page) == (0, "–")
    draw(page, [[(140, 140)]])
    dot = drawn(page)
    draw(page, [SEVEN])
    both = drawn(page)
    assert (both[0] > 10 * dot[0] > 0, both[1]) == (True, "7")
    page.keyboard.press("Control+z")
    assert drawn(page) == dot
    draw(page, [SEVEN])
    page.keyboard.press("Escape")
    assert drawn(page) == (0, "–")
    page.click("#undo")
    assert drawn(page) == both
    page.click("#clear")
    assert drawn(page) == (0, "–")


def test_a_wider_pen_leaves_more_ink(page: Any) -> None:
    draw(page, [[(40, 40), (240, 40)]])
    narrow, _ = drawn(page)
    page.focus("#pen")
    page.keyboard.press("End")
    draw(page, [[(40, 140), (240, 140)]])
    assert drawn(page)[0] > 2.5 * narrow


def test_the_mistakes_are_stepped_through_in_both_directions(page: Any) -> None:
    page.keyboard.press("n")
    [every] = re.findall(r"^1 of (\d+): ", text(page, "#which"))
    page.keyboard.press("m")
    assert page.is_checked("#mistakes")
    for number in (1, 2, 3):
        line = r"(\d+) of (\d+): .* is (\d); the model says (\d)"
        [(place, count, truth, answer)] = re.findall(line, text(page, "#which"))
        assert (int(place), page.inner_text("#answer")) == (number, answer)
        assert (answer != truth, int(count) < int(every)) == (True, True)
        # what the pictures of the inside add up to is what the answer is made of
        logit = float(page.inner_text("#sum").split()[-1].rstrip(".").replace("−", "-"))
        first = float(page.get_attribute("#bars tr", "data-probability"))
        assert first == pytest.approx(1 / (1 + math.exp(-logit)), abs=0.005)
        page.click("#next")
    for _ in range(4):
        page.keyboard.press("p")
    assert text(page, "#which").startswith(f"{count} of {count}: ")


def test_a_stroke_on_an_image_makes_it_a_drawing(page: Any) -> None:
    page.keyboard.press("n")
    assert (text(page, "#which") != "", page.inner_text("#steps")) == (True, "")
    draw(page, [SEVEN])
    assert (text(page, "#which"), "framed" in page.inner_text("#steps")) == ("", True)


def test_a_file_is_shown_and_what_is_no_image_is_refused(page: Any, tmp_path: Path) -> None:
    with Image.new("L", (90, 60), 255) as image:
        image.paste(0, (40, 10, 50, 50))
        image.save(tmp_path / "line.png")
    page.set_input_files("#file", tmp_path / "line.png")
    page.locator("#which").filter(has_text="line.png, 90 × 60 pixels").wait_for()
    assert "inverted" in page.inner_text("#steps")
    (tmp_path / "text.png").write_text("no image")
    page.set_input_files("#file", tmp_path / "text.png")
    page.locator("#which").filter(has_text="cannot be read as an image").wait_for()


def test_a_nudge_moves_the_loss_where_accuracy_stays(page: Any) -> None:
    scores = [text(page, "#before")]
    page.focus("#nudge")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        scores.append(text(page, "#now"))
    figures = [re.findall(r"^(\d+) of 200 right, loss (\d\.\d{6})$", one) for one in scores]
    assert len({right for [(right, _)] in figures}) == 1
    assert len({loss for [(_, loss)] in figures}) == 4
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert text(page, "#now") == scores[0]


def test_a_weight_is_chosen_by_a_click_and_by_keys(page: Any) -> None:
    weights = page.locator("#inside li").first
    box = weights.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"] / 28, box["y"] + 2.5 * box["width"] / 28)
    assert text(page, "#weight").startswith("row 3, column 1: ")
    weights.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    assert text(page, "#weight").startswith("row 4, column 2: ")


def test_nothing_is_wider_than_the_screen(page: Any) -> None:
    draw(page, [SEVEN])
    assert drawn(page)[1] == "7"
    for width in (320, 360, 640, 1920):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate(OUTSIDE) == []


def test_in_chinese_all_that_the_page_says_is_chinese(
    runs: Callable[..., Run], opened: Opened, request: pytest.FixtureRequest
) -> None:
    run = runs("--model", "linear", "--epochs", "2")
    request.addfinalizer(lambda: use_language("en"))
    use_language("zh")
    page = opened(run)  # whose scripts the policy lets run: their hashes are right
    page.locator("#now").filter(has_text="张对了").wait_for()
    draw(page, [SEVEN])
    assert drawn(page)[1] == "7"
    assert "已裁剪居中" in page.inner_text("#steps")
    page.keyboard.press("n")
    assert text(page, "#which").startswith("第 1 张，共")
    said = page.inner_text("body").replace(run.name, "")
    words = set(re.findall("[A-Za-z]{2,}", said))
    assert words <= {"linear", "logit", "valid", "png", "Tab", "Ctrl", "Esc"}
    for width in (320, 1920):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate(OUTSIDE) == []
