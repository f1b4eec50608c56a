"""`mnistlab predict RUN IMAGE...`: class and probability of image files."""

import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.errors import ConfigError, DataError, RunError
from mnistlab.files import require_file, write_csv
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run

if TYPE_CHECKING:
    from mnistlab.data.inputs import Inputs
    from mnistlab.scoring import Prediction

_NAMED = 5  # of the files or classes that a notice is about
_NARROW = 24  # columns for what was done to an image, at least


class Prepare(StrEnum):
    """Which images are framed as the training images were."""

    auto = "auto"
    always = "always"
    never = "never"


def _require_run(ctx: typer.Context, value: str) -> str:
    """Refuse an image where the run should be."""
    from mnistlab.data.inputs import looks_like_image

    if not ctx.resilient_parsing and (looks_like_image(value) or os.path.isfile(value)):
        raise ConfigError(
            f"{printable(value)}: not a run; name the run first, as in: "
            f"mnistlab predict latest {printable(shlex.quote(value))}"
        )
    return value


def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run folder, its name, or latest.",
            autocompletion=options.complete_runs,
            callback=_require_run,
        ),
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Image files, folders of them, quoted globs, or - for one on stdin.",
        ),
    ],
    prepare: Annotated[
        Prepare,
        typer.Option(
            "--prepare",
            help="Find and frame the ink of images that need it (auto), of all, or of none: "
            "then they are only scaled.",
        ),
    ] = Prepare.auto,
    invert: Annotated[
        bool | None,
        typer.Option(
            "--invert/--no-invert",
            help="Swap dark and light, or do not.  [default: as the image needs]",
            show_default=False,
        ),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The best weights of the run instead of the last.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write every image's prediction to a CSV file.",
            show_default=False,
        ),
    ] = None,
    prepared: Annotated[
        Path | None,
        typer.Option(
            "--save-prepared",
            metavar="DIR",
            help="Write what the model saw as PNG files; DIR must be new or empty.",
            show_default=False,
        ),
    ] = None,
    skip_bad: options.SkipBad = None,
    device: options.Device = None,
    threads: options.Threads = None,
    run_dir: options.RunDir = DEFAULT_FOLDER,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Tell class and probability of image files.

    Drawings and photos are first made like the training images: ink found, inverted if it is dark
    on light, scaled and centred. Images that are like them already go through unchanged.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    if csv is not None:
        require_file(csv, ("csv",), "--csv")
    if prepared is not None:
        _require_new_folder(prepared)
    found_run = find_run(run, run_dir)
    from mnistlab.data.inputs import find_inputs
    from mnistlab.devices import choose_device, set_threads
    from mnistlab.scoring import open_model, predict_images

    set_threads(found_run.threads if threads is None else threads)
    target = choose_device(device or "auto")
    model, card = open_model(found_run, best=best)
    inputs = find_inputs(images)
    label = printable(images[0]) if len(images) == 1 else "all that was named"
    with streams.decoding() as progress:
        found, faults = predict_images(
            model.to(target),
            card,
            inputs.names,
            how=prepare.value,
            invert=invert,
            stdin=_read_stdin,
            progress=lambda done, total: progress(label, done, total),
        )
    inputs.faults.update(faults)
    _tell_faults(inputs, found, bool(skip_bad), streams)
    _write(found, card.classes, csv, prepared)
    weights = "best" if best else "last"
    streams.document(
        {
            "run": str(found_run.path),
            "model": card.model,
            "weights": weights,
            "predictions": [one.as_dict() for one in found],
            "skipped": inputs.faults,
            "left_out": inputs.left_out,
        }
    )
    streams.notice(
        f"{printable(found_run.path)} ({card.model}, {weights} weights) takes every image for "
        f"one of {_some(card.classes)}"
    )
    if quiet:
        for one in found:
            cells = (printable(one.file), printable(one.predicted), f"{one.probability:.4f}")
            streams.result("\t".join(cells))
    elif not as_json:
        from mnistlab.report.grid import table

        drawn = table(("file", "class", "probability", "prepared"), _rows(found))
        drawn.columns[1].justify = drawn.columns[3].justify = "left"
        streams.result(drawn)


def _require_new_folder(folder: Path) -> None:
    where = f"--save-prepared {printable(folder)}"
    try:
        taken = os.path.lexists(folder) and not (folder.is_dir() and not os.listdir(folder))
        parent = folder.absolute().parent
        fits = parent.is_dir()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: cannot be used: {error}") from error
    if taken:
        raise ConfigError(f"{where}: exists already; name a new or an empty folder")
    if not fits:
        raise ConfigError(f"{where}: not a name in an existing folder")
    if not os.access(parent, os.W_OK):
        raise RunError(f"{where}: the folder {printable(parent)} cannot be written")


def _read_stdin() -> bytes:
    from mnistlab.data.images import MAX_FILE_BYTES, UndecodableError

    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigError("-: nothing on stdin; pipe an image into it, as in: ... - < three.png")
    try:
        content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UndecodableError(f"cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise UndecodableError(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
    return content


def _tell_faults(
    inputs: "Inputs", found: "Sequence[Prediction]", skip_bad: bool, streams: Streams
) -> None:
    """Name what cannot be used; raise DataError unless the rest is wanted and there is one."""
    faults = [f"{printable(name)}: {why}" for name, why in inputs.faults.items()]
    if faults and not (skip_bad and found):
        advice = []
        if found:
            advice.append("go on without them with --skip-bad")
        if any("no ink found" in fault for fault in faults):
            advice.append("take an image as it is with --prepare never")
        raise DataError("images", faults, "; ".join(advice))
    for fault in faults:
        streams.notice(f"skipped {fault}")
    if inputs.left_out:
        streams.notice(f"left out, not images: {_some(inputs.left_out)}")


def _some(names: Sequence[str]) -> str:
    told = ", ".join(map(printable, names[:_NAMED]))
    return told if len(names) <= _NAMED else f"{told}, ... ({len(names):,} in all)"


def _write(
    found: "Sequence[Prediction]", classes: Sequence[str], csv: Path | None, prepared: Path | None
) -> None:
    if csv is not None:
        columns = ("file", "class", "probability", *(f"p_{name}" for name in classes))
        rows = (
            (one.file, one.predicted, one.probability, *one.probabilities.values()) for one in found
        )
        write_csv(csv, columns, rows)
    if prepared is not None:
        from mnistlab.scoring import save_prepared

        save_prepared(prepared, found)


def _rows(found: "Sequence[Prediction]") -> Iterator[tuple[str, str, str, str]]:
    """One row an image; on a terminal what was done to it goes on in the next where it is long."""
    taken = max(len(printable(one.file)) for one in found) + len("class  probability") + 6
    width = max(shutil.get_terminal_size().columns - taken, _NARROW)
    for one in found:
        told = ", ".join(one.steps) or "-"
        lines = textwrap.wrap(told, width) if sys.stdout.isatty() else [told]
        yield one.file, one.predicted, f"{one.probability:.4f}", lines[0]
        yield from (("", "", "", line) for line in lines[1:])
