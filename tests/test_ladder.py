"""The ladder: every model in order, on any data."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from mnistlab.models import MODELS
from mnistlab.report.tables import ladder_table
from mnistlab.studies import ladder
from mnistlab.studies.ladder import STEPS, climb
from tests.command import run_in_process
from tests.conftest import make_tree


def test_the_ladder_on_the_bundled_data(monkeypatch: pytest.MonkeyPatch) -> None:
    # two steps; tests/golden climbs all of it, on images that take less time
    monkeypatch.setattr(ladder, "STEPS", ("pixel-similarity", "linear"))
    steps = list(climb("mnist_sample", {"threads": 1}))
    drawn = io.StringIO()
    Console(file=drawn, width=10_000).print(ladder_table(steps))
    assert max(len(line.rstrip()) for line in drawn.getvalue().splitlines()) <= 80
    by_name = {step["model"]: step for step in steps}
    assert by_name["pixel-similarity"]["errors"] == 2038 - 1939
    assert by_name["pixel-similarity"]["lift"] is None
    assert by_name["linear"]["parameters"] == 785
    assert by_name["linear"]["chapter"] == 0.9785
    lift = by_name["linear"]["accuracy"] - by_name["pixel-similarity"]["accuracy"]
    assert by_name["linear"]["lift"] == pytest.approx(lift)
    assert 0.02 < lift < 0.04


def test_the_ladder_has_a_step_for_every_model_and_starts_at_the_baseline() -> None:
    assert set(STEPS) == set(MODELS)
    assert STEPS[0] == "pixel-similarity"


def test_the_ladder_on_ones_own_classes_has_no_chapter_column(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "three", ("a", "b", "c"))
    document = run_in_process("ladder", "--data", tree, "--json").ok().json
    assert {step["chapter"] for step in document["steps"]} == {None}
    assert document["steps"][1]["n"] == 12
    assert not (tmp_path / "runs").exists()  # it compares; it makes no runs
    text = run_in_process("ladder", "--data", tree).ok()
    assert "pixel-similarity" in text.out
    assert "fitting linear" in text.err
    assert max(map(len, text.out.splitlines())) <= 80


def test_bad_settings_are_refused(tiny: Path) -> None:
    assert run_in_process("ladder", "--data", tiny, "--seed", "-1").code == 2
    assert run_in_process("ladder", "--data", "no/such").code == 2
