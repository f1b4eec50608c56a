"""Pictures as text, and the bar of a training: never wider than the terminal."""

import io

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

from mnistlab.report.pictures import Curves, Images, Matrix, Picture
from mnistlab.report.terminal import print_above, text_picture, training_bar
from mnistlab.training import Place

CROSS = torch.eye(8) + torch.eye(8).flip(1)
CORNER = Images("t", {"x": torch.tensor([[0, 255], [51, 0]], dtype=torch.uint8)}, limits=(0, 255))


def drawn(picture: Picture, width: int = 78, height: int | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=10**6, color_system=None)
    with console.capture() as captured:
        console.print(text_picture(picture, width, height=height), end="")
    return captured.get().split("\n")


# curves


def test_a_chart_has_extremes_where_they_are_and_names_its_marks() -> None:
    curves = Curves("t", {"a": ([0, 10], [1, 5])}, "epoch", note="what it means")
    lines = drawn(curves, 40)
    assert lines[0] == "t"
    assert lines[1].startswith("5 |")
    assert lines[1].endswith("*")  # the highest at the right end
    assert lines[14].startswith("1 |*")  # the lowest at the left end
    assert lines[16].split() == ["0", "5", "10"]
    assert lines[17].split() == ["*", "a", "(x:", "epoch)"]
    assert lines[18].strip() == "what it means"
    assert all(len(line) <= 40 and line.isascii() for line in lines)


def test_a_logarithmic_axis_has_plain_numbers_at_its_ticks() -> None:
    rates = [10 ** (power / 10) for power in range(-40, 21)]
    lines = drawn(Curves("t", {"loss": (rates, rates)}, "learning rate", log_x=True), 80)
    assert lines[-2].split() == ["0.0001", "0.001", "0.01", "0.1", "1", "10", "100"]


def test_one_curve_behind_another_is_said() -> None:
    same = Curves("t", {"a": ([0, 1], [1, 2]), "b": ([0, 1], [1, 2])})
    assert drawn(same)[-1].split() == ["*", "a", "o", "b", "&", "more", "than", "one"]
    assert sum(line.count("&") for line in drawn(same)) == 3
    apart = Curves("t", {"a": ([0, 1], [1, 2]), "b": ([0, 1], [2, 1])})
    assert "&" not in "".join(drawn(apart))


def test_what_has_no_place_is_left_out_and_a_fixed_range_cuts() -> None:
    nan = float("nan")
    assert "".join(drawn(Curves("t", {"a": ([0, 1], [nan, nan])}))).count("*") == 1  # its name
    cut = drawn(Curves("t", {"a": ([0, 1, 2], [0, 50, 1e9])}, y_range=(-20, 100)))
    assert sum(line.count("*") for line in cut[1:-1]) == 2


# images


def test_an_image_in_ascii_has_ink_where_the_image_has() -> None:
    text = drawn(Images("cross", {"x": CROSS[:, :2]}), 40)
    assert text[:2] == ["cross", "x "]
    # two rows of pixels are one line: the corners of each pair are half bright
    assert text[2:6] == ["++", "  ", "  ", "++"]
    # levels (0 + 0.2) / 2 and (1 + 0) / 2 of a ramp of ten; a small image is drawn larger
    assert drawn(CORNER)[2:] == [" " * 6 + "@" * 6] * 3 + ["::::::" + " " * 6] * 3 + [""]


def test_colours_are_grey_levels_or_blue_and_red() -> None:
    def colored(picture: Images) -> tuple[list[str], set[str]]:
        console = Console(file=io.StringIO(), width=80)
        parts = list(console.render(text_picture(picture, 40, blocks=True)))
        styles = {str(part.style) for part in parts if "▀" in part.text}
        return "".join(part.text for part in parts).split("\n"), styles

    lines, styles = colored(CORNER)
    assert lines[2] == "▀" * 12
    assert styles == {"#000000 on #000000", "#ffffff on #ffffff", "#333333 on #333333"}
    weights = Images("w", {"x": torch.tensor([[-1.0, 1.0], [0.0, 0.0]])}, signed=True)
    lines, styles = colored(weights)
    assert lines[1] == "scale  ▀▀ -1  ▀▀ 0  ▀▀ 1 "
    assert all(color in " ".join(styles) for color in ("#0000ff", "#ff0000", "#ffffff"))


def test_no_line_is_wider_or_image_higher_than_the_terminal() -> None:
    sizes = {"a long name\nsecond line": (28, 28), "b": (5, 90), "漢字漢字": (100, 7), "d": (3, 3)}
    picture = Images("a title of several words", {n: torch.rand(s) for n, s in sizes.items()})
    for width in (1, 2, 7, 20, 64):
        assert max(map(cell_len, drawn(picture, width, height=9))) <= width
    pair = Images("t", {"a": torch.zeros(2, 10), "b": torch.zeros(2, 10)})
    assert [len(drawn(pair, width)) for width in (22, 21)] == [4, 6]
    assert len(drawn(Images("t", {"x": torch.rand(100, 7)}), 80, height=9)) == 2 + 9 + 1


def test_every_name_stands_above_its_image() -> None:
    long = "efgh" * 10
    images = {"ab\ncd": torch.zeros(12, 14), long: torch.zeros(12, 13), "z": torch.ones(12, 13)}
    rows = drawn(Images("t", images), 60)[1:]
    assert rows[:2] == [
        f"ab              {long[:26]}  z            ",
        f"cd{' ' * 55}",
    ]
    assert drawn(Images("t", images), 13)[9] == "efghefghefghe"


# counts


def test_counts_are_a_table_where_it_fits_and_pairs_where_not() -> None:
    mixed = Matrix("Mixed up", ("a", "bb"), ((12, 3), (0, 7)))
    assert [line.split() for line in drawn(mixed, 40)[:5]] == [
        ["Mixed", "up"],
        ["actual", "as", "a", "as", "bb"],
        ["-" * 21],
        ["a", "12", "3"],
        ["bb", "0", "7"],
    ]
    assert [line.split() for line in drawn(mixed, 12)][-2] == ["a", "bb", "3"]
    right = Matrix("t", ("a", "b"), ((1, 0), (0, 1)))
    assert "no image was taken for one of another class" in " ".join(drawn(right, 1))


# the bar


def bar(place: Place, width: int, epochs: int = 20, batches: int = 49) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(training_bar(console, lambda: place, epochs, batches).get_renderable())
    return captured.get()


@pytest.mark.parametrize(
    ("epoch", "batch", "text"),
    [
        (10, 24, " 52% epoch 10, batch 24 of 49"),
        (0, 0, "  0% epoch 0, batch 0 of 49"),
        (25, 0, "100% epoch 19, batch 0 of 49"),
    ],
)
def test_the_bar_says_where_the_run_stands(epoch: int, batch: int, text: str) -> None:
    assert bar(Place(epoch=epoch, batch=batch), 80).rstrip().endswith(text)


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 200])
def test_the_bar_takes_one_line_at_any_width(width: int) -> None:
    for place in (Place(), Place(epoch=999, batch=99_999)):
        [line] = bar(place, width, epochs=1000, batches=100_000).splitlines()
        assert len(line) <= width
        assert width < 40 or "%" in line


@pytest.mark.parametrize("bold", [False, True])
def test_a_line_above_the_bar_is_not_broken(bold: bool) -> None:
    file, text = io.StringIO(), "x" * 50 + " y"
    console = Console(file=file, width=20, force_terminal=True, color_system="standard")
    with training_bar(console, Place, 1, 1) as live:
        print_above(live, text, bold=bold)
    assert (f"\x1b[1m{text}\x1b[0m\n" if bold else f"{text}\n") in file.getvalue()
    assert ("\x1b[1m" in file.getvalue()) is bold
