"""Random input for the readers of files, and whether the search for worse can be run."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from campaign import fuzz_targets, fuzzing
from campaign.tally import CORES


def test_five_thousand_odd_inputs_raise_no_errors_but_ours(tmp_path: Path) -> None:
    tally = fuzzing.quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == 5000


@pytest.mark.parametrize("target", fuzz_targets.TARGETS)
def test_what_the_search_starts_from_is_sound(target: str, tmp_path: Path) -> None:
    for content in fuzz_targets.seeds(target):
        fuzz_targets.TARGETS[target](content, tmp_path)


def test_a_reader_that_raises_something_else_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(data: bytes, folder: Path) -> None:
        if len(data) % 7 == 3:
            raise IndexError

    monkeypatch.setattr(fuzz_targets, "TARGETS", {"config": broken})
    tally = fuzzing._at_random(tmp_path, 50)
    assert tally.faults
    assert "IndexError" in tally.faults[0]


def test_without_the_tool_for_the_search_random_input_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzing, "CASES", 5)
    monkeypatch.setattr(fuzzing, "SEARCH", 0.01)
    monkeypatch.setattr(fuzzing, "find_spec", lambda name: None)
    tally = fuzzing.full(tmp_path)
    assert tally.tried >= 50
    assert any("atheris is not installed" in note for note in tally.notes)


@pytest.mark.skipif(
    find_spec("atheris") is None or sys.platform != "linux", reason="atheris is not installed"
)
def test_the_search_runs_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "SEARCH", 10.0 / CORES)
    tally = fuzzing._searches(tmp_path)
    assert tally.faults == []
    assert tally.tried > 100
