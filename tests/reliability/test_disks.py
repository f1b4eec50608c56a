"""The campaign's disks, a few of each: full, read-only, vanished."""

import os
import sys
from pathlib import Path

import pytest
from campaign import disks
from campaign.sabotage import give_up_power


@pytest.mark.skipif(sys.platform != "linux", reason="limits, mounts and capabilities of Linux")
def test_nothing_is_lost_on_a_disk_that_fails(tmp_path: Path) -> None:
    tally = disks.quick(tmp_path)
    assert tally.faults == []
    assert tally.tried >= (53 if os.geteuid() == 0 and not tally.notes else 38)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12 on
@pytest.mark.skipif(sys.platform != "linux", reason="the capabilities of Linux")
def test_a_process_that_gave_up_its_power_is_held_to_permissions(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            give_up_power()
            (tmp_path / "locked" / "file").touch()
        except PermissionError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
