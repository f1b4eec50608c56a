"""`mnistlab show IMAGE|RUN|DIR`: pictures in the terminal."""

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli import options
from mnistlab.cli.plot import What
from mnistlab.cli.streams import Streams
from mnistlab.errors import ConfigError
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run

if TYPE_CHECKING:
    from mnistlab.report.pictures import Images, Picture


def show(
    things: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE|RUN|DIR...",
            help="Image files, runs (latest: the last one), folders or datasets.  "
            "[default: latest]",
            autocompletion=options.complete_runs,
        ),
    ] = None,
    what: Annotated[
        What | None,
        typer.Option("--what", help="Which picture of a run.  [default: weights]"),
    ] = None,
    count: Annotated[
        int,
        typer.Option("--count", metavar="N", min=1, max=10_000, help="At most N images."),
    ] = 12,
    augment: Annotated[
        bool,
        typer.Option("--augment", help="Of a dataset also its images as --augment moves them."),
    ] = False,
    data: options.Data = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="train|valid",
            help="Which images.  [default: valid of a run, train of a dataset]",
        ),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The best weights of the run instead of the last.")
    ] = False,
    skip_bad: options.SkipBad = None,
    device: options.Device = None,
    threads: options.Threads = None,
    run_dir: options.RunDir = DEFAULT_FOLDER,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Draw images, weights or a dataset in the terminal.

    Half blocks in colour where the terminal has both, ASCII elsewhere; as wide as the terminal.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    from mnistlab.devices import set_threads
    from mnistlab.report import gallery
    from mnistlab.report.things import dataset, folder_of_images, image_files, kind_of

    named = [(thing, kind_of(thing, run_dir)) for thing in things or ["latest"]]
    if what is not None and (other := next((t for t, kind in named if kind != "run"), None)):
        raise ConfigError(f"--what {what}: is for runs; {printable(other)} is none")
    if augment and "data" not in (kind for _, kind in named):
        raise ConfigError("--augment: is for datasets; name one, as in: mnistlab show mnist_sample")
    set_threads(1 if threads is None else threads)
    drawn: list[Picture] = []
    if files := [Path(thing) for thing, kind in named if kind == "image"]:
        count = max(count, len(files))  # who names a file wants to see it
        drawn.append(image_files(files))
    for thing, kind in named:
        if kind == "folder":
            found, left_out = folder_of_images(Path(thing), count)
            drawn.append(found)
            for path, why in left_out.items():
                streams.notice(f"skipped {printable(path)}: {why}")
        elif kind == "data":
            with streams.decoding() as progress:
                drawn += dataset(
                    thing,
                    split or "train",
                    count,
                    augmented=augment,
                    skip_bad=bool(skip_bad),
                    progress=progress,
                )
        elif kind == "run":
            with streams.decoding() as progress:
                drawn += gallery.pictures(
                    (what or What.weights).value,
                    find_run(thing, run_dir),
                    best=best,
                    count=count,
                    data=data,
                    split=split or "valid",
                    skip_bad=bool(skip_bad),
                    device=device or "auto",
                    progress=progress,
                )
    streams.document({"pictures": [_plain(picture) for picture in drawn]})
    if not as_json:
        for place, picture in enumerate(drawn):
            streams.result(*([""] if place else []))
            _print(streams, picture, count)


def _print(streams: Streams, picture: "Picture", count: int) -> None:
    from mnistlab.report.pictures import Images
    from mnistlab.report.textplots import text_picture
    from mnistlab.report.things import enlarged

    # COLUMNS and LINES, then the terminal; off one, a page
    width, lines = shutil.get_terminal_size((80, 50))
    console = streams.console("stdout")
    blocks = console.color_system is not None and console.encoding.startswith("utf")
    left = 0
    if isinstance(picture, Images):
        picture, left = _first(enlarged(picture), count)
    streams.result(text_picture(picture, width, blocks=blocks, height=max(4, lines - 4)))
    if left:
        streams.notice(f"{left} more with --count {left + count}")


def _first(picture: "Images", count: int) -> "tuple[Images, int]":
    """Its first images, and how many are left."""
    from dataclasses import replace

    kept = dict(list(picture.images.items())[:count])
    return replace(picture, images=kept), len(picture.images) - len(kept)


def _plain(picture: "Picture") -> dict[str, Any]:
    from mnistlab.report.pictures import Images, Matrix

    kind = type(picture).__name__.lower()
    if isinstance(picture, Images):
        sizes = {name: image.shape for name, image in picture.images.items()}
        shown = [
            {"name": name, "width": width, "height": height}
            for name, (height, width) in sizes.items()
        ]
        return {"kind": kind, "title": picture.title, "images": shown}
    if isinstance(picture, Matrix):
        counts = [list(row) for row in picture.counts]
        return {
            "kind": kind,
            "title": picture.title,
            "classes": list(picture.rows),
            "counts": counts,
        }
    series = {**picture.lines, **picture.dots}
    lines = {name: [_finite(xs), _finite(ys)] for name, (xs, ys) in series.items()}
    return {"kind": kind, "title": picture.title, "lines": lines}


def _finite(values: Any) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]  # JSON has no word for it
