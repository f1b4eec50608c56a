"""`mnistlab baseline pixel-similarity`: the chapter's figures, text, JSON, run folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import Result

Mnistlab = Callable[..., Result]


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("distance", "three", "seven"), [("l1", 0.9168, 0.9854), ("rmse", 0.9584, 0.9737)]
)
def test_the_figures_of_the_chapter(
    mnistlab: Mnistlab, distance: str, three: float, seven: float
) -> None:
    result = mnistlab("baseline", "pixel-similarity", "--distance", distance, "--json").ok()
    document = result.json
    assert document["schema_version"] == 1
    assert document["distance"] == distance
    assert document["n"] == 2038
    assert document["correct"] == {"l1": 1939, "rmse": 1969}[distance]
    assert document["accuracy"] == document["correct"] / 2038
    assert {name: round(value, 4) for name, value in document["per_class"].items()} == {
        "3": three,
        "7": seven,
    }
    assert document["balanced_accuracy"] == sum(document["per_class"].values()) / 2
    [run] = Path("runs").iterdir()
    assert document["run"] == str(run)
    assert run.name.endswith("-pixel-similarity-s0")


def test_text_and_next_command(mnistlab: Mnistlab, tiny: Path) -> None:
    result = mnistlab("baseline", "pixel-similarity", "--data", tiny).ok()
    [run] = Path("runs").iterdir()
    assert result.out.startswith("accuracy  1.000000  8 of 8 right  95% interval 0.6756 to 1.0000")
    assert result.err.splitlines() == [
        f"pixel similarity (l1) on valid of {tiny}",
        f"run   {run}",
        "next  mnistlab train",
    ]
    scored = mnistlab("eval", "--json").ok().json
    assert (scored["model"], scored["accuracy"]) == ("pixel-similarity", 1.0)


def test_quiet_prints_only_the_result(mnistlab: Mnistlab, tiny: Path) -> None:
    result = mnistlab("baseline", "pixel-similarity", "--data", tiny, "-q").ok()
    [run] = Path("runs").iterdir()
    assert (result.out, result.err) == (f"accuracy 1.000000  run {run}\n", "")
