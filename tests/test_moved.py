"""A run whose data have moved: `--data` says where they are, their fingerprint proves it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mnistlab.experiment import prepare, start
from mnistlab.resolving import resolve
from mnistlab.runs import Run
from mnistlab.storage import load_model, weights_sha256
from tests.command import Result
from tests.conftest import make_tree

Mnistlab = Callable[..., Result]


@pytest.fixture
def stopped(tiny: Path) -> Run:
    """A run that was stopped in its third of four epochs; then its data were moved to `there`."""
    experiment = start(prepare(resolve({"data": str(tiny), "epochs": 4})), Path("runs"), [])
    place = experiment.now.place
    list(experiment.train(lambda: place.epoch == 2))
    tiny.rename("there")
    assert experiment.run is not None
    return experiment.run


def test_it_is_resumed_where_they_are_now_as_if_nothing_had_been(
    mnistlab: Mnistlab, stopped: Run
) -> None:
    refused = mnistlab("train", "--resume", "latest")
    assert refused.code == 2
    assert f"tiny: no such folder; the data of {stopped.name} were there" in refused.err
    assert "name the place now with --data" in refused.err
    mnistlab("train", "--resume", "latest", "--data", "there").ok()
    again = mnistlab("train", "--data", "there", "--epochs", "4", "--run-dir", "new", "--json").ok()
    weights = weights_sha256(load_model(stopped.model_file)[0].state_dict())
    assert weights == again.json["weights_sha256"]
    # it is noted: nothing needs the flag any more
    assert f'data = "{Path("there").absolute()}"' in stopped.config_file.read_text()
    mnistlab("eval").ok()


@pytest.mark.parametrize(
    "words", [("runs", "verify", "latest"), ("eject", "latest"), ("eval",), ("runs", "compare")]
)
def test_the_message_names_the_flag_and_the_flag_helps(
    mnistlab: Mnistlab, stopped: Run, words: tuple[str, ...]
) -> None:
    if words[-1] == "compare":
        words += ("latest", "latest")
    refused = mnistlab(*words)
    assert (refused.code, refused.out) == (2, "")
    assert "name the place now with --data" in refused.err
    mnistlab(*words, "--data", "there").ok()


def test_other_data_are_refused(mnistlab: Mnistlab, stopped: Run, tmp_path: Path) -> None:
    make_tree(tmp_path / "other", size=(4, 4), train=11)
    for words in (
        ("train", "--resume", "latest"),
        ("runs", "verify", "latest"),
        ("eject", "latest"),
    ):
        refused = mnistlab(*words, "--data", "other")
        assert (refused.code, refused.out) == (2, "")
        assert f"other: not the data that {stopped.name} was trained on" in refused.err
    # also where nothing was saved yet but its config
    stopped.state_file.unlink()
    stopped.model_file.unlink()
    assert mnistlab("train", "--resume", "latest", "--data", "other").code == 2
    mnistlab("train", "--resume", "latest", "--data", "there").ok()


def test_a_moved_run_repeats_without_a_change(mnistlab: Mnistlab, stopped: Run) -> None:
    found = mnistlab("runs", "verify", "latest", "--data", "there", "--json").ok().json
    assert found["repeats"] is True
    assert found["changed"] == {}
    shutil.move("there", "tiny")
    assert mnistlab("runs", "verify", "latest", "--json").ok().json["changed"] == {}
