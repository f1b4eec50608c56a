"""Pictures into files and onto terminals."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from mnistlab.errors import ConfigError, RunError
from mnistlab.report.pictures import Curves, Images
from mnistlab.report.plots import draw, require_plot
from mnistlab.report.textplots import chart, text_picture

CURVES = Curves(
    "falling",
    {"ours": ([0, 1, 2, 3], [8, 4, 2, 1]), "theirs": ([0, 3], [8, 0])},
    "epoch",
    "loss",
    dots={"points": ([1.5], [7.0])},
    bands={"range": ([0, 3], [7, 0], [9, 2])},
)
CROSS = torch.eye(8) + torch.eye(8).flip(1)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_is_drawn_into_every_format(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"p.{ending}"
    draw([CURVES, Images("i", {"a": CROSS, "b": CROSS - 0.5}, signed=True), CURVES], path)
    head = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(head)
    if ending == "png":
        with Image.open(path) as image:
            assert len(image.convert("RGB").getcolors(10**6)) > 20  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["p.gif", "p", "no/such/folder/p.png", "."])
def test_a_name_that_cannot_be_drawn_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--plot"):
        require_plot(tmp_path / name)


def test_a_missing_matplotlib_is_one_plain_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError) as caught:
        require_plot(tmp_path / "p.png")
    assert str(caught.value) == "--plot needs matplotlib; install it with: pip install matplotlib"


def test_a_picture_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnistlab.report.plots.write_whole", full)
    with pytest.raises(RunError, match="No space left"):
        draw([CURVES], tmp_path / "p.png")
    assert list(tmp_path.glob("p*")) == []


def test_a_chart_of_characters_shows_extremes_where_they_are() -> None:
    lines = chart(Curves("t", {"a": ([0, 10], [1, 5])}, "epoch"), width=40, height=5)
    assert lines[0] == "t"
    assert lines[1].startswith("5 |")
    assert lines[1].endswith("*")  # the highest at the right end
    assert lines[5].startswith("1 |*")  # the lowest at the left end
    assert lines[7].split() == ["0", "10"]
    assert "* a" in lines[8]
    assert "epoch" in lines[8]
    assert all(len(line) <= 40 for line in lines[:8])
    assert all(line.isascii() for line in chart(CURVES))


def test_a_chart_of_nothing_finite_says_so_and_a_fixed_range_cuts() -> None:
    nan = float("nan")
    assert "nothing finite" in chart(Curves("t", {"a": ([0, 1], [nan, nan])}))[1]
    cut = chart(Curves("t", {"a": ([0, 1, 2], [0, 50, 1e9])}, y_range=(-20, 100)), height=7)
    assert sum(line.count("*") for line in cut[1:8]) == 2


def test_an_image_in_ascii_has_ink_where_the_image_has() -> None:
    text = text_picture(Images("cross", {"x": CROSS}), 40).plain.splitlines()
    assert text[0] == "cross"
    assert text[1].startswith("x")
    rows = [line[:8] for line in text[2:6]]
    # two rows of pixels per line: the corners of each pair are half bright
    assert rows[0] == "++    ++"
    assert rows[1] == "  ++++  "
    assert all(ord(c) < 128 for line in text for c in line)


def test_an_image_in_blocks_is_coloured_and_signed_images_are_red_and_blue() -> None:
    text = text_picture(Images("w", {"x": torch.tensor([[-1.0, 1.0], [0.0, 0.0]])}, signed=True),
                        40, blocks=True)  # fmt: skip
    styles = [str(span.style) for span in text.spans]
    assert any(style.startswith("#0000ff") for style in styles)
    assert any(style.startswith("#ff0000") for style in styles)
    assert all("#ffffff" in style for style in styles)
    assert "▀▀" in text.plain


def test_images_wrap_into_the_width_and_large_ones_shrink() -> None:
    many = Images("many", {str(k): torch.rand(6, 10) for k in range(9)})
    assert max(map(len, text_picture(many, 40).plain.splitlines())) <= 40
    large = text_picture(Images("large", {"x": torch.rand(301, 301)}), 60).plain.splitlines()
    assert max(map(len, large)) <= 62
    odd = text_picture(Images("odd", {"x": torch.ones(3, 3)}, signed=True), 60)
    assert "#" in odd.plain
