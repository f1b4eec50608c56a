"""Killed at a random moment and resumed: as if it had never been."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.reliability.processes import KILLED, Server
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


@pytest.mark.trials(6, 200)
def test_a_run_killed_at_any_moment_ends_as_if_it_had_never_been(
    trial: int,
    training: Callable[[str], Training],
    examples: Callable[[int, int], int],
    tmp_path: Path,
) -> None:
    measured = training(MODELS[trial % len(MODELS)])
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
