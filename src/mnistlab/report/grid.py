"""The plain table that all others are made of. No torch: listing runs must not wait for it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import Box
from rich.table import Table
from rich.text import Text

from mnistlab.names import printable

_PLAIN = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int = 1) -> Table:
    """A plain table: the first `left` columns to the left, figures to the right.

    Cells are never folded, so a figure or a name stays whole; draw it as wide as it wants to be.
    """
    made = Table(box=_PLAIN, pad_edge=False, header_style="bold", show_edge=False)
    for position, name in enumerate(columns):
        made.add_column(
            printable(name), justify="left" if position < left else "right", no_wrap=True
        )
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def brief(value: float) -> str:
    """Six digits behind the point, and never wider than ten characters: 0.021164, 1.6270e+28."""
    return f"{value:.6f}" if abs(value) < 1000 else f"{value:.4e}"


def settings_table(config: Mapping[str, Any], origins: Mapping[str, str]) -> Table:
    """Every setting, its value and where the value came from."""
    rows = [(key, value, origins.get(key, "default")) for key, value in config.items()]
    return table(("setting", "value", "from"), rows, left=3)
