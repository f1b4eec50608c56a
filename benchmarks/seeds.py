"""`python -m benchmarks.seeds`: one linear seed and 128 of them at once."""

import json
import time

from mnistlab.experiment import prepare
from mnistlab.resolving import resolve
from mnistlab.studies.seeds import SeedStudy


def seconds(seeds: int) -> float:
    """Time of 20 epochs with an accuracy for every seed after each."""
    experiment = prepare(resolve({"seeds": seeds}))
    started = time.perf_counter()
    if seeds == 1:
        list(experiment.train())
    else:
        list(SeedStudy(experiment).train())
    return time.perf_counter() - started


if __name__ == "__main__":
    seconds(1)  # warm-up
    print(json.dumps({"one": seconds(1), "many": seconds(128)}))
