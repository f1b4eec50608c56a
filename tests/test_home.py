"""`~` is the home of the user wherever a path is named; a folder called `~` is `./~`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mnistlab.data.folders import load_folders
from mnistlab.data.named import load_data
from mnistlab.experiment import train_run
from mnistlab.files import cache_folder
from mnistlab.runs import find_run
from tests.command import Result
from tests.conftest import make_tree

Mnistlab = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a dataset in it, and another folder that is the current one."""
    make_tree(tmp_path / "home" / "digits")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_in_flags_and_arguments(mnistlab: Mnistlab, home: Path) -> None:
    (home / "own.toml").write_text('epochs = 3\ndata = "~/digits"\n')
    mnistlab("train", "--data=~/digits", "--epochs", "2", "--run-dir", "~/runs").ok()
    trained = mnistlab("train", "--config=~/own.toml", "--run-dir=~/runs", "--json").ok().json
    assert trained["run"].startswith(str(home / "runs"))
    assert len(trained["epochs"]) == 3
    mnistlab("plot", trained["run"].replace(str(home), "~"), "-o", "~/curves.png").ok()
    mnistlab("plot", "~/digits", "-o~/digits.png").ok()
    assert {"runs", "curves.png", "digits.png"} <= set(os.listdir(home))
    mnistlab("data", "check", "~/digits").ok()
    assert os.listdir() == []


def test_in_python(home: Path) -> None:
    assert load_data("~/digits").root == load_folders(Path("~/digits")).root == home / "digits"
    assert load_data("~/digits").name == str(home / "digits")
    run = train_run({"data": "~/digits", "epochs": 1}, folder=Path("~/runs"))
    assert find_run(f"~/runs/{run.name}", Path("runs")).path == run.path == home / "runs" / run.name
    assert os.listdir() == []


def test_in_the_names_of_the_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNISTLAB_CACHE", "~/cache")
    assert cache_folder() == home / "cache"
    monkeypatch.delenv("MNISTLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/xdg")
    assert cache_folder() == home / "xdg" / "mnistlab"


def test_a_folder_of_that_name_is_reached_with_a_dot(mnistlab: Mnistlab) -> None:
    make_tree(Path("~"), train=5)
    assert (
        load_data("./~").train.counts == load_folders("./~").train.counts == {"dark": 5, "light": 5}
    )
    mnistlab("train", "--data", "./~", "--epochs", "1", "--run-dir", "./~/runs").ok()
    found = mnistlab("eval", "--run-dir", "./~/runs", "--data=./~", "--json").ok().json
    assert found["run"].startswith("~/runs")
    mnistlab("data", "check", "./~").ok()


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "~nobody\0/x"])
def test_a_home_that_nobody_has_is_a_plain_message(mnistlab: Mnistlab, name: str) -> None:
    Path("own.toml").write_text(f'data = "{name}"\n'.replace("\0", "\\u0000"), encoding="utf-8")
    result = mnistlab("train", "--config", "own.toml")
    assert (result.code, result.out) == (2, "")
    assert "no such folder" in result.err or "cannot be reached" in result.err
