"""Full, read-only and vanished disks: exit 1 with the reason, and what was saved is still there.

A disk of its own (a tmpfs, for root) is full before the n-th file that a command writes, for every
n; for anybody, the size of a file is limited at many limits, and the right to write is taken away.
Whatever was saved must be whole, and once there is room again, resuming must end with the weights
of an undisturbed run.
"""

import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from campaign.forge import forges
from campaign.ground import EPOCHS, Ground, broken_files, wrongly_told
from campaign.results import caches, large, results
from campaign.sabotage import fill, mount_again, plain_folder, small_disk
from campaign.tally import CORES, SkippedError, Tally, side_by_side

REASONS = "No space left|File too large|Read-only file system|Permission denied|No such file"
_KEPT = f"({REASONS}).*(the files of the last save|name another folder with --run-dir)"

Fault = str | None
Trials = Iterable[tuple[str, Callable[[], Fault]]]


@dataclass(frozen=True)
class Sizes:
    """How often each part is tried. A training writes 37 files, one resumed 24."""

    files: Iterable[int]  # before which of the files something happens
    limits: Iterable[int]  # bytes that a file may have
    free: Iterable[int]  # bytes that are free on a disk
    inodes: Iterable[int]  # files that a disk has room for
    whole: bool  # all results in all places, and what takes a second each


QUICK = Sizes((0, 4, 15, 23), (0, 700, 2500, 4000), (0, 16_384), (4, 8), False)
FULL = Sizes(range(38), range(0, 7000, 16), range(0, 110_000, 4096), range(2, 18), True)


def quick(folder: Path) -> Tally:
    """A few of each, in ten seconds."""
    return _try(folder, QUICK, workers=1)


def full(folder: Path) -> Tally:
    """Before every file, with limits 16 bytes apart."""
    return _try(folder, FULL, workers=CORES)


def _try(folder: Path, sizes: Sizes, workers: int) -> Tally:
    tally = Tally()
    with forges(workers) as forked:
        ground = Ground(folder, forked)
        trials = [*_limited(ground, sizes), *_forbidden(ground, sizes)]
        own_disks = True
        try:
            with small_disk(folder / "disk"):
                trials += _on_disks(ground, sizes)
        except SkippedError as reason:
            own_disks = False
            tally.notes.append(f"nothing on full disks: {reason}")
        trials += [*results(ground, own_disks, sizes.whole), *caches(ground, own_disks)]
        if sizes.whole and own_disks:
            trials += large(ground)
        tally.add(side_by_side(_fault_of, trials, workers))
    return tally


def _fault_of(trial: tuple[str, Callable[[], Fault]]) -> Fault:
    fault = trial[1]()
    return fault and f"{trial[0]}: {fault}"


def _limited(ground: Ground, sizes: Sizes) -> Trials:
    """No file may be larger than so many bytes, as with `ulimit -f`."""
    for limit, resumed in itertools.product(sizes.limits, (False, True)):
        place = plain_folder(ground.folder / "limited" / f"{limit}-{resumed}")
        trial = partial(_training, ground, place, resumed, file_bytes=limit)
        yield f"files of {limit} bytes at most, resumed: {resumed}", trial


def _forbidden(ground: Ground, sizes: Sizes) -> Trials:
    """The right to write is taken away, or the folder deleted, before the n-th file."""
    for number, resumed in itertools.product(sizes.files, (False, True)):
        for action in ("protect", "empty"):
            place = plain_folder(ground.folder / "forbidden" / f"{number}-{resumed}-{action}")
            trial = partial(
                _training, ground, place, resumed, _permit, at=(number, action), powerless=True
            )
            yield f"{action} before file {number}, resumed: {resumed}", trial


def _on_disks(ground: Ground, sizes: Sizes) -> Trials:
    """A disk of its own that is full, read-only, or has no room for another file."""
    numbers = map(str, itertools.count())

    def disk(options: str = "") -> AbstractContextManager[Path]:
        return small_disk(ground.folder / "disks" / next(numbers), options=options)

    for number, resumed in itertools.product(sizes.files, (False, True)):
        trial = partial(_training, ground, disk(), resumed, _free, at=(number, "fill"))
        yield f"full before file {number}, resumed: {resumed}", trial
    for free in sizes.free:
        leave = partial(fill, leave=free)
        trial = partial(_training, ground, disk(), False, _free, prepare=leave)
        yield f"{free} bytes free", trial
    for inodes in sizes.inodes:
        more = partial(mount_again, options="nr_inodes=1000")
        options = f",nr_inodes={inodes}"
        yield (
            f"room for {inodes} files",
            partial(_training, ground, disk(options), False, more),
        )
    for resumed in (False, True):
        close, again = partial(mount_again, options="ro"), partial(mount_again, options="rw")
        trial = partial(_training, ground, disk(), resumed, again, prepare=close)
        yield f"read-only, resumed: {resumed}", trial


def _permit(folder: Path) -> None:
    for run in folder.iterdir():
        run.chmod(0o755)


def _free(folder: Path) -> None:
    (folder / "filler").unlink(missing_ok=True)


def _nothing(folder: Path) -> None:
    pass


def _training(
    ground: Ground,
    place: AbstractContextManager[Path],
    resumed: bool,
    mend: Callable[[Path], object] = _nothing,
    *,
    prepare: Callable[[Path], object] = _nothing,
    at: tuple[int, str] | None = None,
    **surroundings: Any,
) -> Fault:
    """Train in `place`, or go on with a run there, where that goes wrong; `mend` it and resume."""
    with place as folder:
        arguments: tuple[str | Path, ...] = (*ground.settings, "--run-dir", folder)
        if resumed:
            arguments = ("--resume", ground.half_done(folder), "--epochs", str(EPOCHS))
        prepare(folder)
        if at is not None:
            surroundings["at_write"] = (*at, str(folder))
        ended = ground.run("train", *arguments, **surroundings)
        found = [path for path in folder.iterdir() if path.is_dir()]
        gone = at is not None and at[1] == "empty" and ended.code != 0
        if ended.code != 0 and (fault := wrongly_told(ended, 1, REASONS if gone else _KEPT)):
            return fault
        if gone:
            return f"{found[0].name} is there again" if found else None
        mend(folder)
        kept = _epochs_kept(resumed, 0 if at is None else at[0])
        return _recovers(ground, found, kept, ended.code == 1 and not ended.out)


def _epochs_kept(resumed: bool, written: int) -> int:
    """How many epochs a run must hold where that many files were written.

    First two that say what it is; then five at each save, after each epoch, the state before all.
    """
    saves = (written + 2) // 5 if written > 2 else 0
    return min(EPOCHS, saves + EPOCHS // 2 - (saves > 0) if resumed else saves)


def _recovers(ground: Ground, runs: list[Path], kept: int, untrained: bool) -> Fault:
    """None if what is left of a training is whole and can be resumed to the same weights."""
    from mnistlab.storage import load_state

    for run in runs:
        if fault := broken_files(run):
            return fault
        state = run / "resume.safetensors"
        found = load_state(state).epoch if state.exists() else 0
        if found < kept:
            return f"{found} epochs are kept, not the {kept} that were saved"
        if (run / "run.json").exists():
            return ground.resumes(run)
    # there is no run: that was to be found before the first batch
    return None if untrained else "it trained without a run to keep it in"
