"""`mnistlab export` and `mnistlab runs export`: runs for other programs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.files import require_file, require_packages
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run

Target = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE|DIR", help="Write it there.")
]


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
