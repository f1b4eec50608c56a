"""Killed at every system call of a save: the old file or the new one, whole; then resumed.

Every call on the run folder that opens, writes, flushes, renames, deletes or locks something is a
point: of a training that saves after every epoch, of one that is resumed where a kill left
something, and of the baseline.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from campaign import faultpoints
from campaign.commands import surroundings
from campaign.forks import become, get_ready
from campaign.images import make_folders
from campaign.kept import Whole, broken, fault_of, leftovers, only_run
from campaign.tally import CORES, SkippedError, Tally, side_by_side
from mnistlab.files import is_temporary, temporary_beside

CHECKOUT = Path(__file__).parents[1]
TRAIN = ("train", "--epochs", "2", "--batch-size", "12")
RESUME = ("train", "--resume", "latest")
BASELINE = ("baseline", "pixel-similarity")


class Driver:
    """One process that forks all the children, and looks at what they leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = make_folders(folder / "data")
        self.env = surroundings(folder)
        self.wholes: dict[tuple[str, ...], Whole] = {}
        for _ in range(2):  # the first one also fills the cache
            shutil.rmtree(folder / "whole", ignore_errors=True)
            for command in (TRAIN, BASELINE):
                runs = folder / "whole" / command[0]
                if code := faultpoints.fork(partial(self._work, command, runs)):
                    raise RuntimeError(f"{command}: {code}: {(folder / 'err').read_text()}")
        for command in (TRAIN, BASELINE):
            run = only_run(folder / "whole" / command[0])
            assert run is not None
            result = run.info()["result"]
            sha256 = result["weights_sha256"]
            self.wholes[command] = Whole(command, len(result["epochs"]), sha256)
        self.wholes[RESUME] = self.wholes[TRAIN]

    def _work(self, command: tuple[str, ...], runs: Path) -> None:
        data = () if command == RESUME else ("--data", str(self.data))
        become(
            {
                "arguments": [*command, *data, "--run-dir", str(runs)],
                "cwd": str(self.folder),
                "env": self.env,
                "out": str(self.folder / "out"),
                "err": str(self.folder / "err"),
                "save_every": -1.0,
            }
        )

    def try_points(self, command: tuple[str, ...], share: int, shares: int, most: int) -> Tally:
        """Kill at this share of the points of a command, and go on from each."""
        home = self.folder / "-".join(word.strip("-") for word in command)
        home.mkdir()  # or the undisturbed child would make it
        before = self._interrupted() if command == RESUME else None

        def runs_for(name: str) -> Path:
            runs = home / name
            if before is not None:
                shutil.copytree(before, runs)
            return runs

        runs = runs_for("undisturbed")
        log = self.folder / "strace.log"
        points, counts = faultpoints.points_of(partial(self._work, command, runs), runs, log)
        if not points:
            raise RuntimeError(f"{command}: no point was found")
        step = max(len(points) / most, 1.0)
        chosen = [points[int(k * step)] for k in range(min(len(points), most))][share::shares]
        folders = {point: runs_for(f"{point.kind}{point.number}") for point in chosen}
        works = {point: partial(self._work, command, runs) for point, runs in folders.items()}
        ended = faultpoints.kill_at(works, counts, log)
        tally = Tally()
        if share == 0:
            tally.notes.append(f"{len(points)} of {' '.join(command[:2])}")
        for point, runs in folders.items():
            fault = f"ended with {ended[point]}" if ended[point] != -9 else None
            fault = fault or self._fault(command, runs)
            tally.check(fault is None, f"{' '.join(command[:2])}, {point}: {fault}")
            shutil.rmtree(runs, ignore_errors=True)
        return tally

    def _interrupted(self) -> Path:
        """A run killed after its first epoch, and what a write left of which nobody knows."""
        from mnistlab import experiment
        from mnistlab.storage import save_model

        runs = self.folder / "interrupted"

        def work() -> None:
            calls = iter(range(100))

            def saving(*arguments: Any) -> None:
                if next(calls) == 2:  # of the second save
                    os._exit(9)
                save_model(*arguments)

            with mock.patch.object(experiment, "save_model", saving):
                self._work(TRAIN, runs)

        if faultpoints.fork(work) != 9:
            raise RuntimeError("it should have ended in its second save")
        run = only_run(runs)
        assert run is not None
        temporary_beside(run.model_file).write_bytes(b"half")
        return runs

    def _fault(self, command: tuple[str, ...], runs: Path) -> str | None:
        run = only_run(runs)
        if run is not None and (fault := broken(run)):
            return fault
        if runs.is_dir():
            for path in runs.iterdir():  # a folder that never appeared; ten minutes later
                if is_temporary(path.name):
                    os.utime(path, (0, 0))
        resumable = run is not None and command != BASELINE
        if command == BASELINE and run is not None:
            run.delete()
        again = RESUME if resumable else command
        if code := faultpoints.fork(partial(self._work, again, runs)):
            return f"exit {code} afterwards: {(self.folder / 'err').read_text()[-300:]}"
        run, whole = only_run(runs), self.wholes[command]
        if command != BASELINE:
            fault = fault_of(run, whole)
        else:
            assert run is not None
            fault = None if run.info()["result"]["weights_sha256"] == whole.sha256 else "weights"
        return fault or (f"left behind: {', '.join(left)}" if (left := leftovers(runs)) else None)


def _drive(folder: Path, share: int, shares: int, most: int) -> Tally:
    get_ready()
    driver = Driver(folder)
    tally = Tally()
    for command in (TRAIN, RESUME, BASELINE):
        tally.add(driver.try_points(command, share, shares, most))
    return tally


def _run(folder: Path, most: int, workers: int) -> Tally:
    faultpoints.require_strace()
    tally = Tally()

    def drive(share: int) -> str | None:
        home = folder / str(share)
        home.mkdir()
        told = subprocess.run(
            [sys.executable, "-m", "campaign.saves", home, *map(str, (share, workers, most))],
            cwd=CHECKOUT, env=surroundings(home), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if told.returncode != 0:
            return told.stderr
        tally.add(Tally(**json.loads(told.stdout)))
        return None

    for failure in side_by_side(drive, range(workers), workers).faults:
        if "SkippedError" in failure:
            raise SkippedError(failure.strip().splitlines()[-1])
        raise RuntimeError(failure)
    return tally


def quick(folder: Path) -> Tally:
    """8 points of each command."""
    return _run(folder, 8, 1)


def full(folder: Path) -> Tally:
    """All points."""
    return _run(folder, 10**6, CORES)


if __name__ == "__main__":
    found = _drive(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    print(json.dumps(found.__dict__))
