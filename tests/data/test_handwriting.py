"""Preparation of real-world images, against MNIST's own rules and figures worked out by hand."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mnistlab.data.background import even_background
from mnistlab.data.fit import How, NoInkError, Prepared, prepare
from mnistlab.data.images import decode_bytes
from mnistlab.data.store import ImageData
from tests.command import Result
from tests.drawn import draw

SIZE = (28, 28)
BACKGROUND = 0.000863  # of MNIST_SAMPLE


def grey(levels: object) -> Image.Image:
    return Image.fromarray(np.asarray(levels).clip(0, 255).astype(np.uint8))


def white(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width), 255, dtype=np.uint8)


def drawn(digit: str, tool: str, *, dark: bool = True) -> Image.Image:
    return draw(digit, tool, "400", dark=dark, effect="plain", seed=0).image.convert("L")


def framed(image: Image.Image, invert: bool | None = None, how: How = "auto") -> Prepared:
    return prepare(image, SIZE, BACKGROUND, how=how, invert=invert)


def inked_side(prepared: Prepared, axis: int, dark: bool = False) -> int:
    ink = prepared.levels < 128 if dark else prepared.levels > 127
    return int(np.ptp(np.nonzero(ink)[axis])) + 1


def difference(one: Prepared, other: Prepared) -> float:
    """The mean difference of two images, of 255; two digits of MNIST have about 35.

    They are moved by a pixel if that makes it less: the centre is as precise as whole pixels.
    """
    moved = [np.roll(one.levels, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return float(min(np.abs(each.astype(float) - other.levels).mean() for each in moved))


# images that are prepared already


def test_every_image_of_mnist_sample_passes_unchanged_to_the_bit(sample: ImageData) -> None:
    background = even_background(sample.train_ds.tensors[0])
    assert background == BACKGROUND
    for split in (sample.train_ds, sample.valid_ds):
        for image in split.tensors[0].numpy():
            made = prepare(Image.fromarray(image), SIZE, background)
            assert (made.steps, made.inverted) == ((), False)
            assert np.array_equal(made.levels, image)


@pytest.mark.parametrize("background", [BACKGROUND, 1 - BACKGROUND])
def test_a_negative_becomes_the_image_again_to_the_bit(
    sample: ImageData, background: float
) -> None:
    for image in sample.valid_ds.tensors[0].numpy():
        own = image if background < 0.5 else 255 - image
        made = prepare(Image.fromarray(255 - own), SIZE, background)
        assert (made.steps, made.inverted) == (("inverted",), True)
        assert np.array_equal(made.levels, own)


def test_the_caller_decides_about_inverting(sample: ImageData) -> None:
    image = sample.valid_ds.tensors[0][0].numpy()
    assert np.array_equal(framed(grey(255 - image), invert=False).levels, 255 - image)
    assert np.array_equal(framed(grey(255 - image), invert=True).levels, image)
    assert framed(drawn("3", "ball", dark=False), invert=False).inverted is False
    assert framed(drawn("3", "ball", dark=True), invert=True).inverted is True


def test_a_grey_background_has_no_opposite() -> None:
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
    assert (inked_side(made, 0), inked_side(made, 1)) == (20, 6)
    # light on dark it counts as prepared, unless all are to be framed
    assert framed(grey(255 - image)).steps == ()
    always = framed(grey(255 - image), how="always")
    assert always.steps == ("ink 3 x 10 framed",)
    assert np.array_equal(always.levels, made.levels)


# the frame


def test_a_block_is_in_the_frame_where_mnists_rules_put_it() -> None:
    image = white(90, 70)
    image[30:70, 20:40] = 0  # 40 x 20 pixels: half as wide as the box when it is 20 high
    made = framed(grey(image))
    expected = np.zeros(SIZE, dtype=np.uint8)
    # the centre of 20 rows is 9.5, that of 10 columns 4.5; in whole pixels they come to 13.5, 14.5
    expected[4:24, 10:20] = 255
    assert np.array_equal(made.levels, expected)
    assert made.steps == ("inverted", "ink 20 x 40 framed")


def test_other_frames_preserve_proportions_and_polarity() -> None:
    image = white(80, 80)
    image[20:60, 35:45] = 0  # 40 x 10
    made = prepare(grey(image), (14, 56), 1.0)
    assert made.steps == ("ink 10 x 40 framed",)
    # 10 is 20/28 of 14; a quarter of that is 2.5
    assert (inked_side(made, 0, dark=True), inked_side(made, 1, dark=True)) == (10, 2)
    assert made.levels[0, 0] == 255
    assert prepare(grey(image), (14, 56), 0.8).levels[0, 0] == 204  # the training images' own


@pytest.mark.parametrize(("width", "least", "most"), [(6, 1.7, 2.7), (40, 2.6, 2.8)])
def test_thin_strokes_become_as_wide_as_mnists_and_wide_ones_stay(
    width: int, least: float, most: float
) -> None:
    image = white(400, 400)
    image[50:350, 200 - width // 2 : 200 + width // 2] = 0
    image[350 - width : 350, 100:300] = 0  # a foot, so that the frame is filled
    made = framed(grey(image))
    # 6 of 300 pixels are 0.4 in the box, and would be grey; 40 are 2.7
    assert ("thickened" in made.steps) is (width == 6)
    assert least < made.levels[10].astype(float).sum() / 255 < most
    # in a large frame a thin stroke is not grey
    assert "thickened" not in prepare(grey(image), (128, 128), 0.0).steps


# illumination, shadows, noise


def photographed(image: Image.Image, light: object, noise: float) -> Image.Image:
    paper = (np.asarray(image, dtype=np.float64) * 0.8 + 30) * np.asarray(light)
    return grey(paper + np.random.default_rng(3).normal(0, noise, paper.shape))


SLOPE = np.linspace(1, 0.4, 400)[None, :] * np.linspace(1, 0.8, 400)[:, None]
FROM_CORNER = np.add.outer(np.arange(400), np.arange(400))


@pytest.mark.parametrize("tool", ["felt", "cmtt10"])
@pytest.mark.parametrize(
    "spoil",
    {
        "light from a side": lambda image: photographed(image, SLOPE, 0),
        "a shadow": lambda image: photographed(image, np.where(FROM_CORNER > 420, 0.6, 1), 0),
        "a dark corner": lambda image: photographed(image, np.where(FROM_CORNER < 330, 0.5, 1), 3),
        "light and noise": lambda image: photographed(image, SLOPE, 6),
        "noise": lambda image: photographed(image, 1, 15),
        "out of focus": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
        "many pixels": lambda image: image.resize((3200, 3200)),
        "ruled paper": lambda image: grey(
            np.where(np.arange(400)[:, None] % 40 < 2, np.minimum(image, 205), image)
        ),
    }.values(),
)
def test_a_bad_photo_of_a_digit_is_prepared_as_the_clean_one(
    tool: str, spoil: Callable[[Image.Image], Image.Image]
) -> None:
    clean = drawn("3", tool)
    made = framed(spoil(clean))
    assert made.inverted
    assert difference(made, framed(clean)) < 9


def test_mnists_own_digits_on_photographed_paper_come_back(sample: ImageData) -> None:
    images = sample.valid_ds.tensors[0].numpy()
    differences = []
    for image in images[::160]:
        large = np.asarray(Image.fromarray(image).resize((168, 168), Image.Resampling.BICUBIC))
        scene = white(400, 400) - np.pad(large, ((150, 82), (60, 172)))
        made = framed(photographed(grey(scene), SLOPE, 6))
        assert made.inverted
        assert "uneven light removed" in made.steps
        differences.append(np.abs(made.levels.astype(float) - image).mean())
    other = np.abs(images[:1000].astype(float) - images[-1000:]).mean()
    assert np.mean(differences) < other / 4


# what is ink and what is not


def test_specks_and_far_marks_are_left_out_and_near_parts_are_not() -> None:
    image = white(300, 300)
    image[100:200, 140:160] = 0  # the stem of an i
    image[65:85, 140:160] = 0  # its dot
    clean = framed(grey(image))
    assert clean.steps == ("inverted", "ink 20 x 135 framed")
    image[280:288, 20:28] = image[10:18, 280:288] = 0
    dirty = framed(grey(image))
    assert dirty.steps == ("inverted", "2 other marks left out", "ink 20 x 135 framed")
    assert np.array_equal(dirty.levels, clean.levels)


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("tool", ["DejaVuSans-Bold", "felt", "cmtt10"])
def test_an_image_cropped_to_its_ink_is_framed_like_the_complete_one(tool: str, dark: bool) -> None:
    image = drawn("3", tool, dark=dark)
    box = image.point(lambda level: 255 * ((level < 128) is dark)).getbbox()
    cropped = framed(image.crop(box))
    assert cropped.inverted is dark
    assert difference(cropped, framed(image)) < 8


def as_jpeg(image: Image.Image) -> Image.Image:
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=60)
    return decode_bytes(stored.getvalue()).grey


@pytest.mark.parametrize(
    "page",
    {
        "white": lambda random: white(200, 300),
        "black": lambda random: np.zeros((50, 50)),
        "noise": lambda random: random.normal(200, 8, (300, 400)),
        "wild noise": lambda random: random.uniform(0, 255, (200, 200)),
        "light and noise": lambda random: 230 * SLOPE + random.normal(0, 4, (400, 400)),
        "one pixel": lambda random: np.zeros((1, 1)),
    }.values(),
)
def test_a_page_without_ink_is_refused(page: Callable[[np.random.Generator], object]) -> None:
    for seed in range(3):
        image = grey(page(np.random.default_rng(seed)))
        for stored in (image, as_jpeg(image)):
            with pytest.raises(NoInkError, match="no ink found: nothing stands out"):
                framed(stored)


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


@pytest.mark.parametrize(
    ("background", "how"), [(None, "auto"), (None, "always"), (0.0, "never")], ids=str
)
def test_an_image_that_is_not_to_be_framed_is_scaled_and_padded_with_its_own_rim(
    background: float | None, how: How
) -> None:
    image = np.full((60, 30), 80, dtype=np.uint8)
    image[20:40, 10:20] = 200
    made = prepare(grey(image), (20, 20), background, how=how)
    assert made.steps == ("30 x 60 scaled and padded",)
    assert (made.levels[:, :5] == 80).all()
    assert (made.levels[:, 15:] == 80).all()
    assert made.levels[10, 10] > 190
    swapped = prepare(grey(image), (20, 20), background, how=how, invert=True)
    assert swapped.steps == ("inverted", "30 x 60 scaled and padded")
    assert np.array_equal(swapped.levels, 255 - made.levels)
    assert prepare(grey(image).crop((0, 0, 30, 30)), SIZE, background, how=how).steps == (
        "30 x 30 scaled",
    )


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([None, 0.0, 0.3, 0.5, 0.9, 1.0]),
    st.sampled_from(["auto", "always", "never"]),
    st.sampled_from([None, True, False]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.02, 0.3, 1.0]),
)
def test_every_image_gives_a_frame_or_no_ink(
    shape: tuple[int, int],
    size: tuple[int, int],
    background: float | None,
    how: How,
    invert: bool | None,
    seed: int,
    density: float,
) -> None:
    random = np.random.default_rng(seed)
    levels = np.where(random.random(shape) < density, random.integers(0, 256, shape), 255)
    try:
        made = prepare(grey(levels), size, background, how=how, invert=invert)
    except NoInkError:
        assert background is not None
        assert how != "never"
        return
    assert made.levels.shape == size
    assert made.levels.dtype == np.uint8
    if invert is not None and made.steps:
        assert made.inverted is invert


# what the training images were decides, not the look of the photo


def photographs(count: int, side: int, seed: int) -> dict[str, list[Image.Image]]:
    """Grained things on an even, light table, told apart by how light they are."""
    random = np.random.default_rng(seed)
    made: dict[str, list[Image.Image]] = {"coal": [], "stone": []}
    for name, levels in (("coal", (10, 80)), ("stone", (100, 180))):
        for _ in range(count):
            table = random.normal(225, 4, (side, side))
            grain = grey(random.uniform(*levels, (6, 6))).resize((side, side))
            thing = Image.new("L", (side, side))
            left, top, right, bottom = side * random.uniform(
                (0.1, 0.1, 0.8, 0.8), (0.2, 0.2, 0.9, 0.9)
            )
            ImageDraw.Draw(thing).ellipse((left, top, right, bottom), fill=255)
            made[name].append(Image.composite(grain, grey(table), thing))
    return made


@pytest.mark.parametrize("side", [24, 60])
def test_photographs_on_an_even_ground_are_no_ink(side: int) -> None:
    images = [np.asarray(image) for each in photographs(20, side, 0).values() for image in each]
    assert even_background(torch.from_numpy(np.stack(images))) is None


def test_ink_on_paper_is_ink(sample: ImageData) -> None:
    pixels = sample.train_ds.tensors[0]
    assert even_background(255 - pixels) == pytest.approx(1 - BACKGROUND, abs=1e-5)
    large = torch.nn.functional.interpolate(pixels[::40, None].float(), scale_factor=4.0)[:, 0]
    assert even_background(large.to(torch.uint8)) == pytest.approx(BACKGROUND, abs=1e-2)


def test_a_model_of_photographs_takes_photographs_as_they_are(
    tmp_path: Path, mnistlab: Callable[..., Result]
) -> None:
    for split, count, seed in (("train", 60, 2), ("valid", 10, 3)):
        for name, images in photographs(count, 24, seed).items():
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for number, image in enumerate(images):
                image.save(tmp_path / "photos" / split / name / f"{number}.png")
    mnistlab(
        "train", "--data", "photos", "--model", "cnn", "--epochs", "6", "--batch-size", "16", "-q"
    ).ok()
    for name, images in photographs(10, 96, 4).items():
        (tmp_path / "new" / name).mkdir(parents=True)
        for number, image in enumerate(images):
            image.save(tmp_path / "new" / name / f"{number}.png")
    Image.new("L", (96, 96), 120).save(tmp_path / "new" / "stone" / "no-ink-in-it.png")
    auto = mnistlab("predict", "latest", "new", "--json").ok().json
    assert auto == mnistlab("predict", "latest", "new", "--prepare", "never", "--json").ok().json
    right = [one["class"] in one["file"] for one in auto["predictions"]]
    assert len(right) == 21
    assert sum(right) >= 19
