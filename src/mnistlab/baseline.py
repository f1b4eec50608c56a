"""The baseline: pixel similarity, fitted, scored and kept as a run like any other."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.data.folders import ImageData
from mnistlab.data.ground import even_ground
from mnistlab.data.named import NAMED
from mnistlab.devices import choose_device, environment
from mnistlab.files import write_whole
from mnistlab.losses import LOSSES, losses_for
from mnistlab.metrics import Evaluation
from mnistlab.models import build_model
from mnistlab.runs import Run, create_run
from mnistlab.storage import ModelCard, save_model, weights_sha256
from mnistlab.training import evaluate


@dataclass(frozen=True)
class Baseline:
    """Pixel similarity, fitted and scored. `train_loss` is that on the training images."""

    model: nn.Module
    card: ModelCard
    evaluation: Evaluation
    train_loss: float
    seconds: float


def fit_baseline(data: ImageData, distance: str, device: str = "auto") -> Baseline:
    """Fit the mean images on the training split and score the other.

    fastbook ch. 4, § "Pixel Similarity". Raises ConfigError for a device that is not there.
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
    return Baseline(model.cpu(), card, evaluation, train_loss, seconds)


def save_baseline(
    baseline: Baseline,
    data: ImageData,
    settings: dict[str, Any],
    folder: Path,
    command: list[str],
) -> Run:
    """Write a run folder for a baseline below `folder`.

    `settings`: `data` (name or folder), `device`, `skip_bad`. Raises RunError where it cannot be
    written.
    """
    accuracy = baseline.evaluation.accuracy
    device = choose_device(settings["device"])
    row = {
        "epoch": 0,
        "train_loss": baseline.train_loss,
        "valid_loss": baseline.evaluation.loss,
        "accuracy": accuracy,
        "seconds": baseline.seconds,
    }
    name = settings["data"]
    config = {
        "model": baseline.card.model,
        **baseline.card.settings,
        "data": name if name in NAMED else str(Path(name).absolute()),
        "device": device.type,
        "skip_bad": settings["skip_bad"],
    }
    info = {
        "status": "done",
        "created": datetime.now(UTC).isoformat(),
        "command": command,
        "model": baseline.card.model,
        "classes": list(baseline.card.classes),
        "config": config,
        "data": data.describe(),
        "environment": environment(device),
        "result": {
            "accuracy": accuracy,
            "best": {"epoch": 0, "accuracy": accuracy},
            "epochs": [row],
            "weights_sha256": weights_sha256(baseline.model.state_dict()),
        },
    }

    def fill(run: Run) -> None:
        write_whole(run.config_file, tomli_w.dumps(config).encode())
        for file in (run.model_file, run.best_file):
            save_model(file, baseline.model.state_dict(), baseline.card)
        run.write_metrics([row])
        run.write_info(info)

    return create_run(folder, baseline.card.model, 0, fill)
