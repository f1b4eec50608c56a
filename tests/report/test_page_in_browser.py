"""The report in a real browser: on a phone and a desk, light and dark, on paper."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mnistlab.report.page import open_report, render
from mnistlab.runs import Run
from tests.command import Result
from tests.conftest import make_tree
from tests.report.browser import chromium, look, measure

Mnistlab = Callable[..., Result]


@pytest.fixture(autouse=True)
def browser() -> None:
    chromium()


@pytest.fixture
def odd_page(mnistlab: Mnistlab, tmp_path: Path) -> str:
    """Twelve classes with names that no page expects."""
    names: tuple[str, ...] = (
        "<b>bold<\u2215b>",
        "w" * 120,
        "several words " * 7 + "end",
    )
    names += tuple(f"class number {k}" for k in range(9))
    data = make_tree(tmp_path / "odd", names, (30, 9), train=4, valid=3)
    mnistlab("train", "--data", data, "--epochs", "3", "-q").ok()
    return render(open_report(Run(next(Path("runs").iterdir()))))


@pytest.mark.parametrize(("width", "dark"), [(320, False), (360, True), (1280, False)])
def test_nothing_overflows_and_all_text_stands_out(
    digits_page: str, tmp_path: Path, width: int, dark: bool
) -> None:
    measured = measure(digits_page, tmp_path / "look", width, dark=dark)
    assert measured["width"] == width
    assert (measured["outside"], measured["content"] <= width) == ([], True)
    assert measured["lowest"][0] >= 4.5, measured["lowest"]  # WCAG 2, level AA
    assert (measured["images"] > 40, measured["broken"]) == (True, 0)
    assert measured["dark"] is dark


def test_names_of_any_length_stay_inside_a_phone(odd_page: str, tmp_path: Path) -> None:
    measured = measure(odd_page, tmp_path / "look", 320, dark=True)
    assert (measured["outside"], measured["content"] <= 320) == ([], True)
    assert measured["lowest"][0] >= 4.5, measured["lowest"]


def test_the_page_is_painted_in_both_schemes_and_printed(digits_page: str, tmp_path: Path) -> None:
    light = look(digits_page, tmp_path / "light", width=800)
    dark = look(digits_page, tmp_path / "dark", width=800, dark=True)
    assert light.console == dark.console == []
    corners = []
    for seen in (light, dark):
        with Image.open(seen.screenshot) as image:
            colors = image.convert("RGB").getcolors(10**6)
            assert colors is not None
            assert len(colors) > 100
            corners.append(sum(image.convert("RGB").getpixel((2, 2))))  # type: ignore[arg-type]
    assert corners[0] > 700 > 120 > corners[1]
    # paper is white in both: what is printed does not depend on the scheme of the screen
    pages = [len(re.findall(rb"/Type\s*/Page\b", seen.pdf.read_bytes())) for seen in (light, dark)]
    assert pages[0] == pages[1] >= 2


def test_the_policy_of_the_page_stops_scripts_and_the_network(
    digits_page: str, tmp_path: Path
) -> None:
    attack = "<script>document.title='owned'</script><img alt='' src='http://example.invalid/x'>"
    seen = look(digits_page.replace("</main>", f"{attack}</main>"), tmp_path / "look")
    assert "<title>owned" not in seen.dom
    assert len(seen.console) == 2
    assert all("Content Security Policy" in line for line in seen.console)
