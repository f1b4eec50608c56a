"""The campaign's settings: wrong ones from the schema, alone and together."""

import os
from pathlib import Path

import pytest
from campaign import schema, settings

from mnistlab.config import TrainConfig


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_every_wrong_setting_is_told_and_every_edge_is_taken(tmp_path: Path) -> None:
    tally = settings.quick(tmp_path)
    assert tally.faults == []
    assert tally.tried >= 3000


def test_every_setting_has_wrong_values_and_edges() -> None:
    wrong = {key for key, _ in schema.singles()}
    edges = {key for key, _ in schema.edges()}
    assert wrong == set(TrainConfig.model_fields)
    assert edges == set(TrainConfig.model_fields) - {"data", "channels"}
    assert ("lr", 1e38) in schema.edges()
    assert ("seed", 2**63 - 1) in schema.edges()
    assert ("momentum", 1.0) in schema.singles()
