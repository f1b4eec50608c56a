"""A learner's file in its process: whatever it does, the check ends, in plain words."""

import multiprocessing
import re
import time
from importlib import import_module
from pathlib import Path

import pytest

from mnistlab import system
from mnistlab.errors import ConfigError, RunError
from mnistlab.exercises import EXERCISES
from mnistlab.exercises.running import Check, check_file, file_name, file_text, files_in, start
from tests import needs
from tests.exercises.conftest import Write

pytestmark = needs.processes

# where the process is a new one, it imports torch first
LIMIT = 1.5 if needs.LINUX else 15.0
RIGHT = "return (answers == targets).float().mean()"


def said(check: Check) -> str:
    assert not check.verdict.passed
    return "\n".join(check.verdict.message)


def test_a_right_answer_passes_and_what_it_prints_is_shown(write: Write) -> None:
    check = check_file(write("accuracy", RIGHT, 'print("hello", 1 + 1)'))
    assert check.verdict.passed
    assert check.verdict.exact
    assert (check.exercise, check.file.name) == ("accuracy", "04_accuracy.py")
    assert check.printed == "hello 2\n"


def test_a_wrong_answer_is_told_what_was_expected_and_why(write: Write) -> None:
    check = check_file(write("accuracy", "return (answers == targets).sum()"))
    assert check.verdict.message == (
        "two of five answers are right",
        "  expected  0.4",
        "  yours     2",
        "Divide by the number of images.",
    )


@pytest.mark.parametrize(
    ("answer", "above", "message"),
    [
        ("while True: pass", "", f"did not end within {LIMIT:g} seconds: is a loop endless?"),
        (RIGHT, "while True: print('again')", "did not end within "),
        (RIGHT, "import sys\nsys.exit(3)", "line 12: SystemExit: 3"),
        ("exit()", "", "line 17: SystemExit"),
        (RIGHT, "import os\nos._exit(5)", "the program before it gave an answer (exit code 5)"),
        ("raise KeyboardInterrupt", "", "ended the program before it gave an answer (exit code 1)"),
        (  # pytest would print all that it was doing
            "import ctypes, faulthandler as f; f.disable(); ctypes.string_at(0)",
            "",
            "before it gave an answer (exit code ",
        ),
        ("return answers ==", "", "SyntaxError: invalid syntax (04_accuracy.py, line 17)"),
        ("return accuracy(answers, targets)", "", "line 17: RecursionError"),
        ("return input('your answer? ')", "", "line 17: EOFError"),
        ("return torch.zeros(10**12)", "", "line 17: RuntimeError"),
        ("return answer", "", "line 17: NameError: name 'answer' is not defined"),
        ("return open('no').read()", "", "line 17: FileNotFoundError: [Errno 2] No such file"),
        (RIGHT, "import no_such_module", "line 11: ModuleNotFoundError"),
        (RIGHT, "del accuracy", "line 11: NameError"),
        (RIGHT + "\n\n\naccuracy = 3", "", "04_accuracy.py:accuracy: not in this file"),
    ],
)  # fmt: skip
def test_an_answer_that_ends_badly_ends_in_a_plain_message(
    write: Write, answer: str, above: str, message: str
) -> None:
    check = check_file(write("accuracy", answer, above), LIMIT)
    assert message in said(check)
    assert "Traceback" not in said(check) + check.printed
    assert multiprocessing.active_children() == []


def test_what_is_printed_is_cut_and_comes_also_from_an_endless_loop(write: Write) -> None:
    check = check_file(write("accuracy", RIGHT, "while True: print('0123456789')"), LIMIT)
    assert "endless" in said(check)
    assert len(check.printed) == 4000
    assert check.printed.startswith("0123456789\n0123456789\n")


def test_a_file_may_read_files_and_start_programs(
    write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("noted", encoding="utf-8")
    above = "import subprocess, sys\nprint(open('notes.txt').read())\n"
    above += "subprocess.run([sys.executable, '-c', 'print(1)'])"
    check = check_file(write("accuracy", RIGHT, above))
    assert check.verdict.passed
    assert check.printed == "noted\n"
    assert capfd.readouterr().out == ""  # stdout may be one document


@pytest.mark.parametrize(
    ("above", "name"),
    [
        ("from mnistlab import losses\nlosses.mnist_loss = print", "mnistlab.losses.mnist_loss"),
        ("torch.where = print", "torch.where"),
        ("torch.nn.functional.relu = print", "torch.nn.functional.relu"),
        ("from mnistlab import BasicOptim as B\nB.step = print", "mnistlab.optim.BasicOptim.step"),
    ],
)  # fmt: skip
def test_a_change_to_what_is_not_its_own_is_named(write: Write, above: str, name: str) -> None:
    path = write("accuracy", RIGHT)
    path.write_text(f"{path.read_text(encoding='utf-8')}\n\n{above}\n", encoding="utf-8")
    assert f"changes {name}, which is not its own" in said(check_file(path))
    assert check_file(write("accuracy", RIGHT)).verdict.passed  # nothing has changed here


def test_what_torch_changes_of_itself_is_no_change_of_the_learner(write: Write) -> None:
    # wraps torch.manual_seed
    above = "import torch\ntorch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)"
    assert check_file(write("accuracy", RIGHT, above)).verdict.passed


def test_a_check_goes_on_whatever_the_tool_has_imported_before(write: Write) -> None:
    import_module("mnistlab.eject")  # it has a class of Python's own among its names
    assert check_file(write("accuracy", RIGHT)).verdict.passed


def test_a_borrowed_function_is_no_answer(write: Write) -> None:
    path = write("mnist_loss", "pass")
    text = path.read_text(encoding="utf-8") + "\n\nfrom mnistlab import mnist_loss\n"
    path.write_text(text, encoding="utf-8")
    assert said(check_file(path)) == (
        "mnist_loss is the tool's own: the exercise is to write it yourself."
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_gap_that_is_still_open_is_said_and_nothing_runs(tmp_path: Path, end: str) -> None:
    path = tmp_path / "04_accuracy.py"
    path.write_bytes(("\ufeff" + file_text("accuracy").replace("\n", end)).encode())
    check = check_file(path)
    assert said(check) == "The gap is still open: write your answer there."
    assert check.seconds == 0


def test_the_name_of_a_file_need_not_be_that_of_its_exercise(write: Write, tmp_path: Path) -> None:
    path = write("accuracy", RIGHT).rename(tmp_path / "mine.txt")
    assert check_file(path).verdict.passed


MARK = "# mnistlab exercise accuracy version 1\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("04_accuracy.py", None, "cannot be read: No such file or directory"),
        ("04_accuracy.py", b"", "is empty; mnistlab exercise start writes the files anew"),
        ("04_accuracy.py", b" \n\n", "is empty"),
        ("04_accuracy.py", b"x = 1\n", "has no line `# mnistlab exercise NAME version N`"),
        ("04_accuracy.py", b"\xff\xfe\x00", "not a text in UTF-8; save it as UTF-8"),
        ("x.py", MARK.replace("1", "2").encode(), "made for a newer mnistlab (version 2); update"),
        ("x.py", MARK.replace("acc", "inacc").encode(), "this mnistlab has no such exercise"),
        ("03_is_3.py", MARK.encode(), "its first line says accuracy, its name is_3; which one"),
    ],
)
def test_a_file_that_is_no_exercise_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        check_file(path)
    assert str(refused.value).startswith(str(path))


def test_a_folder_is_not_a_file_and_an_empty_one_has_no_exercises(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; mnistlab exercise status"):
        check_file(tmp_path)
    with pytest.raises(ConfigError, match="no file of an exercise there; mnistlab exercise start"):
        files_in(tmp_path)


def test_start_writes_what_is_not_there_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "mine"
    new = start(folder)
    assert [path.name for path in new] == [file_name(name) for name in EXERCISES]
    assert files_in(folder) == new
    assert new[0].name == "01_mean_image.py"
    new[0].write_text("mine", encoding="utf-8")
    new[1].unlink()
    assert start(folder) == [new[1]]
    assert new[0].read_text(encoding="utf-8") == "mine"
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file"):
        start(tmp_path / "file")


@needs.linux
def test_an_answer_that_is_late_is_ended_and_not_waited_for(write: Write, tmp_path: Path) -> None:
    above = "import signal, time\nsignal.alarm(0)\ntime.sleep(6)\nopen('after', 'w').close()"
    assert "endless" in said(check_file(write("accuracy", RIGHT, above), 0.5))
    assert not (tmp_path / "after").exists()


@needs.linux
def test_an_answer_ends_also_where_the_check_was_killed(write: Write, tmp_path: Path) -> None:
    path = write("accuracy", RIGHT, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\n")
    text = path.read_text(encoding="utf-8").replace("\n\ndef", "\ntime.sleep(60)\n\n\ndef")
    path.write_text(text, encoding="utf-8")
    check = multiprocessing.get_context("fork").Process(target=check_file, args=(path, 0.5))
    check.start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text(encoding="utf-8"):
        time.sleep(0.01)
    check.kill()
    check.join()
    stat = Path("/proc") / (tmp_path / "pid").read_text(encoding="utf-8") / "stat"
    until = time.monotonic() + 30
    # gone, or ended and not yet fetched
    while stat.exists() and ") Z " not in stat.read_text(encoding="utf-8"):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_elsewhere_than_on_linux_a_new_process_gives_the_same(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "LINUX", False)
    check = check_file(write("derivative", "return 6 * x**2 + 6 * x + 4", "print('hi')"), 60)
    assert check.verdict.passed
    assert check.printed == "hi\n"


def test_an_answer_may_stand_below_the_gap(write: Write) -> None:
    file = write("accuracy", "...")
    assert said(check_file(file)) == "The gap is still open: write your answer there."
    below = "\n\ndef accuracy(answers, targets):\n    " + RIGHT + "\n"
    file.write_text(file.read_text("utf-8") + below, encoding="utf-8")
    assert check_file(file).verdict.passed
