"""Servers that break off, lie and mislead."""

from pathlib import Path

from campaign import downloads
from campaign.downloads_faults import faults


def test_a_download_is_right_or_told_and_the_next_one_works(tmp_path: Path) -> None:
    tally = downloads.quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == len(faults("")) + 12
