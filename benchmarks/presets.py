"""`python -m benchmarks.presets PRESET SEED [PRECISION]`: train a preset as `mnistlab train` does.

Prints one line of JSON: accuracy, the seconds of all epochs with their evaluation, of the training
alone, and the precision that was used.
"""

import json
import sys
import time
from typing import Any

from mnistlab import training
from mnistlab.experiment import prepare
from mnistlab.resolving import resolve


def main() -> None:
    """Train once and print."""
    name, seed, precision = (*sys.argv[1:], "auto")[:3]
    experiment = prepare(resolve({"seed": int(seed), "precision": precision}, source=name))
    evaluating = 0.0
    evaluate = training.evaluate

    def timed(*args: Any) -> Any:
        nonlocal evaluating
        started = time.perf_counter()
        evaluation = evaluate(*args)
        evaluating += time.perf_counter() - started
        return evaluation

    vars(training)["evaluate"] = timed
    started = time.perf_counter()
    *_, last = experiment.train()
    seconds = time.perf_counter() - started
    found = {
        "accuracy": last.accuracy,
        "seconds": seconds,
        "training": seconds - evaluating,
        "precision": experiment.config.precision,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
