"""What Windows and macOS do differently, one branch after the other."""

import ast
import contextlib
import errno
import os
import signal
from pathlib import Path

import pytest

from mnistlab import system
from mnistlab.cli import signals
from mnistlab.system import (
    flush,
    flush_folder,
    is_closed_pipe,
    map_private,
    move,
    quoted,
)
from tests import needs

SOURCE = Path(__file__).parents[1] / "src" / "mnistlab"


def test_no_other_file_asks_which_system_it_runs_on() -> None:
    asking = {"os.name", "sys.platform", "platform.system"}
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        asked = {ast.unparse(part) for part in ast.walk(tree) if isinstance(part, ast.Attribute)}
        assert path.name == "system.py" or not asked & asking, path


def test_windows_is_asked_again_until_the_file_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"new")
    replace, refusals = os.replace, [3]
    pauses: list[float] = []

    def busy(source: Path, target: Path) -> None:
        if refusals[0]:
            refusals[0] -= 1
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(system, "WINDOWS", False)
    with pytest.raises(PermissionError):
        move(tmp_path / "a", tmp_path / "b")
    assert not pauses

    monkeypatch.setattr(system, "WINDOWS", True)
    move(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"new"
    assert len(pauses) == 2  # the first refusal was that of the other system

    refusals[0] = 1000
    with pytest.raises(PermissionError):
        move(tmp_path / "b", tmp_path / "c")
    assert sum(pauses[2:]) == pytest.approx(1, abs=0.1)


def test_macos_empties_the_memory_of_the_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(system, "MACOS", False)
    steps: list[object] = []
    monkeypatch.setattr(os, "fsync", lambda fd: steps.append("fsync"))
    monkeypatch.setattr(fcntl, "fcntl", lambda fd, request: steps.append(request))
    flush(0)
    assert steps == ["fsync"]
    monkeypatch.setattr(system, "MACOS", True)
    flush(0)
    assert steps == ["fsync", 51]

    def unknown(fd: int, request: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "fcntl", unknown)
    flush(0)
    assert steps == ["fsync", 51, "fsync"]


@pytest.mark.parametrize(
    ("number", "passed"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)]
)
@needs.folders
def test_a_file_system_that_cannot_flush_folders_is_no_error_but_a_broken_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, passed: bool
) -> None:
    def fail(fd: int) -> None:
        raise OSError(number, "made up")

    monkeypatch.setattr(os, "fsync", fail)
    with contextlib.nullcontext() if passed else pytest.raises(OSError, match="made up"):
        flush_folder(tmp_path)


def test_windows_has_no_folders_to_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("a folder was opened"))
    monkeypatch.setattr(system, "WINDOWS", True)
    flush_folder(tmp_path)


@pytest.mark.parametrize("linux", [True, False])
def test_what_is_written_into_a_mapped_file_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linux: bool
) -> None:
    monkeypatch.setattr(system, "LINUX", linux and system.LINUX)
    (tmp_path / "a").write_bytes(b"four")
    with open(tmp_path / "a", "rb") as file, map_private(file.fileno(), 3) as mapped:
        assert bytes(mapped) == b"fou"
        mapped[0:1] = b"p"
        assert bytes(mapped) == b"pou"
    assert (tmp_path / "a").read_bytes() == b"four"


def test_windows_says_of_a_closed_pipe_that_it_is_no_valid_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    invalid = OSError(errno.EINVAL, "Invalid argument")
    monkeypatch.setattr(system, "WINDOWS", False)
    assert is_closed_pipe(BrokenPipeError())
    assert not is_closed_pipe(invalid)
    monkeypatch.setattr(system, "WINDOWS", True)
    assert is_closed_pipe(BrokenPipeError())
    assert is_closed_pipe(invalid)
    assert not is_closed_pipe(OSError(errno.ENOSPC, "No space left on device"))


def test_a_command_line_is_quoted_for_the_shell_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["mnistlab", "eval", "my runs/a's"]
    monkeypatch.setattr(system, "WINDOWS", False)
    assert quoted(*words) == """mnistlab eval 'my runs/a'"'"'s'"""
    monkeypatch.setattr(system, "WINDOWS", True)
    assert quoted(*words) == '''mnistlab eval "my runs/a's"'''


def test_a_closed_window_on_windows_ends_like_a_termination(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = getattr(signal, "SIGBREAK", None) or signal.SIGUSR1
    monkeypatch.setattr(signal, "SIGBREAK", number, raising=False)
    monkeypatch.setattr(signals, "SIGNALS", [number])
    with signals.StopSignals() as stop:
        signal.raise_signal(number)
        assert stop()
    assert stop.exit_code == 143
