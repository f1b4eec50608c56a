"""`mnistlab plot`, `show`, `report`, `play`: pictures into a file, as text, on a page."""

import shutil
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import ConfigError
from mnistlab.files import write_file
from mnistlab.language import _
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, Run, find_run

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
_FILE = flags.output_file(
    *("png", "svg", "pdf", "html"),
    names=flags.OUTPUT,
    packages=["matplotlib"],
    help="PNG, SVG, PDF; HTML with --why.",
)
_PAGE = flags.output_file(
    "html", "htm", names=flags.OUTPUT, help="An HTML file; replaced if it exists."
)


def plot(
    out: Output,
    settings: dict[str, Any],
    output: Annotated[Path, _FILE],
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
    from mnistlab.report.files import draw
    from mnistlab.report.page import render_images
    from mnistlab.report.pictures import Images
    from mnistlab.report.sources import Options, kind_of, pictures

    is_page = output.suffix.lower() == ".html"
    if is_page and not why:
        raise ConfigError(f"-o {printable(output)}: a page shows what --why explains; add --why")
    names = sources or ["latest"]
    default = "why" if why else "curves"
    options = Options(what, default=default, split=split, best=best, settings=settings)
    with out.loading() as progress:
        drawn, skipped = pictures(names, run_dir, options, progress)
    out.skipped(skipped)
    if is_page:
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
    from mnistlab.lessons.kit import as_document
    from mnistlab.report.pictures import Images
    from mnistlab.report.sources import Options, pictures
    from mnistlab.report.terminal import text_picture

    names = sources or ["latest"]
    default = "why" if why else "weights"
    options = Options(what, default, count, augment, split, best, settings)
    with out.loading() as progress:
        drawn, skipped = pictures(names, run_dir, options, progress)
    out.skipped(skipped)
    out.document({"pictures": [*map(as_document, drawn)]})
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
    output: Annotated[Path | None, _PAGE] = None,
    split: flags.Split = "valid",
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Write a run as one HTML page, by default to report.html in its folder.

    Result, curves, confusion, mistakes, weights, samples, settings. It needs no network and no
    script; without the run's data it shows what the run folder has.
    """
    source = find_run(run, run_dir)
    target = output or source.path / "report.html"
    from mnistlab.report.page import open_report, render

    with out.loading() as progress:
        opened = open_report(source, settings, split=split, best=best, progress=progress)
    if opened.score is not None:
        out.skipped(opened.score.split.skipped)
    for part, why in opened.missing.items():
        out.notice(f"left out ({part}): {why}")
    size = _write_page(out, source, target, render(opened), opened.missing)
    out.notice(_("written, {n:,} bytes; open it in a browser").format(n=size))


def play(
    out: Output,
    run: flags.RunArgument = "latest",
    output: Annotated[Path, _PAGE] = Path("play.html"),
    open_page: Annotated[
        bool, typer.Option("--open", help="Also open the page in a browser.")
    ] = False,
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Make a page to draw on, which shows what a run's model makes of the drawing, and why.

    One HTML file that needs no network and no server.
    """
    chosen = find_run(run, run_dir)
    from mnistlab.play.page import make_page

    with out.loading() as progress:
        page, missing = make_page(chosen, best=best, progress=progress)
    if missing:
        out.notice(_("left out of the page: {what}").format(what=missing))
    _write_page(out, chosen, output, page, missing)
    if open_page and not webbrowser.open(output.absolute().as_uri()):
        text = _("no browser was found; open {file} in one")
        out.notice(text.format(file=printable(output)))


def _write_page(out: Output, run: Run, path: Path, page: str, missing: Any) -> int:
    """Write a page of `run`, say where it is and what it lacks; its bytes."""
    content = page.encode()
    write_file(path, content)
    document = {"file": str(path), "bytes": len(content), "missing": missing}
    out.document({"run": str(run.path), **document})
    out.result(printable(path))
    return len(content)
