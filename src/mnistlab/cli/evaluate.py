"""`mnistlab eval`, `predict` and `calibrate`: a run's model on images."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import CheckError, ConfigError, DataError
from mnistlab.files import write_csv
from mnistlab.names import listed, printable
from mnistlab.runs import DEFAULT_FOLDER, find_run
from mnistlab.system import quoted

_NARROWEST = 24  # columns for the steps of the preparation, at least


def evaluate(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    split: flags.Split = "valid",
    best: flags.Best = False,
    min_accuracy: flags.MinAccuracy = None,
    top: Annotated[int, typer.Option(metavar="N", min=0, help="How many mistakes to show.")] = 5,
    csv: flags.Csv = None,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Score a run's model, every image once.

    On the data it was trained on, or on --data; classes are matched by name.
    """
    the_run = find_run(run, run_dir)
    from mnistlab.scoring import score_run

    with out.loading() as progress:
        score = score_run(the_run, settings, split=split, best=best, progress=progress)
    out.skipped(score.split.skipped)
    evaluation, mistakes = score.evaluation, score.mistakes(top)
    if csv is not None:
        columns = ("file", "actual", "predicted", "correct", "probability")
        rows = (
            (
                *(v.file, v.actual, v.predicted, int(v.actual == v.predicted), v.probability),
                *v.probabilities.values(),
            )
            for v in score.verdicts()
        )
        write_csv(csv, (*columns, *(f"p_{name}" for name in score.card.classes)), rows)
        out.notice(f"{evaluation.n} predictions written to {printable(csv)}")
    weights = "best" if best else "last"
    out.document(
        {
            "run": str(the_run.path),
            "model": score.card.model,
            "weights": weights,
            "data": score.data,
            "split": split,
            **evaluation.as_dict(),
            **({"calibration": score.calibration} if score.calibration else {}),
            "mistakes": [
                {key: getattr(v, key) for key in ("file", "actual", "predicted", "probability")}
                for v in mistakes
            ],
        }
    )
    out.notice(
        f"{printable(the_run.path)} ({score.card.model}, {weights} weights) on {split} of "
        f"{printable(score.data)}"
    )
    if out.quiet:
        out.result(f"accuracy {evaluation.accuracy:.6f}")
    elif out.tables:
        from mnistlab.report.tables import evaluation_tables, mistakes_table

        out.result(*evaluation_tables(evaluation))
        if mistakes:
            out.result("", mistakes_table(mistakes))
        if score.calibration:
            from mnistlab.report.pictures import reliability_diagram
            from mnistlab.report.terminal import text_picture

            out.result("", text_picture(reliability_diagram(score.calibration)))
    accuracy = evaluation.accuracy
    if min_accuracy is not None and accuracy < min_accuracy:
        raise CheckError(f"accuracy {accuracy:.6f} is below --min-accuracy {min_accuracy:g}")


def _require_run(value: str) -> str:
    """Refuse an image where the run should be."""
    from mnistlab.data.inputs import looks_like_image

    if looks_like_image(value) or os.path.isfile(value):
        raise ConfigError(
            f"{printable(value)}: not a run; name the run first, as in: "
            f"mnistlab predict latest {printable(quoted(value))}"
        )
    return value


def predict(
    out: Output,
    settings: dict[str, Any],
    run: Annotated[str, flags.run_argument(callback=_require_run)],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Image files, folders of them, quoted globs, or - for one on stdin.",
        ),
    ],
    prepare: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(help="Frame the ink of images that need it, of all, or of none: only scale."),
    ] = "auto",
    invert: Annotated[
        bool | None,
        typer.Option(help="Swap dark and light, or do not.  [default: as the image needs]"),
    ] = None,
    best: flags.Best = False,
    csv: flags.Csv = None,
    save_prepared: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write what the model saw as PNG; DIR is new or empty."),
    ] = None,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Predict the class of image files.

    Drawings and photos are first made like the training images: ink found, inverted if it is dark
    on light, scaled and centred. Images that are like them already pass unchanged.
    """
    skip_bad, device, threads = map(settings.get, ("skip_bad", "device", "threads"))
    if save_prepared is not None:
        where = f"--save-prepared {printable(save_prepared)}"
        is_empty = save_prepared.is_dir() and not os.listdir(save_prepared)
        if os.path.lexists(save_prepared) and not is_empty:
            raise ConfigError(f"{where}: exists already; name a new or an empty folder")
        if not save_prepared.absolute().parent.is_dir():
            raise ConfigError(f"{where}: not a name in an existing folder")
    source = find_run(run, run_dir)
    from mnistlab import scoring
    from mnistlab.calibration import calibration_of
    from mnistlab.data.inputs import STDIN, find_inputs
    from mnistlab.devices import choose_device, set_threads

    set_threads(source.threads if threads is None else threads)
    target = choose_device(device or "auto")
    model, card = scoring.open_model(source, best=best)
    calibration = calibration_of(source, model)
    inputs, stdin = find_inputs(images), b""
    if STDIN in inputs.names:
        if sys.stdin is None or sys.stdin.isatty():
            raise ConfigError("-: nothing on stdin; pipe an image into it: ... - < three.png")
        stdin = sys.stdin.buffer.read()
    label = printable(images[0]) if len(images) == 1 else "all images"
    with out.loading() as progress:
        results, faults = scoring.predict_images(
            model.to(target),
            card,
            inputs.names,
            how=prepare,
            invert=invert,
            stdin=stdin,
            calibration=calibration,
            progress=lambda done, total: progress(label, done, total),
        )
    inputs.faults.update(faults)
    lines = [f"{printable(name)}: {fault}" for name, fault in inputs.faults.items()]
    if lines and not (skip_bad and results):
        advice = ["go on without them with --skip-bad"] if results else []
        if any("no ink found" in line for line in lines):
            advice.append("take an image as it is with --prepare never")
        raise DataError("images", lines, "; ".join(advice))
    for line in lines:
        out.notice(f"skipped {line}")
    if inputs.left_out:
        out.notice(
            f"left out, not images: {listed(Counter(map(printable, inputs.left_out)), '{}')}"
        )

    if csv is not None:
        header = ["file", "class", "probability", *(f"p_{name}" for name in card.classes)]
        header += ["sure"] if calibration else []
        answers = (
            (r.file, r.predicted, r.probability, *r.probabilities.values(), int(r.sure))
            for r in results
        )
        write_csv(csv, header, (row[: len(header)] for row in answers))
    if save_prepared is not None:
        scoring.save_prepared(save_prepared, results)
    weights = "best" if best else "last"
    out.document(
        {
            "run": str(source.path),
            "model": card.model,
            "weights": weights,
            "predictions": [
                {
                    "file": result.file,
                    "class": result.predicted,
                    "probability": result.probability,
                    "probabilities": result.probabilities,
                    "sure": result.sure,
                    "fits": list(result.fits),
                    "prepared": list(result.steps),
                    "inverted": result.inverted,
                }
                for result in results
            ],
            "skipped": inputs.faults,
            "left_out": inputs.left_out,
        }
    )
    out.notice(
        f"{printable(source.path)} ({card.model}, {weights} weights) takes every image for "
        f"one of {listed(Counter(map(printable, card.classes)), '{}')}"
    )
    columns = ("file", "class", "probability", "prepared")
    rows = [(r.file, r.answer, f"{r.probability:.4f}", ", ".join(r.steps) or "-") for r in results]
    if out.quiet:
        out.result(*("\t".join(map(printable, row[:3])) for row in rows))
    elif out.tables:
        from mnistlab.report.tables import table

        drawn = table(columns, rows)
        drawn.columns[1].justify = drawn.columns[3].justify = "left"
        if sys.stdout.isatty():  # long steps continue below in their own column
            cells = [[len(printable(cell)) for cell in row[:3]] for row in (columns, *rows)]
            left = sum(max(column) + 3 for column in zip(*cells, strict=True))
            drawn.columns[3].no_wrap = False
            drawn.columns[3].max_width = max(out.width - left, _NARROWEST)
        out.result(drawn)


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
