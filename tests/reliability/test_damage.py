"""Damaged files of a run."""

import sys
from pathlib import Path

import pytest
from campaign.damage import quick


@pytest.mark.skipif(sys.platform != "linux", reason="runs commands in forks, as Linux has them")
def test_no_damaged_file_of_a_run_passes_for_another(tmp_path: Path) -> None:
    tally = quick(tmp_path)
    assert tally.faults == []
    # so many bytes of so many files; the header of a state file has times of varying length in it
    assert tally.tried > 10_000
