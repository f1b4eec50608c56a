"""`mnistlab calibrate [RUN]`: let a run say when it does not know."""

from typing import Any

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, Run, find_run


def calibrate(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Let a run say when it does not know.

    A sibling is trained on nine tenths of the training images, and probabilities are fitted on the
    last tenth; a guard learns what images look like. The weights of the run stay as they are.
    """
    chosen = find_run(run, run_dir)
    with chosen.locked():
        document = show_calibration(chosen, out, settings["data"])
    out.document(document)
    if out.quiet:
        out.result(f"temperature {document['temperature']:.6f}")


def show_calibration(run: Run, out: Output, data: str | None = None) -> dict[str, Any]:
    """Calibrate `run`, say so in notices, and return the figures for JSON."""
    from mnistlab.studies.calibrate import calibrate_run

    with out.loading() as progress:
        fitted = calibrate_run(run, data, progress)
    out.notice(
        f"written {printable(run.calibration_file)}: temperature {fitted.temperature:.3f}, "
        f"fits from {1 - fitted.quantile:.4f} on, familiar from {fitted.threshold:.2f} on\n"
        f"next    mnistlab eval {printable(run.reference)}"
    )
    return {"run": str(run.path), "weights_sha256": fitted.weights_sha256, **fitted.figures()}
