"""Exercises: how long a check takes, how soon after a save `watch` answers, how long a class takes.

`python -m benchmarks.exercises class FOLDER N` writes the folders of N learners; `watch FOLDER`
prints one line of JSON, the seconds from the save of each exercise to its answer.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.exercises import answers, answers2

from mnistlab.exercises import EXERCISES
from mnistlab.exercises.running import file_name, file_text

RIGHT = answers.SOLUTIONS | answers2.SOLUTIONS
WRONG = answers.WRONG | answers2.WRONG


def write_answer(folder: Path, name: str, number: int) -> None:
    """The file of an exercise: of all right answers and mistakes, the one of this `number`."""
    known = [*RIGHT[name], *(code for code, _ in WRONG[name])]
    code = known[number % len(known)]
    text = file_text(name).replace(" ...\n", " pass\n") + code
    (folder / file_name(name)).write_text(text, encoding="utf-8")


def write_class(base: Path, learners: int) -> None:
    """A folder for each learner, with all exercises, answered in all the ways that are known."""
    for learner in range(learners):
        folder = base / f"learner {learner + 1}"
        folder.mkdir(parents=True)
        for name in EXERCISES:
            write_answer(folder, name, learner)


def watch(folder: Path) -> dict[str, float]:
    """Exercise → seconds from the save of each of the exercises to the first line of its answer."""
    folder.mkdir()
    for name in EXERCISES:
        write_answer(folder, name, 0)
    times = {}
    command = [sys.executable, "-m", "mnistlab", "exercise", "watch", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.readline()  # it watches from here on
        for name in EXERCISES:
            file = folder / file_name(name)
            text = file.read_text(encoding="utf-8")
            started = time.perf_counter()
            new = file.with_suffix(".new")
            new.write_text(f"{text}\n", encoding="utf-8")
            os.replace(new, file)
            while (line := process.stdout.readline())[:3] != "ok ":
                if not line or line.startswith("NO "):
                    raise RuntimeError(f"{name} is not right")
            times[name] = time.perf_counter() - started
        process.terminate()
    return times


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "class":
        write_class(where, int(sys.argv[3]))
    else:
        print(json.dumps(watch(where)))
