"""Two processes at once."""

from pathlib import Path

from campaign.races import quick


def test_of_two_at_once_one_is_refused_or_both_are_right(tmp_path: Path) -> None:
    tally = quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == 6
