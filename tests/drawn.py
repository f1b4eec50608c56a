"""Drawn digits that look like what people bring: fonts and pens, papers, light, noise, sizes.

A drawing is a function of (tool, digit, size, dark, seed). Half of the tools were looked at while
the preparation was tuned; the other half, whole font families and pens with hands of their own,
was kept aside and is what the figure is measured on: `python -m tests.drawn RUN` prints both.
"""

import hashlib
import io
import itertools
import math
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import nn

from mnistlab.data.fit import How
from mnistlab.models import ModelCard
from mnistlab.runs import DEFAULT_FOLDER, find_run
from mnistlab.scoring import Prediction, open_model, predict_images

Floats = NDArray[np.float64]
Point = tuple[float, float]

DIGITS = ("3", "7")
SIZES = ("40", "120", "400", "photo")  # pixels of a square; a photo is 1500 x 1000
EFFECTS = ("plain", "gradient", "shadow", "noise", "jpeg", "colour", "alpha", "faint")

# matplotlib's own fonts. Families are not split: their members share their skeletons.
TUNING_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono"),
    *("DejaVuSansMono-Bold", "cmss10", "cmtt10"),
)
HELD_OUT_FONTS = (
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol"),
    *("STIXGeneralItalic", "cmr10", "cmb10", "cmti10"),  # cmti10 comes with 3.11
)
FONTS = TUNING_FONTS + HELD_OUT_FONTS


@dataclass(frozen=True)
class Pen:
    """`width` in parts of the digit's height; `rough` is how much of it comes and goes."""

    width: float
    hand: str
    rough: float = 0.0


TUNING_PENS = {
    "ball": Pen(0.05, "school"),
    "felt": Pen(0.11, "school"),
    "fine": Pen(0.025, "quick"),
    "crayon": Pen(0.09, "quick", rough=0.5),
}
HELD_OUT_PENS = {
    "fountain": Pen(0.04, "crossed"),
    "hair": Pen(0.018, "angular"),
    "marker": Pen(0.16, "crossed"),
    "chalk": Pen(0.08, "angular", rough=0.5),
    "brush": Pen(0.12, "looped", rough=0.2),
}
# SVG paths in a box of 1 x 1.6, from the top: M moves, L draws a line, C a Bezier curve.
HANDS = {
    ("school", "3"): (
        "M 0.08 0.28 C 0.2 -0.1, 1 -0.1, 0.9 0.4 C 0.85 0.7, 0.6 0.75, 0.4 0.75 "
        "C 0.8 0.75, 1.02 0.95, 0.95 1.2 C 0.9 1.7, 0.15 1.75, 0.02 1.3"
    ),
    ("school", "7"): "M 0.05 0.03 L 0.98 0.03 L 0.35 1.6",
    ("quick", "3"): (
        "M 0.15 0.15 C 0.5 -0.15, 1.1 0.1, 0.8 0.45 C 0.7 0.6, 0.55 0.68, 0.45 0.7 "
        "C 1.1 0.75, 1.1 1.3, 0.6 1.5 C 0.4 1.6, 0.15 1.55, 0 1.45"
    ),
    ("quick", "7"): "M 0 0.12 C 0.3 0.02, 0.7 0.1, 0.95 0 C 0.9 0.4, 0.5 0.9, 0.4 1.6",
    ("crossed", "3"): (
        "M 0.05 0.2 C 0.35 -0.12, 0.95 -0.05, 0.85 0.35 C 0.8 0.6, 0.55 0.7, 0.35 0.72 "
        "C 0.75 0.68, 1 0.9, 1 1.15 C 1 1.6, 0.3 1.7, 0.05 1.45"
    ),
    ("crossed", "7"): (
        "M 0.03 0.2 C 0.1 0, 0.2 0.05, 0.95 0.05 C 0.7 0.6, 0.45 1, 0.4 1.6 M 0.25 0.8 L 0.9 0.74"
    ),
    ("angular", "3"): (
        "M 0.05 0.05 L 0.9 0.05 L 0.4 0.62 C 1.05 0.6, 1.1 1.25, 0.75 1.45 "
        "C 0.5 1.62, 0.2 1.6, 0 1.4"
    ),
    ("angular", "7"): "M 0 0.08 L 0.9 0 L 0.55 0.7 L 0.3 1.6",
    ("looped", "3"): (
        "M 0.1 0.25 C 0.3 -0.1, 0.95 -0.1, 0.85 0.35 C 0.8 0.75, 0.2 0.85, 0.3 0.68 "
        "C 0.4 0.55, 1 0.8, 0.98 1.15 C 0.9 1.65, 0.2 1.7, 0.05 1.35"
    ),
    ("looped", "7"): "M 0 0.1 C 0.3 0, 0.6 0.18, 1 0.02 C 0.75 0.5, 0.55 0.9, 0.5 1.6",
}


@dataclass(frozen=True)
class Drawing:
    """One drawn digit: what it shows, how it was made, and the image (any mode)."""

    digit: str
    tool: str
    size: str
    dark: bool
    effect: str
    image: Image.Image


Outcome = tuple[Drawing, Prediction | None]


def drawings(*, held_out: bool, rounds: int = 1, part: int = 1) -> Iterator[Drawing]:
    """Every tool x size x ink x digit; the effect goes round, another one each round.

    Of these only each `part`-th is drawn, and none in a font that an older matplotlib lacks.
    """
    tools = (*HELD_OUT_FONTS, *HELD_OUT_PENS) if held_out else (*TUNING_FONTS, *TUNING_PENS)
    sides = [range(len(side)) for side in (tools, SIZES, (True, False), DIGITS)]
    for place, (turn, t, s, d, n) in enumerate(itertools.product(range(rounds), *sides)):
        drawable = tools[t] not in FONTS or _font_file(tools[t]).exists()
        if place % part == 0 and drawable:
            effect = EFFECTS[(3 * turn + t + 2 * s + 5 * d + 3 * n) % len(EFFECTS)]
            yield draw(DIGITS[n], tools[t], SIZES[s], dark=d == 0, effect=effect, seed=turn)


def draw(digit: str, tool: str, size: str, *, dark: bool, effect: str, seed: int) -> Drawing:
    """One drawing, the same for the same arguments."""
    key = f"{digit} {tool} {size} {dark} {effect} {seed}"
    random = np.random.default_rng(list(hashlib.sha256(key.encode()).digest()))
    width, height = (1500, 1000) if size == "photo" else (int(size), int(size))
    share = random.uniform(0.12, 0.4) if size == "photo" else random.uniform(0.5, 0.85)
    ink = _inked(digit, tool, width, height, share * height, random)
    return Drawing(digit, tool, size, dark, effect, _on_paper(ink, dark, effect, size, random))


def _inked(
    digit: str, tool: str, width: int, height: int, tall: float, random: np.random.Generator
) -> Floats:
    """Coverage 0…1 (height, width) of a digit `tall` pixels high, drawn four times as large."""
    fine = 4 if height <= 400 else 1
    glyph = _glyph(digit, tool, max(int(tall * fine), 24), random)
    glyph = glyph.rotate(random.uniform(-8, 8), Image.Resampling.BICUBIC, expand=True)
    glyph = glyph.crop(glyph.getbbox())
    room_x = max(width * fine - glyph.width, 0)
    room_y = max(height * fine - glyph.height, 0)
    spread = (0.1, 0.9) if height == 1000 else (0.3, 0.7)
    corner = (int(room_x * random.uniform(*spread)), int(room_y * random.uniform(*spread)))
    canvas = Image.new("L", (width * fine, height * fine))
    canvas.paste(glyph, corner)
    return np.asarray(canvas.reduce(fine) if fine > 1 else canvas, dtype=np.float64) / 255


def _font_file(tool: str) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{tool}.ttf"


def _glyph(digit: str, tool: str, tall: int, random: np.random.Generator) -> Image.Image:
    pens = TUNING_PENS | HELD_OUT_PENS
    if tool in pens:
        return _stroked(digit, pens[tool], tall, random)
    path = _font_file(tool)
    font = ImageFont.truetype(path, tall)
    left, top, right, bottom = font.getbbox(digit)
    font = ImageFont.truetype(path, int(tall * tall / (bottom - top)))
    left, top, right, bottom = map(int, font.getbbox(digit))
    image = Image.new("L", (right - left + 4, bottom - top + 4))
    ImageDraw.Draw(image).text((2 - left, 2 - top), digit, fill=255, font=font)
    return image


def _stroked(digit: str, pen: Pen, tall: int, random: np.random.Generator) -> Image.Image:
    wide = max(pen.width * tall, 1.5)
    scale = (tall - wide) / 1.6
    margin = int(wide) + int(0.3 * tall)
    image = Image.new("L", (int(scale) + 2 * margin, tall + 2 * margin))
    pencil = ImageDraw.Draw(image)
    slant, stretch = random.uniform(-0.15, 0.3), random.uniform(0.8, 1.15)
    shifts: dict[Point, Floats] = {}  # strokes that meet go on meeting
    for curve in _curves(HANDS[pen.hand, digit]):
        moved = []
        for x, y in curve:
            dx, dy = shifts.setdefault((x, y), random.normal(0, 0.035, 2))
            moved.append(((x + dx) * stretch + slant * (0.8 - y), y + dy))
        pressure = random.uniform(1 - pen.rough / 2, 1 + pen.rough / 2, 2)
        for t in np.linspace(0, 1, max(int(2 * tall / max(wide / 8, 1)), 60)):
            x, y = _bezier(moved, float(t))
            r = wide / 2 * (pressure[0] * (1 - t) + pressure[1] * t)
            cx, cy = margin + x * scale, margin + y * scale + wide / 2
            pencil.ellipse((cx - r, cy - r, cx + r, cy + r), fill=255)
    if pen.rough >= 0.5:  # the grain of the paper shows through
        grain = _smooth_noise(image.size, max(tall / 60, 0.8), random)
        grained = np.asarray(image, dtype=np.float64) * (grain > -0.8)
        image = Image.fromarray(grained.astype(np.uint8))
    return image.crop(image.getbbox())


def _curves(path: str) -> Iterator[list[Point]]:
    """The control points of each line or Bezier curve of an SVG path."""
    here = (0.0, 0.0)
    for command, text in re.findall(r"([MLC])([^MLC]+)", path):
        values = [float(value) for value in text.replace(",", " ").split()]
        points = list(zip(values[::2], values[1::2], strict=True))
        if command != "M":
            yield [here, *points]
        here = points[-1]


def _bezier(points: list[Point], t: float) -> Point:
    n = len(points) - 1
    weights = [math.comb(n, i) * t**i * (1 - t) ** (n - i) for i in range(n + 1)]
    return (
        sum(w * x for w, (x, _) in zip(weights, points, strict=True)),
        sum(w * y for w, (_, y) in zip(weights, points, strict=True)),
    )


def _smooth_noise(size: tuple[int, int], radius: float, random: np.random.Generator) -> Floats:
    """Normal noise (h, w) of spread 1 whose grains have about `radius` pixels."""
    raw = random.uniform(0, 255, (size[1], size[0])).astype(np.uint8)
    blurred = Image.fromarray(raw).filter(ImageFilter.BoxBlur(radius))
    noise = np.asarray(blurred, dtype=np.float64)
    return np.asarray((noise - noise.mean()) / (noise.std() or 1.0))


def _on_paper(
    ink: Floats, dark: bool, effect: str, size: str, random: np.random.Generator
) -> Image.Image:
    height, width = ink.shape
    if effect == "alpha":
        colour = random.integers(0, 70, 3) if dark else random.integers(200, 256, 3)
        rgba = np.empty((height, width, 4), dtype=np.uint8)
        rgba[..., :3], rgba[..., 3] = colour, (ink * 255).astype(np.uint8)
        return Image.fromarray(rgba)
    paper, pen = random.uniform(0.75, 1.0), random.uniform(0.0, 0.25)
    if effect == "faint":
        paper, pen = random.uniform(0.75, 0.9), random.uniform(0.4, 0.55)
    if not dark:
        paper, pen = 1 - paper, 1 - pen
    if effect == "plain" and size != "photo":
        paper, pen = (1.0, 0.0) if dark else (0.0, 1.0)
    levels = paper + (pen - paper) * ink
    if effect in ("gradient", "shadow") or size == "photo":
        levels *= _light(effect, width, height, random)
    tints = random.uniform(0.6, 1.0, 3) if effect == "colour" else [1.0]  # a lamp's or a board's
    spread = {"noise": 0.06}.get(effect, 0.02 if size == "photo" or effect == "jpeg" else 0.0)
    if spread:
        levels += spread * random.standard_normal(levels.shape, dtype=np.float32)
    bands = [
        Image.fromarray((levels * (255 * tint)).round().clip(0, 255).astype(np.uint8))
        for tint in tints
    ]
    image = Image.merge("RGB", bands) if effect == "colour" else bands[0]
    if effect == "jpeg" or size == "photo":
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=int(random.integers(35, 80)))
        image = Image.open(io.BytesIO(stored.getvalue()))
        image.load()
    return image


def _light(effect: str, width: int, height: int, random: np.random.Generator) -> Floats:
    """Brightness (h, w) of the paper: even and dimmer away from a lamp, or with a shadow on it."""
    y, x = np.ogrid[0:height, 0:width]
    x, y = x / width - 0.5, y / height - 0.5
    angle = random.uniform(0, 2 * math.pi)
    across = x * math.cos(angle) + y * math.sin(angle)
    if effect == "shadow":  # of a hand or a phone: its edge is soft over a tenth of the width
        edge = random.uniform(-0.2, 0.2)
        deep = random.uniform(0.25, 0.5)
        return np.asarray(1 - deep / (1 + np.exp(-(across - edge) / 0.025)))
    vignette = 1 - random.uniform(0.1, 0.5) * (x**2 + y**2) * 2
    slope = random.uniform(0.3, 0.7) if effect == "gradient" else 0.15
    return np.asarray(vignette * (1 - slope * (across + 0.5)))


def predicted(
    model: nn.Module, card: ModelCard, drawn: Iterable[Drawing], how: How = "auto"
) -> list[Outcome]:
    """The prediction of every drawing, stored as a PNG file; None if it has no ink."""
    files: dict[str, Drawing] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, drawing in enumerate(drawn):
            files[f"{folder}/{number}.png"] = drawing
            drawing.image.save(f"{folder}/{number}.png", compress_level=1)
        predictions, _ = predict_images(model, card, list(files), how=how)
    by_file = {prediction.file: prediction for prediction in predictions}
    return [(drawing, by_file.get(file)) for file, drawing in files.items()]


def inverted(outcomes: Iterable[Outcome]) -> int:
    """How many drawings were inverted if, and only if, they are dark on light."""
    return sum(made is not None and made.inverted == drawing.dark for drawing, made in outcomes)


def shares(outcomes: Iterable[Outcome]) -> dict[str, tuple[int, int]]:
    """How many are right, of how many: of all, and by digit, ink, size, effect and tool."""
    right: dict[str, tuple[int, int]] = {}
    for drawing, prediction in outcomes:
        ink = "dark on light" if drawing.dark else "light on dark"
        is_right = prediction is not None and prediction.predicted == drawing.digit
        for group in ("all", drawing.digit, ink, drawing.size, drawing.effect, drawing.tool):
            correct, total = right.get(group, (0, 0))
            right[group] = correct + is_right, total + 1
    return right


def main() -> None:
    """Print the figures of both halves for a run: `python -m tests.drawn RUN [ROUNDS]`."""
    torch.set_num_threads(1)
    model, card = open_model(find_run(sys.argv[1], DEFAULT_FOLDER))
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    for held_out in (False, True):
        drawn = list(drawings(held_out=held_out, rounds=rounds))
        outcomes = predicted(model, card, drawn)
        figures = {
            "only scaled": shares(predicted(model, card, drawn, "never"))["all"],
            "right way round": (inverted(outcomes), len(drawn)),
            **shares(outcomes),
        }
        print(f"{'held out' if held_out else 'tuned on'}: {len(drawn)} drawings")
        for name, (right, total) in figures.items():
            print(f"  {name:<20}{right / total:.4f}  {right} of {total}")


if __name__ == "__main__":
    main()
