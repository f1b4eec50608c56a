"""Files appear whole or not at all."""

import errno
import os
import time
from pathlib import Path

import pytest

from mnistlab.files import remove, remove_leftovers, temporary_beside, write_whole
from tests import needs


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, b"one")
    assert path.read_bytes() == b"one"
    write_whole(path, b"tw", memoryview(b"o"))
    assert path.read_bytes() == b"two"
    write_whole(path)
    assert path.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [path]


@needs.permissions
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_umask_decides_who_may_read_it(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("step", ["builtins.open", "os.fsync", "os.replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failure_at_any_step_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, existing: bool
) -> None:
    path = tmp_path / "a"
    if existing:
        path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(OSError, match="No space left"):
            write_whole(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == (["a"] if existing else [])
    assert not existing or path.read_bytes() == b"old"


def test_an_interruption_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_reaches_the_disk_before_the_name_and_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flush(fd: int) -> None:
        status = os.fstat(fd)
        folder = os.path.samestat(status, tmp_path.stat())
        steps.append("folder" if folder else f"file of {status.st_size}")
        fsync(fd)

    def rename(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    write_whole(tmp_path / "a", b"four")
    flushed = [] if needs.WINDOWS else ["folder"]  # which Windows does by itself
    assert steps == ["file of 4", "rename", *flushed]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "a", b"x")


def test_a_folder_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(PermissionError if needs.WINDOWS else IsADirectoryError):
        write_whole(tmp_path / "a", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@needs.symlinks
def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"old")
    (tmp_path / "a").symlink_to("precious")
    write_whole(tmp_path / "a", b"new")
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"old"


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    longest = 255
    if needs.WINDOWS:  # which counts the folders in front of it
        longest = 259 - len(str(tmp_path)) - 1
    for letter in ("x", "é", "日"):
        path = tmp_path / (letter * (longest // len(letter.encode())))
        write_whole(path, b"x")
        assert path.read_bytes() == b"x"


def test_temporary_names_are_hidden_and_never_the_same(tmp_path: Path) -> None:
    names = {temporary_beside(tmp_path / "a").name for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(".a.") for name in names)
    assert temporary_beside(tmp_path / "a").parent == tmp_path


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    left = [temporary_beside(tmp_path / name) for name in "abcd"]
    left[0].write_bytes(b"x")
    left[1].mkdir()
    (left[1] / "inside").write_bytes(b"x")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "inside").write_bytes(b"x")
    if needs.SYMLINKS:
        left[2].symlink_to("kept")
        left[3].symlink_to("nowhere")
    (tmp_path / ".hidden").write_bytes(b"x")
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "kept"]
    assert (tmp_path / "kept" / "inside").exists()


def test_leftovers_of_a_process_at_work_are_spared(tmp_path: Path) -> None:
    young, old, future = (temporary_beside(tmp_path / name) for name in "abc")
    for path, age in ((young, 50), (old, 70), (future, -1000)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age, time.time() - age))
    remove_leftovers(tmp_path, older_than=60)
    assert set(tmp_path.iterdir()) == {young, future}


def test_removing_leftovers_never_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_leftovers(tmp_path / "none")
    path = temporary_beside(tmp_path / "a")
    path.write_bytes(b"x")

    def fail(self: Path) -> os.stat_result:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", fail)
        remove_leftovers(tmp_path)
    assert path.exists()
    remove(tmp_path / "none")
    remove(path)
    assert not path.exists()
