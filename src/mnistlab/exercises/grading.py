"""The answers of a class: each folder of a folder is that of a learner."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from mnistlab.data.scan import require_exists
from mnistlab.errors import DataError, MnistlabError, RunError
from mnistlab.exercises import EXERCISES
from mnistlab.exercises.running import OPEN, PROCESSES, check_file, exercise_of
from mnistlab.names import natural_key, printable

NO_FILE = "no file"
_DEPTH = 4  # of folders in a learner's folder in which files and runs are looked for


@dataclass(frozen=True)
class Answer:
    """One exercise of one learner. reason: why it was missed; empty where it is right."""

    exercise: str
    passed: bool
    reason: str
    seconds: float = 0.0

    @property
    def mark(self) -> str:
        return "o" if self.passed else "-" if self.reason in (NO_FILE, OPEN) else "x"


def learners_in(folder: Path) -> list[Path]:
    """The folders of the learners, in order of name. Raises DataError where there is none."""
    require_exists(folder, "a folder of learners' folders", folder=True)
    with os.scandir(folder) as entries:
        found = [Path(one.path) for one in entries if one.is_dir() and one.name[0] != "."]
    if not found:
        why = "no folder in it; each learner needs one, with the files of the exercises or runs"
        raise DataError(printable(folder), [f"{printable(folder)}: {why}"])
    return sorted(found, key=lambda path: natural_key(path.name))


def check_learners(folders: Sequence[Path], seconds: float) -> Iterator[dict[str, Answer]]:
    """What became of each exercise, learner by learner; several at once. Raises RunError."""
    torch.set_num_threads(1)  # before a copy is made of this process: see `running.check_file`
    with ProcessPoolExecutor(os.cpu_count(), mp_context=PROCESSES) as pool:
        try:
            yield from pool.map(partial(check_learner, seconds=seconds), folders)
        except BrokenProcessPool as error:
            why = "an answer ended the program that checks it: one of a learner not yet checked"
            raise RunError(f"{printable(folders[0].parent)}: {why}") from error


def check_learner(folder: Path, seconds: float) -> dict[str, Answer]:
    """What became of each exercise in a learner's folder."""
    try:
        os.listdir(folder)
        reason = NO_FILE
    except OSError as error:
        reason = f"{printable(folder.name)}: cannot be listed: {error.strerror or error}"
    answers = {name: Answer(name, False, reason) for name in EXERCISES}
    for file in sorted(path for path in files_of(folder) if path.suffix == ".py"):
        try:
            name, _text = exercise_of(file)
            check = check_file(file, seconds)
        except MnistlabError as error:
            name = file.stem.partition("_")[2]
            if name in answers and not answers[name].passed:
                answers[name] = Answer(name, False, str(error))
            continue
        if not answers[name].passed:  # of two files for one exercise, the one that is right
            reason = (
                "" if check.verdict.passed else "; ".join(map(str.strip, check.verdict.message))
            )
            answers[name] = Answer(name, check.verdict.passed, reason, check.seconds)
    return answers


def files_of(folder: Path) -> Iterator[Path]:
    """All files in a folder, at most `_DEPTH` deep; no links to folders, no pipes (they wait)."""
    for path, folders, files in os.walk(folder):
        if len(Path(path).relative_to(folder).parts) >= _DEPTH:
            folders.clear()
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from filter(Path.is_file, (Path(path) / name for name in sorted(files)))
