"""A bar that reads the place of a run from outside the loop."""

from collections.abc import Callable

from rich.console import Console, ConsoleRenderable
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mnistlab.training import Place


def training_bar(
    console: Console,
    where: Callable[[], Place],
    epochs: int,
    batches: int,
    *,
    label: Callable[[], str] = lambda: "",
) -> Live:
    """A live bar for a run of `epochs` x `batches`, gone when it ends.

    It asks `where` the run stands eight times a second from its own thread; the loop does not know
    of it. `label` goes before the epoch.
    """
    total = epochs * batches

    # what a narrow terminal leaves beside the words: the bar must never take two lines
    width = max(4, min(30, console.width - 45))

    def draw() -> ConsoleRenderable:
        place = where()
        done = min(place.epoch * batches + place.batch, total)
        told = f"{label()}epoch {min(place.epoch, epochs - 1)}, batch {place.batch} of {batches}"
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(total=total, completed=done, width=width),
            Text(f"{100 * done // total:>3}%", no_wrap=True, overflow="crop"),
            Text(told, no_wrap=True, overflow="crop"),
        )
        return row

    return Live(get_renderable=draw, console=console, transient=True, refresh_per_second=8)


def print_above(bar: Live, line: str, *, bold: bool = False) -> None:
    """One line above the bar, whole: the terminal may wrap it, nothing else does."""
    bar.console.print(Text(line, style="bold" if bold else ""), soft_wrap=True)
