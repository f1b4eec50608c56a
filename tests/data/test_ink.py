"""Finding ink: pieces against a plain flood fill, widths and places by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mnistlab.data.ink import extent, find_ink, label_pieces, stroke_width
from mnistlab.data.paper import blurred, light_on_paper, noise_of


def flooded(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pieces of `mask` by filling one after the other."""
    labels = np.zeros(mask.shape, dtype=np.int64)
    height, width = mask.shape
    count = 0
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        count += 1
        waiting = [(int(start[0]), int(start[1]))]
        while waiting:
            y, x = waiting.pop()
            if 0 <= y < height and 0 <= x < width and mask[y, x] and not labels[y, x]:
                labels[y, x] = count
                waiting += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return labels


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_pieces_are_those_of_a_flood_fill(
    height: int, width: int, density: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    labels, expected = label_pieces(mask), flooded(mask)
    pairs = set(zip(labels.reshape(-1).tolist(), expected.reshape(-1).tolist(), strict=True))
    # the same pieces under perhaps other numbers
    assert len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs}) == len(pairs)
    assert labels.max() == expected.max()
    assert ((labels == 0) == ~mask).all()


def test_a_spiral_is_one_piece() -> None:
    mask = np.zeros((41, 41), dtype=bool)
    for ring in range(0, 20, 2):
        mask[ring, ring : 41 - ring] = mask[ring : 41 - ring, 40 - ring] = True
        mask[40 - ring, ring : 41 - ring] = mask[ring + 2 : 41 - ring, ring] = True
        mask[ring + 2, ring : ring + 3] = True
    assert label_pieces(mask).max() == 1
    assert flooded(mask).max() == 1


def test_a_bars_width_is_its_area_over_half_its_outline() -> None:
    bar = np.zeros((60, 120), dtype=np.float32)
    bar[25:35, 10:110] = 1
    # 10 x 100: an area of 1000, an outline of 220 less what the corners cut
    assert stroke_width(bar) == pytest.approx(1000 / 110, rel=0.03)
    assert stroke_width(np.zeros((5, 5), dtype=np.float32)) == 0
    assert extent(bar > 0) == (10, 25, 110, 35)


def page(dark: bool, height: int = 200, width: int = 300) -> Image.Image:
    levels = np.full((height, width), 220 if dark else 30, dtype=np.uint8)
    levels[60:140, 100:112] = 40 if dark else 210
    levels[60:72, 100:160] = 40 if dark else 210
    return Image.fromarray(levels)


@pytest.mark.parametrize("dark", [True, False])
def test_ink_is_found_where_it_is_and_the_way_round_it_is(dark: bool) -> None:
    ink = find_ink(page(dark))
    assert ink is not None
    assert ink.dark is dark
    assert ink.box == (100, 60, 160, 140)
    assert (ink.specks, ink.at_rim) == (0, False)
    assert ink.stroke == pytest.approx(12, abs=2)
    assert ink.unevenness < 0.01
    assert ink.coverage.max() == 1
    assert ink.coverage.min() == 0
    # 12 x 80 and 48 x 12 pixels, as no reduction was needed
    assert (ink.coverage > 0.5).sum() == 12 * 80 + 48 * 12


def test_who_says_which_ink_gets_that() -> None:
    both = np.full((200, 300), 128, dtype=np.uint8)
    both[60:140, 100:112] = 88
    both[20:40, 200:230] = 255
    light, dark = (200, 20, 230, 40), (100, 60, 112, 140)
    for which, box in ((None, light), (False, light), (True, dark)):
        found = find_ink(Image.fromarray(both), which)
        assert found is not None
        assert found.box == box


def test_large_images_are_reduced_and_their_box_is_in_their_own_pixels() -> None:
    ink = find_ink(page(True).resize((3000, 2000), Image.Resampling.NEAREST))
    assert ink is not None
    assert max(ink.coverage.shape) <= 320
    assert ink.box == pytest.approx((1000, 600, 1600, 1400), abs=5)


def test_light_on_paper_is_the_surface_the_paper_was_made_of() -> None:
    y, x = np.mgrid[0:100, 0:150]
    y, x = y / 100 - 0.5, x / 150 - 0.5
    surfaces = {
        "a level": np.full((100, 150), 0.7),
        "a plane": 0.6 + 0.4 * x - 0.2 * y,
        "a third order": 0.7 - 0.3 * x**2 - 0.2 * y**3 + 0.3 * x,
    }
    for surface in surfaces.values():
        levels = surface.astype(np.float32)
        levels[30:80, 60:75] = 0.1  # ink does not pull at it
        assert np.abs(light_on_paper(levels) - surface).max() < 0.01


def test_noise_is_measured_beside_the_ink() -> None:
    random = np.random.default_rng(0)
    levels = (0.6 + random.normal(0, 0.05, (300, 300))).astype(np.float32)
    levels[50:250, 100:130] -= 0.5
    # what blurring leaves of it: the root of the sum of the squared weights, (6 / 16) of 0.05
    assert noise_of(levels) == pytest.approx(0.05 * 6 / 16, rel=0.1)
    point = np.zeros((5, 5), dtype=np.float32)
    point[2, 2] = 16
    assert blurred(point)[1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert blurred(point, 2)[::2, ::2].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
