"""A headless Chromium that renders a page: what it measures, paints, prints and complains of."""

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

# Runs inside the page: how wide it is, what is behind each text, whether the images are there.
MEASURE = r"""
addEventListener('load', () => {
  const parts = c => c.match(/[\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], [R, G, B]) => [r*a + R*(1-a), g*a + G*(1-a), b*a + B*(1-a)];
  const ground = el => {
    const colors = [];
    for (let e = el; e; e = e.parentElement)
      colors.push(parts(getComputedStyle(e).backgroundColor));
    return colors.reverse().reduce((below, color) => over(color, below), [255, 255, 255]);
  };
  const light = rgb => rgb.map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  let lowest = [99, ''];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const el = walker.currentNode.parentElement, style = getComputedStyle(el);
    if (!walker.currentNode.data.trim() || el.closest('title, desc, script')) continue;
    const ink = parts(el instanceof SVGElement ? style.fill : style.color);
    const behind = ground(el), found = contrast(over(ink, behind), behind);
    if (found < lowest[0]) lowest = [found, walker.currentNode.data.slice(0, 40)];
  }
  const images = [...document.images];
  const told = {
    width: innerWidth,
    content: document.documentElement.scrollWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    lowest,
    images: images.length,
    broken: images.filter(i => !i.complete || !i.naturalWidth).length,
    outside: [...document.querySelectorAll('body *')]
      .filter(e => !e.closest('.scroll, .unseen, .skip'))
      .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
      .map(e => e.outerHTML.slice(0, 80)),
  };
  parent.postMessage(JSON.stringify(told), '*');
});
"""

# A window is never narrower than 500 pixels; a frame can be as narrow as a phone.
FRAME = """<!doctype html><title>frame</title>
<script>addEventListener('message', event => {
  const pre = document.createElement('pre');
  pre.id = 'measured';
  pre.textContent = event.data;
  document.body.append(pre);
});</script>
<iframe src="page.html" style="width: WIDTHpx; height: 1500px; border: 0"></iframe>
"""


@dataclass
class Seen:
    """What came of one page: its DOM, complaints on the console, a screenshot and a PDF."""

    dom: str
    console: list[str]
    screenshot: Path
    pdf: Path


def chromium() -> str:
    """The browser; skips the test where there is none, unless one is required."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        why = "no chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("MNISTLAB_REQUIRE_CHROMIUM"):
            pytest.fail(why)
        pytest.skip(why)
    return found


def look(page: str, folder: Path, *, width: int = 1280, dark: bool = False) -> Seen:
    """Open `page` from a file in a window of `width` pixels, in the light or the dark scheme."""
    folder.mkdir(exist_ok=True)
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    return _opened(file, folder, width, dark)


def measure(page: str, folder: Path, width: int, *, dark: bool = False) -> dict[str, Any]:
    """What `MEASURE` finds in `page` where it has `width` pixels.

    The script is put into a copy without the page's own policy, which would not let it run.
    """
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    assert len(policy.findall(page)) == 1
    copy = policy.sub("", page).replace("</body>", f"<script>{MEASURE}</script></body>")
    folder.mkdir(exist_ok=True)
    (folder / "page.html").write_text(copy, encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    seen = _opened(frame, folder, 1400, dark)
    assert seen.console == []
    found = re.search(r'<pre id="measured">(.*?)</pre>', seen.dom, re.DOTALL)
    assert found, "the page was not measured"
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


def _opened(file: Path, folder: Path, width: int, dark: bool) -> Seen:
    seen = Seen("", [], folder / "page.png", folder / "page.pdf")
    done = subprocess.run(
        [
            chromium(),
            "--headless",
            "--no-sandbox",  # for root, in a container; the page is our own
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},1600",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--virtual-time-budget=10000",  # of the page's clock: all messages are through
            "--enable-logging=stderr",
            f"--screenshot={seen.screenshot}",
            f"--print-to-pdf={seen.pdf}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    seen.dom = done.stdout
    seen.console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return seen
