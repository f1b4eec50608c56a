"""Finding ink: widths, places and surfaces worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from mnistlab.data.ink import bounding_box, find_ink, illumination, noise_of, stroke_width


def test_a_bars_width_is_its_area_over_half_its_outline() -> None:
    bar = np.zeros((60, 120), dtype=np.float32)
    bar[25:35, 10:110] = 1
    # 10 x 100: an area of 1000, an outline of 220 less what the corners cut
    assert stroke_width(bar) == pytest.approx(1000 / 110, rel=0.03)
    assert stroke_width(np.zeros((5, 5), dtype=np.float32)) == 0
    assert bounding_box(bar > 0) == (10, 25, 110, 35)


@pytest.mark.parametrize("scale", [1, 10])
@pytest.mark.parametrize("dark", [True, False])
def test_ink_is_found_in_its_place_and_polarity(dark: bool, scale: int) -> None:
    levels = np.full((200, 300), 220 if dark else 30, dtype=np.uint8)
    levels[60:140, 100:112] = levels[60:72, 100:160] = 40 if dark else 210
    ink = find_ink(Image.fromarray(levels).resize((300 * scale, 200 * scale), 0))
    assert ink is not None
    assert ink.dark is dark
    assert ink.box == pytest.approx(np.array([100, 60, 160, 140]) * scale, abs=0.5 * (scale - 1))
    assert (ink.specks, ink.at_rim) == (0, False)
    assert ink.unevenness < 0.01
    assert max(ink.coverage.shape) <= 320
    assert (ink.coverage.min(), ink.coverage.max()) == (0, 1)
    if scale == 1:  # not reduced: 12 x 80 and 48 x 12 pixels
        assert ink.stroke == pytest.approx(12, abs=2)
        assert (ink.coverage > 0.5).sum() == 12 * 80 + 48 * 12


def test_the_caller_may_say_which_ink() -> None:
    both = np.full((200, 300), 128, dtype=np.uint8)
    both[60:140, 100:112] = 88
    both[20:40, 200:230] = 255
    light, dark = (200, 20, 230, 40), (100, 60, 112, 140)
    for which, box in ((None, light), (False, light), (True, dark)):
        ink = find_ink(Image.fromarray(both), which)
        assert ink is not None
        assert ink.box == box


def test_the_illumination_is_the_surface_that_the_background_was_made_of() -> None:
    y, x = np.mgrid[0:100, 0:150]
    y, x = y / 100 - 0.5, x / 150 - 0.5
    for surface in (
        np.full((100, 150), 0.7),
        0.6 + 0.4 * x - 0.2 * y,
        0.7 - 0.3 * x**2 - 0.2 * y**3 + 0.3 * x,
    ):
        levels = surface.astype(np.float32)
        levels[30:80, 60:75] = 0.1  # ink does not pull at it
        assert np.abs(illumination(levels) - surface).max() < 0.01


def test_noise_is_measured_beside_the_ink() -> None:
    random = np.random.default_rng(0)
    levels = (0.6 + random.normal(0, 0.05, (300, 300))).astype(np.float32)
    levels[50:250, 100:130] -= 0.5
    # what blurring leaves of it: the root of the sum of the squared weights, (6 / 16) of 0.05
    assert noise_of(levels) == pytest.approx(0.05 * 6 / 16, rel=0.1)
