"""The bar: it reads the place of a run, and never takes more than one line."""

import io

import pytest
from mnistlab.report.live import print_above, training_bar
from rich.console import Console

from mnistlab.training import Place


def shown(place: Place, width: int, epochs: int = 20, batches: int = 49) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(training_bar(console, lambda: place, epochs, batches).get_renderable())
    return captured.get()


def test_the_bar_tells_the_place() -> None:
    told = shown(Place(epoch=10, batch=24), 80)
    assert told.rstrip().endswith("52% epoch 10, batch 24 of 49")


@pytest.mark.parametrize(("epoch", "percent"), [(0, 0), (20, 100), (25, 100)])
def test_the_bar_stays_within_its_run(epoch: int, percent: int) -> None:
    told = shown(Place(epoch=epoch), 80)
    assert told.rstrip().endswith(f"{percent}% epoch {min(epoch, 19)}, batch 0 of 49")


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 200])
def test_the_bar_takes_one_line_at_any_width(width: int) -> None:
    for place in (Place(), Place(epoch=999, batch=99_999)):
        [line] = shown(place, width, epochs=1000, batches=100_000).splitlines()
        assert len(line) <= width
        assert width < 40 or "%" in line


@pytest.mark.parametrize("bold", [False, True])
def test_a_line_above_the_bar_is_whole(bold: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, width=20, force_terminal=True, color_system="standard")
    with training_bar(console, Place, 1, 1) as bar:
        print_above(bar, "x" * 50 + " y", bold=bold)
    text = "x" * 50 + " y"
    assert (f"\x1b[1m{text}\x1b[0m\n" if bold else f"{text}\n") in file.getvalue()
    assert ("\x1b[1m" in file.getvalue()) is bold
