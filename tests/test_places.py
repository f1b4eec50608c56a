"""Where things are."""

import os
from importlib import resources
from pathlib import Path

import pytest

from mnistlab import files as places
from mnistlab.errors import RunError
from mnistlab.files import cache_folder, packaged
from tests import needs
from tests.conftest import CHECKOUT


def test_our_own_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MNISTLAB_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    assert not (tmp_path / "own").exists()  # asking makes nothing
    monkeypatch.setenv("MNISTLAB_CACHE", "relative")
    assert cache_folder() == tmp_path / "relative"


@needs.real_linux
def test_then_the_xdg_variable_if_it_is_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MNISTLAB_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mnistlab"
    for ignored in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder() == tmp_path / "home" / ".cache" / "mnistlab"


@needs.real_linux
def test_no_home_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MNISTLAB_CACHE")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(RunError, match="set MNISTLAB_CACHE to a folder"):
        cache_folder()


@pytest.mark.parametrize("folder", ["configs", "data"])
def test_a_checkout_has_its_folders_at_its_top(folder: str) -> None:
    assert packaged(folder) == CHECKOUT / folder


def test_a_wheel_has_them_inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "_data").mkdir()
    monkeypatch.setattr(resources, "files", lambda name: tmp_path)
    assert packaged("data") == tmp_path / "_data"


def test_an_incomplete_installation_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(places, "__file__", os.fspath(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(RunError, match="not installed completely, install it again"):
        packaged("data")
