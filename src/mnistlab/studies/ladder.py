"""From the baseline to the best model on one dataset, step by step."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mnistlab.config import MODEL_NAMES, resolve
from mnistlab.errors import ConfigError
from mnistlab.experiment import prepare
from mnistlab.losses import LOSSES
from mnistlab.training import evaluate

STEPS = ("pixel-similarity", *(model for model in MODEL_NAMES if model != "pixel-similarity"))
# The chapter's accuracies; of pixel similarity and linear a mean over classes or batches.
CHAPTER = {
    "pixel-similarity": 0.9511,
    "linear": 0.9785,
    "two-layer": 0.982336,
    "resnet18": 0.994112,
}
SLOW = ("resnet18",)  # a third of a minute each, where the others take a second or two


@dataclass(frozen=True)
class Step:
    """One model of the ladder: its scores, of `n` images, and what they cost.

    `lift` is its accuracy less that of the step before. `parameters` counts what is trained (for
    the baseline: the pixels of the mean images); `seconds` is fitting and scoring. `chapter` is the
    chapter's figure on MNIST_SAMPLE.
    """

    model: str
    accuracy: float
    balanced_accuracy: float
    interval: tuple[float, float]
    n: int
    errors: int
    lift: float | None
    parameters: int
    seconds: float
    chapter: float | None


def climb(
    name: str,
    settings: dict[str, Any],
    progress: Callable[[str], None] = lambda text: None,
    *,
    full: bool = False,
) -> Iterator[Step]:
    """Fit each model with its defaults (and `settings`: seed, device, …) and score it.

    Yields a `Step` as each is done; a model that the images are too small for is left out. `name`
    is the value of `--data`; `full` adds the slow models; `progress` is called with a line of text.
    """
    before: float | None = None
    for model in STEPS:
        if model in SLOW and not full:
            continue
        progress(f"fitting {model}")
        started = time.perf_counter()
        try:
            experiment = prepare(resolve({**settings, "model": model, "data": name}))
        except ConfigError as error:  # images too small for its stages
            progress(f"left out {model}: {error}")
            continue
        for _ in experiment.train():
            pass
        data, fitted = experiment.data, experiment.now.model.cpu()
        loss_func = LOSSES[experiment.config.loss]
        evaluation = evaluate(fitted, data.valid_ds, data.classes, loss_func)
        accuracy = evaluation.accuracy
        yield Step(
            model,
            accuracy,
            evaluation.balanced_accuracy,
            evaluation.interval,
            evaluation.n,
            evaluation.n - evaluation.correct,
            lift=None if before is None else accuracy - before,
            parameters=experiment.parameters or sum(b.numel() for b in fitted.buffers()),
            seconds=time.perf_counter() - started,
            chapter=CHAPTER.get(model) if name == "mnist_sample" else None,
        )
        before = accuracy
