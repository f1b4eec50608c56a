"""`python -m benchmarks.presets PRESET SEED`: train a preset as `mnistlab train` does.

Prints one line of JSON: accuracy, the seconds of all epochs with their evaluation, and of the
training alone.
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
    name, seed = sys.argv[1], int(sys.argv[2])
    experiment = prepare(resolve({"seed": seed}, source=name))
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
    found = {"accuracy": last.accuracy, "seconds": seconds, "training": seconds - evaluating}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
