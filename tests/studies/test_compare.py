"""Two runs on the same images."""

import itertools
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistlab.errors import DataError
from mnistlab.studies.compare import Paired, compare_runs
from tests.conftest import baseline_of, linear_run_of, make_tree


def test_each_image_is_counted_once_by_who_got_it_right(tiny: Path) -> None:
    right, wrong = linear_run_of(tiny, -1.0), linear_run_of(tiny, 1.0)
    found = compare_runs(right, wrong).paired
    assert (found.both, found.only_a, found.only_b, found.neither) == (0, 8, 0, 0)
    # a weight of nothing calls everything light
    flat = linear_run_of(tiny, 0.0)
    found = compare_runs(flat, right).paired
    assert (found.both, found.only_a, found.only_b, found.neither) == (4, 0, 4, 0)
    found = compare_runs(flat, wrong).paired
    assert (found.both, found.only_a, found.only_b, found.neither) == (0, 4, 0, 4)


def test_classes_in_another_order_are_the_same_classes(tiny: Path) -> None:
    plain, turned = linear_run_of(tiny, -1.0), linear_run_of(tiny, 1.0, ("light", "dark"))
    assert compare_runs(plain, turned).paired.both == 8


def test_the_first_runs_data_are_used_unless_others_are_named(tiny: Path, tmp_path: Path) -> None:
    more = make_tree(tmp_path / "more", valid=7)
    a, b = linear_run_of(tiny), linear_run_of(more)
    assert compare_runs(a, b).paired.n == 8
    assert compare_runs(b, a).paired.n == 14
    assert compare_runs(a, b, {"data": str(more)}, split="train").paired.n == 24
    assert compare_runs(a, b).notes != []
    assert compare_runs(a, linear_run_of(tiny)).notes == []


def test_settings_that_differ_are_named(tiny: Path, tmp_path: Path) -> None:
    more = make_tree(tmp_path / "more", valid=7)
    found = compare_runs(linear_run_of(tiny), linear_run_of(more))
    assert found.settings == {"data": (str(tiny), str(more))}


def test_runs_of_other_classes_are_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    third = make_tree(tmp_path / "third", ("dark", "light", "zebra"))
    other = baseline_of(third)
    with pytest.raises(DataError, match="knows the classes dark, light, zebra"):
        compare_runs(linear_run_of(tiny), other)
    with pytest.raises(DataError, match="two runs are compared on the same ones"):
        compare_runs(other, linear_run_of(tiny))


# the statistics, against published figures and against counting by brute force

counts = st.integers(0, 400)


def test_the_airway_study_gives_the_published_figures() -> None:
    # 21 children before and after a transplantation (Bentur et al. 2009), worked in Fagerland,
    # Lydersen and Laake, Statistics in Medicine 33 (2014), 2850-2875: exact conditional McNemar
    # p = 0.070, Newcombe's square-and-add interval -0.507 to -0.026
    found = Paired(both=1, only_a=7, only_b=1, neither=12)
    assert found.p_value == pytest.approx(0.070, abs=5e-4)
    assert found.difference == pytest.approx(-0.286, abs=5e-4)
    assert found.interval == pytest.approx((-0.507, -0.026), abs=5e-4)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 3), (1, 6), (2, 9), (0, 12)])
def test_the_p_value_counts_every_way_the_images_could_have_fallen(
    only_a: int, only_b: int
) -> None:
    n = only_a + only_b
    uneven = abs(only_a - only_b)
    falls = [abs(2 * sum(fall) - n) >= uneven for fall in itertools.product((0, 1), repeat=n)]
    expected = Fraction(sum(falls), len(falls))
    assert Paired(10, only_a, only_b, 5).p_value == pytest.approx(float(expected), abs=1e-15)


def test_tens_of_thousands_of_disagreements_neither_overflow_nor_take_long() -> None:
    # by the normal approximation: z = 1000 / sqrt(41000) = 4.94, two-sided 7.9e-7
    assert Paired(0, 20_000, 21_000, 0).p_value == pytest.approx(7.9e-7, rel=0.05)
    assert Paired(0, 0, 60_000, 0).p_value == 0.0


@given(counts, counts, counts, counts)
def test_swapping_a_and_b_mirrors_everything(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    one, other = Paired(a, b, c, d), Paired(a, c, b, d)
    assert one.p_value == other.p_value
    assert one.difference == -other.difference
    low, high = one.interval
    assert (-high, -low) == pytest.approx(other.interval, abs=1e-12)
    assert -1 <= low <= one.difference + 1e-12
    assert one.difference - 1e-12 <= high <= 1
    assert 0 <= one.p_value <= 1
