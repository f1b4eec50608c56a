"""From the baseline to the best model on one dataset, step by step."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mnistlab import book
from mnistlab.config import MODEL_DEFAULTS, resolve
from mnistlab.data.folders import ImageData
from mnistlab.errors import ConfigError
from mnistlab.experiment import prepare
from mnistlab.losses import LOSSES, losses_for
from mnistlab.metrics import Evaluation
from mnistlab.models import build_model
from mnistlab.training import evaluate

STEPS = ("pixel-similarity", *MODEL_DEFAULTS)
SLOW = ("resnet18",)  # a third of a minute each, where the others take a second or two


@dataclass(frozen=True)
class Step:
    """One model of the ladder. `lift` is its accuracy less that of the step before.

    `parameters` counts what is trained (for the baseline: the pixels of the mean images);
    `seconds` is fitting and scoring. `chapter` is the chapter's figure on MNIST_SAMPLE.
    """

    model: str
    evaluation: Evaluation
    lift: float | None
    parameters: int
    seconds: float
    chapter: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "model": self.model,
            "accuracy": self.evaluation.accuracy,
            "balanced_accuracy": self.evaluation.balanced_accuracy,
            "interval": list(self.evaluation.interval),
            "n": self.evaluation.n,
            "errors": self.evaluation.n - self.evaluation.correct,
            "lift": self.lift,
            "parameters": self.parameters,
            "seconds": self.seconds,
            "chapter": self.chapter,
        }


def climb(
    data: ImageData,
    name: str,
    settings: dict[str, Any],
    progress: Callable[[str], None] = lambda text: None,
    *,
    full: bool = False,
) -> Iterator[Step]:
    """Fit each model with its defaults (and `settings`: seed, device, …) and score it.

    Yields a `Step` as each is done; a model that the images are too small for is left out. `name`
    is what `--data` said; `full` adds the slow models; `progress` is told what happens.
    """
    before: float | None = None
    for model in STEPS:
        if model in SLOW and not full:
            continue
        progress(f"fitting {model}")
        started = time.perf_counter()
        try:
            evaluation, parameters = _fitted(data, name, model, settings)
        except ConfigError as error:  # images too small for its stages
            progress(f"left out {model}: {error}")
            continue
        seconds = time.perf_counter() - started
        lift = None if before is None else evaluation.accuracy - before
        before = evaluation.accuracy
        chapter = book.LADDER.get(model) if name == "mnist_sample" else None
        yield Step(model, evaluation, lift, parameters, seconds, chapter)


def _fitted(
    data: ImageData, name: str, model: str, settings: dict[str, Any]
) -> tuple[Evaluation, int]:
    if model == "pixel-similarity":
        return _baseline(data)
    return _trained(name, model, settings)


def _baseline(data: ImageData) -> tuple[Evaluation, int]:
    model = build_model("pixel-similarity", data.image_size, data.classes)
    model.fit(*data.train_ds.tensors)  # type: ignore[operator]
    loss = LOSSES[losses_for(len(data.classes))[0]]
    evaluation = evaluate(model, data.valid_ds, data.classes, loss)
    return evaluation, sum(buffer.numel() for buffer in model.buffers())


def _trained(name: str, model: str, settings: dict[str, Any]) -> tuple[Evaluation, int]:
    experiment = prepare(resolve({**settings, "model": model, "data": name}))
    for _ in experiment.train():
        pass
    data = experiment.data
    loss = LOSSES[experiment.config.loss]
    evaluation = evaluate(experiment.model.cpu(), data.valid_ds, data.classes, loss)
    return evaluation, experiment.parameters
