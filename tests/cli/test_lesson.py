"""`mnistlab lesson`: the list, a lesson off a terminal, its picture, its failures."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mnistlab import lessons
from mnistlab.cli import chapter as command
from mnistlab.cli.output import Output as Streams
from mnistlab.lessons import LESSONS
from mnistlab.lessons.kit import Ask, Check, Item, Say, Show, check
from mnistlab.report.pictures import Curves, Images
from tests.command import Result

Mnistlab = Callable[..., Result]

ITEMS: list[Item] = [
    Say("A sentence that is long enough to be folded at eighty columns, which this one surely is."),
    Ask("How much is it?"),
    Show("a number", 0.123456789),
    Show("a matrix", torch.arange(30).reshape(5, 6)),
    Show("thousands of numbers", torch.linspace(0, 1, 2000)),
    Show("a scalar", torch.tensor(2.5)),
    Show("shapes", {"w": (2, 3)}),
    check("equal", [1.0, 2.0], [1.00004, 2.0], within=0.00005),
    check("a large one", torch.zeros(9, 9), torch.zeros(9, 9), source="torch"),
    Check("true", True, True, True, "must hold"),
    Curves("falling", {"a": ([0, 1], [1, 0])}),
    Images("image", {"x": torch.eye(4)}),
]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """A lesson of our own in place of all of them."""
    items = list(ITEMS)
    monkeypatch.setattr(command, "run_lesson", lambda name, **options: iter(items))
    return items


def test_without_a_name_all_lessons_are_listed(mnistlab: Mnistlab) -> None:
    lines = mnistlab("lesson").ok().out.splitlines()
    assert [line.split()[0] for line in lines] == list(LESSONS)
    assert max(map(len, lines)) <= 80
    rows = mnistlab("lesson", "--json").ok().json["lessons"]
    assert {row["name"]: row["title"] for row in rows} == LESSONS


def test_a_lesson_off_a_terminal_is_plain_and_at_most_eighty_wide(
    mnistlab: Mnistlab, made: list[Item]
) -> None:
    made.append(check("a large one that fails", torch.zeros(9, 9), torch.ones(9, 9)))
    text = mnistlab("lesson", "pixels").out
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert "  a number: 0.123457\n" in text
    assert "[24 25 26 27 28 29]]" in text
    series = re.search(r"  thousands of numbers: \((.*?)\)", text, re.DOTALL)
    assert series
    shown = "".join(series[1].split()).split(",")
    assert (len(shown), shown[5], shown[0], shown[-1]) == (11, "...", "0", "1")
    assert "How much" not in text
    assert "  shapes: w: (2, 3)\n" in text
    assert "  ok equal: (1, 2)  (the chapter: (1.00004, 2))" in text
    assert "  ok a large one (beside torch):\n" in text
    assert "  ok true\n" in text
    assert "picture: falling (--plot FILE draws it)" in text
    assert "  NO a large one that fails (beside the chapter):\n" in text
    assert "    the chapter:\n    [[1. 1." in text
    assert text.endswith("3 of 4 checks hold\n")


def test_a_check_that_does_not_hold_is_named_and_exits_with_3(
    mnistlab: Mnistlab, made: list[Item]
) -> None:
    made.append(check("half", 0.5, 0.4, within=0.05))
    failed = mnistlab("lesson", "pixels")
    assert failed.code == 3
    assert "  NO half: 0.5  (the chapter: 0.4)" in failed.out
    assert "does not hold: half" in failed.err
    document = mnistlab("lesson", "pixels", "--json")
    assert document.code == 3
    assert (document.json["checks"], document.json["held"]) == (4, 3)


def test_the_document_has_every_item_as_plain_data(mnistlab: Mnistlab, made: list[Item]) -> None:
    made.append(Show("no number", [float("nan"), float("inf")]))
    items = mnistlab("lesson", "pixels", "--json").ok().json["items"]
    kinds = ["say", *["show"] * 5, *["check"] * 3, "curves", "images", "show"]
    assert [item["kind"] for item in items] == kinds
    assert items[2]["value"][1] == [6, 7, 8, 9, 10, 11]
    assert items[9]["lines"] == {"a": [[0, 1], [1, 0]]}
    # of images their shape and range, not their pixels
    assert items[10]["images"] == {"x": {"shape": [4, 4], "min": 0, "max": 1}}
    assert items[11]["value"] == ["nan", "inf"]


def test_a_question_stands_before_the_figures_that_answer_it(
    mnistlab: Mnistlab, made: list[Item]
) -> None:
    asked = mnistlab("lesson", "pixels", "--ask").ok().out
    without = mnistlab("lesson", "pixels").ok().out
    assert asked.replace("\n? How much is it?\n", "") == without
    assert asked.index("? How much") < asked.index("0.123457")
    document = mnistlab("lesson", "pixels", "--json").ok().out
    assert mnistlab("lesson", "pixels", "--json", "--ask").ok().out == document
    assert "How much" not in document
    assert mnistlab("lesson", "pixels", "-q", "--ask").ok().out == "3 of 3 checks hold\n"


def test_on_a_terminal_the_figures_wait_for_enter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made: list[Item]
) -> None:
    before = []

    def enter(prompt: str) -> str:
        before.append(capsys.readouterr().out)
        assert prompt == "Enter shows the figures. "
        raise EOFError  # Ctrl-D goes on, too

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("builtins.input", enter)
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    command.lesson(Streams(), {}, "pixels", ask=True)
    [shown] = before
    assert shown.endswith("? How much is it?\n")
    assert "a number: 0.123457" in capsys.readouterr().out
    command.lesson(Streams(), {}, "pixels")
    assert before == [shown]


def test_quiet_leaves_the_verdict_only(mnistlab: Mnistlab, made: list[Item]) -> None:
    assert mnistlab("lesson", "pixels", "-q").ok().out == "3 of 3 checks hold\n"


def test_the_pictures_go_into_one_file(
    mnistlab: Mnistlab, made: list[Item], tmp_path: Path
) -> None:
    mnistlab("lesson", "pixels", "--plot", tmp_path / "p.png").ok()
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_lesson_without_a_picture_refuses_to_plot_before_it_prints(
    mnistlab: Mnistlab, tmp_path: Path
) -> None:
    for flags in ((), ("--json",), ("-q",)):
        refused = mnistlab("lesson", "derivative", "--plot", tmp_path / "x.png", *flags)
        assert (refused.code, refused.out) == (2, "")
        assert "the lesson derivative has no picture; run it without --plot" in refused.err
        assert not (tmp_path / "x.png").exists()
    refused = mnistlab("lesson", "pixels", "--plot", tmp_path / "x.gif")
    assert (refused.code, refused.out, ".png" in refused.err) == (2, "", True)


def test_on_a_terminal_pictures_are_drawn_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    [drawn] = command.rendered(ITEMS[10], Streams())
    assert "falling" in str(drawn)
    assert "*" in str(drawn)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stpe"], "did you mean step"),
        (["stpe", "--code"], "did you mean step"),
        (["no-such"], "known: pixels"),
        ([""], "known: pixels"),
        (["pixels", "--lr", "0.5"], "--lr: the lesson pixels has no such setting"),
        (["pixels", "--seed", "3"], "has no such setting"),
        (["line", "--seed", "-1"], "--seed"),
        (["step", "--seed", "9" * 30], "--seed"),
        (["pixels", "--digits", "all"], "--digits: the lesson pixels has no such setting"),
        (["units", "--digits", "al"], "'al' is not one of 'two', 'all'"),
        (["--code"], "name a lesson"),
        (["--ask"], "name a lesson"),
        (["--seed", "1"], "name a lesson"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    mnistlab: Mnistlab, arguments: list[str], message: str
) -> None:
    refused = mnistlab("lesson", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert message in refused.err


def test_a_lesson_takes_its_options(mnistlab: Mnistlab) -> None:
    text = mnistlab("lesson", "step", "--model", "two-layer", "--seed", "3", "--lr", "0.2").ok().out
    assert "two-layer" in text
    assert "lr is 0.2" in text


def test_the_code_of_every_lesson_can_be_read(mnistlab: Mnistlab) -> None:
    for name in LESSONS:
        source = lessons.source_of(name).read_text()
        assert "def lesson(" in source
        assert mnistlab("lesson", name, "--code").ok().out == source
    document = mnistlab("lesson", "pixels", "--code", "--json").ok().json
    assert "def lesson" in document["source"]


def test_a_picture_in_chinese_says_that_no_font_has_the_characters(
    mnistlab: Mnistlab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("lesson", "depth", "--plot", tmp_path / "d.png")
    for fonts, expected in (([], True), (["Noto Sans CJK SC"], False)):
        monkeypatch.setattr("mnistlab.report.files.chinese_fonts", lambda fonts=fonts: fonts)
        assert ("no font with Chinese" in mnistlab(*arguments, "--lang", "zh").ok().err) is expected
        assert "no font" not in mnistlab(*arguments).ok().err
