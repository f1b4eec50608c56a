"""Killed at a random moment and resumed: as if it had never been."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.reliability.processes import KILLED, Server, start_real
from tests.reliability.runs import RESUME, Training, broken_file, make_folders, only_run

SETTINGS = {
    "linear": ("--epochs", "8"),
    "two-layer": ("--epochs", "8", "--hidden", "4"),
    "cnn": ("--epochs", "6", "--channels", "4", "--hidden", "4"),
    "resnet18": ("--epochs", "2", "--batch-size", "12"),
}
# The model of each trial, over and over: a few examples are the first ones.
MODELS = [
    *(["linear"] * 3 + ["cnn", "pixel-similarity"] * 2 + ["linear"] * 3),
    *(["two-layer"] * 5 + ["cnn"] * 3 + ["linear", "resnet18"]),
]


@pytest.fixture(scope="module")
def training(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Training]:
    """The training of a model, measured when it is first asked for."""
    measured: dict[str, Training] = {}

    def training_of(model: str) -> Training:
        if model not in measured:
            folder = tmp_path_factory.mktemp(model)
            arguments: tuple[str, ...] = ("train", "--model", model, "--batch-size", "7")
            if model == "pixel-similarity":
                arguments = ("baseline", model)
            data = ("--data", str(make_folders(folder / "data")))
            measured[model] = Training(
                server, folder, (*arguments, *SETTINGS.get(model, ()), *data)
            )
        return measured[model]

    return training_of


@pytest.mark.trials(7, 200)
def test_a_run_killed_at_any_moment_ends_as_if_it_had_never_been(
    trial: int,
    training: Callable[[str], Training],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    measured = training(MODELS[trial % len(MODELS)])
    # half of the many are killed from their very start, as a user's process
    real = request.config.getoption("campaign", False) and trial // len(MODELS) % 2 == 1
    runs = tmp_path / "runs"
    chance = Random(trial)
    kill(measured, runs, bool(real), early=trial % 5 == 0, moment=chance.random())
    run = only_run(runs)
    if run is not None:
        assert broken_file(run) == ""
    fitted = "baseline" in measured.arguments  # in an instant
    if run is not None and trial % 3 == 0 and not fitted:  # and once more while it is resumed
        resumed = measured.start(*RESUME, "--run-dir", runs)
        time.sleep(measured.seconds * chance.random())
        resumed.send(9)
        resumed.finish()
    assert measured.fault_when_resumed(runs) == ""


def kill(training: Training, runs: Path, real: bool, early: bool, moment: float) -> None:
    """Start the training until it is killed before its end; `moment` is 0…1 of its time."""
    arguments = (*training.arguments, "--run-dir", str(runs))
    while True:
        if real:
            process = start_real(*arguments, cwd=training.folder, env=training.env)
        else:
            process = training.start(*arguments)
        if early:
            time.sleep(moment * (1.5 if real else 0.1))
        else:
            process.wait_until(lambda: only_run(runs) is not None)
            time.sleep(moment * training.seconds)
        process.send(9)
        if process.finish().code == KILLED:
            return
        shutil.rmtree(runs)
        moment *= 0.7  # it was faster than before
