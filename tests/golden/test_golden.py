"""What commit 4a638a5 printed and computed, and the runs it made: later code must do the same.

On another processor or torch the last bits are others: there figures are only compared within a
tolerance, and the test is skipped at its end with the reason. The slow ones take two minutes; they
run under `--campaign`.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Examples
from tests.golden.cases import GROUPS, MNIST, SLOW, Case
from tests.golden.play import EXPECTED, HERE, differences, help_of, machine, play


@cache
def expected() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return document


def compare(
    group: str, cases: dict[str, Case], folder: Path, originals: Path | None = None
) -> None:
    """Play the cases of a group; fail with every figure that differs."""
    frozen = expected()["groups"][group]
    assert frozen.keys() == cases.keys()
    bits = machine() == expected()["machine"]
    different = [
        f"{group}, {name}: {line}"
        for name, lines in cases.items()
        for line in differences(frozen[name], play(lines, folder / name, originals), bits=bits)
    ]
    if different:
        pytest.fail(f"{len(different)} differences\n" + "\n".join(different[:40]), pytrace=False)
    if not bits:
        pytest.skip(f"bits are not compared on {machine()}: made on {expected()['machine']}")


@pytest.mark.parametrize("group", GROUPS)
def test_figures_and_exit_codes_are_as_frozen(group: str, tmp_path: Path) -> None:
    compare(group, GROUPS[group], tmp_path)


@pytest.mark.usefixtures("own_cache")
def test_a_run_on_named_data_opens_and_goes_on(mnist: Path, tmp_path: Path) -> None:
    compare("mnist", MNIST, tmp_path, mnist)


def test_slow_ones_are_as_frozen(mnist: Path, tmp_path: Path, examples: Examples) -> None:
    if not examples(0, 1):
        pytest.skip("takes two minutes; --campaign runs it")
    compare("slow", SLOW, tmp_path, mnist)


def test_what_is_frozen_is_what_was_promised() -> None:
    groups = expected()["groups"]
    counts = groups["slow"]["the chapter"][0]["document"]["counts"]
    # exact figures 79, and those that the notes trained, drawn as they drew them
    assert (counts["equal"], counts["differs"]) == (79 + 188, 0)
    for model in ("linear", "cnn"):
        never_stopped = groups["slow"][f"{model}, never stopped"][0]["document"]
        resumed = next(
            step["document"]
            for step in groups["old runs"][f"{model}-stopped"]
            if "--resume" in step["line"]
        )
        record = json.loads((HERE / "runs" / f"{model}-stopped" / "run.json").read_text())
        made_on = expected()["machine"]
        if record["environment"]["processor"] == f"{made_on['machine']} {made_on['capability']}":
            assert resumed["weights_sha256"] == never_stopped["weights_sha256"]
        # Begun on another processor, it ends with other last bits and the same figures.
        assert resumed["accuracy"] == never_stopped["accuracy"]
        last, unbroken = resumed["epochs"][-1], never_stopped["epochs"][-1]
        assert last["valid_loss"] == pytest.approx(unbroken["valid_loss"], rel=1e-3)


def test_every_command_has_the_flags_it_had() -> None:
    assert help_of() == expected()["help"]
