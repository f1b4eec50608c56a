"""`lesson derivative`: each figure of the chapter, each refusal in torch's own words."""

from mnistlab.lessons.derivative import lesson
from mnistlab.lessons.kit import Check

CHECKS = [item for item in lesson() if isinstance(item, Check)]
FIGURES = [
    26.5,
    2628,
    [76, 124, 664],
    [13, 17],
    [[4.25, 13], [26.25, 44]],
    [1, 2],
    [[1, 1, 1], [1, 1, 1]],
    [0.4102, 0.2748, 0.3150],
    [-0.1127, 0.1993, -0.0866],
    [-0.1292, -0.0866, 0.2158],
    [0.0551, -0.0375, -0.0176],
]


def test_every_check_holds() -> None:
    assert len(CHECKS) >= 20
    assert [check for check in CHECKS if not check.holds] == []


def test_the_chapters_figures_are_checked() -> None:
    figures = [check.expected for check in CHECKS if check.source == "the chapter"]
    assert [figure for figure in FIGURES if figure not in figures] == []


def test_both_ways_of_asking_give_the_same() -> None:
    assert [check.expected for check in CHECKS].count(26.5) == 2


def test_the_refusals_are_shown_in_torchs_words() -> None:
    titles = " ".join(check.title for check in CHECKS)
    assert "grad can be implicitly created only for scalar outputs" in titles
    assert "Trying to backward through the graph a second time" in titles


def test_all_five_pairs_of_partial_derivatives_are_checked() -> None:
    pairs = {check.title: check.expected for check in CHECKS}
    # w = 0.5, b = 0.25, x = 1.5, y = 2: the line is at 1, its error is 1
    assert pairs["w x + b"] == [1.5, 1]
    assert pairs["w^2 x + b^2"] == [1.5, 0.5]
    assert pairs["y log(w x + b)"] == [3, 2]
    assert pairs["(y - (w x + b))^2"] == [-3, -2]
    assert "e^w x + e^b" in pairs
