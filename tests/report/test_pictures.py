"""Pictures as plain data: levels of images, shades of counts, places on an axis."""

import math

import pytest
import torch

from mnistlab.report.pictures import Axis, Curves, Images, Matrix, shrunk

SQUARE = torch.tensor([[0, 4, 8, 8], [4, 8, 8, 8], [1, 1, 0, 2], [1, 1, 2, 0]], dtype=torch.uint8)


def test_a_smaller_image_is_made_of_means() -> None:
    assert shrunk(SQUARE, 2, 9).tolist() == [[4.0, 8.0], [1.0, 1.0]]
    assert shrunk(SQUARE, 9, 1).tolist() == [[3.5]]
    assert shrunk(SQUARE, 4, 4).tolist() == SQUARE.tolist()
    wide = torch.arange(12.0).reshape(2, 6)
    assert shrunk(wide, 9, 3).tolist() == [[3.5, 5.5, 7.5]]  # its proportions stay
    assert shrunk(torch.ones(301, 97), 50, 50).shape == (50, 16)


def test_levels_follow_the_limits_the_image_or_the_sign() -> None:
    image = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert Images("", {"x": image}).levels()["x"].tolist() == [[0.0, 0.25], [0.5, 1.0]]
    fixed = Images("", {"x": image}, limits=(2, 4)).levels()["x"]
    assert fixed.tolist() == [[0.0, 0.0], [0.5, 1.0]]
    both = Images("", {"x": image, "y": -2 * image}, signed=True).levels()
    assert both["x"].flatten().tolist() == pytest.approx([0.55, 0.6, 0.65, 0.75])
    assert both["y"].flatten()[-1] == 0.0
    flat = Images("", {"x": torch.full((2, 2), 7)}).levels()["x"]
    assert flat.tolist() == [[0, 0], [0, 0]]


def test_weights_of_two_panels_are_on_one_scale() -> None:
    pair = {"before": torch.tensor([[-1.0, 0.5]]), "after": torch.tensor([[0.0, 3.0]])}
    assert Images("", pair).scale is None
    assert Images("", pair, signed=True).scale == (-3.0, 3.0)
    assert Images("", pair, limits=(0, 255)).scale == (0, 255)


def test_the_worst_pairs_come_first() -> None:
    matrix = Matrix("", "abc", ((9, 2, 5), (5, 9, 0), (1, 0, 9)))
    assert matrix.worst_pairs() == [(5, "a", "c"), (5, "b", "a"), (2, "a", "b"), (1, "c", "a")]
    assert len(matrix.worst_pairs(2)) == 2


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Axis(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Axis(0, 19), [0, 5, 10, 15]),
        (Axis(0, 3, integers=True), [0, 1, 2, 3]),
        (Axis(0.9705, 0.9833), [0.972, 0.974, 0.976, 0.978, 0.98, 0.982]),
        (Axis(-3, 3), [-3, -2, -1, 0, 1, 2, 3]),
        (Axis(1e-9, 3e-9), [1e-9, 1.5e-9, 2e-9, 2.5e-9, 3e-9]),
        (Axis(5, 5), [5]),
        (Axis(1e-4, 100, log=True), [0.0001, 0.001, 0.01, 0.1, 1, 10, 100]),
        (Axis(1e-4, 0.8844, log=True), [0.0001, 0.001, 0.01, 0.1]),
        (Axis(2, 60, log=True), [3, 10, 30]),
        (Axis(2.2, 2.3, log=True), [2.2]),
    ],
)
def test_ticks_are_round_numbers(axis: Axis, expected: list[float]) -> None:
    assert axis.ticks() == pytest.approx(expected)


def test_axes_hold_all_that_has_a_place_on_them() -> None:
    nan = float("nan")
    curves = Curves(
        "t",
        {"a": ([0.0, 1.0, 10.0], [5.0, nan, 2.0])},
        dots={"b": ([100.0], [math.inf])},
        bands={"c": ([1.0, 2.0], [1.0, 3.0], [2.0, 9.0])},
    )
    x_axis, y_axis = curves.axes(margin=0.5)
    assert (x_axis.low, x_axis.high) == (0, 10)
    assert (y_axis.low, y_axis.high) == (1 - 4, 9 + 4)
    assert x_axis.position(2.5) == 0.25
    assert curves.axes()[0].integers
    assert not Curves("t", {"a": ([0, 0.5], [1, 2])}).axes()[0].integers
    logarithmic = Curves("t", {"a": ([0.0, 1.0, 100.0], [1, 2, 3])}, log_x=True)
    assert logarithmic.points(logarithmic.lines["a"]) == [None, (1.0, 2), (100.0, 3)]
    assert logarithmic.axes()[0].position(10.0) == pytest.approx(0.5)
    [flat] = {axis.position(2.0) for axis in Curves("t", {"a": ([2], [2])}).axes(0.1)[1:]}
    assert flat == pytest.approx(0.5)
    assert Curves("t", {"a": ([0], [nan])}).axes()  # nothing to draw, and no error
