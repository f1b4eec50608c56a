"""`mnistlab data doubt`: the images that are most likely labelled wrongly."""

from dataclasses import astuple, fields
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
        Path | None, typer.Option(metavar="FILE", help="Also write a CSV file for train --exclude.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also show them on a page (HTML).")
    ] = None,
) -> None:
    """Name the images that are most likely labelled wrongly.

    Each image is judged by a model that was trained without it (confident learning).
    """
    from mnistlab.files import require_file, write_csv, write_file

    if csv:
        require_file(csv, ("csv",), "--csv")
    if page:
        require_file(page, ("html",), "--page")
    resolved = resolve({**settings, "model": model, "data": source, "folds": folds})
    from mnistlab.experiment import prepare
    from mnistlab.studies.doubt import Doubt, find_doubts
    from mnistlab.studies.seeds import SeedStudy

    with out.loading() as progress:
        experiment = prepare(resolved, progress)
    out.read(experiment.data)
    assert experiment.folds is not None
    images, study = experiment.folds.images, SeedStudy(experiment)
    with StopSignals() as stop, out.loading("training") as progress:
        for number, _ in enumerate(study.train(stop), 1):
            progress("folds", number, folds)
        if stop() and not study.finished:
            raise typer.Exit(stop.exit_code)
    study.check_diverged()
    ranked, n_confident = find_doubts(images, study.probabilities)
    _, *columns = (each.name for each in fields(Doubt))  # without its place in memory
    rows = [astuple(one)[1:] for one in ranked[:top]]
    out.document(
        {
            "data": experiment.config.data,
            "images": len(images.ds),
            "confident": n_confident,
            "accuracy": study.summary()["mean"],
            "doubts": [dict(zip(columns, row, strict=True)) for row in rows],
        }
    )
    if csv:
        write_csv(csv, columns, rows)
    if page:
        from mnistlab.report.page import render_images
        from mnistlab.report.pictures import Images

        pixels = {
            f"{one.label}, or {one.suggested}?\n{one.probability:.3f}\n{one.file}": images.ds[
                one.index
            ][0]
            for one in ranked[:top]
        }
        note = "Probability of the second class, by a model that was trained without the image."
        worst = "Most likely labelled wrongly, the worst first"
        drawn = [Images(worst, pixels, False, (0, 255), note)]
        write_file(page, render_images(f"Doubtful labels of {source}", drawn).encode())
    from mnistlab.report.tables import table

    cells = [(*row[:3], *(f"{value:.6f}" for value in row[3:])) for row in rows]
    out.result(table(columns, cells, left=3))
    out.notice(f"{n_confident:,} of {len(images.ds):,} images are confidently of another class")
    if csv:
        data = printable(quoted("--data", source, "--exclude", str(csv)))
        out.notice(f"next   look at them; leave them out with: mnistlab train {data}")
