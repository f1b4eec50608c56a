"""`mnistlab data …`: audit a folder of images, make one from MNIST's own files."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.errors import DataError
from mnistlab.names import printable

app = typer.Typer(
    help="Audit a folder of images; make one from other formats.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    """Audit a folder of images; make one from other formats."""


@app.command("check")
def check(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder with train/<class>/* and valid/<class>/*."),
    ],
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Audit a folder of images: open every one.

    Tells all that is worth knowing; exits with 2 if the folder cannot be trained on.
    """
    from mnistlab.data.audit import audit_folder

    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    with streams.decoding() as progress:
        audit = audit_folder(folder, progress)
    streams.document(audit.as_dict())
    if not as_json and not quiet:
        from mnistlab.report.tables import audit_tables

        streams.result(*audit_tables(audit))
    if audit.faults:
        raise DataError(printable(folder), audit.faults)
    streams.result(f"{printable(folder)}: fit to train on")


@app.command("import-idx")
def import_idx(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="A folder with train-images-idx3-ubyte, its labels, and t10k-..., gzipped or not.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The folder to make; must be new.")],
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="A,B,...", help="Keep only these labels, as in 3,7."),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Turn MNIST-format files into folders of PNG.

    Makes train/<class>/<index>.png and valid/<class>/<index>.png.
    """
    from mnistlab.data.idx import import_idx as convert

    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    wanted = None
    if classes is not None:
        wanted = [name.strip() for name in classes.split(",") if name.strip()]
        if not wanted:
            raise DataError("--classes", ["--classes: names no class; write it as in 3,7"])
    with streams.decoding() as progress:
        counts = convert(source, target, wanted, progress)
    streams.document({"data": str(target), "counts": counts})
    for split, by_class in counts.items():
        told = ", ".join(f"{count:,} of {name}" for name, count in by_class.items())
        streams.result(f"{split}  {told}")
    streams.notice(f"next   mnistlab train --data {printable(shlex.quote(str(target)))}")
