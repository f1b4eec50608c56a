"""Full, read-only and vanished disks: exit 1 with the reason, and what was saved is still there.

A disk of its own (a tmpfs, for root) is full before a step of a save, for every step; for anybody,
the size of a file is limited, and the right to write is taken away. Whatever was saved is whole,
and once there is room again, resuming ends with the weights of an undisturbed run.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.command import Result
from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.reliability.runs import (
    Training,
    broken_file,
    fault_of_message,
    left_over,
    make_idx,
    saved_epochs,
)
from tests.reliability.steps import fill

REASONS = "No space left|File too large|Read-only file system|Permission denied|No such file"
RESULT_REASONS = f"{REASONS}|cannot be written"
Place = Callable[[Path], AbstractContextManager[Path]]


@contextlib.contextmanager
def small_disk(folder: Path, size: int = 2**20, options: str = "") -> Iterator[Path]:
    """A disk of its own of `size` bytes, at `folder`. Skips the test where none can be had."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a disk of its own")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


@contextlib.contextmanager
def plain_folder(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    yield folder


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def leave_no_inode(folder: Path) -> None:
    now = os.statvfs(folder)
    remount(folder, f"nr_inodes={now.f_files - now.f_ffree}")


def nothing(folder: Path) -> None:
    pass


def permit(runs: Path) -> None:
    for run in runs.iterdir():
        run.chmod(0o755)


def free(runs: Path) -> None:
    (runs / "filler").unlink(missing_ok=True)


Trouble = tuple[str, Place, Callable[[Path], object], Callable[[Path], object], dict[str, Any]]


def troubles(kind: str, examples: Examples) -> Iterator[Trouble]:
    """What it is, the place, what happens to it before and after, and the limits of the process."""
    if kind == "small files":
        for limit in range(0, 6400, 6400 // examples(3, 200)):
            size = {"file_bytes": limit}
            yield f"files of {limit} bytes at most", plain_folder, nothing, nothing, size
    if kind in ("protect", "empty"):
        for step in range(1, 150, 150 // examples(2, 150)):
            limits = {"at_step": (step, kind), "powerless": True}
            yield f"{kind} at step {step}", plain_folder, nothing, permit, limits
    if kind == "a full disk":
        for step in range(0, 150, 150 // examples(2, 150)):
            limits = {"at_step": (step, "fill")}
            yield f"full at step {step}", small_disk, nothing, free, limits
        for room in range(0, 110_000, 110_000 // examples(2, 27)):
            yield f"{room} bytes free", small_disk, partial(fill, leave=room), free, {}
        for inodes in range(2, 18, 16 // examples(2, 16)):
            few = partial(small_disk, options=f",nr_inodes={inodes}")
            more = partial(remount, options="nr_inodes=1000")
            yield f"room for {inodes} files", few, nothing, more, {}
        close, again = (partial(remount, options=option) for option in ("ro", "rw"))
        yield "read-only", small_disk, close, again, {}


@pytest.mark.parametrize("kind", ["small files", "protect", "empty", "a full disk"])
def test_a_training_that_cannot_save_says_why_and_goes_on_later(
    kind: str, training: Training, tally: Tally, examples: Examples, tmp_path: Path
) -> None:
    for number, (what, place, before, after, limits) in enumerate(troubles(kind, examples)):
        with place(tmp_path / str(number)) as runs:
            before(runs)
            if "at_step" in limits:
                limits["at_step"] += (str(runs),)
            ended = training.command(*training.arguments, "--run-dir", runs, **limits)
            tally.check(what, fault_of_training(training, kind, ended, runs, after))


def fault_of_training(
    training: Training, kind: str, ended: Result, runs: Path, mend: Callable[[Path], object]
) -> str:
    """What is wrong after a training that went wrong, once the place is mended and it resumed."""
    left = [path for path in runs.iterdir() if path.is_dir()]
    if ended.code != 0 and (fault := fault_of_message(ended, 1, REASONS)):
        return fault
    if kind == "empty" and ended.code != 0:
        return f"{left[0].name} is there again" if left else ""
    mend(runs)
    rows = sum(line.split()[0].isdigit() for line in ended.out.splitlines())
    for run in left:
        # in a locked folder nothing can be removed either
        if fault := broken_file(run) or ("" if kind == "protect" else left_over(run)):
            return fault
        if saved_epochs(run) < rows - 1:
            return f"{saved_epochs(run)} epochs are saved of {rows} that were shown"
        if (run / "run.json").exists():
            return training.fault_when_resumed(runs)
    # without a run nothing must have been trained
    return "" if ended.code == 1 and not rows else f"trained without a run: {ended.out}"


# A place that cannot be written: what makes it so, and the limits of the process.
WAYS: dict[str, tuple[Place, Callable[[Path], object], dict[str, Any]]] = {
    "a locked folder": (plain_folder, lambda top: top.chmod(0o555), {"powerless": True}),
    "files of 20 bytes at most": (plain_folder, nothing, {"file_bytes": 20}),
    "a full disk": (small_disk, fill, {}),
    "a read-only disk": (small_disk, partial(remount, options="ro"), {}),
    "a disk without room for a file": (small_disk, leave_no_inode, {}),
}


def results(training: Training) -> Iterator[tuple[str, tuple[str | Path, ...], bool]]:
    """What is made, by which command (the name goes last), and whether it replaces a file."""
    run = training.run
    image = training.folder / "data" / "valid" / "dark" / "0000.png"
    data = ("--data", training.folder / "data")
    yield "made.csv", ("eval", run, "--csv"), True
    yield "made.html", ("report", run, "-o"), True
    yield "made.png", ("plot", run, "-o"), True
    yield "made.py", ("eject", run, "-o"), False
    yield "runs", ("baseline", "pixel-similarity", *data, "--run-dir"), False
    yield "images", ("data", "import-idx", training.folder / "idx"), False
    yield "prepared", ("predict", run, image, "--save-prepared"), False
    yield "predicted.csv", ("predict", run, image, "--csv"), True
    yield "made.svg", ("plot", run, "--what", "weights", "-o"), True
    yield "made.pdf", ("lr-find", *data, "--steps", "20", "--plot"), True
    yield "seeds", (*training.arguments, "--seeds", "3", "--run-dir"), False


@pytest.mark.parametrize("way", WAYS)
def test_a_result_that_cannot_be_written_leaves_what_was_there(
    way: str, training: Training, tally: Tally, examples: Examples, tmp_path: Path
) -> None:
    make_idx(training.folder / "idx", 40, 20)
    place, spoil, limits = WAYS[way]
    made = list(results(training))
    first = list(WAYS).index(way)
    for name, command, replaces in made[first :: examples(len(WAYS), 1)]:
        with place(tmp_path / name / "place") as top:
            target = top / name
            if replaces:
                target.write_bytes(b"what was there before")
            spoil(top)
            ended = training.command(*command, target, **limits)
            fault = fault_of_message(ended, 1, RESULT_REASONS) or left_over(top)
            if replaces and target.read_bytes() != b"what was there before":
                fault = "what was there before has changed"
            elif not replaces and (target.is_file() or any(target.rglob("*.*"))):
                fault = "a part of it is there"
            tally.check(f"{command[0]} → {name} in {way}", fault)


@pytest.mark.parametrize("way", [way for way in WAYS if "bytes" not in way])
def test_a_cache_that_cannot_be_written_is_done_without(
    way: str, training: Training, tmp_path: Path
) -> None:
    place, spoil, limits = WAYS[way]
    with place(tmp_path / "cache") as cache:
        spoil(cache)
        env = {**training.env, "MNISTLAB_CACHE": str(cache)}
        command = (*training.arguments, "--run-dir", str(tmp_path / "runs"), "--json")
        ended = training.command(*command, env=env, **limits)
    assert fault_of_message(ended, 0) == ""
    assert ended.json["weights_sha256"] == training.sha256


@pytest.mark.trials(0, 5)
def test_a_dataset_that_does_not_fit_says_so(
    trial: int, training: Training, tmp_path: Path
) -> None:
    if not (folder := training.folder / "published").exists():
        make_idx(folder, 60_000, 10_000)
    download = ("data", "download", "mnist", "--from", folder, "--unchecked")
    bundled = ("train", "--epochs", "1")
    command: tuple[str | Path, ...] = download if trial < 3 else bundled
    megabytes = (1, 20, 50, 1, 20)[trial]
    with small_disk(tmp_path / "cache", megabytes * 2**20) as cache:
        ended = training.command(*command, env={**training.env, "MNISTLAB_CACHE": str(cache)})
        assert fault_of_message(ended, 1, "No space left.*MNISTLAB_CACHE") == ""
        # the split that came first may fit; no part of a file is there
        assert left_over(cache) == ""
