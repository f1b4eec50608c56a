"""What holds for every lesson: its checks, the chapter's figures, and pictures one can read."""

import ast
import math
from itertools import combinations

import pytest
import torch

from mnistlab.errors import ConfigError
from mnistlab.lessons import LESSONS, backprop, run_lesson, source_of
from mnistlab.lessons.kit import Ask, Check, Item, Say, Show, check
from mnistlab.report.pictures import Curves, Images
from mnistlab.report.tables import value_text
from tests.conftest import Examples
from tests.lessons.conftest import ItemsOf

# The figures that the chapter prints, from the notes; `reproduce` compares these as well.
FIGURES = {
    "pixels": [
        [
            [0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 29],
            [0, 0, 0, 48, 166, 224],
            [0, 93, 244, 249, 253, 187],
            [0, 107, 253, 253, 230, 48],
            [0, 3, 20, 20, 15, 0],
        ],
        [6131, 28, 28], 3, 6265, [0, 1], [12396, 784], [12396, 1], [2038, 784], 6131,
    ],
    "similarity": [0.1114, 0.1586, 0.3021, 0.9168, 0.9854, 0.9511],
    "derivative": [
        26.5, 26.5, 2628, [76, 124, 664], [13, 17], [[4.25, 13], [26.25, 44]], [1, 2],
        [[1, 1, 1], [1, 1, 1]], [0.4102, 0.2748, 0.3150], [-0.1127, 0.1993, -0.0866],
        [-0.1292, -0.0866, 0.2158], [0.0551, -0.0375, -0.0176],
        # w = 0.5, b = 0.25, x = 1.5, y = 2: the line is at 1, its error is 1
        [1.5, 1], [1.5, 0.5], [1.5 * math.exp(0.5), math.exp(0.25)], [3, 2], [-3, -2],
    ],
    "line": [4, 8, 8, 8],
    "rollercoaster": [
        [5435.54, 1577.45, 847.38, 709.22, 683.08, 678.12, 677.18, 677.00, 676.96, 676.95]
    ],
    "activations": [
        0.0, 1.6655e-34, 7.4564e-25, 3.3382e-15, 1.4945e-05, 0.99999, 1, 1, 1, 1,
        [0, 0, 0, 0, 0, 0.1111, 0.3333, 0.5556, 0.7778, 1], 0.5,
    ],
    "loss": [[0.1, 0.4, 0.8], 0.4333, 0.2333, 0.4333],
    "batches": [3, [5, 2]],
    "optimizer": [[-0.0017, -0.0034, -0.0051]],
}  # fmt: skip
COUNTS = (14, 16, 25, 8, 6, 7, 23, 14, 12, 12, 9, 4, 15, 6, 3, 4, 2, 3, 3, 9, 16)
CHECKS = dict(zip(LESSONS, COUNTS, strict=True))

# The lessons that draw random numbers, but for those that train for seconds.
DRAWN: list[tuple[str, dict[str, str]]] = [
    *((name, {}) for name in ("line", "rollercoaster", "backprop", "activations", "loss")),
    *((name, {}) for name in ("batches", "optimizer", "step")),
    ("step", {"model": "two-layer"}),
]

SLOW = ("mistakes", "init", "overfit", "batch-size", "data-size", "units")
OF_ALL_DIGITS = ("similarity", "batches", *SLOW[1:])
# The functions whose first argument is a text in the learner's language.
TAKES_TEXT = ("Say", "Ask", "Show", "check", "check_true", "beside", "less", "_", "N_")


def failed(items: list[Item]) -> list[Check]:
    return [item for item in items if isinstance(item, Check) and not item.holds]


@pytest.mark.parametrize("name", LESSONS)
def test_every_check_holds(name: str, items_of: ItemsOf) -> None:
    checks = [item for item in items_of(name) if isinstance(item, Check)]
    assert failed(items_of(name)) == []
    assert len(checks) == CHECKS[name]


@pytest.mark.parametrize("name", LESSONS)
def test_the_chapters_figures_are_checked(name: str, items_of: ItemsOf) -> None:
    checks = [item for item in items_of(name) if isinstance(item, Check)]
    figures = [item.expected for item in checks if item.source == "the chapter"]
    assert figures == FIGURES.get(name, [])


@pytest.mark.parametrize(("name", "options"), DRAWN)
def test_every_check_holds_for_other_seeds_and_the_callers_draws_stay(
    name: str, options: dict[str, str], examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backprop, "STEPS", 100)  # of 400, to save time
    state = torch.get_rng_state()
    for seed in range(1, examples(2, 60)):
        assert failed(list(run_lesson(name, seed=seed, **options))) == []
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", SLOW)
def test_every_check_of_a_slow_lesson_holds_for_other_seeds(name: str, examples: Examples) -> None:
    for seed in range(1, examples(1, 20 if name == "mistakes" else 6)):  # each takes two seconds
        assert failed(list(run_lesson(name, seed=seed))) == []


@pytest.mark.parametrize("name", OF_ALL_DIGITS)
def test_every_check_holds_with_all_ten_digits(
    name: str, all_digits: None, examples: Examples
) -> None:
    seeds = examples(0, 2)  # each takes up to ten seconds
    for options in [{"seed": seed} for seed in range(seeds)] if name != "similarity" else [{}]:
        items = list(run_lesson(name, digits="all", **options))
        assert failed(items) == []
        expected = [item.expected for item in items if isinstance(item, Check)]
        assert name != "similarity" or expected[-2:] == [0.6685, 0.8203]


def test_other_digits_than_two_or_all_are_refused() -> None:
    for name in OF_ALL_DIGITS:
        with pytest.raises(ConfigError, match="--digits al; did you mean all"):
            list(run_lesson(name, digits="al"))


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_opens_with_its_setup_asks_and_closes_with_what_to_change(
    name: str, items_of: ItemsOf
) -> None:
    first, *items, last = items_of(name)
    assert isinstance(first, Say)
    assert isinstance(last, Say)
    assert first.text.startswith("Setup: ")
    assert last.text.startswith("Now change this: ")
    questions = [item for item in items if isinstance(item, Ask)]
    assert questions
    for question in questions:
        assert question.text.endswith("?")
        later = items[items.index(question) :]
        assert any(isinstance(item, Show | Check | Curves) for item in later), question.text


@pytest.mark.parametrize("name", LESSONS)
def test_of_a_series_at_most_ten_values_are_printed(name: str, items_of: ItemsOf) -> None:
    for item in items_of(name):
        values = [item.value] if isinstance(item, Show) else []
        values += [item.ours, item.expected] if isinstance(item, Check) else []
        for value in values:
            row = isinstance(value, list) and not isinstance(value[0], list)
            if row or isinstance(value, dict):
                text = value_text(value)
                assert text.replace(", ...", "").count(",") <= 9, item


@pytest.mark.parametrize("name", LESSONS)
def test_the_texts_of_a_lesson_are_constants_which_a_catalogue_can_hold(name: str) -> None:
    for node in ast.walk(ast.parse(source_of(name).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "id", "")
        if called in TAKES_TEXT:
            assert isinstance(node.args[0], ast.Constant | ast.Name), ast.unparse(node)
        if called in ("Curves", "Images"):
            assert not isinstance(node.args[0], ast.Constant | ast.JoinedStr), ast.unparse(node)


def test_a_check_fails_by_value_by_length_and_on_nan_and_keeps_the_value_it_compared() -> None:
    assert not check("x", 1.0, 1.1, within=0.05).holds
    assert not check("x", [1, 2], [1]).holds
    assert not check("x", float("nan"), 1.0).holds
    grad = torch.ones(2)
    made = check("gradient", [grad], [[1, 1]])
    grad += 1
    assert (made.holds, made.ours) == (True, [[1, 1]])


@pytest.mark.parametrize("name", LESSONS)
def test_pictures_have_titles_of_their_own_and_hide_no_curve(name: str, items_of: ItemsOf) -> None:
    pictures = [item for item in items_of(name) if isinstance(item, Curves | Images)]
    assert bool(pictures) == (name not in ("derivative", "numpy"))
    titles = [picture.title for picture in pictures]
    titles += [title for item in pictures if isinstance(item, Images) for title in item.images]
    assert len(set(titles)) == len(titles)
    for picture in pictures:
        if isinstance(picture, Images):
            assert picture.signed or picture.limits, f"{picture.title}: no shared scale"
            continue
        assert "power" not in picture.x_label + picture.y_label
        assert "log" not in (picture.x_label + picture.y_label).replace("logit", "")
        for series in picture.lines.values():
            assert all(map(math.isfinite, series[1]))
        for (xs, one), (other_xs, two) in combinations(picture.lines.values(), 2):
            if [*xs] != [*other_xs]:
                continue
            high, low = max(*one, *two), min(*one, *two)
            apart = max(abs(a - b) for a, b in zip(one, two, strict=True))
            assert apart > (high - low) / 20, f"{picture.title}: a curve behind another"
