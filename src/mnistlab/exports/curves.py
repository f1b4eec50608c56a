"""Runs for TensorBoard, MLflow and as CSV, from their folders alone.

The files there appear whole, so that a run can be followed while another process trains it.
"""

import csv
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mnistlab.errors import ConfigError, MnistlabError
from mnistlab.files import write_csv
from mnistlab.names import printable
from mnistlab.report.files import draw
from mnistlab.report.sources import Options, run_pictures
from mnistlab.runs import Run

Skipped = Callable[[dict[str, str]], None]  # is told what could not be drawn, and why


def epochs(run: Run, follow: bool) -> Iterator[tuple[int, dict[str, float]]]:
    """The figures of each epoch; with `follow` also of those to come, until nobody trains it."""
    going, seen = True, 0
    while going:
        going = follow and run.is_locked()  # asked first: what is read afterwards is then all
        record = run.record()
        rows = record.result.epochs if record.result else []
        if going and record.config.is_study:
            rows = []  # which seed is the median is known at the end
        for row in rows[seen:]:
            yield row.epoch, row.model_dump(exclude={"epoch"})
        seen = len(rows)
        if going:
            time.sleep(0.5)


def draw_pictures(run: Run, folder: str, skipped: Skipped) -> None:
    """The pictures of a run as PNG files in `folder`."""
    for what in ("curves", "confusion", "mistakes", "weights", "samples"):
        try:
            draw(run_pictures(run, Options(what)), Path(folder, f"{what}.png"))
        except MnistlabError as error:
            skipped({f"{run.name}, {what}": str(error)})


def to_tensorboard(runs: Sequence[Run], output: str, follow: bool, skipped: Skipped) -> None:
    """Event files in `output`/<run>."""
    from torch.utils.tensorboard import SummaryWriter

    for run in runs:
        if (path := Path(output, run.name)).exists():
            raise ConfigError(f"{printable(path)}: exists already; name another folder with -o")
        with SummaryWriter(path) as writer, tempfile.TemporaryDirectory() as folder:
            writer.add_text("settings", run.config_file.read_text("utf-8").replace("\n", "\n\n"))
            for epoch, figures in epochs(run, follow):
                for key, value in figures.items():
                    writer.add_scalar(key, value, epoch)
                writer.flush()
            draw_pictures(run, folder, skipped)
            for file in Path(folder).iterdir():
                writer.add_image(file.stem, np.asarray(Image.open(file)), dataformats="HWC")


def to_mlflow(runs: Sequence[Run], output: str, follow: bool, skipped: Skipped) -> None:
    """The same into a folder of MLflow or, at an address, its server."""
    # without these it reports its use to its makers, and refuses folders
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
    import mlflow

    try:
        mlflow.set_tracking_uri(output if "://" in output else Path(output).absolute().as_uri())
        mlflow.set_experiment("mnistlab")
    except mlflow.MlflowException as error:
        raise ConfigError(f"-o {printable(output)}: {printable(error)[:200]}") from error
    for run in runs:
        with mlflow.start_run(run_name=run.name), tempfile.TemporaryDirectory() as folder:
            mlflow.log_params(run.record().config.applicable())
            for epoch, figures in epochs(run, follow):
                mlflow.log_metrics(figures, step=epoch)
            draw_pictures(run, folder, skipped)
            mlflow.log_artifacts(folder, "pictures")


def to_csv(runs: Sequence[Run], output: str, follow: bool, skipped: Skipped) -> None:
    """One row for each epoch (and seed) of all runs, with all settings."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        list(epochs(run, follow))  # waits for the last
        record, file = run.record(), run.metrics_file
        about = {"run": run.name, "status": record.status, **record.config.applicable()}
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        rows += [about | row for row in csv.DictReader(lines)] or [about]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(Path(output), columns, [[row.get(key, "") for key in columns] for row in rows])


FORMATS = {"tensorboard": to_tensorboard, "mlflow": to_mlflow, "csv": to_csv}
