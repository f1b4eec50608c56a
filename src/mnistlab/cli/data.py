"""`mnistlab data …`: datasets by name, folders of images, MNIST's own files."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.data.datasets import BUNDLED, DATASETS, find_dataset
from mnistlab.errors import DataError
from mnistlab.names import printable

app = typer.Typer(
    help="Get datasets by name; audit a folder of images; make one from other formats.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    """Get datasets by name; audit a folder of images; make one from other formats."""


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
    _tell(streams, counts, _as_folder(target))


@app.command("download")
def download(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A dataset of: mnistlab data list.",
            autocompletion=options.complete_downloads,
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="DIR|URL",
            help="A folder that has the published files, or the address of a mirror.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Write folders of PNG there; must be new."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make it again, also if it is here already.")
    ] = False,
    unchecked: Annotated[
        bool,
        typer.Option(
            "--unchecked", help="With --from DIR: take files that are not the published ones."
        ),
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Get a dataset by name, for --data NAME.

    Files are checked against their published checksums; a download that was broken off goes on
    where it stopped. The only command that uses the network.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    dataset = find_dataset(name)  # a typo is told before torch is imported
    from mnistlab.data.obtain import obtain

    try:
        with streams.downloading() as downloading, streams.decoding() as writing:
            done = obtain(
                dataset,
                source,
                to=to,
                force=force,
                unchecked=unchecked,
                downloading=downloading,
                writing=writing,
            )
    except KeyboardInterrupt:
        streams.notice("stopped; what has arrived is kept: the same command goes on from there")
        raise
    if not done.files:
        streams.notice(f"{name} is here already; --force makes it again")
    unsure = [file.name for file in done.files if file.checked == "no"]
    if unsure:
        streams.notice(f"not checked, as they are not the published files: {', '.join(unsure)}")
    streams.document(done.as_dict())
    _tell(streams, done.counts, _as_folder(to) if to else name)


@app.command("list")
def list_datasets(
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """List the datasets that have a name, and which are here."""
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    listed: list[dict[str, Any]] = [
        {"name": BUNDLED, "about": "MNIST's 3s and 7s", "classes": ["3", "7"]}
        | {"train": 12396, "valid": 2038, "side": 28, "download_mb": 0, "here": True}
    ]
    for dataset in DATASETS.values():
        listed.append(
            {
                "name": dataset.name,
                "about": dataset.about,
                "classes": list(dataset.classes),
                "train": dataset.images[0],
                "valid": dataset.images[1],
                "side": dataset.side,
                "download_mb": dataset.packed,
                "here": dataset.path.exists(),
            }
        )
    streams.document({"datasets": listed})
    if not as_json:
        from mnistlab.report.tables import datasets_table

        streams.result(datasets_table(listed))
    if not all(row["here"] for row in listed):
        streams.notice("get one with: mnistlab data download NAME")


def _as_folder(path: Path) -> str:
    """How `--data` names a folder: one that is called like a dataset needs a `./`."""
    own = str(path)
    return f"./{own}" if own in (BUNDLED, *DATASETS) else own


def _tell(streams: Streams, counts: dict[str, dict[str, int]], data: str) -> None:
    for split, by_class in counts.items():
        told = ", ".join(f"{count:,} of {name}" for name, count in by_class.items())
        streams.result(f"{split}  {told}")
    streams.notice(f"next   mnistlab train --data {printable(shlex.quote(data))}")
