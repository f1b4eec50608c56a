"""`mnistlab lesson`: the list, a lesson off a terminal, its picture, its failures."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mnistlab import lessons
from mnistlab.cli import lesson as command
from mnistlab.lessons import LESSONS
from mnistlab.lessons.kit import Check, Item, Say, Show, check
from mnistlab.report.pictures import Curves, Images
from tests.command import Result

Mnistlab = Callable[..., Result]

CURVES = Curves("falling", {"a": ([0, 1], [1, 0])})
ITEMS: list[Item] = [
    Say("A sentence that is long enough to be folded at eighty columns, which this one surely is."),
    Show("a number", 0.123456789),
    Show("a matrix", torch.arange(30).reshape(5, 6)),
    Show("floats", torch.linspace(0, 1, 14)),
    Show("a scalar", torch.tensor(2.5)),
    Show("shapes", {"w": (2, 3)}),
    check("equal", [1.0, 2.0], [1.00004, 2.0], within=0.00005),
    Check("true", True, True, True, "must hold"),
    CURVES,
    Images("image", {"x": torch.eye(4)}),
]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """A lesson of our own in place of all of them."""
    items = list(ITEMS)
    monkeypatch.setattr(command, "run_lesson", lambda name, **options: iter(items))
    return items


def test_without_a_name_all_lessons_are_listed(mnistlab: Mnistlab) -> None:
    listed = mnistlab("lesson").ok()
    assert [line.split()[0] for line in listed.out.splitlines()] == list(LESSONS)
    assert max(map(len, listed.out.splitlines())) <= 80
    names = [row["name"] for row in mnistlab("lesson", "--json").ok().json["lessons"]]
    assert names == list(LESSONS)


def test_a_lesson_off_a_terminal_is_plain_and_at_most_eighty_wide(
    mnistlab: Mnistlab, made: list[Item]
) -> None:
    told = mnistlab("lesson", "pixels").ok().out
    assert told.isascii()
    assert max(map(len, told.splitlines())) <= 80
    assert "  a number: 0.123457" in told
    assert "      24   25   26   27   28   29" in told
    assert "  ok equal: (1, 2)  (the chapter: (1.00004, 2))" in told
    assert "  ok true\n" in told
    assert "picture: falling (--plot FILE draws it)" in told
    assert told.endswith("2 of 2 checks hold\n")


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
    assert (document.json["checks"], document.json["held"]) == (3, 2)


def test_the_document_holds_every_item_as_plain_data(mnistlab: Mnistlab, made: list[Item]) -> None:
    items = mnistlab("lesson", "pixels", "--json").ok().json["items"]
    kinds = ["say", "show", "show", "show", "show", "show", "check", "check", "curves", "images"]
    assert [item["kind"] for item in items] == kinds
    assert items[2]["value"][1] == [6, 7, 8, 9, 10, 11]
    assert items[9]["images"]["x"][0] == [1, 0, 0, 0]


def test_quiet_leaves_the_verdict_only(mnistlab: Mnistlab, made: list[Item]) -> None:
    assert mnistlab("lesson", "pixels", "-q").ok().out == "2 of 2 checks hold\n"


def test_the_pictures_go_into_one_file(
    mnistlab: Mnistlab, made: list[Item], tmp_path: Path
) -> None:
    mnistlab("lesson", "pixels", "--plot", tmp_path / "p.png").ok()
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    made[:] = [item for item in made if not isinstance(item, Curves | Images)]
    refused = mnistlab("lesson", "pixels", "--plot", tmp_path / "q.png")
    assert refused.code == 2
    assert "has no picture" in refused.err
    assert not (tmp_path / "q.png").exists()


def test_on_a_terminal_pictures_are_drawn_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from mnistlab.cli.streams import Streams

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    [drawn] = command._lines(CURVES, Streams())
    assert "falling" in str(drawn)
    assert "*" in str(drawn)
    assert command._columns() > 0


@pytest.mark.parametrize("name", ["stpe", "no-such", ""])
def test_an_unknown_lesson_is_refused_with_the_nearest(mnistlab: Mnistlab, name: str) -> None:
    refused = mnistlab("lesson", name)
    assert refused.code == 2
    assert ("did you mean step" if name == "stpe" else "known: pixels") in refused.err
    assert mnistlab("lesson", name, "--code").code == 2


def test_an_option_that_a_lesson_does_not_have_is_refused(mnistlab: Mnistlab) -> None:
    refused = mnistlab("lesson", "pixels", "--lr", "0.5")
    assert refused.code == 2
    assert "lr" in refused.err


def test_a_real_lesson_takes_its_options(mnistlab: Mnistlab) -> None:
    told = mnistlab("lesson", "step", "--model", "two-layer", "--seed", "3", "--lr", "0.2").ok()
    assert "two-layer" in told.out
    assert "lr is 0.2" in told.out


def test_the_code_of_every_lesson_can_be_read(mnistlab: Mnistlab) -> None:
    for name in LESSONS:
        source = (Path(lessons.__file__).parent / f"{name}.py").read_text()
        assert mnistlab("lesson", name, "--code").ok().out == source
        assert "def lesson(" in source


def test_completion_knows_the_lessons() -> None:
    assert command.complete_lessons("m") == ["momentum", "mistakes"]


def test_a_check_keeps_the_value_it_saw() -> None:
    grad = torch.ones(2)
    seen = check("gradient", [grad], [torch.ones(2)])
    grad += 1
    assert seen.holds
    assert torch.equal(seen.ours[0], torch.ones(2))


def test_a_check_can_fail_by_value_and_by_length() -> None:
    assert not check("x", 1.0, 1.1, within=0.05).holds
    assert not check("x", [1, 2], [1]).holds
    assert not check("x", float("nan"), 1.0).holds
    assert check("x", torch.tensor([1, 2]), (1, 2)).holds


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_has_a_document(mnistlab: Mnistlab, name: str) -> None:
    document = mnistlab("lesson", name, "--json").ok().json
    assert document["held"] == document["checks"] > 0


def test_flags_without_a_lesson_and_odd_values_are_refused(mnistlab: Mnistlab) -> None:
    assert mnistlab("lesson", "--code").code == 2
    assert mnistlab("lesson", "--seed", "1").code == 2
    assert mnistlab("lesson", "line", "--seed", "-1").code == 2
    assert mnistlab("lesson", "step", "--seed", "9" * 30).code == 2
    refused = mnistlab("lesson", "pixels", "--seed", "3")
    assert (refused.code, "has no such setting" in refused.err) == (2, True)


def test_the_source_is_a_document_too(mnistlab: Mnistlab) -> None:
    assert "def lesson" in mnistlab("lesson", "pixels", "--code", "--json").ok().json["source"]
