"""`mnistlab runs …`, `eject`, `export`: what was run, side by side, again, for other programs."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import CheckError, ConfigError, LockedError
from mnistlab.files import require_file, require_packages, write_file
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run, list_runs
from mnistlab.summaries import SORTABLE, summaries, summarize
from mnistlab.system import quoted

Target = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE|DIR", help="Write it there.")
]


def list_(
    out: Output,
    sort: Annotated[
        str, typer.Option(metavar="|".join(SORTABLE), help="What to sort by.")
    ] = "created",
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="The largest first.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only N: the last of that order, the first with -r."),
    ] = None,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """List the runs of a folder, the latest last."""
    listed = summaries(run_dir, sort, reverse=reverse, limit=limit)
    total = len(list_runs(run_dir)) if limit else len(listed)
    out.document({"folder": str(run_dir), "runs": [vars(one) for one in listed]})
    if out.quiet:
        out.result(*(printable(one.name) for one in listed))
    elif out.tables and listed:
        from mnistlab.report.tables import runs_lines

        out.result(*runs_lines(listed, out.width, sort))
    if not total:
        out.notice(f"{printable(run_dir)}: no runs yet; make one with: mnistlab train")
    elif len(listed) < total:
        out.notice(f"{len(listed)} of {total} runs")


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
    out.document({**record, "summary": vars(summary), "files": files})
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
        comparison = compare_runs(a, b, settings, split=split, best=best, progress=progress)
    paired, which = comparison.paired, "best" if best else "last"
    out.document(
        {
            "a": {"run": str(a.path), **comparison.a.evaluation.as_dict()},
            "b": {"run": str(b.path), **comparison.b.evaluation.as_dict()},
            "data": comparison.a.data,
            "split": split,
            "weights": which,
            "n": paired.n,
            **asdict(paired),
            "difference": paired.difference,
            "interval": list(paired.interval),
            "p_value": paired.p_value,
            "settings": {key: list(values) for key, values in comparison.settings.items()},
            "notes": comparison.notes,
        }
    )
    out.notice(f"{split} of {printable(comparison.a.data)}, {paired.n} images, {which} weights")
    out.result(*comparison_tables(a.name, b.name, comparison, quiet=out.quiet))
    for text in comparison.notes:
        out.notice(f"note: {text}")


def verify(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    strict: flags.Strict = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Train a run again and compare its weights, bit for bit.

    From its folder, in memory; nothing is written. Exits with 3 if they differ, and names what has
    changed: settings, data, torch, threads, platform.
    """
    the_run = find_run(run, run_dir)
    from mnistlab.studies.verify import verify_run

    with out.loading() as progress:
        outcome = verify_run(
            the_run,
            settings["data"],
            strict=strict,
            progress=progress,
            show=lambda total: out.notice(f"training it again: {total} epochs or seeds"),
        )
    out.document(
        {
            "run": str(the_run.path),
            "repeats": outcome.repeats,
            "epochs": outcome.epochs,
            "expected": outcome.expected,
            "found": outcome.actual,
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
        why = "nothing that is recorded has changed: the files of the run or mnistlab's code have"
        if outcome.changed:
            why = f"changed since: {', '.join(outcome.changed)}"
        raise CheckError(f"{printable(the_run.path)}: does not repeat; {why}")


def rm(
    out: Output,
    run: flags.RunArguments,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Delete runs; asks first, unless --force."""
    named = [find_run(name, run_dir) for name in run]
    chosen = list({one.path.resolve(): one for one in named}.values())
    for one in chosen:  # all is looked at before anything goes
        if foreign := ", ".join(map(printable, one.foreign_files()[:5])):
            why = f"holds what no run wrote: {foreign}"
            remedy = "move that away first, or delete the folder by hand"
            raise ConfigError(f"{printable(one.path)}: {why}; {remedy}")
        if one.is_locked():
            raise LockedError(f"{printable(one.path)}: is being trained; nothing was deleted")
    if not force:
        if not sys.stdin.isatty() or out.as_json:
            raise ConfigError("runs rm asks before it deletes; without a terminal give --force")
        for one in chosen:
            files = sum(1 for path in one.path.rglob("*") if path.is_file())
            typer.echo(f"{printable(one.path)}  {files} files", err=True)
        what = "this run" if len(chosen) == 1 else f"these {len(chosen)} runs"
        if not typer.confirm(f"delete {what} for good?", err=True):
            out.notice("nothing was deleted")
            raise typer.Exit(1)
    for one in chosen:
        one.delete()
        out.notice(f"deleted {printable(one.path)}")
    out.document({"deleted": [str(one.path) for one in chosen]})


def eject(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    output: Annotated[
        Path | None,
        flags.output_file(names=flags.OUTPUT, help="Write it there; must be a new file."),
    ] = None,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Write a run as one plain PyTorch script.

    It trains the same weights, to the bit, and needs no mnistlab.
    """
    chosen = find_run(run, run_dir)
    if output is not None and output.exists():
        raise ConfigError(f"-o {printable(output)}: exists already; name a new file")
    from mnistlab.eject import eject as write_script

    script, folder = write_script(chosen, settings["data"])
    if output is None:
        out.result(script.rstrip("\n"))
    else:
        write_file(output, script.encode())
        out.notice(f"run it with: python {printable(quoted(output, *filter(None, [folder])))}")
    file = None if output is None else str(output)
    out.document({"run": str(chosen.path), "file": file, "script": script})


def export(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    to: Annotated[Literal["onnx"], typer.Option(help="The format.")] = "onnx",
    output: Target = None,
    best: flags.Best = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Write a run's model as ONNX, by default to model.onnx in its folder.

    Beside it a model card, FILE.md. Compared with onnxruntime on all validation images.
    """
    source = find_run(run, run_dir)
    target = Path(output) if output else source.path / "model.onnx"
    require_file(target, (to,), "-o")
    require_packages(f"--to {to}", "onnx", "onnxscript", "onnxruntime")
    from mnistlab.exports.model import export_onnx

    with out.loading() as progress:
        facts = export_onnx(source, target, settings, best, progress)
    facts["file"] = str(target)
    out.document(facts)
    out.result(*(f"{key:<16}{printable(value)}" for key, value in facts.items()))


def export_runs(
    out: Output,
    run: flags.RunArguments,
    to: Annotated[Literal["tensorboard", "mlflow", "csv"], typer.Option(help="The format.")],
    output: Target = None,
    follow: Annotated[bool, typer.Option("--follow", help="Until they are trained.")] = False,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Write runs for TensorBoard, for MLflow (settings, curves, pictures), or as one table.

    By default into the folder tensorboard or mlruns, or runs.csv.
    """
    runs = [find_run(name, run_dir) for name in run]
    target = output or {"csv": "runs.csv", "mlflow": "mlruns"}.get(to, to)
    if to == "csv":
        require_file(Path(target), (to,), "-o")
    else:
        require_packages(f"--to {to}", to, "matplotlib")
    from mnistlab.exports import curves

    curves.FORMATS[to](runs, target, follow, out.skipped)
    out.document({"output": target})
    out.result(printable(target))
