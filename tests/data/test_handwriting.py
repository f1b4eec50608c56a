"""Preparation of real-world images, against MNIST's own rules and figures worked out by hand."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mnistlab.data.folders import ImageData
from mnistlab.data.ground import even_ground
from mnistlab.data.handwriting import WAYS, How, NoInkError, Prepared, prepare
from mnistlab.data.images import decode_grey_bytes
from mnistlab.data.ink import find_ink
from tests.drawn import draw

Levels = NDArray[np.uint8]
SIZE = (28, 28)
GROUND = 0.000863  # of MNIST_SAMPLE


def grey(levels: object) -> Image.Image:
    return Image.fromarray(np.asarray(levels).clip(0, 255).astype(np.uint8))


def white(height: int, width: int) -> Levels:
    return np.full((height, width), 255, dtype=np.uint8)


def drawn(
    digit: str = "3", tool: str = "ball", size: str = "120", *, dark: bool = True, seed: int = 0
) -> Image.Image:
    drawing = draw(digit, tool, size, dark=dark, effect="plain", seed=seed)
    return drawing.image.convert("L")


def framed(image: Image.Image, invert: bool | None = None, how: How = "auto") -> Prepared:
    return prepare(image, SIZE, GROUND, how=how, invert=invert)


def apart(one: Prepared, other: Prepared) -> float:
    """The mean difference of two images, moved by a pixel if that brings them together.

    Whole pixels are all the precision that centring has.
    """
    moved = [np.roll(one.levels, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return float(min(np.abs(each.astype(float) - other.levels).mean() for each in moved))


# images that are prepared already


def test_every_image_of_mnist_sample_goes_through_to_the_bit(sample: ImageData) -> None:
    ground = even_ground(sample.train_ds.tensors[0])
    assert ground == GROUND
    for split in (sample.train_ds, sample.valid_ds):
        for image in split.tensors[0].numpy():
            made = prepare(Image.fromarray(image), SIZE, ground)
            assert made.steps == ()
            assert not made.inverted
            assert np.array_equal(made.levels, image)


def test_the_negative_of_mnist_becomes_mnist_again_to_the_bit(sample: ImageData) -> None:
    for image in sample.valid_ds.tensors[0].numpy():
        made = framed(Image.fromarray(255 - image))
        assert made.steps == ("inverted",)
        assert made.inverted
        assert np.array_equal(made.levels, image)


def test_for_a_model_of_dark_ink_it_is_the_other_way_round(sample: ImageData) -> None:
    for image in sample.valid_ds.tensors[0].numpy()[::20]:
        kept = prepare(Image.fromarray(255 - image), SIZE, 1 - GROUND)
        turned = prepare(Image.fromarray(image), SIZE, 1 - GROUND)
        assert (kept.steps, turned.steps) == ((), ("inverted",))
        assert np.array_equal(kept.levels, 255 - image)
        assert np.array_equal(turned.levels, 255 - image)


def test_who_decides_for_himself_is_obeyed(sample: ImageData) -> None:
    image = sample.valid_ds.tensors[0][0].numpy()
    assert np.array_equal(framed(grey(255 - image), invert=False).levels, 255 - image)
    assert np.array_equal(framed(grey(255 - image), invert=True).levels, image)
    # of dark ink nothing but the surroundings of the light digit is left
    assert framed(drawn(dark=False), invert=False).inverted is False
    assert framed(drawn(dark=True), invert=True).inverted is True


def test_on_a_grey_ground_dark_and_light_are_not_told_apart() -> None:
    image = np.full(SIZE, 140, dtype=np.uint8)
    image[10:20, 10:14] = 0
    made = prepare(Image.fromarray(image), SIZE, 0.45)
    assert made.steps == ()
    assert np.array_equal(made.levels, image)


def test_an_image_of_the_models_size_that_is_not_framed_is_framed() -> None:
    image = white(*SIZE)
    image[2:12, 2:5] = 0  # small, in a corner, dark on light
    made = framed(grey(image))
    assert made.steps == ("inverted", "ink 3 x 10 framed")
    rows, columns = np.nonzero(made.levels > 127)
    assert [int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1] == [20, 6]
    # light on dark it counts as prepared, unless all are to be framed
    assert framed(grey(255 - image)).steps == ()
    always = framed(grey(255 - image), how="always")
    assert always.steps == ("ink 3 x 10 framed",)
    assert np.array_equal(always.levels, made.levels)


# the frame


def test_a_block_stands_in_the_frame_where_mnists_rules_put_it() -> None:
    image = white(90, 70)
    image[30:70, 20:40] = 0  # 40 x 20 pixels: half as wide as the box when it is 20 high
    made = framed(grey(image))
    expected = np.zeros(SIZE, dtype=np.uint8)
    # the centre of 20 rows is 9.5, that of 10 columns 4.5; in whole pixels they come to 13.5, 14.5
    expected[4:24, 10:20] = 255
    assert np.array_equal(made.levels, expected)
    assert made.steps == ("inverted", "ink 20 x 40 framed")


def test_ink_is_twenty_pixels_long_and_centred_as_in_mnist() -> None:
    for seed in range(6):
        for digit in "37":
            made = framed(drawn(digit, "felt", "400", seed=seed)).levels.astype(float)
            rows, columns = np.nonzero(made > 0)
            assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
            centre = [(made.sum(1 - axis) * np.arange(28)).sum() / made.sum() for axis in (0, 1)]
            # the 70,000 images of MNIST: 13.48 to 14.50 either way
            assert all(13.45 <= place <= 14.55 for place in centre)
            assert made.max() == 255


def test_other_frames_keep_proportions_and_polarity() -> None:
    image = white(80, 80)
    image[20:60, 35:45] = 0  # 40 x 10
    made = prepare(grey(image), (14, 56), 1.0)
    assert made.steps == ("ink 10 x 40 framed",)
    rows, columns = np.nonzero(made.levels < 128)
    # 10 is 20/28 of 14; a quarter of that is 2.5
    assert [int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1] == [10, 2]
    assert made.levels[0, 0] == 255
    on_grey = prepare(grey(image), (14, 56), 0.8)
    assert on_grey.levels[0, 0] == 204  # the training images' own ground


def test_thin_strokes_become_as_wide_as_mnists_and_wide_ones_stay() -> None:
    made = {}
    for width in (6, 40):
        image = white(400, 400)
        image[50:350, 200 - width // 2 : 200 + width // 2] = 0
        image[350 - width : 350, 100:300] = 0  # a foot, so that the frame is filled
        made[width] = framed(grey(image))
    assert made[6].steps[-1] == "thickened"
    assert "thickened" not in made[40].steps
    # 6 of 300 pixels are 0.4 in the box, and would be grey; 40 are 2.7
    across = {width: one.levels[10].astype(float).sum() / 255 for width, one in made.items()}
    assert 1.7 < across[6] < 2.7
    assert 2.6 < across[40] < 2.8
    # in a large frame a thin stroke is no grey one
    thin = white(300, 300)
    thin[50:250, 147:151] = 0
    assert prepare(grey(thin), (128, 128), 0.0).steps == ("inverted", "ink 4 x 200 framed")


# paper


def on_paper(image: Image.Image, light: "NDArray[np.float64]", noise: float) -> Image.Image:
    random = np.random.default_rng(3)
    paper = np.asarray(image, dtype=np.float64) * 0.8 + 30
    return grey(paper * light + random.normal(0, noise, paper.shape))


SLOPE = np.linspace(1, 0.4, 400)[None, :] * np.linspace(1, 0.8, 400)[:, None]
SHADOW = np.where(np.add.outer(np.arange(400), np.arange(400)) > 420, 0.6, 1.0)


@pytest.mark.parametrize("tool", ["felt", "DejaVuSans-Bold", "cmtt10"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: on_paper(image, SLOPE, 0),
        lambda image: on_paper(image, SHADOW, 0),
        lambda image: on_paper(image, SLOPE, 6),
        lambda image: on_paper(image, np.ones((400, 400)), 15),
        lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    ],
    ids=["light from a side", "a shadow", "light and noise", "noise", "out of focus"],
)
def test_a_bad_photo_of_a_digit_is_prepared_as_the_clean_one(
    tool: str, spoil: Callable[[Image.Image], Image.Image]
) -> None:
    clean = drawn("3", tool, "400")
    made = framed(spoil(clean))
    assert made.inverted
    assert apart(made, framed(clean)) < 9  # of 255; two MNIST digits: about 35


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
def test_a_deep_shadow_over_a_corner_is_no_ink(place: tuple[int, int]) -> None:
    y, x = np.mgrid[0:400, 0:400]
    from_corner = np.abs(y - 399 * place[0]) + np.abs(x - 399 * place[1])
    clean = drawn("7", "felt", "400")
    made = framed(on_paper(clean, np.where(from_corner < 330, 0.5, 1.0), 3))
    assert made.inverted
    assert apart(made, framed(clean)) < 9


def test_the_bright_side_of_a_shadow_is_no_light_ink() -> None:
    for tool in ("DejaVuSansMono-Bold", "DejaVuSans", "fine"):
        for size in ("120", "400"):
            for digit in "37":
                for seed in (10, 11):
                    drawing = draw(digit, tool, size, dark=True, effect="shadow", seed=seed)
                    assert framed(drawing.image).inverted, drawing.name


def test_mnists_own_digits_on_photographed_paper_come_back(sample: ImageData) -> None:
    images = sample.valid_ds.tensors[0].numpy()
    off = []
    for image in images[::40]:
        large = np.asarray(Image.fromarray(image).resize((168, 168), Image.Resampling.BICUBIC))
        scene = white(400, 400) - np.pad(large, ((150, 82), (60, 172)))
        made = framed(on_paper(grey(scene), SLOPE, 6))
        assert made.inverted
        off.append(np.abs(made.levels.astype(float) - image).mean())
    other = np.abs(images[:1000].astype(float) - images[-1000:]).mean()
    assert np.mean(off) < other / 4


def test_a_photo_of_many_pixels_is_prepared_as_its_small_copy() -> None:
    scene = white(3000, 4000)
    digit = np.asarray(drawn("7", "felt", "400").resize((600, 600)))
    scene[1200:1800, 2500:3100] = digit
    small = grey(scene).reduce(4)
    large, little = framed(grey(scene)), framed(small)
    assert apart(large, little) < 6


# what is ink and what is not


def test_specks_and_far_marks_are_left_out_and_near_parts_kept() -> None:
    image = white(300, 300)
    image[100:200, 140:160] = 0  # the stem of an i
    image[65:85, 140:160] = 0  # its dot
    assert framed(grey(image)).steps == ("inverted", "ink 20 x 135 framed")
    clean = framed(grey(image)).levels
    image[280:288, 20:28] = 0
    image[10:18, 280:288] = 0
    dirty = framed(grey(image))
    assert dirty.steps == ("inverted", "2 other marks left out", "ink 20 x 135 framed")
    assert np.array_equal(dirty.levels, clean)


def test_ruled_paper_is_no_ink() -> None:
    clean = drawn("3", "felt", "400")
    ruled = np.asarray(clean).copy()
    for row in range(15, 400, 40):
        ruled[row : row + 2] = np.minimum(ruled[row : row + 2], 205)
    assert apart(framed(grey(ruled)), framed(clean)) < 3


def test_an_image_cropped_to_its_ink_is_framed_like_the_whole() -> None:
    for tool in ("DejaVuSans-Bold", "felt", "cmtt10"):
        for dark in (True, False):
            image = drawn("3", tool, "400", dark=dark)
            levels = np.asarray(image)
            rows, columns = np.nonzero(levels < 128 if dark else levels > 127)
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            whole, cropped = framed(image), framed(image.crop(box))
            assert cropped.inverted is dark
            assert apart(cropped, whole) < 8


BLANK: dict[str, Callable[[np.random.Generator], object]] = {
    "white": lambda random: white(200, 300),
    "black": lambda random: np.zeros((50, 50)),
    "noise": lambda random: random.normal(200, 8, (300, 400)),
    "wild noise": lambda random: random.uniform(0, 255, (200, 200)),
    "light from a side": lambda random: 230 * SLOPE,
    "light and noise": lambda random: 230 * SLOPE + random.normal(0, 4, (400, 400)),
    "one pixel": lambda random: np.zeros((1, 1)),
}


@pytest.mark.parametrize("name", BLANK)
def test_a_page_without_ink_is_refused(name: str) -> None:
    for seed in range(3):
        page = grey(BLANK[name](np.random.default_rng(seed)))
        stored = io.BytesIO()
        page.save(stored, "JPEG", quality=70)
        for image in (page, decode_grey_bytes(stored.getvalue())):
            with pytest.raises(NoInkError, match="no ink found: nothing stands out"):
                framed(image)


@pytest.mark.parametrize("side", [40, 64, 120, 300])
@pytest.mark.parametrize("paper", [128, 255])
def test_noise_is_hardly_ever_ink(side: int, paper: int) -> None:
    random = np.random.default_rng(side)
    found = 0
    for spread in (5, 15, 40):
        for _ in range(20):
            page = grey(random.normal(paper, spread, (side, side)))
            stored = io.BytesIO()
            page.save(stored, "JPEG", quality=60)
            for image in (page, decode_grey_bytes(stored.getvalue())):
                found += find_ink(image) is not None
    assert found <= (6 if paper == 128 else 24)  # of 120; what is clipped seems less noisy


def test_a_blank_image_of_the_models_size_is_refused_unless_nothing_is_to_be_prepared() -> None:
    for level in (0, 128, 255):
        blank = grey(np.full(SIZE, level))
        with pytest.raises(NoInkError, match="no ink found: all pixels are alike"):
            framed(blank)
        assert framed(blank, how="never").steps == ()
        assert prepare(blank, SIZE, None).steps == ()


def test_a_dot_is_ink_and_a_pixel_is_dirt() -> None:
    image = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(image).ellipse((90, 90, 110, 110), fill=0)
    assert framed(image).steps == ("inverted", "ink 21 x 21 framed")
    lonely = white(200, 200)
    lonely[100, 100] = 0
    with pytest.raises(NoInkError):
        framed(grey(lonely))


# models of photographs, and no preparation


@pytest.mark.parametrize("ground", [None, 0.0])
def test_what_is_not_to_be_framed_is_scaled_and_padded_with_its_own_rim(
    ground: float | None,
) -> None:
    image = np.full((60, 30), 80, dtype=np.uint8)
    image[20:40, 10:20] = 200
    made = prepare(grey(image), (20, 20), ground, how="never")
    assert made.steps == ("30 x 60 scaled and padded",)
    assert (made.levels[:, :5] == 80).all()
    assert (made.levels[:, 15:] == 80).all()
    assert made.levels[10, 10] > 190
    swapped = prepare(grey(image), (20, 20), ground, how="never", invert=True)
    assert swapped.steps == ("inverted", "30 x 60 scaled and padded")
    assert np.array_equal(swapped.levels, 255 - made.levels)


def test_for_a_model_of_photos_auto_and_always_only_scale_too() -> None:
    photo = drawn("3", "felt", "120")
    for how in WAYS:
        made = prepare(photo, SIZE, None, how=how)
        assert made.steps == ("120 x 120 scaled",)
        assert not made.inverted
        assert made.levels[0, 0] == 255
    own = grey(np.arange(784).reshape(SIZE) % 256)
    assert np.array_equal(prepare(own, SIZE, None, how="always").levels, np.asarray(own))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([None, 0.0, 0.3, 0.5, 0.9, 1.0]),
    st.sampled_from(WAYS),
    st.sampled_from([None, True, False]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.02, 0.3, 1.0]),
)
def test_whatever_comes_in_a_frame_comes_out_or_no_ink(
    shape: tuple[int, int],
    size: tuple[int, int],
    ground: float | None,
    how: How,
    invert: bool | None,
    seed: int,
    density: float,
) -> None:
    random = np.random.default_rng(seed)
    levels = np.where(random.random(shape) < density, random.integers(0, 256, shape), 255)
    try:
        made = prepare(grey(levels), size, ground, how=how, invert=invert)
    except NoInkError:
        assert ground is not None
        assert how != "never"
        return
    assert made.levels.shape == size
    assert made.levels.dtype == np.uint8
    if invert is not None and made.steps:
        assert made.inverted is invert
