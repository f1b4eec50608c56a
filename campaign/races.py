"""Two at once: one is refused and told by whom, or both are right; a kill frees the lock.

On one run folder: two that resume it, one that resumes while others look, one that resumes while
another deletes, one that resumes right after a kill. On one cache and one folder of runs: two
that find the cache empty, or damaged, or have the bundled archive to unpack.
"""

import itertools
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from campaign.commands import Outcome, surroundings
from campaign.forks import Forked, Forks, Pool, send, wait_until
from campaign.images import make_folders
from campaign.kept import fault_of, leftovers, only_run, whole_run
from campaign.tally import CORES, Tally, side_by_side
from mnistlab.runs import Run, is_held, list_runs

RESUME = ("train", "--resume", "latest")


class Row:
    """A folder of images, what training on it gives undisturbed, and the races."""

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.folder, self.pool = folder, pool
        self.data = make_folders(folder / "data")
        self.env = surroundings(folder)
        arguments = ("train", "--data", str(self.data), "--epochs", "6", "--batch-size", "7")
        runs = folder / "whole"
        with pool.one() as forks:
            for _ in range(2):  # the first one also fills the cache
                shutil.rmtree(runs, ignore_errors=True)
                started = time.monotonic()
                child = self._begin(forks, arguments, runs, "--json")
                outcome = child.finish()
                self.seconds = time.monotonic() - started
        self.whole = whole_run(arguments, outcome)
        self.begun = self._begun()

    def _begun(self) -> Path:
        """A folder of one run that was killed in the middle."""
        runs = self.folder / "begun"
        with self.pool.one() as forks:
            child = self._begin(forks, self.whole.arguments, runs)
            wait_until(lambda: any(runs.glob("*/resume.safetensors")), child)
            send(child, signal.SIGKILL)
            child.finish()
        return runs

    def _begin(self, forks: Forks, arguments: tuple[str, ...], runs: Path, *more: str) -> Forked:
        return forks.begin(
            *arguments, "--run-dir", str(runs), *more,
            cwd=self.folder, env=self.env, save_every=-1.0,
        )  # fmt: skip

    def _copy(self, name: str) -> tuple[Path, Run]:
        runs = self.folder / name
        shutil.copytree(self.begun, runs)
        run = only_run(runs)
        assert run is not None
        return runs, run

    def both_resume(self, number: int) -> str | None:
        """Exactly one trains; the other is told its number, at once."""
        runs, run = self._copy(f"resume{number}")
        with self.pool.one() as forks:
            two = [self._begin(forks, RESUME, runs) for _ in range(2)]
            ended = [(child.finish(), child.pid) for child in two]
        codes = sorted(outcome.code for outcome, _ in ended)
        if codes == [0, 1]:
            (_, first), (refused, _) = sorted(ended, key=lambda pair: pair[0].code)
            if f"another process is training it (process {first})" not in refused.err:
                return f"the second is told: {refused.err}"
        elif codes != [0, 0] or not any("done already" in each.err for each, _ in ended):
            # (the second may also have come when the first was done)
            return f"exit codes {codes}: {ended[0][0].err} {ended[1][0].err}"
        return fault_of(run, self.whole)

    def resumed_while_looked_at(self, number: int) -> str | None:
        """Whoever only looks (`runs list`, `runs rm`) is in nobody's way."""
        runs, run = self._copy(f"look{number}")
        with self.pool.one() as forks:
            child = self._begin(forks, RESUME, runs)
            while child.running():
                for _ in range(20):
                    is_held(run.path / ".lock")
            outcome = child.finish()
        if outcome.code != 0:
            return f"exit {outcome.code}: {outcome.err}"
        return fault_of(run, self.whole)

    def resumed_while_deleted(self, number: int) -> str | None:
        """Either it is deleted and gone, or it is kept and trained to its end."""
        runs, run = self._copy(f"delete{number}")
        delete = ("runs", "rm", run.name, "--force")
        with self.pool.one() as forks:
            order = [(delete, RESUME), (RESUME, delete)][number % 2]
            two = [self._begin(forks, arguments, runs) for arguments in order]
            ended = dict(zip(order, [child.finish() for child in two], strict=True))
        deleted, resumed = ended[delete], ended[RESUME]
        if not (deleted.told_plainly and resumed.told_plainly):
            return f"a traceback: {deleted.err} {resumed.err}"
        if deleted.code == 0:
            # it may also have been trained to its end before
            left = [path.name for path in runs.iterdir()]
            gone = not left and resumed.code in (0, 1, 2)
            return None if gone else f"exit {resumed.code}, left: {left}: {resumed.err}"
        if (deleted.code, resumed.code) != (1, 0):
            return f"exit {deleted.code}, {resumed.code}: {deleted.err} {resumed.err}"
        return fault_of(run, self.whole)

    def resumed_after_a_kill(self, number: int) -> str | None:
        """The lock of a process that was killed holds nobody up."""
        runs, run = self._copy(f"kill{number}")
        chance = random.Random(number)
        with self.pool.one() as forks:
            child = self._begin(forks, RESUME, runs)
            wait_until(lambda: is_held(run.path / ".lock"), child)
            time.sleep(chance.random() * 0.05)
            send(child, signal.SIGKILL)
            child.finish()
            outcome = self._begin(forks, RESUME, runs).finish()
        if outcome.code != 0:
            return f"exit {outcome.code}: {outcome.err}"
        return fault_of(run, self.whole)

    def both_train(self, number: int, damage: bool) -> str | None:
        """With one cache, empty or damaged, and one folder of runs: both are right."""
        home = self.folder / f"train{number}-{damage}"
        env = surroundings(home)
        if damage:
            shutil.copytree(self.folder / "cache", home / "cache")
            _damage(home / "cache", number)
        runs = home / "runs"
        arguments = (*self.whole.arguments, "--run-dir", str(runs))
        with self.pool.one() as forks:
            two = [forks.begin(*arguments, cwd=self.folder, env=env) for _ in range(2)]
            ended = [child.finish() for child in two]
        if fault := _failed(ended):
            return fault
        found = list_runs(runs)
        if len(found) != 2:
            return f"{len(found)} runs"
        if left := leftovers(home):
            return f"left behind: {left}"
        shutil.rmtree(home / "cache")
        return next(filter(None, (fault_of(run, self.whole) for run in found)), None)

    def both_unpack(self, number: int) -> str | None:
        """Two that find no bundled data: both use the same whole copy."""
        home = self.folder / f"unpack{number}"
        env = surroundings(home)
        with self.pool.one() as forks:
            two = [
                forks.begin("train", "--dry-run", "--json", cwd=self.folder, env=env)
                for _ in range(2)
            ]
            ended = [child.finish() for child in two]
        if fault := _failed(ended):
            return fault
        if left := leftovers(home):
            return f"left behind: {left}"
        shutil.rmtree(home)
        return None if ended[0].out == ended[1].out else "different data"


def _failed(ended: list[Outcome]) -> str | None:
    return next((f"exit {one.code}: {one.err}" for one in ended if one.code != 0), None)


def _damage(cache: Path, number: int) -> None:
    """Cut every entry off somewhere, or flip a bit of a pixel: they are the last of the file."""
    chance = random.Random(number)
    for path in sorted(cache.glob("decoded/*")):
        content = bytearray(path.read_bytes())
        if number % 2:
            del content[chance.randrange(len(content)) :]
        else:
            content[-chance.randint(1, 256)] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def _run(folder: Path, count: int, unpackings: int, workers: int) -> Tally:
    tally = Tally()
    with Pool(folder / "pool", workers) as pool:
        row = Row(folder, pool)
        kinds: dict[str, tuple[Callable[[int], str | None], int]] = {
            "two resume one run": (row.both_resume, count),
            "resumed while looked at": (row.resumed_while_looked_at, count),
            "resumed while deleted": (row.resumed_while_deleted, count),
            "resumed after a kill": (row.resumed_after_a_kill, count),
            "one empty cache": (partial(row.both_train, damage=False), count),
            "one damaged cache": (partial(row.both_train, damage=True), count),
            "one archive to unpack": (row.both_unpack, unpackings),
        }
        for name, (trial, times) in kinds.items():
            found = side_by_side(trial, range(times), workers)
            found.faults = [f"{name}: {fault}" for fault in found.faults]
            tally.add(found)
    told = itertools.chain.from_iterable(
        [f"{times} {name}"] if times else [] for name, (_, times) in kinds.items()
    )
    tally.notes.append(", ".join(told))
    return tally


def quick(folder: Path) -> Tally:
    """One race of each kind."""
    return _run(folder, 1, 0, workers=1)


def full(folder: Path) -> Tally:
    """50 races of each kind; 4 for the archive, as each unpacks 14,434 files."""
    return _run(folder, 50, 4, workers=CORES)
