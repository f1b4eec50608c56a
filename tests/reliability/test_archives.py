"""Hostile archives, for every reader of archives."""

from pathlib import Path

from campaign import archives


def test_hostile_archives_are_told_and_put_nothing_outside(tmp_path: Path) -> None:
    tally = archives.quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == 50
