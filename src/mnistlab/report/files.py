"""Pictures into a file with matplotlib: PNG, SVG or PDF by the name's ending."""

import io
import re
import warnings
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistlab.files import require_file, require_packages, write_file
from mnistlab.language import language
from mnistlab.names import printable
from mnistlab.report.pictures import Curves, Images, Matrix, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Okabe and Ito's colours: colour-blind readers can tell them apart, and in grey their lightness can
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# so that of two equal curves both are visible: lines with gaps above a wider one without
STYLES: tuple[Any, ...] = ("-", (0, (4, 4)), (0, (1, 2)), (0, (7, 3, 1, 3)))
_CHINESE = "CJK|Hiragino|PingFang|YaHei|SimHei|WenQuanYi"  # fonts, which stand in for the first
_WIDTH, _HEIGHT = 6.4, 4.2  # inches, of one picture
_MAX_LABELED = 26  # classes whose names and counts can be read in a matrix of that size
# no date and no random names: the same picture is the same file
FORMATS = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def chinese_fonts() -> list[str]:
    """The fonts of this system that have Chinese characters, by name."""
    from matplotlib.font_manager import fontManager

    return [name for name in sorted(fontManager.get_font_names()) if re.search(_CHINESE, name)]


def draw(pictures: Sequence[Picture], path: str | Path) -> None:
    """Draw `pictures` into one PNG, SVG or PDF, two in a row. Raises ConfigError, RunError."""
    path = Path(path)
    require_file(path, [*FORMATS], "--plot")
    require_packages("--plot", "matplotlib")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fonts = ["sans-serif"] if language() == "en" else ["DejaVu Sans", *chinese_fonts()]
    content, kind = io.BytesIO(), path.suffix[1:].lower()
    settings: Any = {"svg.hashsalt": "mnistlab", "font.family": fonts}
    with rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a letter in a name that the font does not have
        # A Figure of its own, not pyplot: no global state, no window, a third of the import time
        columns = 1 if len(pictures) == 1 else 2
        rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
        heights = [max(map(_height, row)) for row in rows]
        figure = Figure(figsize=(_WIDTH * columns, sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        cells = figure.subfigures(len(rows), columns, squeeze=False, height_ratios=heights)
        for cell, picture in zip(cells.flatten(), pictures, strict=False):
            if isinstance(picture, Matrix):
                _draw_matrix(cell.subplots(), picture)
                continue
            if isinstance(picture, Curves):
                _draw_curves(cell.subplots(), picture)
            else:
                _draw_images(cell, picture)
            cell.supxlabel(printable(picture.note), fontsize=8, parse_math=False, wrap=True)
        figure.savefig(content, format=kind, dpi=120, metadata=FORMATS[kind])
    write_file(path, content.getvalue())


def _height(picture: Picture) -> float:
    if not isinstance(picture, Images):
        return _HEIGHT
    rows, columns = _shape(picture)
    lines = max(name.count("\n") + 1 for name in picture.images)
    return 0.6 + rows * (0.1 + 0.13 * lines + min(0.9 * _WIDTH / columns, 3.2))


def _shape(picture: Images) -> tuple[int, int]:
    count = len(picture.images)
    rows = -(-count // (6 if count <= 48 else 10))
    return rows, -(-count // rows)


def _draw_curves(axes: "Axes", picture: Curves) -> None:
    looks = zip(cycle(COLORS), cycle(STYLES), strict=False)
    for name, (xs, lows, highs) in picture.bands.items():
        axes.fill_between(xs, lows, highs, alpha=0.25, label=name, color="#56B4E9", linewidth=0)
    for name, (xs, ys) in picture.lines.items():
        color, style = next(looks)
        width = 2.2 if style == "-" else 1.4
        axes.plot(xs, ys, linestyle=style, linewidth=width, label=name, color=color)
    for name, (xs, ys) in picture.dots.items():
        axes.plot(xs, ys, "o", markersize=3.5, label=name, color=next(looks)[0])
    axes.set_title(picture.title, fontsize=11)
    axes.set_xlabel(picture.x_label)
    axes.set_ylabel(picture.y_label)
    if picture.y_range is not None:
        axes.set_ylim(*picture.y_range)
    x_axis = picture.axes()[0]
    if x_axis.log:
        axes.set_xscale("log")
    if x_axis.log or x_axis.integers:
        axes.set_xticks(x_axis.ticks(), [f"{tick:g}" for tick in x_axis.ticks()])
        axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(picture.lines) + len(picture.dots) + len(picture.bands) > 1:
        axes.legend(fontsize=8, frameon=False)


def _draw_matrix(axes: "Axes", picture: Matrix) -> None:
    import numpy as np
    from matplotlib import colormaps

    shades = np.array(picture.shades(), dtype=float)
    # mistakes against the worst of them: beside thousands that are right, 20 would look white
    right, wrong = (colormaps[name](0.8 * shades) for name in ("Blues", "Oranges"))
    axes.imshow(np.where(np.eye(len(shades))[..., None], right, wrong)[..., :3], aspect="auto")
    axes.set_title(picture.title, fontsize=11, wrap=True)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    if len(picture.classes) > _MAX_LABELED:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    names = list(map(_shortened, picture.classes))
    small: dict[str, Any] = {"fontsize": 9 if len(names) <= 12 else 6, "parse_math": False}
    wide = max(map(len, names)) * len(names) > 60
    axes.set_xticks(range(len(names)), names, rotation=90 if wide else 0, **small)
    axes.set_yticks(range(len(names)), names, **small)
    for i, row in enumerate(picture.counts):
        for k, count in enumerate(row):
            color = "white" if shades[i][k] > 0.7 else "black"
            axes.text(k, i, str(count), ha="center", va="center", color=color, **small)


def _draw_images(cell: "Figure | SubFigure", picture: Images) -> None:
    cell.suptitle(picture.title, fontsize=11, parse_math=False, wrap=True)
    grid = cell.subplots(*_shape(picture), squeeze=False).flatten()
    for axes in grid:
        axes.set_axis_off()
    low, high = picture.scale or (None, None)
    small = 8 if len(picture.images) <= 12 else 6
    for axes, (name, image) in zip(grid, picture.images.items(), strict=False):
        drawn = axes.imshow(
            image.detach().float().cpu().numpy(),
            interpolation="nearest",
            cmap="RdBu_r" if picture.signed else "gray",
            vmin=low,
            vmax=high,
        )
        title = "\n".join(map(_shortened, name.split("\n")))
        axes.set_title(title, fontsize=small, parse_math=False)
    if picture.signed:
        bar = cell.colorbar(drawn, ax=grid.tolist(), shrink=0.7, aspect=30, pad=0.02, panchor=False)
        bar.ax.tick_params(labelsize=7)


def _shortened(name: str) -> str:
    """A name that leaves room for its neighbours: the end of a long one, where files differ."""
    text = printable(name)
    return text if len(text) <= 22 else "…" + text[-21:]
