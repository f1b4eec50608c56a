"""`mnistlab grade`: a class of learners' folders, their answers and their runs."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnistlab.exercises import EXERCISES
from mnistlab.exercises.kit import images_of
from mnistlab.exercises.running import file_name, file_text
from mnistlab.runs import Run
from tests import needs
from tests.command import Result
from tests.conftest import make_tree

Mnistlab = Callable[..., Result]
# where the process of an answer is a new one, it imports torch first
LIMIT = "1" if needs.LINUX else "15"
RIGHT = "return (answers == targets).float().mean()"
WRONG = "return (answers == targets).sum()"
NET = "import torch\n\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n"
NET += "        super().__init__()\n        self.layer = torch.nn.Linear(16, 1)\n\n"
NET += "    def forward(self, x):\n        return self.layer(x.flatten(1))\n"


@pytest.fixture
def answer(tmp_path: Path) -> Callable[..., Path]:
    """`answer("ann", "accuracy", "return 1")`: a learner's file, in the folder `class`."""
    images_of("3")  # loaded here, so that the processes of the learners have them

    def answer(learner: str, name: str, code: str) -> Path:
        path = tmp_path / "class" / learner / file_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = file_text(name).replace("    ...\n", f"    {code}\n")
        path.write_text(text, encoding="utf-8")
        return path

    return answer


@pytest.fixture
def train(mnistlab: Mnistlab, tiny: Path, tmp_path: Path) -> Callable[..., Run]:
    """`train("ann", "--seed", "1")`: a run of a learner on tiny images, in the folder `class`."""

    def train(learner: str, *words: str) -> Run:
        folder = tmp_path / "class" / learner / "runs"
        before = set(folder.glob("*"))
        words = ("--epochs", "2", "--data", str(tiny), "--run-dir", str(folder), *words)
        mnistlab("train", "-q", *words).ok()
        [path] = set(folder.glob("*")) - before
        return Run(path)

    return train


def graded(mnistlab: Mnistlab, *words: str | Path) -> list[dict[str, Any]]:
    """The rows of `grade class --json`, but those of missing files."""
    rows = mnistlab("grade", "class", "--json", *words).ok().json["rows"]
    return [row for row in rows if row["reason"] != "no file"]


def test_the_answers_of_a_class_are_run_and_each_miss_has_its_reason(
    mnistlab: Mnistlab, answer: Callable[..., Path]
) -> None:
    answer("ann", "accuracy", RIGHT)
    answer("ann", "derivative", "return 6 * x**2 + 6 * x + 4")
    answer("ben 2", "accuracy", WRONG)
    answer("ben 2", "derivative", "return x ==")
    answer("ben 10", "accuracy", "while True: pass")
    answer("ben 10", "derivative", "return x").rename("class/ben 10/03_is_3.py")
    gap = Path("class/ann/06_mse.py")
    gap.write_text(file_text("mse"), encoding="utf-8")  # as it was given out: not tried
    csv_file, page = Path("grades.csv"), Path("grades.html")
    result = mnistlab("grade", "class", "--seconds", LIMIT, "--csv", csv_file, "--html", page).ok()
    assert [line.split() for line in result.out.splitlines()[2:]] == [
        ["ann", "---oo----------------", "2"],
        ["ben", "2", "---xx----------------", "0"],
        ["ben", "10", "--xx-----------------", "0"],
    ]
    assert result.err.splitlines() == ["checked ann", "checked ben 2", "checked ben 10"]
    with csv_file.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(EXERCISES)
    found = {(row["learner"], row["name"]): row for row in rows if row["reason"] != "no file"}
    assert {key: row["passed"] for key, row in found.items()} == {
        ("ann", "accuracy"): "True",
        ("ann", "derivative"): "True",
        ("ann", "mse"): "False",
        ("ben 2", "accuracy"): "False",
        ("ben 2", "derivative"): "False",
        ("ben 10", "accuracy"): "False",
        ("ben 10", "is_3"): "False",
    }
    reasons = {key: row["reason"] for key, row in found.items()}
    assert reasons["ann", "accuracy"] == ""
    assert reasons["ben 2", "accuracy"] == (
        "two of five answers are right; expected  0.4; yours     2; Divide by the number of images."
    )
    assert "SyntaxError: invalid syntax (05_derivative.py, line" in reasons["ben 2", "derivative"]
    assert f"did not end within {LIMIT} seconds" in reasons["ben 10", "accuracy"]
    assert "its first line says derivative, its name is_3" in reasons["ben 10", "is_3"]
    assert float(found["ann", "accuracy"]["seconds"]) > 0
    text = page.read_text(encoding="utf-8")
    assert "ben 10: 2 to look at" in text
    assert "ann: " not in text  # nothing to look at
    assert "Divide by the number of images." in text
    assert text.count('class="wrong"') == 4
    assert 'id="runs"' not in text


def test_of_two_files_of_an_exercise_the_right_one_counts(
    mnistlab: Mnistlab, answer: Callable[..., Path]
) -> None:
    answer("ann", "accuracy", RIGHT).rename("class/ann/first.py")
    answer("ann", "accuracy", WRONG).rename("class/ann/second.py")
    [row] = graded(mnistlab)
    assert (row["kind"], row["name"], row["passed"]) == ("exercise", "accuracy", True)


def test_nothing_is_believed_that_a_run_claims(
    mnistlab: Mnistlab, train: Callable[..., Run], tmp_path: Path
) -> None:
    honest = train("ann")
    boasting = train("ben", "--seed", "1")
    text = boasting.record_file.read_text(encoding="utf-8")
    document = json.loads(text)
    document["result"]["accuracy"] = 2.0
    boasting.record_file.write_text(json.dumps(document), encoding="utf-8")
    swapped = train("cid", "--seed", "2")
    shutil.copy(honest.model_file, swapped.model_file)  # the weights of another
    for name in ("damaged", "lost"):
        broken = Path("class", "dora", name)
        shutil.copytree(honest.path, broken)
    Path("class", "dora", "lost", "model.safetensors").unlink()
    damaged = Path("class", "dora", "damaged", "model.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    rows = {(row["learner"], row["name"]): row for row in graded(mnistlab)}
    assert all(row["kind"] == "run" for row in rows.values())
    of = {learner: row for (learner, _), row in rows.items() if learner != "dora"}
    assert of["ann"]["passed"] is True
    assert of["ann"]["reason"] == ""
    assert of["ann"]["low"] < of["ann"]["accuracy"] <= of["ann"]["high"]
    for learner in ("ben", "cid"):
        assert of[learner]["passed"] is False
        assert of[learner]["reason"] == "trained again, its weights are others"
        assert of[learner]["accuracy"] <= 1
    assert "no such file" in rows["dora", "lost"]["reason"]
    assert "damaged" in rows["dora", "damaged"]["reason"]
    assert rows["dora", "lost"]["accuracy"] is None
    quick = {row["name"]: row for row in graded(mnistlab, "--no-verify")}
    assert quick[honest.name]["passed"] is None
    assert quick[honest.name]["accuracy"] == of["ann"]["accuracy"]


def test_runs_are_scored_on_a_hidden_set_and_equal_weights_are_named(
    mnistlab: Mnistlab, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("ann")
    train("eve", "--seed", "3", "--init", "normal")
    shutil.copytree("class/ann", "class/bob")
    hidden = make_tree(tmp_path / "hidden", train=1, valid=9)
    page = Path("page.html")
    result = mnistlab("grade", "class", "--data", hidden, "--html", page).ok()
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 80
    head = next(i for i, line in enumerate(lines) if line.startswith("learner") and "run" in line)
    assert lines[head].split() == ["learner", "run", "accuracy", "95%", "repeats"]
    board = [line.split() for line in lines[head + 2 : head + 5]]
    assert {cells[0]: cells[4] for cells in board} == {"ann": "yes", "bob": "yes", "eve": "yes"}
    accuracies = [float(cells[2]) for cells in board]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all(round(accuracy * 18, 2) % 1 < 0.01 for accuracy in accuracies)  # of 2 x 9 images
    assert [line.rpartition(": ")[2] for line in lines[head + 6 :]] == [
        "same weights as bob",
        "same weights as ann",
    ]
    text = page.read_text(encoding="utf-8")
    assert "same weights as bob" in text
    assert text.count("<polyline") == 3
    assert "cannot be read" not in text


def test_own_code_of_a_run_is_not_run_without_trust(
    mnistlab: Mnistlab, train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("net.py").write_text(NET, encoding="utf-8")
    train("ann", "--model", "net.py:Net")
    [row] = graded(mnistlab)
    assert (row["passed"], row["reason"]) == (True, "")
    monkeypatch.setenv("MNISTLAB_STATE", "another")  # as on the teacher's machine
    monkeypatch.setattr("mnistlab.own_code._trusted", set())
    [row] = graded(mnistlab)
    assert row["passed"] is None
    assert row["accuracy"] is None
    assert "code that was not trained here: net.py:Net" in row["reason"]


def test_what_is_no_class_is_refused(mnistlab: Mnistlab) -> None:
    Path("empty").mkdir()
    for name, why in (
        ("empty", "no folder in it; each learner needs one"),
        ("missing", "no such folder; expected a folder of learners' folders"),
        (__file__, "not a folder; expected"),
    ):
        refused = mnistlab("grade", name)
        assert refused.code == 2
        assert why in refused.err


@needs.any_name
@needs.symlinks
@needs.pipes
def test_folders_as_they_come_do_not_hang_or_break_it(
    mnistlab: Mnistlab, answer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ['<b>ann & "co"', "王芳", "tab\there", os.fsdecode(b"\xff bytes")]
    for name in names:
        answer(name, "accuracy", RIGHT)
    ring = Path("class", names[0])
    (ring / "again").symlink_to(Path("..", names[0]), target_is_directory=True)
    (ring / "loop.py").symlink_to("loop.py")
    (ring / "run.json").symlink_to("run.json")
    os.mkfifo(ring / "pipe.py")  # reading it would wait for ever
    Path("class", "closed").mkdir()
    listing = os.listdir

    def refuse(path: Any) -> list[str]:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "listdir", refuse)
    page, table = Path("page.html"), Path("table.csv")
    result = mnistlab("grade", "class", "--html", page, "--csv", table).ok()
    shown = {line.split("  ")[0]: line.split()[-1] for line in result.out.splitlines()[2:]}
    printed = ['<b>ann & "co"', "王芳", "tab\\there", "\\udcff bytes"]
    assert shown == {"closed": "0", **dict.fromkeys(printed, "1")}
    rows = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    closed = [row for row in rows if "closed: cannot be listed: Permission denied" in row]
    assert len(closed) == len(EXERCISES)
    text = page.read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "王芳" in text
    assert "\t" not in text


@needs.linux
def test_an_answer_that_ends_the_program_which_checks_ends_in_a_message(
    mnistlab: Mnistlab, answer: Callable[..., Path]
) -> None:
    answer("ann", "accuracy", "import os\n    os.kill(os.getppid(), 9)")
    refused = mnistlab("grade", "class")
    assert refused.code == 1
    assert "error: class: an answer ended the program that checks it" in refused.err
