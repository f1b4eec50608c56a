"""Pictures into files and onto terminals."""

import io
import os
import sys
from pathlib import Path

import pytest
import torch
from mnistlab.report.plots import draw, require_plot
from mnistlab.report.png import data_uris, png
from mnistlab.report.textplots import chart, text_picture
from PIL import Image
from rich.cells import cell_len

from mnistlab.errors import ConfigError, RunError
from mnistlab.files import require_file
from mnistlab.report.pictures import Curves, Images, Matrix, levels, shrunk, worst_pairs

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

    monkeypatch.setattr("mnistlab.files.write_whole", full)
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


# averages and scales, worked out by hand

SQUARE = torch.tensor([[0, 4, 8, 8], [4, 8, 8, 8], [1, 1, 0, 2], [1, 1, 2, 0]], dtype=torch.uint8)


def test_a_smaller_image_is_made_of_means() -> None:
    assert shrunk(SQUARE, 2, 9).tolist() == [[4.0, 8.0], [1.0, 1.0]]
    assert shrunk(SQUARE, 9, 1).tolist() == [[3.5]]
    assert shrunk(SQUARE, 4, 4).tolist() == SQUARE.tolist()
    wide = torch.arange(12.0).reshape(2, 6)
    assert shrunk(wide, 9, 3).tolist() == [[3.5, 5.5, 7.5]]  # its shape is kept
    assert shrunk(torch.ones(301, 97), 50, 50).shape == (50, 16)


def test_levels_follow_the_limits_the_image_or_the_sign() -> None:
    image = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert levels(Images("", {"x": image}))["x"].tolist() == [[0.0, 0.25], [0.5, 1.0]]
    fixed = levels(Images("", {"x": image}, limits=(2, 4)))["x"]
    assert fixed.tolist() == [[0.0, 0.0], [0.5, 1.0]]
    both = levels(Images("", {"x": image, "y": -2 * image}, signed=True))
    assert both["x"].flatten().tolist() == pytest.approx([0.55, 0.6, 0.65, 0.75])
    assert both["y"].flatten()[-1] == 0.0
    assert levels(Images("", {"x": torch.full((2, 2), 7)}))["x"].tolist() == [[0, 0], [0, 0]]


def test_every_level_of_a_png_is_the_image_s_own() -> None:
    image = torch.arange(256, dtype=torch.uint8).reshape(8, 32)
    with Image.open(io.BytesIO(png(levels(Images("", {"x": image}, limits=(0, 255)))["x"]))) as got:
        assert list(got.tobytes()) == list(range(256))
    with Image.open(io.BytesIO(png(torch.tensor([[0.0, 0.5, 1.0]]), signed=True))) as got:
        assert got.convert("RGB").getpixel((0, 0)) == (33, 102, 172)
        assert got.convert("RGB").getpixel((2, 0)) == (178, 24, 43)
        assert min(got.convert("RGB").getpixel((1, 0))) > 240  # type: ignore[arg-type]


def test_large_images_and_many_stay_within_the_page() -> None:
    noise = torch.randint(0, 256, (60, 200, 300), dtype=torch.uint8)
    made = list(data_uris(Images("", {str(k): image for k, image in enumerate(noise)})))
    assert sum(len(uri) for _, uri, _ in made) < 1.5 * 240_000
    assert {size for _, _, size in made} == {(42, 63)}
    [(_, _, size)] = data_uris(Images("", {"x": noise[0]}))
    assert size == (200, 300)


# half blocks and ASCII of 2 x 2 pixels

CORNER = Images("t", {"x": torch.tensor([[0, 255], [51, 0]], dtype=torch.uint8)}, limits=(0, 255))


def test_two_rows_of_pixels_are_one_line() -> None:
    text = text_picture(CORNER, 40, blocks=True)
    assert text.plain == "t\nx \n▀▀\n"
    assert [str(span.style) for span in text.spans] == [
        "#000000 on #333333",
        "#ffffff on #000000",
    ]
    # levels (0 + 0.2) / 2 and (1 + 0) / 2 of a ramp of ten
    assert text_picture(CORNER, 40).plain == "t\nx \n.+\n"


def test_no_line_is_wider_or_image_higher_than_the_terminal() -> None:
    sizes = {"a long name\nsecond line": (28, 28), "b": (5, 90), "漢字漢字": (100, 7), "d": (3, 3)}
    picture = Images("a title of many words", {n: torch.rand(size) for n, size in sizes.items()})
    for width in (1, 2, 7, 20, 64):
        lines = text_picture(picture, width, height=9).plain.splitlines()
        assert max(map(cell_len, lines)) <= max(width, 5)  # a word of the title is kept whole
    pair = Images("t", {"a": torch.zeros(2, 10), "b": torch.zeros(2, 10)})
    assert [len(text_picture(pair, n).plain.splitlines()) for n in (22, 21)] == [3, 5]
    tall = text_picture(Images("t", {"x": torch.rand(100, 7)}), 80, height=9)
    assert len(tall.plain.splitlines()) == 2 + 9


def test_every_name_stands_above_its_image() -> None:
    long = "efgh" * 10
    picture = Images(
        "t", {"ab\ncd": torch.zeros(2, 4), long: torch.zeros(2, 3), "z": torch.ones(2, 3)}
    )
    rows = text_picture(picture, 40).plain.splitlines()[1:]
    assert rows[:2] == [f"ab    {long[:26]}  z  ", f"cd    {' ' * 26}     "]
    assert rows[2] == f"{' ' * 4}  {' ' * 26}  {' ' * 3}"
    assert text_picture(picture, 8).plain.splitlines()[4] == "efghefgh"


# counts

MIXED = Matrix("Mixed up", ("a", "bb"), ("a", "bb"), ((12, 3), (0, 7)), "is", "called")


def test_a_matrix_is_a_table_where_it_fits_and_words_where_not() -> None:
    assert text_picture(MIXED, 40).plain.splitlines() == [
        "Mixed up",
        "is \\ called   a  bb",
        "a            12   3",
        "bb            0   7",
    ]
    assert text_picture(MIXED, 12).plain.splitlines() == ["Mixed up", "     3  a called bb"]
    right = Matrix("t", ("a", "b"), ("a", "b"), ((1, 0), (0, 1)))
    assert text_picture(right, 1).plain.splitlines()[1] == "(nothing off the diagonal)"


def test_the_worst_pairs_come_first() -> None:
    matrix = Matrix("", "abc", "abc", ((9, 2, 5), (5, 9, 0), (1, 0, 9)))
    assert worst_pairs(matrix) == [(5, "a", "c"), (5, "b", "a"), (2, "a", "b"), (1, "c", "a")]
    assert len(worst_pairs(matrix, 2)) == 2


def test_a_picture_is_the_same_file_each_time_and_takes_any_name(tmp_path: Path) -> None:
    odd = ("$x_$", "n" * 200, "日本 🙂", "a\u202eb")
    counts = tuple((1, 0, 2, 3) for _ in odd)
    named = Images("i", {f"{name}\nline": CROSS for name in odd})
    for ending in ("svg", "pdf", "png"):
        for name in ("one", "two"):
            draw([Matrix("m", odd, odd, counts), named], tmp_path / f"{name}.{ending}")
        one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
        assert one == two
    many = Matrix("m", [str(k) for k in range(40)], [str(k) for k in range(40)], [[1] * 40] * 40)
    draw([many], tmp_path / "many.png")


# where a file can be made


def test_a_file_that_cannot_be_made_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_file(tmp_path / "a.HTML", ("html",), "-o")
    with pytest.raises(ConfigError, match=r"-o .*model.safetensors: the name must end in .html$"):
        require_file(tmp_path / "model.safetensors", ("html",), "-o")
    with pytest.raises(ConfigError, match=r"end in .png or .svg; did you mean svg"):
        require_file(tmp_path / "a.svgz", ("png", "svg"), "-o")
    (tmp_path / "folder.html").mkdir()
    os.mkfifo(tmp_path / "pipe.html")
    for name, why in (("folder.html", "not a file name"), ("no/a.html", "not a file name"),
                      ("pipe.html", "not a regular file")):  # fmt: skip
        with pytest.raises(ConfigError, match=why):
            require_file(tmp_path / name, ("html",), "-o")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(RunError, match="cannot be written"):
        require_file(tmp_path / "a.html", ("html",), "-o")
