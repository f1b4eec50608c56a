"""`mnistlab baseline pixel-similarity`: the score that any training must beat."""

import sys
from typing import Any

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.names import printable
from mnistlab.resolving import resolve
from mnistlab.runs import DEFAULT_FOLDER


def pixel_similarity(
    out: Output, settings: dict[str, Any], run_dir: flags.RunDir = DEFAULT_FOLDER
) -> None:
    """Score the nearest mean image: the score to beat.

    Every image gets the class whose mean training image is nearest.
    """
    resolved = resolve({"model": "pixel-similarity", **settings})
    from mnistlab.experiment import prepare, start
    from mnistlab.losses import LOSSES
    from mnistlab.training import evaluate

    with out.loading() as progress:
        experiment = prepare(resolved, progress)
    out.read(experiment.data)
    experiment = start(experiment, run_dir, sys.argv)
    run, config = experiment.run, experiment.config
    assert run is not None
    with run.locked():
        list(experiment.train())  # to its end
    valid_ds, loss_func = experiment.on_device()[1], LOSSES[config.loss]
    evaluation = evaluate(experiment.now.model, valid_ds, experiment.card.classes, loss_func)
    out.document(
        {
            "run": str(run.path),
            "model": config.model,
            "distance": config.distance,
            **evaluation.as_dict(),
        }
    )
    out.notice(f"pixel similarity ({config.distance}) on valid of {printable(config.data)}")
    if out.quiet:
        out.result(f"accuracy {evaluation.accuracy:.6f}  run {printable(run.path)}")
    elif out.tables:
        from mnistlab.report.tables import evaluation_tables

        out.result(*evaluation_tables(evaluation))
    out.notice(f"run   {printable(run.path)}\nnext  mnistlab train")
