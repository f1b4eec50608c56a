"""Kill -9 at a random moment."""

from pathlib import Path

from campaign.kills import quick


def test_a_run_killed_at_any_moment_ends_as_if_it_had_never_been(tmp_path: Path) -> None:
    tally = quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == 20
