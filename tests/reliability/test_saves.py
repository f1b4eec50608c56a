"""Killed at every step of a save: the old file or the new one, whole; then resumed.

The steps are those on the run folder that open, flush, rename, delete or lock something, of a
training that saves after every epoch, of one that is resumed where a kill left a part of a file,
and of the baseline. And the process ends in the middle of a write, at any size of a file.
"""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Examples
from tests.reliability.conftest import Tally, TrainingOf
from tests.reliability.processes import KILLED
from tests.reliability.runs import RESUME, Training, broken_file, only_run


@pytest.mark.parametrize("what", ["train", "resume", "baseline"])
def test_a_kill_at_any_step_leaves_whole_files_and_a_run_that_goes_on(
    what: str, training_of: TrainingOf, tally: Tally, examples: Examples, tmp_path: Path
) -> None:
    training = training_of("pixel-similarity" if what == "baseline" else "linear")
    begun = training.started_run(tmp_path / "begun").parent if what == "resume" else None

    def end(runs: Path, **limits: Any) -> int:
        """Run the command in `runs` until it ends, or something ends it; the exit code."""
        if begun is None:
            runs.mkdir()
        else:
            shutil.copytree(begun, runs)
            state = next(runs.iterdir()) / "resume.safetensors"
            half = state.with_name(f".{state.name}.0123456789ab.mnistlab-tmp")
            half.write_bytes(b"half")
        arguments = RESUME if begun else training.arguments
        return training.command(*arguments, "--run-dir", runs, **limits).code

    runs = tmp_path / "counted"
    assert end(runs, at_step=(0, "count", str(runs))) == 0
    steps = Path(f"{runs}.steps").stat().st_size
    assert steps > 10
    tally.notes.append(f"{steps} steps of {what}")
    for step in range(0, steps, max(1, steps // examples(2, steps))):
        runs = tmp_path / f"step{step}"
        code = end(runs, at_step=(step, "kill", str(runs)))
        fault = f"exit {code}" if code != KILLED else fault_afterwards(training, runs)
        tally.check(f"{what} killed at step {step}", fault)
        shutil.rmtree(runs)
    for size in range(0, 3000, 3000 // examples(1, 100)):
        runs = tmp_path / f"size{size}"
        code = end(runs, file_bytes=size, killed_by_size=True)
        fault = f"exit {code}" if code not in (0, 128 + signal.SIGXFSZ) else ""
        tally.check(f"{what} at {size} bytes", fault or fault_afterwards(training, runs))
        shutil.rmtree(runs)


def fault_afterwards(training: Training, runs: Path) -> str:
    run = only_run(runs)
    return (broken_file(run) if run else "") or training.fault_when_resumed(runs)
