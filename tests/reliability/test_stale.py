"""Caches and kept data that went stale or were damaged."""

from pathlib import Path

from campaign import stale
from campaign.stale_bundled import TAMPER
from campaign.stale_damage import DAMAGE
from campaign.stale_ways import STALE


def test_no_stale_or_damaged_cache_is_used(tmp_path: Path) -> None:
    tally = stale.quick(tmp_path)
    assert tally.faults == []
    assert tally.tried == len(STALE) + 2 + 6 * len(DAMAGE) + len(TAMPER) + 2
