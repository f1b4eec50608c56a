"""`make newcomer` sees what a page can get wrong."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.command import Result
from tests.newcomer import Step, difference, faults, not_here, read_pages, steps_of, unprinted

SHOWN = """\
epoch  accuracy     time
    0  0.971050    0.04s
  ...
   19  0.982336    0.01s
run    runs/20261122-022427-linear-s0
best   0.982826 in epoch 16; weights sha256 02896097d65c22dc"""
PRINTED = """\
.venv/bin/mnistlab train
epoch  accuracy     time
    0  0.971050    0.07s
    1  0.973994    0.02s
   19  0.982826   12.31s
run    runs/20270101-000000-linear-s0
best   0.983317 in epoch 16; weights sha256 c5b969249797822d"""


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("", "", None),
        ("0.971050", "0.973050", "0.973050"),
        ("0.971050", "0.97105", "0.97105 "),  # fewer digits than shown
        ("    0  0.97", "    1  0.97", "printed: 1  0.97"),
        ("   19  0.982826   12.31s\n", "", "not printed: 19"),
        ("run    runs", "note\nrun    runs", "printed: note"),
        ("linear-s0", "cnn-s0", "cnn-s0"),
        ("epoch 16", "epoch 17", "epoch 17"),
        ("c5b969249797822d", "c5b969249797822d\nbye", "also printed: bye"),
        ("c5b969249797822d", "unknown", "unknown"),
    ],
)
def test_output_is_compared_line_by_line(old: str, new: str, named: str | None) -> None:
    found = difference(SHOWN.splitlines(), PRINTED.replace(old, new).splitlines())
    assert (found or "") == "" if named is None else named in str(found)


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ("12,396 + 2,038 images, 2 epochs: 0.983", []),
        ("784 -> 30 -> ReLU -> 1", ["30", "1"]),
        ("20 epochs", ["20"]),
        ("12,397 images", ["12,397"]),
        ("0.9514", ["0.9514"]),
        ("0.971", ["0.971"]),  # only in a row of the table
        ("0.5", ["0.5"]),  # only in a checksum
        ("12 MB, about 20 s, exit 3, m.png", []),
    ],
)
def test_every_figure_of_a_comment_is_looked_for(said: str, missing: list[str]) -> None:
    printed = """12,396 + 2,038 images, 784x2
    0    0.067283    0.042142  0.971050    0.04s
    1    0.033797    0.035085  0.973994    0.02s
best    0.982826; weights sha256 0.5c5b969249797822d"""
    assert unprinted(said, [printed]) == missing


def test_a_wrong_exit_code_is_seen(tmp_path: Path) -> None:
    assert faults(Step("mnistlab train"), Result(1, "", ""), tmp_path) == ["exit 1, not 0"]
    step = Step("mnistlab runs verify latest", code=3)
    assert faults(step, Result(0, "", ""), tmp_path) == ["exit 0, not 3"]
    assert faults(step, Result(3, "", ""), tmp_path) == []


@pytest.mark.parametrize(
    ("line", "comment", "name"),
    [
        ("mnistlab plot latest -o a.png", "", "a.png"),
        ("mnistlab lesson step --plot a.png", "", "a.png"),
        ("mnistlab report", "curves -> report.html", "report.html"),
        ("mnistlab predict latest a.jpg --save-prepared seen/", "", "seen/"),
    ],
)
def test_a_file_that_is_missing_or_damaged_is_seen(
    line: str, comment: str, name: str, tmp_path: Path
) -> None:
    step, done = Step(line, comment), Result(0, "", "")
    assert faults(step, done, tmp_path) == [f"no {name}"]
    file = tmp_path / "below" / name if name == "report.html" else tmp_path / name
    if name == "seen/":
        file = file / "a.png"
    file.parent.mkdir(exist_ok=True)
    file.write_text("nothing")
    assert len(faults(step, done, tmp_path)) == 1
    if name == "report.html":
        file.write_text("<!doctype html>\n")
    else:
        Image.new("L", (2, 2)).save(file)
    assert faults(step, done, tmp_path) == []


def test_two_documents_are_not_one(tmp_path: Path) -> None:
    step = Step("mnistlab eval --json")
    assert faults(step, Result(0, "{}\n", "a notice"), tmp_path) == []
    assert faults(step, Result(0, "{}\n{}\n", ""), tmp_path) == ["not one JSON document"]


def test_commands_are_taken_in_their_order_also_from_comments() -> None:
    console = """$ make train     # trains
$ pip install .  # then: mnistlab train
$ mnistlab train --seeds 2
$ mnistlab runs list # also: mnistlab runs show RUN, mnistlab runs rm RUN
$ mnistlab runs verify latest
"""
    steps = steps_of([("console", console), ("", "model linear\n"), ("python", "print()\n")])
    lines = [step.line for step in steps]
    assert lines[:7] == [
        "make train",
        "pip install .",
        "mnistlab train",
        "mnistlab train --seeds 2",
        "mnistlab runs list",
        "mnistlab runs show RUN",
        "mnistlab runs rm RUN",
    ]
    assert [step.place for step in steps[:4]] == ["env", "own", "own", "env"]
    assert [step.shown for step in steps[:2]] == [["model linear"], []]
    touched, again, example = steps[8:11]
    assert touched.line.startswith("python -c")
    assert (again.line, again.code) == ("mnistlab runs verify latest", 3)
    assert example.line == "python example.py"


def test_what_ends_only_with_ctrl_c_is_not_waited_for() -> None:
    lines = [step.line for step in steps_of(read_pages())]
    assert "mnistlab exercise watch mine" in lines
    assert [line for line in lines if "Ctrl-C" in not_here(line)] == [
        "mnistlab exercise watch mine"
    ]


def test_no_two_commands_write_the_same_file() -> None:
    names = [word for step in steps_of(read_pages()) for word in re.findall(r"-o (\S+)", step.line)]
    assert len(names) == len(set(names)) > 0


def test_output_belongs_to_the_block_before_it_and_nothing_is_done_twice() -> None:
    short, long = "$ mnistlab train\n", "$ mnistlab train # linear\n$ mnistlab eval\n"
    steps = steps_of([("console", short), ("console", long), ("", "row\n"), ("console", short)])
    trained = [step for step in steps if step.line == "mnistlab train"]
    assert [(step.comment, step.shown) for step in trained] == [("", []), ("linear", ["row"])]
    assert len([step for step in steps if step.line == "mnistlab eval"]) == 1
