"""Train, kill, resume, over and over."""

from pathlib import Path

import pytest
from campaign.soak import quick
from campaign.tally import SkippedError


def test_nothing_grows_and_many_runs_are_listed_at_once(tmp_path: Path) -> None:
    try:
        tally = quick(tmp_path)
    except SkippedError as reason:
        pytest.skip(str(reason))
    assert tally.faults == []
    assert tally.tried == 8
