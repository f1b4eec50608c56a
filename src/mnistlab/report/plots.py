"""Pictures into a file with matplotlib: PNG, SVG or PDF by the name's ending."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistlab.errors import ConfigError, RunError
from mnistlab.files import write_whole
from mnistlab.names import nearest, printable
from mnistlab.report.pictures import Curves, Images, Picture, largest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FORMATS = ("png", "svg", "pdf")
# Okabe and Ito's colours: told apart by colour-blind readers, and in grey by their lightness
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def require_plot(path: Path) -> None:
    """Find out before any work whether `path` can be drawn. Raises ConfigError."""
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise ConfigError(
            f"--plot {printable(path)}: the name must end in .{', .'.join(FORMATS)}"
            + (nearest(ending, FORMATS) if ending else "")
        )
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"--plot {printable(path)}: not a file name in an existing folder")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--plot needs matplotlib; install it with: pip install matplotlib"
        ) from error


def draw(pictures: Sequence[Picture], path: Path) -> None:
    """Draw `pictures` into one file, whole or not at all. Raises ConfigError, RunError."""
    require_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A Figure of its own, not pyplot: no global state, no window, a third of the import time
    columns = 1 if len(pictures) == 1 else 2
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(6.4 * columns, 4.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.subfigures(rows, columns, squeeze=False).flatten()
    for cell, picture in zip(cells, pictures, strict=False):
        if isinstance(picture, Curves):
            _curves(cell.subplots(), picture)
        else:
            _images(cell, picture)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=120)
    try:
        write_whole(path, content.getvalue())
    except OSError as error:
        raise RunError(
            f"{printable(path)}: cannot be written: {error.strerror or error}"
        ) from error


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


def _images(cell: "Figure | SubFigure", picture: Images) -> None:
    cell.suptitle(picture.title, fontsize=11)
    columns = min(len(picture.images), 6)
    rows = -(-len(picture.images) // columns)
    grid = cell.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid:
        axes.set_axis_off()
    limits: dict[str, Any] = {"cmap": "gray"}
    if picture.signed:
        bound = largest(picture)
        limits = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
    for axes, (name, image) in zip(grid, picture.images.items(), strict=False):
        pixels = image.detach().float().cpu().numpy()
        axes.imshow(pixels, interpolation="nearest", **limits)
        axes.set_title(name, fontsize=8)
