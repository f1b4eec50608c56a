"""Colour is turned into grey: that is said, and classes that differ in nothing else are named."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnistlab.data import images
from mnistlab.data.colour import Colours, colour_of
from mnistlab.data.folders import colour_lines, load_folders
from mnistlab.data.store import ImageData
from tests.command import Result
from tests.conftest import make_tree

Rgb = tuple[int, int, int]
RED, GREEN, BRIGHT = (200, 0, 0), (0, 102, 0), (0, 220, 0)  # red and green have the luma 60
SAID = "colour is turned into grey (48 images have colour)"


def disc(colour: Rgb, drawn: random.Random) -> Image.Image:
    image = Image.new("RGB", (32, 32))
    x, y = drawn.uniform(8, 24), drawn.uniform(8, 24)
    ImageDraw.Draw(image).ellipse((x - 7, y - 7, x + 7, y + 7), fill=colour)
    return image


def discs(root: Path, first: Rgb, second: Rgb) -> Path:
    drawn = random.Random(0)
    for split in ("train", "valid"):
        for name, colour in (("first", first), ("second", second)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(24):
                disc(colour, drawn).save(folder / f"{number}.png")
    return root


def warning(notes: tuple[str, ...] | list[str]) -> bool:
    assert SAID in notes
    named = "these classes differ in colour and hardly in grey: first and second; a model"
    found = [note for note in notes if "hardly in grey" in note]
    assert all(f"warning: {named}" in note for note in found)
    return bool(found)


@pytest.mark.parametrize(("second", "warned"), [(GREEN, True), (BRIGHT, False), (RED, False)])
def test_red_against_green_discs_of_one_brightness_are_warned_of(
    tmp_path: Path, second: Rgb, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = discs(tmp_path / "discs", RED, second)
    assert warning(load_folders(root).notes) == warned
    monkeypatch.setattr("mnistlab.data.scan.YOUNG_NS", 0)
    cold = load_folders(root).notes
    monkeypatch.setattr(images, "decode", None)  # from here on nothing can be decoded
    assert load_folders(root).notes == cold


def test_train_and_data_check_say_so(tmp_path: Path, mnistlab: Callable[..., Result]) -> None:
    root = discs(tmp_path / "discs", RED, GREEN)
    trained = mnistlab("train", "--data", root, "--epochs", 1)
    checked = mnistlab("data", "check", root)
    for text in (trained.err, checked.out):
        flowing = " ".join(text.split())
        assert "colour is turned into grey (" in flowing
        assert "differ in colour and hardly in grey: first and second" in flowing


def test_arrays_in_colour_too(tmp_path: Path) -> None:
    drawn = random.Random(0)
    found: dict[str, Any] = {}
    for part in ("train", "test"):
        pairs = [(disc(colour, drawn), name) for colour, name in [(RED, 0), (GREEN, 1)] * 24]
        found[f"x_{part}"] = np.stack([np.asarray(image) for image, _ in pairs])
        found[f"y_{part}"] = np.array([name for _, name in pairs])
    np.savez(tmp_path / "discs.npz", **found)
    notes = " ".join(load_folders(tmp_path / "discs.npz").notes)
    assert SAID in notes
    assert "hardly in grey: 0 and 1;" in notes


def test_nothing_is_said_of_grey_which_costs_nothing(
    sample: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sample.notes == ()
    make_tree(tmp_path / "grey")
    with monkeypatch.context() as patch:
        patch.setattr(images, "colour_of", None)
        assert load_folders(tmp_path / "grey").notes == ()
    for path in (tmp_path / "grey").rglob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").save(path)
    assert load_folders(tmp_path / "grey").notes == ()


def lines(classes: dict[str, list[Rgb]]) -> list[str]:
    colours = Colours()
    for name, levels in classes.items():
        for level in levels:
            colours.add(name, colour_of(Image.new("RGB", (9, 5), level)))
    return list(colour_lines(colours.notes()))


# Without spread, hues must differ by more than 6 levels, and of 50 images grey by less than 2.8.
@pytest.mark.parametrize(
    ("other", "count", "expected"),
    [
        ((155, 98, 100), 50, 2),  # 7 levels of hue
        ((154, 98, 100), 50, 1),  # 6 levels
        ((160, 98, 100), 50, 2),  # 2 levels of grey as well
        ((160, 101, 100), 50, 1),  # 4 levels
        ((160, 101, 100), 5, 2),  # of five images means differ by chance
        ((155, 98, 100), 4, 1),  # too few to know
    ],
)
def test_both_sides_of_the_limits(other: Rgb, count: int, expected: int) -> None:
    assert len(lines({"a": [(150, 100, 100)] * count, "b": [other] * count})) == expected


def test_photos_of_differently_bright_classes_are_not_warned_of() -> None:
    drawn = random.Random(0)

    def photos(light: int, tint: int) -> list[Rgb]:
        levels = (int(drawn.gauss(light, 12)) for _ in range(60))
        return [(level + tint, level, level - drawn.randrange(30)) for level in levels]

    assert len(lines({"snow": photos(190, 0), "soil": photos(90, 40)})) == 1
    # one brightness, and hues that vary within the classes more than between them
    assert len(lines({"cat": photos(110, 18), "dog": photos(110, 12)})) == 1


def test_the_list_of_pairs_is_bounded() -> None:
    shades = {str(k): [(150 + 9 * k, 130 - 5 * k, 60 + 3 * k)] * 60 for k in range(6)}
    said, warned = lines(shades)
    assert said == "colour is turned into grey (360 images have colour)"
    assert "grey: 0 and 1, 0 and 2, 0 and 3, and 12 more pairs; a model" in warned
