"""`mnistlab runs …`: what was run, side by side, and whether it repeats."""

import sys
from typing import Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import CheckError, ConfigError, LockedError
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run, list_runs, summaries, summarize


def list_(
    out: Output,
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
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """List the runs of a folder, the latest last."""
    shown = summaries(run_dir, sort, reverse=reverse, limit=limit)
    total = len(list_runs(run_dir)) if limit else len(shown)
    out.document({"folder": str(run_dir), "runs": [one.as_dict() for one in shown]})
    if out.quiet:
        out.result(*(printable(one.name) for one in shown))
    elif out.tables and shown:
        from mnistlab.report.tables import runs_lines

        out.result(*runs_lines(shown, out.width, sort))
    if not total:
        out.notice(f"{printable(run_dir)}: no runs yet; make one with: mnistlab train")
    elif len(shown) < total:
        out.notice(f"{len(shown)} of {total} runs")


def show(
    out: Output,
    run: flags.RunArgument = "latest",
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Show a run: settings, result, data, environment, files."""
    the_run = find_run(run, run_dir)
    record = the_run.record().as_dict() if the_run.record_file.exists() else {}
    summary = summarize(the_run)
    files = {
        path.name: path.stat().st_size
        for path in sorted(the_run.path.iterdir())
        if not path.name.startswith(".")
    }
    out.document({**record, "summary": summary.as_dict(), "files": files})
    if not out.as_json:
        from mnistlab.report.tables import run_tables

        out.result(*run_tables(summary, record, files, epochs=not out.quiet))


def compare(
    out: Output,
    settings: dict[str, Any],
    first: flags.RunArgument,
    second: flags.RunArgument,
    split: flags.Split = "valid",
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Compare two runs on the same images.

    Image by image: both right, only A, only B, neither; an exact McNemar test, and the difference
    of the accuracies with its 95 % interval. On the data of A, or on --data.
    """
    a, b = find_run(first, run_dir), find_run(second, run_dir)
    from mnistlab.report.tables import comparison_tables
    from mnistlab.studies.compare import compare_runs

    with out.loading() as progress:
        found = compare_runs(a, b, settings, split=split, best=best, progress=progress)
    paired = found.paired
    out.document(
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
    out.notice(f"{split} of {printable(found.a.data)}, {paired.n} images, {which} weights")
    out.result(*comparison_tables(a.name, b.name, found, quiet=out.quiet))
    for text in found.notes:
        out.notice(f"note: {text}")


def verify(
    out: Output,
    run: flags.RunArgument = "latest",
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Train a run again and compare its weights, bit for bit.

    From its folder, in memory; nothing is written. Exits with 3 if they differ, and names what has
    changed: settings, data, torch, threads, platform.
    """
    found = find_run(run, run_dir)
    from mnistlab.studies.verify import verify_run

    def tell(done: int, total: int) -> None:
        if done == 0:
            out.notice(f"training it again: {total} epochs or seeds")

    with out.loading() as progress:
        outcome = verify_run(found, progress=progress, show=tell)
    out.document(
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
        out.notice(f"note: {text}")
    from mnistlab.report.tables import verification_tables

    out.result(*verification_tables(outcome, quiet=out.quiet))
    if not outcome.repeats:
        raise CheckError(f"{printable(found.path)}: does not repeat; {_blamed(outcome.changed)}")


def _blamed(changed: dict[str, tuple[object, object]]) -> str:
    if changed:
        return f"changed since: {', '.join(changed)}"
    return "nothing that is recorded has changed: the files of the run or mnistlab's code have"


def rm(
    out: Output,
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders, their names, or latest.",
            autocompletion=flags.complete_runs,
        ),
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Delete runs; asks first, unless --force."""
    named = [find_run(name, run_dir) for name in run]
    found = list({one.path.resolve(): one for one in named}.values())
    for one in found:  # all is looked at before anything goes
        if foreign := one.foreign_files():
            raise ConfigError(
                f"{printable(one.path)}: holds what no run wrote: "
                f"{', '.join(map(printable, foreign[:5]))}; move that away first, or delete the "
                "folder by hand"
            )
        if one.is_locked():
            raise LockedError(f"{printable(one.path)}: is being trained; nothing was deleted")
    if not force:
        if not sys.stdin.isatty() or out.as_json:
            raise ConfigError("runs rm asks before it deletes; without a terminal give --force")
        for one in found:
            files = sum(1 for path in one.path.rglob("*") if path.is_file())
            typer.echo(f"{printable(one.path)}  {files} files", err=True)
        what = "this run" if len(found) == 1 else f"these {len(found)} runs"
        if not typer.confirm(f"delete {what} for good?", err=True):
            out.notice("nothing was deleted")
            raise typer.Exit(1)
    for one in found:
        one.delete()
        out.notice(f"deleted {printable(one.path)}")
    out.document({"deleted": [str(one.path) for one in found]})
