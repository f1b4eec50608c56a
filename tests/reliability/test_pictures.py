"""Odd image files: shown as what they hold, or refused by name."""

from pathlib import Path

from campaign.pictures import quick


def test_no_odd_image_file_is_shown_wrongly(tmp_path: Path) -> None:
    tally = quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == 1342
