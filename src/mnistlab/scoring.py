"""A finished model on data: score a run, or fit and score the baseline."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.checkpoint import ModelCard, load_model, save_model, weights_sha256
from mnistlab.data.folders import ImageFolders, ImageSplit, Progress
from mnistlab.data.named import NAMED, load_split
from mnistlab.devices import choose_device, environment
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.files import write_whole
from mnistlab.losses import LOSSES, losses_for
from mnistlab.metrics import Evaluation
from mnistlab.models import build_model
from mnistlab.names import nearest, printable
from mnistlab.runs import Run, create_run, unwritable
from mnistlab.training import evaluate


@dataclass(frozen=True)
class RunScore:
    """What `score_run` found, and on what."""

    card: ModelCard
    data: str
    split: ImageSplit
    evaluation: Evaluation


def open_model(run: Run, *, best: bool = False) -> tuple[nn.Module, ModelCard]:
    """The last (or the best) model of a run. Raises RunError if it has none yet."""
    path = run.best_file if best else run.model_file
    try:
        return load_model(path)
    except FileNotFoundError as error:
        raise RunError(
            f"{printable(path)}: no such file; the run has saved no model yet; "
            f"go on with: mnistlab train --resume {printable(run.reference)}"
        ) from error


def score_run(
    run: Run,
    *,
    data: str | None = None,
    split: str = "valid",
    best: bool = False,
    skip_bad: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> RunScore:
    """Score a run's model on one split of `data` (default: the data it was trained on).

    Classes are matched by name; `data` may hold fewer classes than the model, not others. Bad
    files are skipped if `skip_bad`, and in the run's own data if the run skipped them too.
    Raises RunError, DamagedFileError, DataError, ConfigError.
    """
    target = choose_device(device)
    model, card = open_model(run, best=best)
    name, skip = (data, skip_bad) if data is not None else data_of(run)
    loaded = load_split(name, split, skip_bad=skip_bad or skip, progress=progress)
    ds = matched(loaded, card, name)
    ds = TensorDataset(*(tensor.to(target) for tensor in ds.tensors))
    evaluation = evaluate(model.to(target), ds, card.classes, LOSSES[card.loss])
    return RunScore(card, name, loaded, evaluation)


def data_of(run: Run) -> tuple[str, bool]:
    """The data a run was trained on, and whether its bad files were skipped.

    Raises RunError if the run does not say.
    """
    try:
        config = run.info()["config"]
        return str(config["data"]), bool(config.get("skip_bad", False))
    except (OSError, KeyError, TypeError, AttributeError, DamagedFileError) as error:
        raise RunError(
            f"{printable(run.info_file)}: does not say what data it was; name it with --data"
        ) from error


def matched(split: ImageSplit, card: ModelCard, name: str) -> TensorDataset:
    """`split` with its labels in the order of the model's classes. Raises DataError."""
    faults = [
        f"{printable(name)}: the model knows no class {printable(label)}"
        f"{nearest(label, card.classes)}"
        for label in split.classes
        if label not in card.classes
    ]
    if split.image_size != card.image_size:
        (height, width), (own_height, own_width) = split.image_size, card.image_size
        faults.append(
            f"{printable(name)}: images of {width} x {height} pixels; the model takes "
            f"{own_width} x {own_height}"
        )
    if faults:
        raise DataError(printable(name), faults)
    images, labels = split.ds.tensors
    place = torch.tensor([card.classes.index(label) for label in split.classes])
    return TensorDataset(images, place[labels])


@dataclass(frozen=True)
class Baseline:
    """Pixel similarity, fitted and scored."""

    model: nn.Module
    card: ModelCard
    evaluation: Evaluation
    run: Run


def fit_baseline(
    data: ImageFolders,
    name: str,
    distance: str,
    folder: Path,
    command: list[str],
    *,
    skip_bad: bool = False,
    device: str = "auto",
) -> Baseline:
    """Fit the mean images on the training split, score the other, write a run folder.

    fastbook ch. 4, § "Pixel Similarity". Raises RunError where the folder cannot be written,
    ConfigError for a device that is not there.
    """
    target = choose_device(device)
    started = time.perf_counter()
    card = ModelCard(
        "pixel-similarity",
        data.classes,
        data.image_size,
        {"distance": distance},
        losses_for(len(data.classes))[0],
    )
    model = build_model(card.model, card.image_size, card.classes, distance=distance)
    model.fit(*data.train_ds.tensors)  # type: ignore[operator]
    model.to(target)
    train_ds, valid_ds = (
        TensorDataset(*(tensor.to(target) for tensor in ds.tensors))
        for ds in (data.train_ds, data.valid_ds)
    )
    evaluation = evaluate(model, valid_ds, data.classes, LOSSES[card.loss])
    train_loss = evaluate(model, train_ds, data.classes, LOSSES[card.loss]).loss
    seconds = round(time.perf_counter() - started, 6)
    model.cpu()
    row = {
        "epoch": 0,
        "train_loss": train_loss,
        "valid_loss": evaluation.loss,
        "accuracy": evaluation.accuracy,
        "seconds": seconds,
    }
    settings = {
        "model": card.model,
        "distance": distance,
        "data": name if name in NAMED else str(Path(name).absolute()),
        "device": target.type,
        "skip_bad": skip_bad,
    }
    info = {
        "status": "done",
        "created": datetime.now(UTC).isoformat(),
        "command": command,
        "model": card.model,
        "classes": list(card.classes),
        "config": settings,
        "data": data.describe(),
        "environment": environment(target),
        "result": {
            "accuracy": evaluation.accuracy,
            "best": {"epoch": 0, "accuracy": evaluation.accuracy},
            "epochs": [row],
            "weights_sha256": weights_sha256(model.state_dict()),
        },
    }
    run = _baseline_run(model, card, folder, settings, info)
    return Baseline(model, card, evaluation, run)


def _baseline_run(
    model: nn.Module,
    card: ModelCard,
    folder: Path,
    settings: dict[str, Any],
    info: dict[str, Any],
) -> Run:
    run = create_run(folder, card.model, 0)
    try:
        write_whole(run.config_file, tomli_w.dumps(settings).encode())
        save_model(run.model_file, model.state_dict(), card)
        save_model(run.best_file, model.state_dict(), card)
        run.write_metrics(info["result"]["epochs"])
        run.write_info(info)
    except OSError as error:
        raise unwritable(run.path, error) from error
    return run
