"""Ctrl-C and termination at a random moment: exit 130 or 143, no traceback, nothing half-written.

Sent to the whole process group, while training, scoring, decoding images, keeping them in the
cache, and unpacking the bundled archive.
"""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from campaign.commands import Outcome, surroundings
from campaign.forks import Child, Forks, Pool, Started, send, wait_until
from campaign.images import make_folders
from campaign.kept import fault_of, leftovers, only_run, whole_run
from campaign.tally import CORES, Tally, side_by_side

TRAIN = ("--epochs", "8", "--batch-size", "7")
MANY = 400  # images of a class: a folder that takes a while to decode


@dataclass(frozen=True)
class Trial:
    """One signal: while doing what, from which start, when (of the time that there is, 0…1)."""

    number: int
    work: str
    signal: int
    started: bool
    early: bool
    moment: float


class Row:
    """The undisturbed commands, and trials against them."""

    def __init__(self, folder: Path, pool: Pool, works: set[str]) -> None:
        self.folder, self.pool = folder, pool
        self.small = make_folders(folder / "small")
        self.env = surroundings(folder)
        self.seconds: dict[str, float] = {}
        self.too_early = 0  # met Python's own start
        self.truth: dict[str, str] = {}  # what `train --dry-run` says of the data
        if "decode" in works:
            make_folders(folder / "many", MANY, 28)
        with pool.one() as forks:
            self._measure_training(forks)
            for work in sorted(works & {"decode", "unpack"}):
                started = time.monotonic()
                env = surroundings(folder / f"whole-{work}")
                told = forks.command(*self._load(work), cwd=folder, env=env)
                self.seconds[work] = time.monotonic() - started
                self.truth[work] = _data(told)
                self.unpacked = _files(folder / f"whole-{work}" / "cache" / "data")
                shutil.rmtree(folder / f"whole-{work}")

    def _measure_training(self, forks: Forks) -> None:
        runs = self.folder / "whole"
        arguments = ("train", "--data", str(self.small), *TRAIN)
        told = ("--run-dir", str(runs), "--json")
        for _ in range(2):  # the first one also fills the cache
            shutil.rmtree(runs, ignore_errors=True)
            started = time.monotonic()
            child = forks.begin(*arguments, *told, cwd=self.folder, env=self.env, save_every=-1.0)
            outcome = child.finish()
            self.seconds["train"] = time.monotonic() - started
        self.whole = whole_run(arguments, outcome)
        started = time.monotonic()
        scored = forks.command("eval", *told, cwd=self.folder, env=self.env)
        self.seconds["eval"] = time.monotonic() - started
        self.truth["eval"] = scored.out

    def _load(self, work: str) -> tuple[str, ...]:
        data = str(self.folder / "many") if work == "decode" else "mnist_sample"
        return ("train", "--dry-run", "--json", "--data", data)

    def trial(self, trial: Trial) -> str | None:
        """Send it, look at what is there, go on."""
        work: Callable[[Trial, Forks], str | None] = {
            "train": self._train, "eval": self._eval, "decode": self._cache, "unpack": self._cache
        }[trial.work]  # fmt: skip
        with self.pool.one() as forks:
            fault = work(trial, forks)
        return None if fault is None else f"{trial}: {fault}"

    def _train(self, trial: Trial, forks: Forks) -> str | None:
        runs = self.folder / f"trial{trial.number}"
        there = lambda: only_run(runs) is not None  # noqa: E731
        arguments = (*self.whole.arguments, "--run-dir", str(runs), "--json")
        outcome = self._disturbed(trial, forks, arguments, self.env, there)
        if fault := _fault(trial, outcome):
            return fault
        if runs.is_dir() and (left := leftovers(runs)):
            return f"left behind: {', '.join(left)}"
        run = only_run(runs)
        again = self.whole.arguments if run is None else ("train", "--resume", "latest")
        resumed = forks.command(*again, "--run-dir", runs, cwd=self.folder, env=self.env)
        if resumed.code != 0:
            return f"exit {resumed.code} when resumed: {resumed.err[-300:]}"
        return fault_of(only_run(runs), self.whole)

    def _eval(self, trial: Trial, forks: Forks) -> str | None:
        arguments = ("eval", "--run-dir", str(self.folder / "whole"), "--json")
        outcome = self._disturbed(trial, forks, arguments, self.env, lambda: True)
        if fault := _fault(trial, outcome):
            return fault
        return "half a document" if outcome.out not in ("", self.truth["eval"]) else None

    def _cache(self, trial: Trial, forks: Forks) -> str | None:
        home = self.folder / f"trial{trial.number}"
        env, cache = surroundings(home), home / "cache"
        outcome = self._disturbed(trial, forks, self._load(trial.work), env, cache.exists)
        if fault := _fault(trial, outcome):
            return fault
        if cache.is_dir() and (left := leftovers(cache)):
            return f"left behind: {', '.join(left[:3])}"
        if (count := _files(cache / "data")) not in (0, self.unpacked):
            return f"unpacked in part: {count} files of {self.unpacked}"
        told = forks.command(*self._load(trial.work), cwd=self.folder, env=env)
        shutil.rmtree(home, ignore_errors=True)
        if told.code != 0:
            return f"exit {told.code} afterwards: {told.err[-300:]}"
        return None if _data(told) == self.truth[trial.work] else "other data afterwards"

    def _disturbed(
        self,
        trial: Trial,
        forks: Forks,
        arguments: tuple[str, ...],
        env: dict[str, str],
        there: Callable[[], bool],
    ) -> Outcome:
        while True:
            outcome = self._once(trial, forks, arguments, env, there)
            if not _pythons_own(outcome):
                return outcome
            self.too_early += 1
            trial = replace(trial, moment=trial.moment + 0.05)

    def _once(
        self,
        trial: Trial,
        forks: Forks,
        arguments: tuple[str, ...],
        env: dict[str, str],
        there: Callable[[], bool],
    ) -> Outcome:
        child: Child
        if trial.started:
            child = Started(*arguments, cwd=self.folder, env=env)
        else:
            child = forks.begin(*arguments, cwd=self.folder, env=env, save_every=-1.0)
        if trial.early:
            time.sleep(trial.moment * (1.5 if trial.started else 0.1))
        else:
            wait_until(there, child)
            start = 1.5 if trial.started and trial.work == "eval" else 0.0
            time.sleep(trial.moment * (start + self.seconds[trial.work]))
        send(child, trial.signal)
        return child.finish()


def _files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def _pythons_own(outcome: Outcome) -> bool:
    """Whether Ctrl-C met Python itself, before mnistlab's first line could ask for silence."""
    return not outcome.told_plainly and "__main__.py" not in outcome.err


def _data(told: Outcome) -> str:
    return json.loads(told.out)["data"]["fingerprint"] if told.code == 0 else told.err


def _fault(trial: Trial, outcome: Outcome) -> str | None:
    if not outcome.told_plainly:
        return f"a traceback: {outcome.err[-1500:]}"
    if outcome.code not in (0, 128 + trial.signal):
        return f"exit {outcome.code}: {outcome.err[-300:]}"
    if outcome.out and outcome.code == 0:
        json.loads(outcome.out)
    return None


def _run(folder: Path, shares: dict[str, int], *, real: bool, workers: int) -> Tally:
    """`shares` says how many signals come during which work, half of them SIGINT."""
    chance = random.Random(11)
    trials: list[Trial] = []
    for work, count in shares.items():
        for k in range(count):
            trials.append(
                Trial(
                    len(trials),
                    work,
                    signal.SIGINT if k % 2 else signal.SIGTERM,
                    real and k % 4 < 2,
                    k % 6 < 2,
                    chance.random(),
                )
            )
    with Pool(folder / "pool", workers) as pool:
        row = Row(folder, pool, set(shares))
        tally = side_by_side(row.trial, trials, workers)
    tally.notes.append(", ".join(f"{count} during {work}" for work, count in shares.items()))
    if row.too_early:
        tally.notes.append(f"{row.too_early} more met Python's own start, which shows a traceback")
    return tally


def quick(folder: Path) -> Tally:
    """8 forks."""
    shares = {"train": 4, "eval": 2, "decode": 2}
    return _run(folder, shares, real=False, workers=1)


def full(folder: Path) -> Tally:
    """200, half of them from their very start."""
    shares = {"train": 96, "eval": 40, "decode": 44, "unpack": 20}
    return _run(folder, shares, real=True, workers=CORES)
