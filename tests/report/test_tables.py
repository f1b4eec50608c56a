"""Tables and rows for people: plain, ASCII, and no figure is ever folded or cut."""

import io
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from mnistlab.data.audit import Audit
from mnistlab.metrics import Evaluation
from mnistlab.report import rows
from mnistlab.report.tables import (
    audit_tables,
    evaluation_tables,
    reproduction_tables,
    settings_table,
    table,
)
from mnistlab.reproduction import Figure


def drawn(*parts: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=10_000, highlight=False, markup=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return [line.rstrip() for line in captured.get().splitlines()]


def row(epoch: int, loss: float, accuracy: float, seconds: float) -> dict[str, Any]:
    losses = {"train_loss": loss, "valid_loss": loss}
    return {"epoch": epoch, **losses, "accuracy": accuracy, "seconds": seconds}


def test_a_row_stands_under_its_header_and_is_never_cut() -> None:
    line = rows.epoch_line(row(3, 0.25, 0.98, 1.5))
    assert rows.HEADER == "epoch  train_loss  valid_loss  accuracy     time"
    assert line == "    3    0.250000    0.250000  0.980000    1.50s"
    assert rows.epoch_line(row(1_000_000, 1.5e28, 1.0, 1e6)).split() == [
        "1000000", "1.5000e+28", "1.5000e+28", "1.000000", "1000000.00s",
    ]  # fmt: skip
    band = {**row(3, 0.25, 0, 1.5), "n": 8, "mean": 0.98, "sd": 0.001, "min": 0.97, "max": 0.99}
    assert rows.band_line(band) == (
        "    3    0.250000    0.250000  0.980000  0.001000  0.970000  0.990000    1.50s"
    )
    assert rows.band_line({**band, "n": 0}) == "    3  every seed has diverged"
    seed = {**row(0, 0.25, 0.98, 1.5), "seed": 3, "diverged": None}
    assert rows.seed_line(seed) == line
    assert rows.seed_line({"seed": 3, "diverged": "no number"}) == "    3  no number"
    assert len(rows.band_line(band)) == len(rows.BAND_HEADER)
    assert len(rows.seed_line(seed)) == len(rows.SEED_HEADER)


def test_names_stand_left_and_figures_right() -> None:
    assert drawn(table(("class", "images"), [("a", 5), ("longer", 12345)])) == [
        "class    images",
        "---------------",
        "a             5",
        "longer    12345",
    ]


def test_a_name_cannot_draw_on_the_terminal() -> None:
    lines = drawn(table(("\x1b[2J", "n"), [("[red]\x1b[31m\n", "é")]))
    assert lines[0].startswith("\\x1b[2J")
    assert lines[2].startswith("[red]\\x1b[31m\\n")
    assert len(lines) == 3


def test_settings_have_their_origin_beside_them() -> None:
    lines = drawn(settings_table({"lr": 0.5, "seed": 0}, {"lr": "--lr"}))
    assert [line.split() for line in lines[2:]] == [["lr", "0.5", "--lr"], ["seed", "0", "default"]]


def test_two_classes_get_a_matrix() -> None:
    evaluation = Evaluation(("3", "7"), ((926, 84), (15, 1013)), 0.25)
    assert drawn(*evaluation_tables(evaluation)) == [
        "accuracy  0.951423  1939 of 2038 right  95% interval 0.9412 to 0.9599",
        "balanced  0.951120  mean over the classes",
        "loss      0.250000",
        "",
        "class   images   precision   recall       f1",
        "--------------------------------------------",
        "3         1010      0.9841   0.9168   0.9493",
        "7         1028      0.9234   0.9854   0.9534",
        "",
        "actual   as 3   as 7",
        "--------------------",
        "3         926     84",
        "7          15   1013",
    ]


def test_ten_classes_still_get_a_matrix_within_eighty_columns() -> None:
    names = tuple("0123456789")
    confusion = tuple(tuple(1000 if i == j else 0 for j in range(10)) for i in range(10))
    lines = drawn(*evaluation_tables(Evaluation(names, confusion, 1.0)))
    assert lines[17].split() == ["actual", *(word for name in names for word in ("as", name))]
    assert max(map(len, lines)) <= 80


def test_more_classes_get_their_mistakes_as_pairs_the_most_frequent_first() -> None:
    names = tuple("0123456789ab")
    confusion = [[0] * 12 for _ in names]
    for i in range(9):
        confusion[i][i] = 90
    confusion[3] = [0, 1, 0, 90, 0, 12, 0, 0, 3, 0, 0, 0]
    lines = drawn(*evaluation_tables(Evaluation(names, tuple(map(tuple, confusion)), 1.0)))
    assert lines[6] == "0           90      1.0000   1.0000   1.0000"
    assert lines[9] == "3          106      1.0000   0.8491   0.9184"  # 180 / (106 + 90)
    assert lines[15] == ""  # the classes without images are left out
    assert [line.split() for line in lines[16:]] == [
        ["actual", "predicted", "images"],
        ["-" * len(lines[17])],
        ["3", "5", "12"],
        ["3", "8", "3"],
        ["3", "1", "1"],
    ]
    right = tuple(tuple(9 if i == j else 0 for j in range(12)) for i in range(12))
    lines = drawn(*evaluation_tables(Evaluation(names, right, 1.0)))
    assert lines[-1] == "no image was taken for one of another class"


@pytest.mark.parametrize("length", [10, 40])
def test_no_matrix_is_wider_than_a_terminal(length: int) -> None:
    names = ("a" * length, "b")
    lines = drawn(*evaluation_tables(Evaluation(names, ((3, 1), (0, 4)), 1.0)))
    assert (f"as {names[0]}" in lines[9]) is (length == 10)
    assert lines[6].startswith(names[0] + " ")
    assert max(map(len, lines)) <= 80


def test_an_audit_has_counts_sizes_and_groups() -> None:
    audit = Audit("x")
    audit.counts = {"train": {"a": 2, "b": 1}, "valid": {"a": 1}}
    audit.sizes, audit.modes = Counter({"4 x 4": 1234}), Counter()
    audit.hidden, audit.foreign = 3, [f"train/{i}" for i in range(6)]
    audit.duplicates_within = [[f"train/a/{i}\n", "train/a/x"] for i in range(21)]
    audit.notes = ["train is imbalanced"]
    lines = drawn(*audit_tables(audit))
    assert [line.split() for line in lines[:5]] == [
        ["class", "train", "valid"],
        ["-" * len(lines[1])],
        ["a", "2", "1"],
        ["b", "1", "0"],
        ["all", "3", "1"],
    ]
    assert lines[6:11] == [
        "sizes       1,234 x 4 x 4",
        "formats     none",
        "hidden      3 ignored",
        "foreign     6 beside the class folders, ignored: "
        "train/0, train/1, train/2, train/3, train/4",
        "duplicates within a split: 21 group(s) of equal images",
    ]
    assert lines[11] == "  train/a/0\\n, train/a/x"
    assert lines[31:] == [
        "  ... and 1 more",
        "duplicates across splits: 0 group(s) of equal images",
        "note: train is imbalanced",
    ]


def test_a_figure_that_differs_has_both_values_and_its_reason() -> None:
    figures = [
        Figure("3 derivatives", "a value", 1.0, [1.5, None], "differs", reason="a reason"),
        Figure("3 derivatives", "a statement " + "that is long " * 8, True, True, "equal"),
        Figure("3 derivatives", "long " * 12, [0.123456789] * 9, [0.1] * 9, "equal"),
        Figure("6 training", "resnet18", 0.5, None, "left out", reason="no such model"),
        Figure("6 training", "net, accuracy, epoch 0", 0.5123, 0.5, "inside", 0.4, 0.6, 50.0, 9),
        Figure("6 training", "net, accuracy, epoch 1", 0.9, 0.5, "differs", 0.4, 0.6, 99.0, 9),
    ]
    one = Figure("6 training", "bias gradient", 0.5, 0.5, "inside", 0.4, 0.6, 50.0, 9)
    figures.insert(3, replace(one, low90=0.45, high90=0.55))
    figures[5:] = [replace(one, book=0.8, low90=0.45, high90=0.55) for one in figures[5:]]
    # a summary: what differs, and how many of the others
    text = "\n".join(drawn(*reproduction_tables(figures)))
    assert "2 equal, 1 differs" in text
    assert "differs   a value: book 1, ours (1.5, None) (a reason)" in text
    assert "statement" not in text
    sections = [line for line in text.splitlines() if line.startswith("6 training")]
    assert [line.partition("  ")[2].strip() for line in sections] == ["1 inside, 1 left out"]
    text = "\n".join(drawn(*reproduction_tables(figures, everything=True)))
    assert "differs   a value: book 1, ours (1.5, None) (a reason)" in text
    assert "left out  resnet18: 0.5 (no such model)" in text
    assert "net, accuracy\n" in text
    assert "epoch 1   0.9000   0.8000   0.4500   0.5000   0.5500   99%   differs" in text
    assert max(map(len, text.splitlines())) <= 80
