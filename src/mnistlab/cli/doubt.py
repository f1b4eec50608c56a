"""`mnistlab data doubt`: the images that are most likely labelled wrongly."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mnistlab.cli.output import Output
from mnistlab.cli.signals import StopSignals
from mnistlab.names import printable
from mnistlab.resolving import resolve
from mnistlab.system import quoted


def doubt(
    out: Output,
    settings: dict[str, Any],
    source: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder or dataset, as for train --data.")
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The model that judges, as for train.")
    ] = "cnn",
    folds: Annotated[
        int, typer.Option("--folds", metavar="N", min=2, help="How many models share the images.")
    ] = 5,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="How many images to name.")
    ] = 20,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write them as CSV, for train --exclude."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE", help="Also show them on a page (HTML)."),
    ] = None,
) -> None:
    """Name the images that are most likely labelled wrongly.

    Each image is judged by a model that was trained without it (confident learning).
    """
    from mnistlab.files import require_file, write_file

    if csv:
        require_file(csv, ("csv",), "--csv")
    if page:
        require_file(page, ("html",), "--page")
    given = {key: value for key, value in settings.items() if value is not None}
    own = {"model": model, "data": source, "folds": folds}
    resolved = resolve(given | own)
    from mnistlab.experiment import prepare
    from mnistlab.studies.doubt import find_doubts
    from mnistlab.studies.seeds import FoldStudy

    with out.loading() as progress:
        experiment = prepare(resolved, progress)
    out.read(experiment.data)
    study = FoldStudy(experiment)
    with StopSignals() as stop, out.training() as progress:
        for number, _ in enumerate(study.train(stop), 1):
            progress("folds", number, folds)
        if stop() and not study.finished:
            raise typer.Exit(stop.exit_code)
    study.check_diverged()
    found = find_doubts(study.folds.images, study.probabilities)
    named = found.ranked[:top]
    rows = [
        (one.file, one.label, one.suggested, one.probability, one.of_label, one.margin)
        for one in named
    ]
    columns = ("file", "label", "suggested", "probability", "of_label", "margin")
    out.document(
        {
            "data": experiment.config.data,
            "images": len(study.folds.images.ds),
            "confident": found.n_confident,
            "accuracy": study.summary()["mean"],
            "doubts": [dict(zip(columns, row, strict=True)) for row in rows],
        }
    )
    if csv:
        out.csv(csv, columns, rows)
    if page:
        from mnistlab.report.page import render_doubts

        write_file(page, render_doubts(named, study.folds.images, source).encode())
    if not out.as_json:
        from mnistlab.report.tables import table

        cells = [(*row[:3], *(f"{value:.6f}" for value in row[3:])) for row in rows]
        out.result(table(columns, cells, left=3))
    out.notice(
        f"{found.n_confident:,} of {len(study.folds.images.ds):,} images are confidently of "
        "another class than their label"
    )
    if csv:
        data = printable(quoted("--data", source, "--exclude", str(csv)))
        out.notice(f"next   look at them; leave them out with: mnistlab train {data}")
