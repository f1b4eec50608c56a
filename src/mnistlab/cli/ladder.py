"""`mnistlab ladder`: baseline to best in one table."""

from typing import Annotated

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams


def ladder(
    data: options.Data = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Decides weights and order.")
    ] = 0,
    full: Annotated[bool, typer.Option("--full", help="Also resnet18 (slow).")] = False,
    device: options.Device = None,
    threads: options.Threads = None,
    skip_bad: options.SkipBad = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Compare every model, from the baseline up.

    Each is fitted with its defaults; no run folder is written.
    """
    from mnistlab.config import resolve

    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    settings = {"seed": seed, "device": device, "threads": threads, "skip_bad": skip_bad}
    resolve(settings)  # faults are told before torch is imported
    from mnistlab.data.named import load_data
    from mnistlab.studies.ladder import climb

    name = data if data is not None else "mnist_sample"
    with streams.decoding() as progress:
        folders = load_data(name, skip_bad=bool(skip_bad), progress=progress)

    def tell(text: str) -> None:
        streams.notice(text)

    steps = list(climb(folders, name, settings, tell, full=full))
    streams.document({"data": name, "seed": seed, "steps": [step.as_dict() for step in steps]})
    if not as_json:
        from mnistlab.report.tables import ladder_table

        streams.result(ladder_table(steps))
        if any(step.chapter is not None for step in steps):
            streams.notice("book: means over classes or batches there; ours counts each image once")
