"""Curves as SVG: what is drawn is where its figure says."""

import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from mnistlab.report.history import band_of, curves_of, epochs_of

from mnistlab.report import svg
from mnistlab.report.pictures import Curves

NAN = float("nan")
LOSSES = [0.0673, 0.0338, 0.0287, 0.0259, 0.0241]
CURVES = Curves(
    "Loss <of> both",
    {"ours": (range(5), LOSSES), "theirs": ([0, 4], [0.05, 0.02])},
    "epoch",
    "mean",
    dots={"best": ([4], [0.0241])},
    bands={"all": ([0, 4], [0.02, 0.01], [0.07, 0.03])},
)


def drawn(picture: Curves) -> ElementTree.Element:
    return ElementTree.fromstring(svg.chart(picture, "c"))


def of(root: ElementTree.Element, tag: str, kind: str) -> list[ElementTree.Element]:
    return [e for e in root.iter(tag) if kind in e.get("class", "").split()]


def points(element: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for pair in element.get("points", "").split()]
    return [(float(x), float(y)) for x, y in pairs]


def inverse(root: ElementTree.Element) -> tuple[tuple[float, float], tuple[float, float]]:
    """(offset, factor) of x and of y, from the outermost tick labels alone."""
    across = [(float(t.get("x", "")), float(t.text or "")) for t in of(root, "text", "mid")]
    grid = [float(re.findall(r" ([\d.]+)H", line.get("d", ""))[0]) for line in root.iter("path")
            if line.get("class") == "grid"]  # fmt: skip
    labels = [float(t.text or "") for t in of(root, "text", "end") if t.text != "epoch"]
    up = list(zip(grid, labels, strict=True))
    found = []
    for (place, value), (last_place, last_value) in ((across[0], across[-1]), (up[0], up[-1])):
        factor = (last_value - value) / (last_place - place)
        found.append((value - place * factor, factor))
    return found[0], found[1]


def test_every_point_lies_where_the_ticks_say() -> None:
    root = drawn(CURVES)
    (x0, fx), (y0, fy) = inverse(root)
    assert fx > 0 > fy  # to the right, and up
    lines = of(root, "polyline", "line")
    for line, (xs, ys) in zip(lines, CURVES.lines.values(), strict=True):
        for (px, py), x, y in zip(points(line), xs, ys, strict=True):
            assert px * fx + x0 == pytest.approx(x, abs=0.001)
            assert py * fy + y0 == pytest.approx(y, abs=0.00002)
    [band] = of(root, "polygon", "band")
    corners = [(px * fx + x0, py * fy + y0) for px, py in points(band)]
    wanted = [(0, 0.02), (4, 0.01), (4, 0.03), (0, 0.07)]
    for found, expected in zip(corners, wanted, strict=True):
        assert found == pytest.approx(expected, abs=0.001)
    best = of(root, "circle", "best")[0]
    assert float(best.get("cx", "")) * fx + x0 == pytest.approx(4, abs=0.001)


def test_the_picture_is_told_in_words_too() -> None:
    root = drawn(CURVES)
    ids = root.get("aria-labelledby", "").split()
    told = {e.get("id"): e.text for e in root.iter() if e.get("id")}
    assert list(told) == ids
    assert told["c-title"] == "Loss <of> both by epoch"
    assert told["c-desc"] == (
        "ours: 0.0673 in epoch 0, 0.0241 in epoch 4; lowest 0.0241, highest 0.0673. "
        "theirs: 0.05 in epoch 0, 0.02 in epoch 4; lowest 0.02, highest 0.05."
    )
    tips = [title.text for circle in root.iter("circle") for title in circle.iter("title")]
    assert "ours: 0.0287, epoch 2" in tips
    assert "best: 0.0241, epoch 4" in tips


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 19, [0, 5, 10, 15]),
        (0.9705, 0.9833, [0.972, 0.974, 0.976, 0.978, 0.98, 0.982]),
        (-3, 3, [-3, -2, -1, 0, 1, 2, 3]),
        (1e-9, 3e-9, [1e-9, 1.5e-9, 2e-9, 2.5e-9, 3e-9]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert svg.ticks(low, high) == pytest.approx(expected)


def test_a_line_breaks_where_there_is_no_number() -> None:
    ys = [3.0, 2.0, NAN, 1.0, math.inf, 1.5, 1.0]
    root = drawn(Curves("t", {"a": (range(7), ys)}, "epoch"))
    assert [len(points(line)) for line in of(root, "polyline", "line")] == [2, 1, 2]
    nothing = drawn(Curves("t", {"a": ([0, 1], [NAN, NAN])}, "epoch"))
    assert not of(nothing, "polyline", "line")
    assert "Nothing finite" in "".join(nothing.itertext())


def test_a_flat_line_lies_in_the_middle() -> None:
    root = drawn(Curves("t", {"a": ([0, 1], [2.0, 2.0])}, "epoch"))
    [line] = of(root, "polyline", "line")
    middle = (svg.TOP + svg.HEIGHT - svg.BOTTOM) / 2
    assert [y for _, y in points(line)] == pytest.approx([middle, middle])


def test_a_million_epochs_stay_small_and_keep_their_spikes() -> None:
    ys = [1.0] * 100_000
    ys[54_321], ys[99_998] = 9.0, -3.0
    root = drawn(Curves("t", {"a": (range(100_000), ys)}, "epoch"))
    [line] = of(root, "polyline", "line")
    kept = points(line)
    assert len(kept) <= svg.POINTS
    (x0, fx), (y0, fy) = inverse(root)
    values = [py * fy + y0 for _, py in kept]
    assert [max(values), min(values)] == pytest.approx([9, -3], abs=0.1)
    assert kept[-1][0] * fx + x0 == pytest.approx(99_999, abs=1)
    assert len(svg.chart(Curves("t", {"a": (range(100_000), ys)}, "epoch"), "c")) < 20_000


def rows(*accuracies: float) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "train_loss": 1.0, "valid_loss": 2.0, "accuracy": value}
        for epoch, value in enumerate(accuracies)
    ]


def test_the_curves_of_a_run_mark_its_best_epoch() -> None:
    info = {"result": {"epochs": rows(0.5, 0.9, 0.8), "best": {"epoch": 1, "accuracy": 0.9}}}
    loss, accuracy = curves_of(info)
    assert loss.lines == {"validation": ([0, 1, 2], [2.0] * 3), "training": ([0, 1, 2], [1.0] * 3)}
    assert accuracy.lines == {"validation": ([0, 1, 2], [0.5, 0.9, 0.8])}
    assert accuracy.dots == {"best": ([1], [0.9])}
    assert curves_of({"result": {"epochs": rows(0.5)}}) == []


def test_the_curves_of_several_seeds_lie_in_their_band() -> None:
    band: list[dict[str, Any]] = [
        {"epoch": e, "train_loss": 0.1, "valid_loss": 0.2, "mean": 0.6, "min": 0.5, "max": 0.7}
        for e in range(2)
    ]
    lost = {"epoch": 2, "train_loss": None, "valid_loss": None, "mean": None}
    info = {"result": {"epochs": rows(0.5, 0.6), "seeds": [{"seed": 0}], "band": [*band, lost],
                       "best": {"epoch": 1, "seed": 0}}}  # fmt: skip
    assert band_of(info) == band
    loss, accuracy = curves_of(info)
    assert dict(loss.lines)["validation"] == ([0, 1], [0.2, 0.2])
    assert accuracy.bands == {"all seeds": ([0, 1], [0.5, 0.5], [0.7, 0.7])}
    assert accuracy.lines == {"mean": ([0, 1], [0.6, 0.6]), "median seed": ([0, 1], [0.5, 0.6])}
    assert accuracy.dots == {}


def test_rows_that_are_not_whole_are_left_out() -> None:
    odd = [*rows(0.5), {"epoch": 1}, "x", {**rows(0.5)[0], "epoch": True}]
    assert epochs_of({"result": {"epochs": odd}}) == rows(0.5)
    assert epochs_of({"result": {"epochs": 3}}) == epochs_of({"result": 3}) == epochs_of({}) == []
