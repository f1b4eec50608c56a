"""A class at a glance: the answers and the runs in a folder of learners' folders.

Nothing is believed that a file claims: answers are run, accuracies are computed from the weights,
and a run counts as repeated only if it was trained again, here, to the same weights.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from mnistlab.errors import DataError, MnistlabError
from mnistlab.exercises import EXERCISES
from mnistlab.exercises.running import PROCESSES, SECONDS, check_file, exercise_of
from mnistlab.metrics import Evaluation
from mnistlab.names import natural_key, printable
from mnistlab.runs import Run
from mnistlab.scoring import open_model, score_run
from mnistlab.storage import weights_sha256
from mnistlab.studies.verify import verify_run

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
        return "o" if self.passed else "-" if self.reason == NO_FILE else "x"


@dataclass
class LearnerRun:
    """A run of a learner. evaluation: from its weights, None where they cannot be scored.

    repeats: it was trained again to the same weights; None where that was not asked for. accuracies
    by epoch are those of its record, for the curves of runs that repeat. twins: the learners with
    the same weights.
    """

    learner: str
    run: Run
    model: str = ""
    weights: str = ""
    evaluation: Evaluation | None = None
    repeats: bool | None = None
    reason: str = ""
    accuracies: list[float] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Grades:
    """answers: learner → exercise → answer, all learners and exercises. runs: the best first."""

    answers: dict[str, dict[str, Answer]]
    runs: list[LearnerRun]


def grade(
    folder: Path,
    data: str | None = None,
    *,
    verify: bool = True,
    seconds: float = SECONDS,
    progress: Callable[[str], None] = lambda learner: None,
) -> Grades:
    """Check the exercises and runs of every folder in `folder`, one for each learner.

    data: where all runs are scored, perhaps on images that no learner has; None: each on its own.
    verify: train each run again. seconds: how long an answer may take. progress: is told of each
    learner that is done. Raises DataError where there is no folder.
    """
    learners = sorted(
        (entry for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."),
        key=lambda entry: natural_key(entry.name),
    )
    if not learners:
        why = "no folder in it; each learner needs one, with the files of the exercises or runs"
        raise DataError(printable(folder), [f"{printable(folder)}: {why}"])
    paths = [Path(entry.path) for entry in learners]
    answers = {}
    # each process checks the learners of its own, one after the other
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context(PROCESSES)) as pool:
        check = partial(check_learner, seconds=seconds)
        for path, checked in zip(paths, pool.map(check, paths), strict=True):
            answers[path.name] = checked
            progress(path.name)
    runs = [grade_run(path.name, run, data, verify) for path in paths for run in _runs_in(path)]
    for one in runs:
        same = [other.learner for other in runs if other.weights == one.weights != ""]
        one.twins = sorted({*same} - {one.learner})
    runs.sort(key=lambda one: -one.evaluation.accuracy if one.evaluation else 1.0)
    return Grades(answers, runs)


def check_learner(folder: Path, seconds: float) -> dict[str, Answer]:
    """What became of each exercise in a learner's folder."""
    answers = {name: Answer(name, False, NO_FILE) for name in EXERCISES}
    for file in sorted(path for path in _files_in(folder) if path.suffix == ".py"):
        try:
            name, _text = exercise_of(file)
            check = check_file(file, seconds)
        except MnistlabError as error:
            name = file.stem.partition("_")[2]
            if name in answers and not answers[name].passed:
                answers[name] = Answer(name, False, str(error))
            continue
        if not answers[name].passed:  # of two files for one exercise, the one that is right
            reason = "" if check.verdict.passed else " ".join(check.verdict.lines)
            answers[name] = Answer(name, check.verdict.passed, reason, check.seconds)
    return answers


def grade_run(learner: str, run: Run, data: str | None, verify: bool) -> LearnerRun:
    """Score a run from its weights, and train it again. A fault becomes its `reason`."""
    graded = LearnerRun(learner, run)
    try:
        model, card = open_model(run)
        graded.model, graded.weights = card.model, weights_sha256(model.state_dict())
        graded.evaluation = score_run(run, {"data": data}).evaluation
        if verify:
            outcome = verify_run(run)
            graded.repeats = outcome.repeats
            graded.reason = "" if outcome.repeats else "trained again, its weights are others"
            result = run.record().result
            if outcome.repeats and result:
                graded.accuracies = [row.accuracy for row in result.epochs]
    except MnistlabError as error:
        graded.reason = str(error).splitlines()[0]
    return graded


def _files_in(folder: Path) -> Iterator[Path]:
    """All files in a folder, at most `_DEPTH` folders deep; links to folders are not followed."""
    for path, folders, files in os.walk(folder):
        if len(Path(path).relative_to(folder).parts) >= _DEPTH:
            folders.clear()
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(path) / name for name in sorted(files))


def _runs_in(folder: Path) -> list[Run]:
    return [Run(path.parent) for path in _files_in(folder) if path.name == "run.json"]
