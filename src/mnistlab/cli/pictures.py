"""`mnistlab plot`, `show` and `report`: pictures into a file, as text, on a page."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.language import _
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run

What = Annotated[
    Literal["curves", "confusion", "mistakes", "weights", "samples"] | None,
    typer.Option(help="Which picture of a run.  [default: plot curves, show weights]"),
]
Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[IMAGE|RUN|DIR]...",
        help="Image files, runs (latest: the last one), folders or datasets.  [default: latest]",
        autocompletion=flags.complete_runs,
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="train|valid",
        help="Which images.  [default: valid of a run, train of a dataset]",
    ),
]
Why = Annotated[
    bool, typer.Option("--why", help="Which pixels made a run answer as it did, for each IMAGE.")
]


def plot(
    out: Output,
    settings: dict[str, Any],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="PNG, SVG, PDF; HTML with --why."),
    ],
    sources: Sources = None,
    what: What = None,
    why: Why = False,
    split: Split = None,
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Draw pictures of a run, images or a dataset into a file.

    Of a run its curves, confusion matrix, most confident mistakes, weights or samples; all of them
    together: mnistlab report.
    """
    from mnistlab.files import write_file
    from mnistlab.report.files import draw, require_plot
    from mnistlab.report.page import render_images
    from mnistlab.report.pictures import Images
    from mnistlab.report.sources import Options, kind_of, pictures

    require_plot(output, "-o", *(["html"] if why else []))
    names = sources or ["latest"]
    default = "why" if why else "curves"
    options = Options(what, default=default, split=split, best=best, settings=settings)
    with out.loading() as progress:
        drawn, skipped = pictures(names, run_dir, options, progress)
    out.skipped(skipped)
    if output.suffix.lower() == ".html":
        content = render_images(
            "Why this answer?", [one for one in drawn if isinstance(one, Images)]
        )
        write_file(output, content.encode())
    else:
        draw(drawn, output)
    runs = [str(find_run(name, run_dir).path) for name in names if kind_of(name, run_dir) == "run"]
    document: dict[str, Any] = {"run": runs[0] if len(runs) == 1 else None, "sources": names}
    document |= {"what": what or default, "file": str(output), "bytes": output.stat().st_size}
    out.document(document)
    out.result(printable(output))


def show(
    out: Output,
    settings: dict[str, Any],
    sources: Sources = None,
    what: What = None,
    why: Why = False,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="At most N images.")
    ] = 12,
    augment: Annotated[
        bool,
        typer.Option("--augment", help="Of a dataset also its images as --augment moves them."),
    ] = False,
    split: Split = None,
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Draw images, weights or a dataset in the terminal.

    Half blocks in colour where the terminal has both, ASCII elsewhere; as wide as the terminal.
    """
    from mnistlab.report.pictures import Images
    from mnistlab.report.sources import Options, pictures
    from mnistlab.report.terminal import text_picture

    names = sources or ["latest"]
    default = "why" if why else "weights"
    options = Options(what, default, count, augment, split, best, settings)
    with out.loading() as progress:
        drawn, skipped = pictures(names, run_dir, options, progress)
    out.skipped(skipped)
    out.document({"pictures": [picture.as_dict() for picture in drawn]})
    # COLUMNS and LINES, then the terminal; off one, a page
    width, lines = shutil.get_terminal_size((80, 50))
    console = out.console("stdout")
    blocks = console.color_system is not None and console.encoding.startswith("utf")
    limit = max(count, len(names))  # whoever names a file wants to see it
    for place, picture in enumerate([] if out.as_json else drawn):
        n_images = 0
        if isinstance(picture, Images):
            n_images = len(picture.images)
            picture = replace(picture, images=dict(list(picture.images.items())[:limit]))
        text = text_picture(picture, width, blocks=blocks, height=max(4, lines - 4))
        out.result(*([""] if place else []), text)
        if n_images > limit:
            out.notice(f"{n_images - limit} more with --count {n_images}")


def report(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write it there; replaced if it exists.  [default: report.html in the run folder]",
        ),
    ] = None,
    split: flags.Split = "valid",
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Write a run as one HTML page.

    Result, curves, confusion, mistakes, weights, samples, settings. It needs no network and no
    script; without the run's data it shows what the run folder has.
    """
    source = find_run(run, run_dir)
    target = output or source.path / "report.html"
    from mnistlab.files import require_file, write_file

    require_file(target, ("html", "htm"), "-o")
    from mnistlab.report.page import open_report, render

    with out.loading() as progress:
        opened = open_report(source, settings, split=split, best=best, progress=progress)
    if opened.score is not None:
        out.skipped(opened.score.split.skipped)
    for part, why in opened.missing.items():
        out.notice(f"left out ({part}): {why}")
    content = render(opened).encode()
    write_file(target, content)
    document = {"file": str(target), "bytes": len(content), "missing": opened.missing}
    out.document({"run": str(source.path), **document})
    out.result(printable(target))
    text = _("written, {n:,} bytes; open it in a browser")
    out.notice(text.format(n=len(content)))
