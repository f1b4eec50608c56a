"""Ctrl-C and termination at a random moment: exit 130 or 143, no traceback, nothing half-written.

Sent to the whole process group, while training, scoring, decoding images, keeping them in the
cache, and unpacking the bundled archive.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.command import Result
from tests.conftest import Examples
from tests.reliability.runs import Training, environment, left_over, make_folders, only_run

LOAD = ("train", "--dry-run", "--json", "--data")


@pytest.fixture
def interrupt(trial: int, training: Training, examples: Examples) -> Callable[..., Result]:
    """Start a command and send it the signal of this trial."""
    number = signal.SIGINT if trial % 2 else signal.SIGTERM
    # of the many, half from their very start, as a user's process
    real = examples(0, 1) == 1 and trial % 4 < 2

    def interrupted(*arguments: str | Path, **options: Any) -> Result:
        moment = Random(trial).random()
        while True:
            ended = training.interrupted(
                number, *arguments, moment=moment, early=trial % 6 < 2, real=real, **options
            )
            # Ctrl-C in Python's own start shows a traceback that is none of mnistlab's
            if "Traceback" not in ended.err or "__main__.py" in ended.err:
                break
            moment += 0.05
        assert "Traceback" not in ended.err, ended.err
        assert ended.code in (0, 128 + number), ended.err
        if ended.code == 0:
            assert ended.json
        return ended

    return interrupted


@pytest.mark.trials(3, 96)
def test_while_training(
    trial: int, interrupt: Callable[..., Result], training: Training, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    interrupt(
        *(*training.arguments, "--json", "--run-dir", runs),
        env=training.env,
        seconds=training.seconds,
        begun=lambda: only_run(runs) is not None,
    )
    assert left_over(tmp_path) == ""
    assert training.fault_when_resumed(runs) == ""


@pytest.mark.trials(1, 40)
def test_while_scoring(trial: int, interrupt: Callable[..., Result], training: Training) -> None:
    score = ("eval", training.run, "--json")
    ended = interrupt(*score, env=training.env, seconds=0.2, begun=lambda: True)
    assert ended.out in ("", training.command(*score).out)


@pytest.mark.trials(1, 44)
def test_while_images_are_decoded_and_kept(
    trial: int, interrupt: Callable[..., Result], training: Training, tmp_path: Path
) -> None:
    images = make_folders(tmp_path / "images", 150, 28)
    assert_loads_afterwards(images, tmp_path / "other", 0.3, interrupt, training, tmp_path)


@pytest.mark.trials(0, 20)
def test_while_the_bundled_data_are_unpacked(
    trial: int,
    interrupt: Callable[..., Result],
    training: Training,
    shared_cache: Path,
    tmp_path: Path,
) -> None:
    assert_loads_afterwards("mnist_sample", shared_cache, 3.0, interrupt, training, tmp_path)


def assert_loads_afterwards(
    data: str | Path,
    other_cache: Path,
    seconds: float,
    interrupt: Callable[..., Result],
    training: Training,
    folder: Path,
) -> None:
    """Interrupt a command that loads `data`; then the same data must come out as from another
    cache."""
    cache = folder / "cache"
    interrupt(*LOAD, data, env=environment(folder), seconds=seconds, begun=cache.exists)
    assert left_over(folder) == ""
    fingerprints = []
    for own in (cache, other_cache):
        env = {**environment(folder), "MNISTLAB_CACHE": str(own)}
        ended = training.command(*LOAD, data, env=env)
        assert ended.code == 0, ended.err
        fingerprints.append(ended.json["data"]["fingerprint"])
    assert fingerprints[0] == fingerprints[1]
