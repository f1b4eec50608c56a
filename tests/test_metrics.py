"""Counts, not averages of averages; the interval against published values."""

import pytest
import torch
from torch.nn.functional import one_hot

from mnistlab.cli.output import Output
from mnistlab.metrics import Evaluation, score, wilson_interval
from mnistlab.report.tables import evaluation_tables


def test_wilson_interval_against_worked_values() -> None:
    # by hand: p = 1/2, n = 10, z = 1.959964, z² = 3.841459:
    # centre (0.5 + 0.192073) / 1.384146 = 0.5; half width 0.263404
    low, high = wilson_interval(5, 10)
    assert low == pytest.approx(0.236593, abs=1e-5)
    assert high == pytest.approx(0.763407, abs=1e-5)
    # all right: the lower end is n / (n + z²), the upper end 1
    low, high = wilson_interval(10, 10)
    assert low == pytest.approx(10 / 13.841459, abs=1e-6)
    assert high == 1
    low, high = wilson_interval(0, 10)
    assert low == 0
    assert high == pytest.approx(1 - 10 / 13.841459, abs=1e-6)


def test_scores_of_a_small_confusion_by_hand() -> None:
    logits = torch.tensor([[1.0], [2.0], [-1.0], [-1.0], [3.0]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    found = score(logits, labels, ("3", "7"), loss=0.5)
    assert found.confusion == ((2, 1), (1, 1))
    assert (found.n, found.correct, found.accuracy) == (5, 3, 0.6)
    assert found.per_class == {"3": pytest.approx(2 / 3), "7": 0.5}
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.as_dict()["confusion"] == {"3": {"3": 2, "7": 1}, "7": {"3": 1, "7": 1}}


def test_a_class_without_images_has_no_accuracy_and_does_not_weigh() -> None:
    found = Evaluation(("a", "b", "c"), ((4, 0, 0), (0, 0, 0), (0, 1, 1)), 0.1)
    assert found.per_class == {"a": 1.0, "c": 0.5}
    assert found.balanced_accuracy == 0.75


def test_the_confusion_table_counts_every_pair_of_ten_classes() -> None:
    torch.manual_seed(0)
    labels, logits = torch.randint(0, 10, (500,)), torch.randn(500, 10)
    found = score(logits, labels, [str(k) for k in range(10)], 0.0)
    expected = [[0] * 10 for _ in range(10)]
    for label, row in zip(labels.tolist(), logits.tolist(), strict=True):
        expected[label][row.index(max(row))] += 1
    assert [list(row) for row in found.confusion] == expected


def test_precision_recall_and_f1_by_hand() -> None:
    # 10 a: 8 right, 2 called b; 5 b: 4 right, 1 called a; no c, but one b... none is called c
    found = Evaluation(("a", "b", "c"), ((8, 2, 0), (1, 4, 0), (0, 0, 0)), 0.0)
    assert found.precision == {"a": 8 / 9, "b": 4 / 6}
    assert found.recall == {"a": 8 / 10, "b": 4 / 5}
    assert found.f1["a"] == pytest.approx(2 * (8 / 9) * 0.8 / (8 / 9 + 0.8))
    assert found.f1["b"] == pytest.approx(2 * (4 / 6) * 0.8 / (4 / 6 + 0.8))
    assert found.macro_f1 == pytest.approx((found.f1["a"] + found.f1["b"]) / 2)


def test_a_class_without_images_that_was_called_counts_as_in_scikit_learn() -> None:
    # f1_score(["dog"] * 20, ["dog"] * 17 + ["cat"] * 2 + ["cow"], average="macro") is 0.3063
    found = Evaluation(("cat", "cow", "dog"), ((0, 0, 0), (0, 0, 0), (2, 1, 17)), 0.0)
    assert found.precision == {"cat": 0.0, "cow": 0.0, "dog": 1.0}
    assert found.recall == {"dog": 17 / 20}
    assert found.macro_f1 == pytest.approx(2 * 17 / 37 / 3)


def test_a_class_that_nothing_was_called_has_no_precision_but_an_f1_of_nothing() -> None:
    found = Evaluation(("a", "b"), ((3, 0), (2, 0)), 0.0)
    assert found.precision == {"a": 3 / 5, "b": None}
    assert found.f1 == {"a": 6 / 8, "b": 0.0}
    assert found.as_dict()["precision"]["b"] is None


def test_of_many_classes_all_is_bounded_and_nothing_is_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def scored(count: int) -> Evaluation:
        labels = torch.arange(count).repeat_interleave(2)
        called = labels.clone()
        called[::4] = (called[::4] + 1) % count  # one image of every second class is wrong
        return score(one_hot(called).float(), labels, [f"c{i}" for i in range(count)], 0.5)

    few = scored(50).as_dict()["confusion"]
    assert {len(row) for row in few.values()} == {50}
    many = scored(1000)
    document = many.as_dict()
    assert document["confusion"]["c0"] == {"c0": 1, "c1": 1}
    assert document["confusion"]["c1"] == {"c1": 2}
    assert len(document["confusion"]) == len(document["per_class"]) == 1000
    assert sum(map(len, document["confusion"].values())) == 1500
    Output().result(*evaluation_tables(many))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 80
    assert "the 20 worst of 1,000 classes by f1; --json has all" in lines
