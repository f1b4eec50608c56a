"""Pictures into a file with matplotlib: PNG, SVG or PDF by the name's ending."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistlab.errors import ConfigError
from mnistlab.files import require_file, write_file
from mnistlab.names import printable
from mnistlab.report.pictures import Curves, Images, Matrix, Picture, largest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FORMATS = ("png", "svg", "pdf")
# Okabe and Ito's colours: told apart by colour-blind readers, and in grey by their lightness
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_WIDTH, _HEIGHT = 6.4, 4.2  # inches, of one picture
_WRITTEN = 26  # classes whose names and counts can be read in a matrix of that size
# no date and no random names: the same picture is the same file
_METADATA = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def require_plot(path: Path, flag: str = "--plot") -> None:
    """Find out before any work whether `path`, asked for by `flag`, can be drawn.

    Raises ConfigError, RunError.
    """
    require_file(path, FORMATS, flag)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{flag} needs matplotlib; install it with: pip install matplotlib"
        ) from error


def draw(pictures: Sequence[Picture], path: str | Path) -> None:
    """Draw `pictures` into one file, whole or not at all. Raises ConfigError, RunError."""
    path = Path(path)
    require_plot(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A Figure of its own, not pyplot: no global state, no window, a third of the import time
    columns = 1 if len(pictures) == 1 else 2
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(map(_height, row)) for row in rows]
    figure = Figure(figsize=(_WIDTH * columns, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subfigures(len(rows), columns, squeeze=False, height_ratios=heights)
    for cell, picture in zip(grid.flatten(), pictures, strict=False):
        if isinstance(picture, Curves):
            _curves(cell.subplots(), picture)
        elif isinstance(picture, Matrix):
            _matrix(cell.subplots(), picture)
        else:
            _images(cell, picture)
    content = io.BytesIO()
    kind = path.suffix[1:].lower()
    with rc_context({"svg.hashsalt": "mnistlab"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a letter in a name that the font does not have
        figure.savefig(content, format=kind, dpi=120, metadata=_METADATA[kind])
    write_file(path, content.getvalue())


def _height(picture: Picture) -> float:
    if not isinstance(picture, Images):
        return _HEIGHT
    lines = max(name.count("\n") + 1 for name in picture.images)
    return max(_HEIGHT, 0.5 + _grid(picture)[0] * (0.75 + 0.13 * lines))


def _grid(picture: Images) -> tuple[int, int]:
    count = len(picture.images)
    columns = min(count, 6 if count <= 48 else 10)
    return -(-count // columns), columns


def _curves(axes: "Axes", picture: Curves) -> None:
    from matplotlib.ticker import MaxNLocator

    colors = iter(COLORS * 9)
    for name, (xs, lows, highs) in picture.bands.items():
        axes.fill_between(xs, lows, highs, alpha=0.25, label=name, color="#56B4E9", linewidth=0)
    for name, (xs, ys) in picture.lines.items():
        axes.plot(xs, ys, label=name, color=next(colors))
    for name, (xs, ys) in picture.dots.items():
        axes.plot(xs, ys, "o", markersize=3.5, label=name, color=next(colors))
    axes.set_title(picture.title, fontsize=11)
    axes.set_xlabel(picture.x_label)
    axes.set_ylabel(picture.y_label)
    if picture.x_label == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if picture.y_range is not None:
        axes.set_ylim(*picture.y_range)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(picture.lines) + len(picture.dots) + len(picture.bands) > 1:
        axes.legend(fontsize=8, frameon=False)


def _matrix(axes: "Axes", picture: Matrix) -> None:
    shares = [[count / (sum(row) or 1) for count in row] for row in picture.counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_title(picture.title, fontsize=11, wrap=True)
    axes.set_xlabel(picture.column_label)
    axes.set_ylabel(picture.row_label)
    if max(len(picture.rows), len(picture.columns)) > _WRITTEN:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    small: dict[str, Any] = {
        "fontsize": 9 if len(picture.columns) <= 12 else 6,
        "parse_math": False,
    }
    across = max(map(len, picture.columns)) * len(picture.columns) > 60
    names = [_short(name) for name in picture.columns]
    axes.set_xticks(range(len(names)), names, rotation=90 if across else 0, **small)
    axes.set_yticks(range(len(picture.rows)), [_short(name) for name in picture.rows], **small)
    for i, row in enumerate(picture.counts):
        for k, count in enumerate(row):
            ink = "white" if shares[i][k] > 0.5 else "black"
            axes.text(k, i, str(count), ha="center", va="center", color=ink, **small)


def _images(cell: "Figure | SubFigure", picture: Images) -> None:
    cell.suptitle(picture.title, fontsize=11, parse_math=False, wrap=True)
    grid = cell.subplots(*_grid(picture), squeeze=False).flatten()
    for axes in grid:
        axes.set_axis_off()
    limits: dict[str, Any] = {"cmap": "gray"}
    if picture.limits is not None:
        limits |= {"vmin": picture.limits[0], "vmax": picture.limits[1]}
    if picture.signed:
        bound = largest(picture)
        limits = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
    for axes, (name, image) in zip(grid, picture.images.items(), strict=False):
        pixels = image.detach().float().cpu().numpy()
        axes.imshow(pixels, interpolation="nearest", **limits)
        told = "\n".join(_short(line) for line in name.split("\n"))
        axes.set_title(told, fontsize=8 if len(picture.images) <= 12 else 6, parse_math=False)


def _short(name: str) -> str:
    """A name that leaves room for its neighbours: the end of a long one, where files differ."""
    shown = printable(name)
    return shown if len(shown) <= 22 else "…" + shown[-21:]
