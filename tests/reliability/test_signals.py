"""SIGINT and SIGTERM at a random moment."""

from pathlib import Path

from campaign.signals import quick


def test_a_signal_at_any_moment_leaves_nothing_half_written(tmp_path: Path) -> None:
    tally = quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == 8
