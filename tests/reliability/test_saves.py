"""A kill at a system call of a save."""

from pathlib import Path

import pytest
from campaign.saves import quick
from campaign.tally import SkippedError


def test_a_kill_at_any_call_leaves_whole_files_and_a_run_that_goes_on(
    tmp_path: Path,
) -> None:
    try:
        tally = quick(tmp_path)
    except SkippedError as reason:
        pytest.skip(str(reason))
    assert tally.faults == []
    assert tally.tried == 24
