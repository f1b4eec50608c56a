"""Over and over: nothing grows; and hundreds of runs are listed in half a second."""

import gc
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from random import Random

import pytest

from mnistlab import train_run
from tests.command import run, run_in_process
from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.reliability.runs import RESUME, Training, make_folders, only_run

WARM_UP = 10  # cycles at most, after which nothing may grow any more
GROWTH = 8.0  # MB of memory: what an allocator's luck may take
RUNS, LISTED_IN = 200, 0.5  # seconds


def test_nothing_grows_while_runs_are_killed_resumed_and_deleted(
    training: Training, tally: Tally, examples: Examples, tmp_path: Path
) -> None:
    """A child trains and is killed; this process resumes the run, and deletes it."""
    count = examples(3, 1000)
    runs, chance = tmp_path / "runs", Random(0)
    memory: list[float] = []
    first: tuple[int, int] | None = None
    for cycle in range(count):
        process = training.start(*training.arguments, "--run-dir", runs)
        time.sleep(chance.random() * (training.seconds * 2 + 0.05))
        process.send(9)
        process.finish()
        for draft in runs.glob(".*-tmp"):  # of a run that was about to appear
            os.utime(draft, (0, 0))  # as if ten minutes had passed: then the next start removes it
        again = training.arguments if only_run(runs) is None else RESUME
        ended = run_in_process(*again, "--run-dir", runs)
        fault = ended.err if ended.code else training.fault_of(runs)
        run_in_process("runs", "rm", "latest", "--force", "--run-dir", runs).ok()
        gc.collect()
        usage = (
            sum(len(names) for top in (tmp_path, training.folder) for _, _, names in os.walk(top)),
            len(os.listdir("/proc/self/fd")),
        )
        if cycle == min(WARM_UP, count // 3):
            first = usage
        elif first is not None and usage != first:
            fault = fault or f"{usage} files and descriptors after {first}"
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        memory.append(pages * os.sysconf("SC_PAGESIZE") / 1e6)
        tally.check(f"cycle {cycle}", fault)
    settled = memory[WARM_UP:]
    if tenth := len(settled) // 10:
        growth = statistics.median(settled[-tenth:]) - statistics.median(settled[:tenth])
        fault = f"memory grew by {growth:.1f} MB" if growth > GROWTH else ""
        tally.check(f"{count} cycles", fault)
        tally.notes.append(f"{count} cycles: {growth:+.1f} MB of {settled[0]:.0f}")


@pytest.mark.skipif(sys.platform != "linux", reason="a time that was measured on Linux")
def test_hundreds_of_runs_are_listed_in_half_a_second(
    tally: Tally, examples: Examples, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    done = train_run({"data": str(make_folders(tmp_path / "data")), "epochs": 20}, folder=runs)
    for number in range(1, RUNS):
        shutil.copytree(done.path, f"{done.path}-{number + 1}")
    seconds = []
    for _ in range(examples(1, 7)):
        started = time.monotonic()
        listed = run("runs", "list", "--json", "--run-dir", runs).ok()
        seconds.append(time.monotonic() - started)
    took = statistics.median(seconds)
    limit = LISTED_IN * examples(10, 1)  # with much to spare where other tests run beside it
    tally.check("the list", "" if len(listed.json["runs"]) == RUNS else listed.out)
    tally.check("its time", f"{took:.2f} s" if took > limit else "")
    tally.notes.append(f"{RUNS} runs are listed in {took:.2f} s")
