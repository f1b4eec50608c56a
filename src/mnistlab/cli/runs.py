"""`mnistlab runs …`: what was run, side by side, and whether it repeats."""

import sys
from typing import Annotated

import typer

from mnistlab.cli import options
from mnistlab.cli.streams import Streams
from mnistlab.errors import CheckError, ConfigError, LockedError
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run

app = typer.Typer(
    help="List, show, compare, verify and delete runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run folder, its name, or latest.",
        autocompletion=options.complete_runs,
    ),
]


@app.callback()
def _root() -> None:
    """List, show, compare, verify and delete runs."""


@app.command("list")
def list_(
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="created|name|model|status|epochs|accuracy|best|seconds",
            help="What to sort by.",
        ),
    ] = "created",
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="The largest first.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Only N: the last of that order, the first with -r."
        ),
    ] = None,
    run_dir: options.RunDir = DEFAULT_FOLDER,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """List the runs of a folder, the latest last."""
    from mnistlab.runs import summaries

    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    found = summaries(run_dir, sort, reverse=reverse)
    shown = summaries(run_dir, sort, reverse=reverse, limit=limit) if limit else found
    streams.document({"folder": str(run_dir), "runs": [one.as_dict() for one in shown]})
    if quiet:
        streams.result(*(printable(one.name) for one in shown))
    elif not as_json and shown:
        from mnistlab.report.runtables import runs_table

        streams.result(runs_table(shown, time=sort == "seconds"))
    if not found:
        streams.notice(f"{printable(run_dir)}: no runs yet; make one with: mnistlab train")
    elif len(shown) < len(found):
        streams.notice(f"{len(shown)} of {len(found)} runs")


@app.command("show")
def show(
    run: RunArgument = "latest",
    run_dir: options.RunDir = DEFAULT_FOLDER,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Show a run: settings, result, data, environment, files."""
    from mnistlab.runs import summarize

    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    found = find_run(run, run_dir)
    info = found.info() if found.info_file.exists() else {}
    summary = summarize(found)
    files = {path.name: path.stat().st_size for path in sorted(found.path.iterdir())}
    kept = {name: size for name, size in files.items() if not name.startswith(".")}
    streams.document({**info, "summary": summary.as_dict(), "files": kept})
    if as_json:
        return
    from mnistlab.report.runtables import run_tables

    streams.result(*run_tables(summary, info, kept, epochs=not quiet))


@app.command("compare")
def compare(
    first: RunArgument,
    second: RunArgument,
    data: options.Data = None,
    split: Annotated[
        str, typer.Option("--split", metavar="train|valid", help="Which images to score.")
    ] = "valid",
    best: Annotated[
        bool, typer.Option("--best", help="The best weights of both instead of the last.")
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
    """Compare two runs on the same images.

    Image by image: both right, only A, only B, neither; an exact McNemar test, and the difference
    of the accuracies with its 95 % interval. On the data of A, or on --data.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    a, b = find_run(first, run_dir), find_run(second, run_dir)
    from mnistlab.devices import set_threads
    from mnistlab.report.runtables import comparison_tables
    from mnistlab.studies.compare import compare_runs

    set_threads(max(a.threads, b.threads) if threads is None else threads)
    with streams.decoding() as progress:
        found = compare_runs(
            a, b, data=data, split=split, best=best, skip_bad=bool(skip_bad),
            device=device or "auto", progress=progress,
        )  # fmt: skip
    paired = found.paired
    streams.document(
        {
            "a": {"run": str(a.path), **found.a.evaluation.as_dict()},
            "b": {"run": str(b.path), **found.b.evaluation.as_dict()},
            "data": found.a.data,
            "split": split,
            "weights": "best" if best else "last",
            "n": paired.n,
            "both": paired.both,
            "only_a": paired.only_a,
            "only_b": paired.only_b,
            "neither": paired.neither,
            "difference": paired.difference,
            "interval": list(paired.interval),
            "p_value": paired.p_value,
            "settings": {key: list(values) for key, values in found.settings.items()},
            "notes": found.notes,
        }
    )
    which = "best" if best else "last"
    streams.notice(f"{split} of {printable(found.a.data)}, {paired.n} images, {which} weights")
    streams.result(*comparison_tables(a.name, b.name, found, quiet=quiet))
    for text in found.notes:
        streams.notice(f"note: {text}")


@app.command("verify")
def verify(
    run: RunArgument = "latest",
    run_dir: options.RunDir = DEFAULT_FOLDER,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Train a run again and compare its weights, bit for bit.

    From its folder, in memory; nothing is written. Exits with 3 if they differ, and names what has
    changed: settings, data, torch, threads, platform.
    """
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    found = find_run(run, run_dir)
    from mnistlab.studies.verify import verify_run

    def tell(done: int, total: int) -> None:
        if done == 0:
            streams.notice(f"training it again: {total} epochs or seeds")

    with streams.decoding() as progress:
        outcome = verify_run(found, progress=progress, show=tell)
    streams.document(
        {
            "run": str(found.path),
            "repeats": outcome.repeats,
            "epochs": outcome.epochs,
            "expected": outcome.expected,
            "found": outcome.found,
            "first_difference": outcome.first_epoch,
            "changed": {key: list(values) for key, values in outcome.changed.items()},
            "notes": outcome.notes,
        }
    )
    for text in outcome.notes:
        streams.notice(f"note: {text}")
    from mnistlab.report.runtables import verification_tables

    streams.result(*verification_tables(outcome, quiet=quiet))
    if not outcome.repeats:
        raise CheckError(f"{printable(found.path)}: does not repeat; {_blamed(outcome.changed)}")


def _blamed(changed: dict[str, tuple[object, object]]) -> str:
    if changed:
        return f"changed since: {', '.join(changed)}"
    return "nothing that is recorded has changed: the files of the run or mnistlab's code have"


@app.command("rm")
def rm(
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders, their names, or latest.",
            autocompletion=options.complete_runs,
        ),
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    run_dir: options.RunDir = DEFAULT_FOLDER,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    color: options.ColorOption = options.Color.auto,
) -> None:
    """Delete runs; asks first, unless --force."""
    streams = Streams(as_json=as_json, quiet=quiet, color=color)
    named = [find_run(name, run_dir) for name in run]
    found = list({one.path.resolve(): one for one in named}.values())
    for one in found:  # all is looked at before anything goes
        if foreign := one.foreign_files():
            raise ConfigError(
                f"{printable(one.path)}: holds what no run wrote: "
                f"{', '.join(map(printable, foreign[:5]))}; move that away first, or delete the "
                "folder by hand"
            )
        if one.is_held():
            raise LockedError(f"{printable(one.path)}: is being trained; nothing was deleted")
    if not force:
        if not sys.stdin.isatty() or as_json:
            raise ConfigError("runs rm asks before it deletes; without a terminal give --force")
        for one in found:
            files = sum(1 for path in one.path.rglob("*") if path.is_file())
            typer.echo(f"{printable(one.path)}  {files} files", err=True)
        what = "this run" if len(found) == 1 else f"these {len(found)} runs"
        if not typer.confirm(f"delete {what} for good?", err=True):
            streams.notice("nothing was deleted")
            raise typer.Exit(1)
    for one in found:
        one.delete()
        streams.notice(f"deleted {printable(one.path)}")
    streams.document({"deleted": [str(one.path) for one in found]})
