"""`mnistlab exercise`: start, show, check, status, next and watch."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mnistlab.exercises import EXERCISES
from mnistlab.exercises.running import file_name, file_text
from tests import needs
from tests.command import Result, spawn
from tests.exercises.conftest import Write

pytestmark = needs.processes

Mnistlab = Callable[..., Result]
RIGHT = "return (answers == targets).float().mean()"
WRONG = "return (answers == targets).sum()"


def test_start_writes_the_files_and_never_overwrites_one(mnistlab: Mnistlab) -> None:
    started = mnistlab("exercise", "start").ok()
    assert started.out == f"{len(EXERCISES)} files written to exercises\n"
    assert "mnistlab exercise next exercises" in started.err
    files = sorted(Path("exercises").iterdir())
    assert [file.name for file in files] == [file_name(name) for name in EXERCISES]
    files[3].write_text("mine", encoding="utf-8")
    document = mnistlab("exercise", "start", "--json").ok().json
    assert document == {"schema_version": 1, "folder": "exercises", "written": []}
    assert files[3].read_text(encoding="utf-8") == "mine"
    elsewhere = mnistlab("exercise", "start", "of mine/two", "--json").ok().json
    assert elsewhere["written"] == [file.name for file in files]


@pytest.mark.parametrize("words", [("accuracy",), ("show", "accuracy")])
def test_a_name_shows_its_task_and_as_many_hints_as_asked(
    mnistlab: Mnistlab, words: tuple[str, ...]
) -> None:
    shown = mnistlab("exercise", *words).ok().out
    assert shown.startswith("4  accuracy: How many answers are right?\n\nWrite the share of right")
    assert "Where is an answer" not in shown
    hints = mnistlab("exercise", *words, "--hint", "2").ok().out
    assert hints.startswith(shown)
    assert len(hints.splitlines()) == len(shown.splitlines()) + 2
    assert mnistlab("exercise", *words, "--hint", "4").code == 2
    document = mnistlab("exercise", *words, "--hint", "1", "--json").ok().json
    assert document["exercise"] == "accuracy"
    assert document["hints"] == ["Where is an answer equal to its target?"]


def test_an_unknown_name_is_refused_with_the_nearest(mnistlab: Mnistlab) -> None:
    refused = mnistlab("exercise", "show", "accurracy")
    assert refused.code == 2
    assert "exercise accurracy: no such exercise; did you mean accuracy" in refused.err
    assert mnistlab("exercise", "accurracy").err == refused.err
    assert "No such command 'chek'" in mnistlab("exercise", "chek").err


def test_check_says_what_is_right_and_exits_with_3_for_what_is_not(
    mnistlab: Mnistlab, write: Write
) -> None:
    path = write("accuracy", RIGHT, "print('seen', 1)\nprint(2)")
    right = mnistlab("exercise", "check", path).ok()
    assert right.out == ("ok 4  accuracy\n  it printed:\n  | seen 1\n  | 2\n1 of 1 are right\n")
    assert right.err == f"go on with: mnistlab exercise next {path.parent}\n"
    other = write("derivative", "return x")
    checked = mnistlab("exercise", "check", path, other, "--hint", "3")
    assert checked.code == 3
    assert "NO 5  derivative\n  at 1.5\n    expected  26.5\n    yours     1.5\n" in checked.out
    assert "The first part: 2x^3 becomes 2 times 3x^2.\n1 of 2 are right\n" in checked.out
    assert checked.err == "error: not right yet: derivative\n"


def test_check_as_json_is_one_document_in_english(mnistlab: Mnistlab, write: Write) -> None:
    path = write("accuracy", WRONG, "print('hello')")
    checked = mnistlab("exercise", "check", path, "--json", "--lang", "zh")
    assert checked.code == 3
    [one] = checked.json["exercises"]
    assert one.pop("seconds") > 0
    assert one == {
        "file": str(path),
        "exercise": "accuracy",
        "passed": False,
        "exact": False,
        "mistake": "Divide by the number of images.",
        "message": [
            "two of five answers are right",
            "  expected  0.4",
            "  yours     2",
            "Divide by the number of images.",
        ],
        "printed": "hello\n",
    }


def test_check_ends_an_endless_loop_and_refuses_what_is_no_exercise(
    mnistlab: Mnistlab, write: Write, tmp_path: Path
) -> None:
    path = write("accuracy", "while True: pass")
    ended = mnistlab("exercise", "check", path, "--seconds", "1")
    assert ended.code == 3
    assert "It did not end within 1 seconds: is a loop endless?" in ended.out
    refused = mnistlab("exercise", "check", tmp_path / "no.py")
    assert refused.code == 2
    assert "no.py: cannot be read: No such file or directory" in refused.err
    refused = mnistlab("exercise", "check", tmp_path)
    assert refused.code == 2
    assert f"is a folder; mnistlab exercise status {tmp_path} checks" in refused.err


def test_status_and_next_go_through_a_folder(
    mnistlab: Mnistlab, write: Write, tmp_path: Path
) -> None:
    assert "no file of an exercise there" in mnistlab("exercise", "status", tmp_path).err
    write("accuracy", RIGHT)
    open_one = tmp_path / file_name("derivative")
    open_one.write_text(file_text("derivative"), encoding="utf-8")
    status = mnistlab("exercise", "status", tmp_path)
    assert status.code == 0
    lines = status.out.splitlines()
    assert lines[0].split() == ["ok", "4", "accuracy", "How", "many", "answers", "are", "right?"]
    assert lines[1].startswith("--  5  derivative")
    assert lines[2:] == ["1 of 2 are right"]
    following = mnistlab("exercise", "next", tmp_path, "--hint", "1").ok()
    assert following.out.startswith("5  derivative: A derivative by hand\n")
    assert following.out.endswith(
        "The derivative of a sum is the sum of the derivatives of its parts.\n"
    )
    assert f"write it in {open_one}" in following.err
    assert mnistlab("exercise", "next", tmp_path, "--json").ok().json["exercise"] == "derivative"
    write("derivative", "return 6 * x**2 + 6 * x + 4")
    assert mnistlab("exercise", "status", tmp_path).ok().out.endswith("2 of 2 are right\n")
    assert mnistlab("exercise", "next", tmp_path).ok().out == "All exercises are solved.\n"
    assert mnistlab("exercise", "next", tmp_path, "--json").ok().json["exercise"] is None


def test_an_unknown_language_is_said_once_and_english_is_spoken(mnistlab: Mnistlab) -> None:
    shown = mnistlab("exercise", "accuracy", "--lang", "xx").ok()
    assert shown.err.count("--lang xx") == 1
    assert shown.out == mnistlab("exercise", "accuracy", "--lang", "en").ok().out


def test_without_a_word_there_is_help(mnistlab: Mnistlab) -> None:
    shown = mnistlab("exercise")
    assert "start" in shown.out + shown.err
    assert "watch" in shown.out + shown.err


def test_watch_checks_what_is_saved_until_ctrl_c(write: Write, tmp_path: Path) -> None:
    path = write("derivative", "return x")
    right = path.read_text(encoding="utf-8").replace("return x", "return 6 * x**2 + 6 * x + 4")
    with spawn("exercise", "watch", tmp_path) as process:
        late = threading.Timer(60, process.kill)  # reading would wait for ever
        late.start()
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == f"watching {tmp_path}; Ctrl-C ends it\n"
        path.write_text("", encoding="utf-8")  # an editor is about to fill it: nothing is said
        time.sleep(0.5)
        path.write_text("half", encoding="utf-8")
        assert "has no line `# mnistlab exercise NAME version N`" in process.stderr.readline()
        path.write_text(right, encoding="utf-8")
        assert process.stdout.readline() == "ok 5  derivative\n"
        path.write_text(right.replace("+ 4", "+ 5"), encoding="utf-8")
        told = [process.stdout.readline() for _ in range(5)]
        assert told[0] == "NO 5  derivative\n"
        assert told[4] == "  The constant 1 does not grow: its derivative is 0.\n"
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate()
        late.cancel()
    assert "Traceback" not in err
    assert process.returncode == 130


def test_ctrl_c_ends_an_endless_loop_without_a_traceback(write: Write, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    path = write("accuracy", f"open({str(begun)!r}, 'w')\n    while True: pass")
    with spawn("exercise", "check", path, start_new_session=True) as process:
        late = threading.Timer(60, process.kill)
        late.start()
        while process.poll() is None and not begun.exists():
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to both processes
        _, err = process.communicate()
        late.cancel()
    assert process.returncode == 130
    assert "Process" not in err


def test_watch_is_for_eyes(mnistlab: Mnistlab, tmp_path: Path) -> None:
    assert mnistlab("exercise", "watch", tmp_path, "--json").code == 2
    assert mnistlab("exercise", "watch", tmp_path).code == 2  # there is nothing to watch
