"""The campaign's terminals, every command in some of the surroundings."""

import sys
from pathlib import Path

import pytest
from campaign import terminals


@pytest.mark.skipif(sys.platform != "linux", reason="terminals and /dev/full of Linux")
def test_every_command_ends_well_wherever_its_output_goes(tmp_path: Path) -> None:
    tally = terminals.quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == 40
