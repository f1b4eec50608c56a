"""`mnistlab play [RUN]`: a page on which one draws and sees what the model makes of it."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.files import require_file, write_file
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run


def play(
    out: Output,
    run: flags.RunArgument = "latest",
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="An HTML file; replaced if it exists."),
    ] = Path("play.html"),
    open_page: Annotated[
        bool, typer.Option("--open", help="Also open the page in a browser.")
    ] = False,
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Make a page to draw on, with a run's model in it.

    One HTML file that needs no network and no server: it shows what the model answers while a
    stroke grows, and why.
    """
    require_file(output, ("html", "htm"), "-o")
    the_run = find_run(run, run_dir)
    from mnistlab.play.page import make_page

    with out.loading() as progress:
        page, missing = make_page(the_run, best=best, progress=progress)
    write_file(output, page.encode())
    if missing:
        out.notice(f"the page has no images of the run: {missing}")
    size = output.stat().st_size
    out.document(
        {
            "run": str(the_run.path),
            "weights": "best" if best else "last",
            "file": str(output),
            "bytes": size,
            "missing": missing,
        }
    )
    out.result(printable(output))
    if open_page and not webbrowser.open(output.absolute().as_uri()):
        out.notice(f"no browser could be started; open {printable(output)} in one")
