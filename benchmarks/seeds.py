"""`python -m benchmarks.seeds WHAT`: many models at once, and what scikit-learn takes for one.

Prints one line of JSON, the seconds of each. All are trained on the 3s and 7s, 20 epochs of a
linear model, 40 of a two-layer one, with an accuracy after each epoch; the data are in memory.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from mnistlab import load_data
from mnistlab.experiment import prepare
from mnistlab.resolving import resolve
from mnistlab.studies.seeds import SeedStudy

data = load_data()


def ours(**settings: Any) -> float:
    """Seconds of the training alone."""
    experiment = prepare(resolve(settings), data=data)
    started = time.perf_counter()
    list((SeedStudy(experiment) if experiment.config.is_study else experiment).train())
    return time.perf_counter() - started


def theirs(model: Any, epochs: int) -> float:
    """Seconds of `partial_fit` and `score`, an epoch at a time, on float32 rows."""
    (x, y), (valid_x, valid_y) = (
        (images.flatten(1).float().div(255).numpy(), labels.numpy())
        for images, labels in (data.train_ds.tensors, data.valid_ds.tensors)
    )
    started = time.perf_counter()
    for _ in range(epochs):
        model.partial_fit(x, y, classes=[0, 1])
        model.score(valid_x, valid_y)
    return time.perf_counter() - started


def sgd() -> Any:
    """A linear model; a step an image, as scikit-learn does it."""
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(loss="log_loss", random_state=0)


def mlp() -> Any:
    """The same net, batches and rate as ours."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        (30,), solver="sgd", batch_size=256, learning_rate_init=0.1, momentum=0, alpha=0,
        random_state=0,
    )  # fmt: skip


JOBS: dict[str, Callable[[], float]] = {
    "linear: one seed": lambda: ours(),
    "linear: 128 seeds at once": lambda: ours(seeds=128),
    "linear: 5 folds": lambda: ours(folds=5),
    "two-layer: one seed": lambda: ours(model="two-layer"),
    "two-layer: 24 seeds with one order, at once": lambda: ours(
        model="two-layer", seeds=24, order_seed=0
    ),
    "two-layer: 2 seeds, each in its own order": lambda: ours(model="two-layer", seeds=2),
    "scikit-learn SGDClassifier: one seed": lambda: theirs(sgd(), 20),
    "scikit-learn MLPClassifier: one seed": lambda: theirs(mlp(), 40),
}

if __name__ == "__main__":
    ours(epochs=1)  # warm-up
    wanted = sys.argv[1:] or list(JOBS)
    print(json.dumps({name: JOBS[name]() for name in wanted}))
