"""The README's pictures, light and dark: `make pictures`; needs a Chromium.

The terminal is what `mnistlab train` prints on one, as SVG; the page is that of `mnistlab play`
with a digit drawn on it by the mouse. Both are of this machine: the times and the checksum of the
weights in them are its own.
"""

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.drawn import HANDS, _bezier, _curves
from tests.pages import ROOT
from tests.play.conftest import NAMES
from tests.play.test_strokes import draw

FOLDER = ROOT / "docs" / "pictures"
MNISTLAB = [sys.executable, "-m", "mnistlab"]
WIDTH = 68  # columns
# Background, text, frame; of the 16 colours of a terminal the output has none.
COLOURS = {
    "light": ((255, 255, 255), (31, 35, 40), "rgba(31,35,40,0.35)"),
    "dark": ((13, 17, 23), (230, 237, 243), "rgba(255,255,255,0.35)"),
}
HAND, CORNER, SCALE = HANDS["school", "3"], (80, 40), 125  # a 3 in a box of 1 x 1.6, and where
SIZE = {"width": 1180, "height": 945}  # what is seen of the page, in CSS pixels


def shown_on_terminal(words: list[str]) -> list[str]:
    """The lines that a command leaves on a terminal, with their colours, without its bar."""
    chunks: list[bytes] = []

    def read(descriptor: int) -> bytes:
        chunks.append(os.read(descriptor, 4096))
        return chunks[-1]

    if pty.spawn(words, read):
        sys.exit(f"{words}: it failed")
    # a bar is erased (2K) before the next line is written over it
    lines = b"".join(chunks).decode().replace("\x1b[?25h", "").split("\r\n")
    lines = [re.sub(r".*\x1b\[2K|\x1b\[\?25l", "", line).strip("\r") for line in lines]
    return [line for line in lines if line.strip() and ", batch " not in line]


def draw_terminal(lines: list[str], theme: str) -> str:
    """Lines of a terminal as SVG."""
    background, text, frame = COLOURS[theme]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line))
    grey = [(128, 128, 128)] * 8
    drawn = console.export_svg(
        title="mnistlab train",
        theme=TerminalTheme(background, text, grey),
        unique_id=theme,
    )
    # no fonts from the network: an SVG in an <img> may not load them, and a page should not
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    drawn = drawn.replace("Fira Code", "Menlo, Consolas, DejaVu Sans Mono")
    return drawn.replace("rgba(255,255,255,0.35)", frame) + "\n"


def photograph(page: Any, file: Path) -> None:
    """The page with a 3 drawn on it."""
    points = [_bezier(curve, step / 30) for curve in _curves(HAND) for step in range(31)]
    draw(page, [[(CORNER[0] + SCALE * x, CORNER[1] + SCALE * y) for x, y in points]])
    page.mouse.move(1, 1)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(file, lossless=True, quality=100, method=6)


def main() -> None:
    """Train, draw, photograph."""
    FOLDER.mkdir(exist_ok=True)
    path = next(filter(None, map(shutil.which, NAMES)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        os.chdir(folder)
        printed = shown_on_terminal([*MNISTLAB, "train"])
        prompt = ["\x1b[1m$ mnistlab train\x1b[0m", *printed[:7], "  ...", *printed[-5:]]
        for theme in COLOURS:
            file = FOLDER / f"train-{theme}.svg"
            file.write_text(draw_terminal(prompt, theme), encoding="utf-8")
        subprocess.run([*MNISTLAB, "play", "-o", "play.html"], check=True)
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for theme in COLOURS:
            page = browser.new_page(viewport=SIZE, device_scale_factor=1.5, color_scheme=theme)
            page.goto(Path("play.html").absolute().as_uri())
            photograph(page, FOLDER / f"play-{theme}.webp")
        browser.close()


if __name__ == "__main__":
    main()
