"""The baseline: pixel similarity, fitted, scored and kept as a run like any other."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.checkpoint import ModelCard, save_model, weights_sha256
from mnistlab.data.folders import ImageFolders
from mnistlab.data.ground import even_ground
from mnistlab.data.named import NAMED
from mnistlab.devices import choose_device, environment
from mnistlab.files import write_whole
from mnistlab.losses import LOSSES, losses_for
from mnistlab.metrics import Evaluation
from mnistlab.models import build_model
from mnistlab.runs import Run, create_run, unwritable
from mnistlab.training import evaluate


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
        even_ground(data.train_ds.tensors[0]),
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
