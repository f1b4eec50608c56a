"""Counts, not averages of averages; the interval against published values."""

import pytest
import torch

from mnistlab.metrics import Evaluation, score, wilson_interval


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
