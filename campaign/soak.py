"""Over and over: nothing grows; and hundreds of runs are listed in half a second.

A cycle: a child trains and is killed at a random moment; this process resumes the run to its end,
checks it and deletes it. After each one the files, the open descriptors and after all of them the
memory of this long-lived process must be what they were.
"""

import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from campaign.commands import command, surroundings
from campaign.forks import become, get_ready
from campaign.images import make_folders
from campaign.kept import Whole, fault_of, only_run
from campaign.tally import CORES, SkippedError, Tally, side_by_side
from mnistlab.files import is_temporary
from mnistlab.runs import Run

CHECKOUT = Path(__file__).parents[1]
WARM_UP = 10  # cycles at most, after which nothing may grow any more
GROWTH = 8.0  # MB of memory: what an allocator's luck may take
RUNS, LISTED_IN = 200, 0.5  # seconds


@dataclass(frozen=True)
class Usage:
    """What may not grow."""

    files: int
    descriptors: int


class Cycles:
    """The long-lived process."""

    def __init__(self, folder: Path, seed: int) -> None:
        from mnistlab.experiment import train_run

        self.folder, self.chance = folder, random.Random(seed)
        self.runs = folder / "runs"
        self.settings = {"data": str(make_folders(folder / "data")), "epochs": 4, "batch_size": 7}
        for _ in range(2):  # the first one also fills the cache
            started = time.monotonic()
            run = train_run(self.settings, folder=self.runs)
            self.seconds = time.monotonic() - started
            result = run.info()["result"]
            self.whole = Whole((), len(result["epochs"]), result["weights_sha256"])
            run.delete()

    def cycle(self) -> str | None:
        """Train, kill, resume, check, delete."""
        from mnistlab.experiment import train_run

        self._killed_child()
        for path in self.runs.iterdir():  # of a run that never appeared; ten minutes later
            if is_temporary(path.name):
                os.utime(path, (0, 0))
        run = only_run(self.runs)
        if run is None:
            run = train_run(self.settings, folder=self.runs)
        else:
            self._resume(run)
        fault = fault_of(run, self.whole)
        run.delete()
        return fault

    def _killed_child(self) -> None:
        pid = os.fork()
        if pid == 0:
            told = {
                "arguments": [
                    *("train", "--data", self.settings["data"], "--run-dir", str(self.runs)),
                    *("--epochs", "4", "--batch-size", "7"),
                ],
                "cwd": str(self.folder),
                "env": dict(os.environ),
                "out": str(self.folder / "out"),
                "err": str(self.folder / "err"),
                "save_every": -1.0,
            }
            try:
                become(told)
            finally:
                os._exit(0)
        # a command is somewhat longer under way than a call
        time.sleep(self.chance.random() * (self.seconds * 2 + 0.05))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def _resume(self, run: Run) -> None:
        from mnistlab.experiment import note_start, resume

        with run.locked():
            experiment = resume(run, ["resume"])
            if not experiment.finished:
                note_start(experiment)
            for _ in experiment.train():
                pass

    def usage(self) -> Usage:
        """What there is now, below the folder and in this process."""
        files = sum(len(names) for _, _, names in os.walk(self.folder))
        return Usage(files, len(os.listdir("/proc/self/fd")))


def _soak(folder: Path, count: int, seed: int) -> Tally:
    get_ready()
    cycles = Cycles(folder, seed)
    tally = Tally()
    memory: list[float] = []
    first: Usage | None = None
    warm = min(WARM_UP, count // 3)
    for number in range(count):
        fault = cycles.cycle()
        usage = cycles.usage()
        if number == warm:
            first = usage
        elif first is not None and usage != first:
            fault = fault or f"{usage} after {first}"
        memory.append(_resident())
        tally.check(fault is None, f"cycle {number}: {fault}")
    settled = memory[warm:]
    if count >= 10 * WARM_UP:
        tenth = max(len(settled) // 10, 1)
        growth = statistics.median(settled[-tenth:]) - statistics.median(settled[:tenth])
        tally.check(growth <= GROWTH, f"memory grew by {growth:.1f} MB over {count} cycles")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        tally.notes.append(
            f"{count} cycles: {growth:+.1f} MB of {statistics.median(settled):.0f} "
            f"(peak {peak:.0f}), {usage.files} files and {usage.descriptors} descriptors throughout"
        )
    return tally


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def _listing(folder: Path, times: int, limit: float) -> Tally:
    """Many runs in one folder, listed by a process of its own."""
    env = surroundings(folder)
    data = make_folders(folder / "data")
    runs = folder / "runs"
    arguments = ("train", "--data", data, "--epochs", "20", "--run-dir", runs)
    if (outcome := command(*arguments, cwd=folder, env=env)).code != 0:
        raise RuntimeError(outcome.err)
    run = only_run(runs)
    assert run is not None
    for number in range(1, RUNS):
        shutil.copytree(run.path, runs / f"{run.name}-{number + 1}")
    seconds = []
    for _ in range(times):
        started = time.monotonic()
        outcome = command("runs", "list", "--json", cwd=folder, env=env)
        seconds.append(time.monotonic() - started)
    took = statistics.median(seconds)
    listed = len(json.loads(outcome.out)["runs"])
    tally = Tally(notes=[f"runs list of {RUNS}: {took:.2f} s"])
    tally.check(listed == RUNS, f"{listed} runs listed of {RUNS}")
    tally.check(took <= limit, f"runs list took {took:.2f} s; {limit} s are promised")
    return tally


def _run(folder: Path, count: int, times: int, limit: float, workers: int) -> Tally:
    if not Path("/proc/self/statm").exists():
        raise SkippedError("memory and descriptors are read from /proc")
    tally = Tally()

    def soak(seed: int) -> str | None:
        home = folder / str(seed)
        (home / "tmp").mkdir(parents=True)
        told = subprocess.run(
            [sys.executable, "-m", "campaign.soak", home, str(count // workers), str(seed)],
            cwd=CHECKOUT, env=surroundings(home, TMPDIR=str(home / "tmp")),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if told.returncode != 0:
            return told.stderr
        tally.add(Tally(**json.loads(told.stdout)))
        return None

    for failure in side_by_side(soak, range(workers), workers).faults:
        raise RuntimeError(failure)
    tally.add(_listing(folder / "list", times, limit))
    return tally


def quick(folder: Path) -> Tally:
    """6 cycles; the time of a listing with much to spare."""
    return _run(folder, 6, 1, 10 * LISTED_IN, 1)


def full(folder: Path) -> Tally:
    """1,000 cycles."""
    return _run(folder, 1000, 7, LISTED_IN, CORES)


if __name__ == "__main__":
    found = _soak(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    print(json.dumps(found.__dict__))
