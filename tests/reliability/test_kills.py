"""Killed at a random moment and resumed: as if it had never been."""

import shutil
import signal
from pathlib import Path
from random import Random

import pytest

from tests.conftest import Examples
from tests.reliability.conftest import TrainingOf
from tests.reliability.processes import KILLED
from tests.reliability.runs import RESUME, broken_file, only_run

# The model of each trial, over and over: a few examples are the first ones.
MODELS = [
    *(["linear"] * 3 + ["cnn", "pixel-similarity"] * 2 + ["linear"] * 3),
    *(["two-layer"] * 5 + ["cnn"] * 3 + ["linear", "resnet18"]),
]


@pytest.mark.trials(3, 200)
def test_a_run_killed_at_any_moment_ends_as_if_it_had_never_been(
    trial: int, training_of: TrainingOf, examples: Examples, tmp_path: Path
) -> None:
    measured = training_of(MODELS[trial % len(MODELS)])
    # of the many, half are killed from their very start, as a user's process
    real = examples(0, 1) == 1 and trial // len(MODELS) % 2 == 1
    runs, chance = tmp_path / "runs", Random(trial)
    moment = chance.random()

    def kill(*arguments: str | Path) -> int:
        return measured.interrupted(
            signal.SIGKILL,
            *(*arguments, "--run-dir", runs),
            moment=moment,
            begun=lambda: only_run(runs) is not None,
            seconds=measured.seconds,
            early=trial % 5 == 0,
            real=real,
        ).code

    while kill(*measured.arguments) != KILLED:
        shutil.rmtree(runs)
        moment *= 0.7  # it was faster than before
    run = only_run(runs)
    if run is not None:
        assert broken_file(run) == ""
        if trial % 3 == 0 and "baseline" not in measured.arguments:
            kill(*RESUME)  # and once more while it is resumed
    assert measured.fault_when_resumed(runs) == ""
