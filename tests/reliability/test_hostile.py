"""Files made to do harm, with checksums that hold."""

import sys
from pathlib import Path

import pytest
from campaign.hostile import quick


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory at its peak as Linux does")
def test_no_file_made_to_do_harm_is_loaded(tmp_path: Path) -> None:
    tally = quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == 325
