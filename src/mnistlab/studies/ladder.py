"""From the baseline to the best model on one dataset, step by step."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from mnistlab.config import MODEL_NAMES
from mnistlab.errors import ConfigError
from mnistlab.experiment import prepare
from mnistlab.losses import LOSSES
from mnistlab.resolving import resolve
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


def climb(
    name: str,
    settings: dict[str, Any],
    progress: Callable[[str], None] = lambda text: None,
    *,
    full: bool = False,
) -> Iterator[dict[str, Any]]:
    """Fit each model with its defaults (and `settings`: seed, device, …) and score it.

    Yields a step as each is done, as in the JSON document; a model that the images are too small
    for is left out. `lift` is its accuracy less that of the step before, `parameters` counts what
    is trained (for the baseline: the pixels of the mean images), `seconds` is fitting and scoring,
    `chapter` the chapter's figure on MNIST_SAMPLE. `name` is the value of `--data`; `full` adds the
    slow models; `progress` is called with a line of text.
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
        list(experiment.train())  # to its end
        data, fitted = experiment.data, experiment.now.model.cpu()
        loss_func = LOSSES[experiment.config.loss]
        evaluation = evaluate(fitted, data.valid_ds, data.classes, loss_func)
        accuracy = evaluation.accuracy
        yield {
            "model": model,
            "accuracy": accuracy,
            "balanced_accuracy": evaluation.balanced_accuracy,
            "interval": list(evaluation.interval),
            "n": evaluation.n,
            "errors": evaluation.n - evaluation.correct,
            "lift": None if before is None else accuracy - before,
            "parameters": experiment.parameters or sum(b.numel() for b in fitted.buffers()),
            "seconds": time.perf_counter() - started,
            "chapter": CHAPTER.get(model) if name == "mnist_sample" else None,
        }
        before = accuracy
