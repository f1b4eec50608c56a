"""Killed at a random moment and resumed: as if it had never been.

Half of the processes are started as a user starts them, for the moments of the start; half are
forks that save after every epoch, so that many are killed in the middle of a save.
"""

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from campaign.commands import surroundings
from campaign.forks import Child, Forked, Forks, Pool, Started, send, wait_until
from campaign.images import make_folders
from campaign.kept import Whole, broken, fault_of, only_run, whole_run
from campaign.tally import CORES, Tally, side_by_side
from mnistlab.runs import Run

KILLED = 128 + signal.SIGKILL
MODELS = {
    "linear": ("--epochs", "8"),
    "two-layer": ("--epochs", "8", "--hidden", "4"),
    "cnn": ("--epochs", "6", "--channels", "4", "--hidden", "4"),
    "resnet18": ("--epochs", "2", "--batch-size", "12"),
    "pixel-similarity": (),
}


@dataclass(frozen=True)
class Trial:
    """One kill: of which model, from which start, when (of the time that there is, 0…1)."""

    number: int
    model: str
    started: bool
    early: bool
    moment: float


class Row:
    """The undisturbed runs, and trials against them."""

    def __init__(self, folder: Path, pool: Pool, models: Sequence[str]) -> None:
        self.folder, self.pool = folder, pool
        self.data = make_folders(folder / "data")
        self.env = surroundings(folder)
        self.wholes: dict[str, Whole] = {}
        self.seconds: dict[str, float] = {}  # from the run folder to the end
        for model in models:
            self._measure(model)

    def _measure(self, model: str) -> None:
        runs = self.folder / "whole" / model
        arguments = _arguments(model, self.data)
        with self.pool.one() as forks:
            for home in (runs / "first", runs / "second"):  # the first one also fills the cache
                child = self._begin(forks, arguments, home, "--json")
                wait_until(partial(_appeared, home), child)
                started = time.monotonic()
                outcome = child.finish()
                self.seconds[model] = time.monotonic() - started
        if model != "pixel-similarity":
            self.wholes[model] = whole_run(arguments, outcome)
            return
        run = only_run(runs / "second")
        assert run is not None
        self.wholes[model] = Whole(arguments, 1, run.info()["result"]["weights_sha256"])

    def _begin(self, forks: Forks, arguments: Sequence[str], runs: Path, *more: str) -> Forked:
        return forks.begin(
            *arguments, "--run-dir", str(runs), *more,
            cwd=self.folder, env=self.env, save_every=-1.0,
        )  # fmt: skip

    def trial(self, trial: Trial) -> str | None:
        """Kill, resume, compare."""
        runs = self.folder / f"trial{trial.number}"
        whole = self.wholes[trial.model]
        with self.pool.one() as forks:
            self._kill(trial, forks, runs)
            run = only_run(runs)
            if run is not None and (fault := broken(run)):
                return f"{trial}: {fault}"
            if trial.model == "pixel-similarity":
                return self._fit_again(run, whole, forks, runs)
            if run is not None and trial.number % 3 == 0:  # and once more while it is resumed
                resumed = self._begin(forks, ("train", "--resume", "latest"), runs)
                time.sleep(self.seconds[trial.model] * trial.moment)
                send(resumed, signal.SIGKILL)
                resumed.finish()
            again = whole.arguments if run is None else ("train", "--resume", "latest")
            outcome = self._begin(forks, again, runs).finish()
            if outcome.code != 0:
                return f"{trial}: exit {outcome.code} when resumed: {outcome.err[-300:]}"
            wrong = fault_of(only_run(runs), whole)
        return None if wrong is None else f"{trial}: {wrong}"

    def _kill(self, trial: Trial, forks: Forks, runs: Path) -> None:
        """Start until one is killed before its end."""
        moment = trial.moment
        whole = self.wholes[trial.model]
        while True:
            started = time.monotonic()
            child: Child
            if trial.started:
                arguments = (*whole.arguments, "--run-dir", str(runs))
                child = Started(*arguments, cwd=self.folder, env=self.env)
            else:
                child = self._begin(forks, whole.arguments, runs)
            if trial.early:
                time.sleep(moment * (1.5 if trial.started else 0.1))
            else:
                wait_until(partial(_appeared, runs), child)
                time.sleep(moment * self.seconds[trial.model])
            send(child, signal.SIGKILL)
            if child.finish().code == KILLED or time.monotonic() - started > 60:
                return
            moment *= 0.7  # it was faster
            run = only_run(runs)
            if run is not None:
                run.delete()

    def _fit_again(self, run: Run | None, whole: Whole, forks: Forks, runs: Path) -> str | None:
        if run is not None and run.info()["result"]["weights_sha256"] != whole.sha256:
            return "pixel-similarity: a run in part"
        if run is not None:
            run.delete()
        outcome = self._begin(forks, whole.arguments, runs).finish()
        run = only_run(runs)
        if outcome.code != 0 or run is None or run.info()["status"] != "done":
            return f"pixel-similarity: exit {outcome.code} when fitted again"
        same = run.info()["result"]["weights_sha256"] == whole.sha256
        return None if same else "pixel-similarity: other weights"


def _appeared(runs: Path) -> bool:
    return only_run(runs) is not None


def _arguments(model: str, data: Path) -> tuple[str, ...]:
    if model == "pixel-similarity":
        return ("baseline", "pixel-similarity", "--data", str(data))
    return ("train", "--data", str(data), "--model", model, "--batch-size", "7", *MODELS[model])


def _run(folder: Path, shares: dict[str, int], *, real: bool, workers: int) -> Tally:
    """`shares` says how often each model is killed."""
    chance = random.Random(7)
    trials: list[Trial] = []
    for model, count in shares.items():
        for _ in range(count):
            number = len(trials)
            trials.append(
                Trial(number, model, real and number % 2 == 0, number % 5 == 0, chance.random())
            )
    with Pool(folder / "pool", workers) as pool:
        row = Row(folder, pool, list(shares))
        tally = side_by_side(row.trial, trials, workers)
    tally.notes.append(", ".join(f"{count} {model}" for model, count in shares.items()))
    return tally


def quick(folder: Path) -> Tally:
    """20 forks."""
    shares = {"linear": 14, "cnn": 3, "pixel-similarity": 3}
    return _run(folder, shares, real=False, workers=1)


def full(folder: Path) -> Tally:
    """200, half of them from their very start."""
    shares = {
        "linear": 70,
        "two-layer": 52,
        "cnn": 52,
        "resnet18": 10,
        "pixel-similarity": 16,
    }
    return _run(folder, shares, real=True, workers=CORES)
