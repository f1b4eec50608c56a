"""The lock on a run folder: it says who holds it, and nobody is refused for a mere look."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mnistlab.runs import held, holder, is_held


def test_a_lock_says_who_holds_it_as_long_as_it_is_held(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    assert not is_held(lock)
    assert holder(lock) == ""
    with held(lock):
        assert is_held(lock)
        assert holder(lock) == str(os.getpid())
        with pytest.raises(TimeoutError), held(lock):
            raise AssertionError  # not reached
        assert holder(lock) == str(os.getpid())
    assert not is_held(lock)
    assert holder(lock) == ""


@pytest.mark.parametrize("content", [b"", b"x", b"\xff", b"1" * 30, b"-1"])
def test_a_lock_file_with_anything_else_in_it_names_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".lock").write_bytes(content)
    assert holder(tmp_path / ".lock") == ""


def test_whoever_only_looks_is_in_nobodys_way(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.touch()
    looking = FileLock(lock, thread_local=False)
    looking.acquire()
    release = threading.Timer(0.01, looking.release)
    release.start()
    with held(lock):
        release.join()
        assert holder(lock) == str(os.getpid())


def test_a_folder_that_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(FileNotFoundError), held(run / ".lock"):
        raise AssertionError  # not reached
    assert not run.exists()
    run.mkdir()
    with held(run / ".lock"):
        shutil.rmtree(run)
    assert not run.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("old")
    (tmp_path / ".lock").symlink_to("precious")
    with pytest.raises(OSError, match="symbolic"), held(tmp_path / ".lock"):
        raise AssertionError  # not reached
    assert (tmp_path / "precious").read_text() == "old"


def test_what_cannot_be_locked_is_held_by_nobody(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    assert not is_held(tmp_path / ".lock")


def test_a_folder_that_vanishes_meanwhile_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    acquire = FileLock.acquire

    def late(self: FileLock, *rest: Any, **named: Any) -> Any:
        folder.rename(tmp_path / "deleted")
        return acquire(self, *rest, **named)

    monkeypatch.setattr(FileLock, "acquire", late)
    with pytest.raises(FileNotFoundError), held(folder / ".lock"):
        pytest.fail("held")
    assert [path.name for path in tmp_path.iterdir()] == ["deleted"]


def test_who_takes_a_lock_this_very_moment_is_waited_for_to_say_who_it_is(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    taken = FileLock(path, thread_local=False)
    taken.acquire()
    saying = threading.Timer(0.25, path.write_text, ["4711"])
    saying.start()
    with pytest.raises(TimeoutError), held(path):
        pytest.fail("held")
    assert holder(path) == "4711"
    saying.join()
    path.write_text("")
    threading.Timer(0.25, taken.release).start()
    with held(path):
        assert holder(path) == str(os.getpid())
