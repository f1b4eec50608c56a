"""`mnistlab play [RUN]`: a page on which one draws and sees what a model makes of it."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.files import require_file, write_file
from mnistlab.language import _
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run

Page = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="An HTML file; replaced if it exists."),
]
Open = Annotated[bool, typer.Option("--open", help="Also open the page in a browser.")]


def play(
    out: Output,
    run: flags.RunArgument = "latest",
    output: Page = Path("play.html"),
    open_page: Open = False,
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Make a page to draw on, which shows what a run's model makes of the drawing, and why.

    One HTML file that needs no network and no server.
    """
    require_file(output, ("html", "htm"), "-o")
    chosen = find_run(run, run_dir)
    from mnistlab.play.page import make_page

    with out.loading() as progress:
        page, missing = make_page(chosen, best=best, progress=progress)
    write_file(output, page.encode())
    if missing:
        out.notice(_("left out of the page: {what}").format(what=missing))
    out.document(
        {
            "run": str(chosen.path),
            "file": str(output),
            "bytes": len(page.encode()),
            "missing": missing,
        }
    )
    out.result(printable(output))
    if open_page and not webbrowser.open(output.absolute().as_uri()):
        text = _("no browser was found; open {file} in one")
        out.notice(text.format(file=printable(output)))
