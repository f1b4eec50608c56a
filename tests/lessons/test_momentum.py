"""`lesson momentum`: the two paths, beside plain arithmetic."""

import pytest

from mnistlab.lessons.kit import Check, Item
from mnistlab.lessons.momentum import LR, START, STEPS, descend, lesson
from mnistlab.report.pictures import Curves


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return list(lesson())


def test_every_check_holds(items: list[Item]) -> None:
    checks = [item for item in items if isinstance(item, Check)]
    assert len(checks) >= 9
    assert [check for check in checks if not check.holds] == []


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_path_is_the_one_worked_out_with_plain_numbers(momentum: float) -> None:
    x, velocity, path = START, 0.0, [START]
    for _ in range(STEPS):
        velocity = momentum * velocity + x**3 - 2 * x + 0.3
        x -= LR * velocity
        path.append(x)
    assert descend(momentum) == pytest.approx(path, abs=1e-9)


def test_only_momentum_ends_in_the_deeper_valley() -> None:
    def height(x: float) -> float:
        return x**4 / 4 - x**2 + 0.3 * x

    plain, rolling = descend(0.0)[-1], descend(0.9)[-1]
    # on a fine grid: the lowest place of all, and the lowest on the right of the hill
    grid = [k / 10_000 for k in range(-30_000, 30_001)]
    assert rolling == pytest.approx(min(grid, key=height), abs=1e-3)
    assert plain == pytest.approx(min((x for x in grid if x > 0.5), key=height), abs=1e-3)
    assert height(rolling) < height(plain)


def test_both_paths_are_drawn_on_the_ground_and_over_time(items: list[Item]) -> None:
    ground, over_time = [item for item in items if isinstance(item, Curves)]
    assert set(ground.dots) == set(over_time.lines) == {"plain", "momentum 0.9"}
    for xs, ys in (*ground.dots.values(), *over_time.lines.values()):
        assert len(xs) == len(ys) > 10
