"""The lock on a run folder: it says who holds it, and nobody is refused for a mere look."""

import os
import shutil
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from mnistlab.locks import held, holder, is_held


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
