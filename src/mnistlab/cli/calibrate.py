"""`mnistlab calibrate [RUN]`: let a run say when it does not know."""

from typing import Any

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run


def calibrate(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Let a run say when it does not know, with a sibling of it; its weights stay as they are."""
    chosen = find_run(run, run_dir)
    from mnistlab.studies.calibrate import calibrate_run

    with chosen.locked(), out.loading() as progress:
        fitted = calibrate_run(chosen, settings["data"], progress)
    out.document({"run": str(chosen.path), **fitted.figures()})
    out.notice(f"calibrated; next: mnistlab eval {printable(chosen.reference)}")
    out.result(f"temperature {fitted.temperature:.6f}")
