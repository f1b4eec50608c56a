"""The report in a headless Chromium: on a phone and a desk, light and dark, on paper."""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mnistlab.report.page import open_report, render
from mnistlab.runs import Run
from tests import needs
from tests.command import Result
from tests.conftest import make_tree

Mnistlab = Callable[..., Result]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

# Runs inside the page: how wide it is, what is behind each text, whether the images are there.
MEASURE = r"""
addEventListener('load', () => {
  const parts = c => c.match(/[\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], [R, G, B]) => [r*a + R*(1-a), g*a + G*(1-a), b*a + B*(1-a)];
  const background = el => {
    const colors = [];
    for (let e = el; e; e = e.parentElement)
      colors.push(parts(getComputedStyle(e).backgroundColor));
    return colors.reverse().reduce((below, color) => over(color, below), [255, 255, 255]);
  };
  const light = rgb => rgb.map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let lowest = [99, ''];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const el = walker.currentNode.parentElement, style = getComputedStyle(el);
    if (!walker.currentNode.data.trim() || el.closest('title, script')) continue;
    const behind = background(el);
    const ink = over(parts(el instanceof SVGElement ? style.fill : style.color), behind);
    const [low, high] = [light(ink), light(behind)].sort((x, y) => x - y);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < lowest[0]) lowest = [contrast, walker.currentNode.data.slice(0, 40)];
  }
  const images = [...document.images];
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    content: document.documentElement.scrollWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    lowest,
    weights: light(background(document.querySelector('.signed img'))),
    images: images.length,
    broken: images.filter(i => !i.complete || !i.naturalWidth).length,
    outside: [...document.querySelectorAll('body *')]
      .filter(e => !e.closest('.scroll, .skip'))
      .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
      .map(e => e.outerHTML.slice(0, 80)),
  }), '*');
});
"""

# A window is never narrower than 500 pixels; a frame can be as narrow as a phone.
FRAMES = """<!doctype html><title>frames</title><style>iframe { border: 0 }</style>
<script>addEventListener('message', event => {
  const pre = document.createElement('pre');
  pre.textContent = event.data;
  document.body.append(pre);
});</script>
"""
FRAME = '<iframe src="page{place}.html" style="width: {width}px; height: 1500px"></iframe>'


@pytest.fixture(autouse=True)
def chromium() -> str:
    """The browser; skips the test where there is none, unless one is required."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        why = "no chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("MNISTLAB_REQUIRE_CHROMIUM"):
            pytest.fail(why)
        pytest.skip(why)
    return path


def opened(chromium: str, file: Path, *, dark: bool) -> tuple[str, list[str]]:
    """The DOM of a file and the complaints on the console; it is drawn into page.png, page.pdf."""
    folder = file.parent
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",  # for root, in a container; the page is our own
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=1400,1600",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--virtual-time-budget=10000",  # of the page's clock: all messages are through
            "--enable-logging=stderr",
            f"--screenshot={folder / 'page.png'}",
            f"--print-to-pdf={folder / 'page.pdf'}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measure(
    chromium: str, pages: list[tuple[int, str]], folder: Path, *, dark: bool
) -> list[dict[str, Any]]:
    """What `MEASURE` says of pages with so many pixels of width, narrow ones first.

    The script is put into copies without the page's own policy, which would not let it run.
    """
    frames = FRAMES
    for place, (width, page) in enumerate(pages):
        copy, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
        assert policies == 1
        copy = copy.replace("</body>", f"<script>{MEASURE}</script></body>")
        (folder / f"page{place}.html").write_text(copy, encoding="utf-8")
        frames += FRAME.format(place=place, width=width)
    (folder / "frames.html").write_text(frames, encoding="utf-8")
    dom, console = opened(chromium, folder / "frames.html", dark=dark)
    assert console == []
    texts = re.findall(r"<pre>(.*?)</pre>", dom, re.DOTALL)
    measured = [json.loads(html.unescape(text)) for text in texts]
    measured.sort(key=lambda one: one["width"])
    assert [(one["width"], one["dark"]) for one in measured] == [(w, dark) for w, _ in pages]
    for one in measured:
        assert (one["outside"], one["content"] <= one["width"]) == ([], True)
        assert one["lowest"][0] >= 4.5, one["lowest"]  # WCAG 2, level AA
    return measured


@needs.any_name
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_overflows_and_all_text_stands_out(
    chromium: str, mnistlab: Mnistlab, digits_page: str, tmp_path: Path, dark: bool
) -> None:
    names: tuple[str, ...] = ("<b>bold<\u2215b>", "w" * 120, "several words " * 7 + "end")
    names += tuple(f"class number {k}" for k in range(9))
    data = make_tree(tmp_path / "odd", names, (30, 9), train=4, valid=3)
    mnistlab("train", "--data", data, "--epochs", "3", "-q").ok()
    odd_page = render(open_report(Run(next(Path("runs").iterdir()))))
    pages = [(320, odd_page), (360, digits_page), (1280, digits_page)]
    for measured in measure(chromium, pages, tmp_path, dark=dark)[1:]:
        assert (measured["images"] > 40, measured["broken"]) == (True, 0)
        # zero is transparent, so that in the dark the weights are no bright block
        assert (measured["weights"] < 0.02) is dark


def test_the_page_is_painted_in_both_schemes_and_printed(
    chromium: str, digits_page: str, tmp_path: Path
) -> None:
    corners, pages = [], []
    (tmp_path / "page.html").write_text(digits_page, encoding="utf-8")
    for dark in (False, True):
        _, console = opened(chromium, tmp_path / "page.html", dark=dark)
        assert console == []
        with Image.open(tmp_path / "page.png") as image:
            assert len(image.convert("RGB").getcolors(10**6) or []) > 100
            corners.append(sum(image.convert("RGB").getpixel((2, 2))))  # type: ignore[arg-type]
        pages.append(len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes())))
    assert corners[0] > 700 > 120 > corners[1]
    # paper is white in both: what is printed does not depend on the scheme of the screen
    assert pages[0] == pages[1] >= 2


def test_the_policy_of_the_page_stops_scripts_and_the_network(
    chromium: str, digits_page: str, tmp_path: Path
) -> None:
    attack = "<script>document.title='owned'</script><img alt='' src='http://example.invalid/x'>"
    page = digits_page.replace("</main>", f"{attack}</main>")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    dom, console = opened(chromium, tmp_path / "page.html", dark=False)
    assert "<title>owned" not in dom
    assert len(console) == 2
    assert all("Content Security Policy" in line for line in console)
