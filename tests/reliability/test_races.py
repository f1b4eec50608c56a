"""Two at once: one is refused and told by whom, or both are right; a kill frees the lock."""

import shutil
import time
from pathlib import Path
from random import Random

import pytest

from tests.reliability.processes import Server
from tests.reliability.runs import (
    RESUME,
    Training,
    environment,
    fault_of_message,
    left_over,
)


@pytest.fixture(scope="module")
def started(training: Training) -> Path:
    return training.started_run(training.folder / "started").parent


@pytest.fixture
def runs(started: Path, tmp_path: Path) -> Path:
    """A folder of one run that was killed in its middle."""
    return Path(shutil.copytree(started, tmp_path / "runs"))


@pytest.mark.trials(1, 50)
def test_of_two_that_resume_a_run_one_is_refused_and_told_by_whom(
    trial: int, training: Training, runs: Path
) -> None:
    two = [training.start(*RESUME, "--run-dir", runs) for _ in range(2)]
    ended = [(process.finish(), process.pid) for process in two]
    (first, pid), (second, _) = sorted(ended, key=lambda pair: pair[0].code)
    if (first.code, second.code) == (0, 1):
        assert f"process {pid}" in second.err
    else:  # the second came when the first was done
        assert (first.code, second.code) == (0, 0), first.err + second.err
        assert "done already" in first.err + second.err
    assert training.fault_of(runs) == ""


@pytest.mark.trials(1, 50)
def test_who_only_looks_is_in_nobodys_way(trial: int, training: Training, runs: Path) -> None:
    resumed = training.start(*RESUME, "--run-dir", runs)
    while resumed.running():
        assert training.command("runs", "list", "--run-dir", runs).code == 0
    assert fault_of_message(resumed.finish(), 0) == ""
    assert training.fault_of(runs) == ""


@pytest.mark.trials(2, 50)
def test_a_run_that_is_resumed_while_it_is_deleted_is_gone_or_trained_to_its_end(
    trial: int, training: Training, runs: Path
) -> None:
    [run] = runs.iterdir()
    delete = ("runs", "rm", run.name, "--force")
    order = [delete, RESUME][:: 1 if trial % 2 else -1]
    two = {command: training.start(*command, "--run-dir", runs) for command in order}
    ended = {command: process.finish() for command, process in two.items()}
    deleted, resumed = ended[delete], ended[RESUME]
    assert "Traceback" not in deleted.err + resumed.err
    if deleted.code == 0:  # it may also have been trained to its end before
        assert list(runs.iterdir()) == []
        assert resumed.code in (0, 1, 2), resumed.err
    else:
        assert (deleted.code, resumed.code) == (1, 0), deleted.err + resumed.err
        assert training.fault_of(runs) == ""


@pytest.mark.trials(1, 50)
def test_the_lock_of_a_process_that_was_killed_holds_nobody_up(
    trial: int, training: Training, runs: Path
) -> None:
    first = training.start(*RESUME, "--run-dir", runs)
    [lock] = runs.glob("*/.lock")
    first.wait_until(lambda: str(first.pid) in lock.read_text())
    time.sleep(Random(trial).random() * 0.05)
    first.send(9)
    first.finish()
    assert training.fault_when_resumed(runs) == ""


@pytest.mark.parametrize("damage", ["none", "cut", "flip"])
@pytest.mark.trials(1, 30)
def test_two_that_fill_one_cache_are_both_right(
    trial: int, damage: str, training: Training, tmp_path: Path
) -> None:
    env = environment(tmp_path)
    chance = Random(trial)
    if damage != "none":
        shutil.copytree(training.folder / "cache", tmp_path / "cache")
        for path in (tmp_path / "cache").rglob("*.*"):
            content = bytearray(path.read_bytes())
            if damage == "cut":
                del content[chance.randrange(len(content) + 1) :]
            elif content:
                content[-chance.randint(1, min(len(content), 256))] ^= 1 << chance.randrange(8)
            path.write_bytes(content)
    folders = [tmp_path / "first", tmp_path / "second"]
    two = [training.start(*training.arguments, "--run-dir", runs, env=env) for runs in folders]
    for process, runs in zip(two, folders, strict=True):
        assert fault_of_message(process.finish(), 0) == ""
        assert training.fault_of(runs) == ""
    assert left_over(tmp_path) == ""


@pytest.mark.trials(0, 4)
def test_two_that_unpack_the_bundled_data_get_the_same(
    trial: int, server: Server, tmp_path: Path
) -> None:
    dry_run = ("train", "--dry-run", "--json")
    env = environment(tmp_path)
    two = [server.start(*dry_run, cwd=tmp_path, env=env) for _ in range(2)]
    first, second = (process.finish() for process in two)
    assert fault_of_message(first, 0) == ""
    assert first.out == second.out
    assert left_over(tmp_path) == ""
