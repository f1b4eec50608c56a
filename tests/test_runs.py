"""Run folders: named, found, listed, locked, never overwritten."""

import csv
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mnistlab import runs as module
from mnistlab.errors import ConfigError, DamagedFileError, LockedError, RunError
from mnistlab.files import temporary_beside
from mnistlab.runs import DEFAULT_FOLDER, METRICS, Run, create_run, find_run, list_runs

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            assert tz is UTC
            return NOON

    monkeypatch.setattr(module, "datetime", Clock)


def made(folder: Path, name: str, created: str | None = None) -> Run:
    run = Run(folder / name)
    run.path.mkdir(parents=True)
    run.write_info({} if created is None else {"created": created})
    return run


@pytest.mark.usefixtures("noon")
def test_a_run_is_named_by_utc_time_model_and_seed(tmp_path: Path) -> None:
    run = create_run(tmp_path / "a" / "b", "two-layer", 7)
    assert run.path == tmp_path / "a" / "b" / "20261122-120000-two-layer-s7"
    assert list(run.path.iterdir()) == []


@pytest.mark.usefixtures("noon")
def test_two_runs_in_one_second_get_two_folders(tmp_path: Path) -> None:
    names = [create_run(tmp_path, "linear", 0).name for _ in range(3)]
    base = "20261122-120000-linear-s0"
    assert names == [base, f"{base}-2", f"{base}-3"]


@pytest.mark.usefixtures("noon")
def test_a_folder_that_is_there_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "20261122-120000-linear-s0").write_text("mine")
    run = create_run(tmp_path, "linear", 0)
    assert run.name.endswith("-2")
    assert (tmp_path / "20261122-120000-linear-s0").read_text() == "mine"


@pytest.mark.usefixtures("noon")
def test_when_all_names_are_taken_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "lexists", lambda path: True)
    with pytest.raises(RunError, match="too many runs in one second"):
        create_run(tmp_path / "runs", "linear", 0)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_appears_with_its_first_files_in_it_or_not_at_all(tmp_path: Path) -> None:
    def fill(run: Run) -> None:
        run.write_info({})
        assert list_runs(tmp_path) == []

    def fail(run: Run) -> None:
        fill(run)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_run(tmp_path, "linear", 0, fail)
    assert list(tmp_path.iterdir()) == []
    run = create_run(tmp_path, "linear", 0, fill)
    assert list(tmp_path.iterdir()) == [run.path]
    assert list_runs(tmp_path) == [run]


def test_a_run_that_never_appeared_or_was_half_deleted_goes_away_in_time(tmp_path: Path) -> None:
    old, new = (temporary_beside(tmp_path / name) for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "config.toml").write_text("")
    os.utime(old, (0, 0))
    run = create_run(tmp_path, "linear", 0)
    assert set(tmp_path.iterdir()) == {new, run.path}  # which may just be filled


@pytest.mark.usefixtures("noon")
def test_a_name_that_another_process_took_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = made(tmp_path, "20261122-120000-linear-s0")
    real, asked = os.path.lexists, []

    def lexists(path: Path) -> bool:
        asked.append(path)
        return len(asked) > 1 and real(path)  # it was free when the first one was asked for

    monkeypatch.setattr(os.path, "lexists", lexists)
    assert create_run(tmp_path, "linear", 0).name == f"{taken.name}-2"
    assert taken.info_file.exists()


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match=r"runs: cannot be written: .*; name another .*--run-dir"):
        create_run(tmp_path / "runs", "linear", 0)
    with pytest.raises(RunError, match="cannot be listed"):
        list_runs(tmp_path / "runs")


def test_runs_are_listed_oldest_first_and_only_runs(tmp_path: Path) -> None:
    made(tmp_path, "20261122-120000-linear-s0-2", "2026-11-22T12:00:00.500000+00:00")
    made(tmp_path, "20261122-120000-linear-s0", "2026-11-22T12:00:00.100000+00:00")
    made(tmp_path, "20261121-120000-two-layer-s0", "2026-11-21T12:00:00+00:00")
    made(tmp_path, "20261123-000000-linear-s0")  # its run.json does not say when
    only_model = tmp_path / "20261120-000000-linear-s1"
    only_model.mkdir()
    (only_model / "model.safetensors").write_bytes(b"")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("")
    assert [run.name for run in list_runs(tmp_path)] == [
        "20261120-000000-linear-s1",
        "20261121-120000-two-layer-s0",
        "20261122-120000-linear-s0",
        "20261122-120000-linear-s0-2",
        "20261123-000000-linear-s0",
    ]
    assert list_runs(tmp_path / "absent") == []


def test_a_renamed_run_keeps_its_place(tmp_path: Path) -> None:
    made(tmp_path, "my-best-one", "2026-11-21T12:00:00+00:00")
    last = made(tmp_path, "20261122-120000-linear-s0", "2026-11-22T12:00:00+00:00")
    assert find_run("latest", tmp_path) == last


def test_a_run_with_a_damaged_run_json_is_still_listed(tmp_path: Path) -> None:
    first = made(tmp_path, "20261121-120000-linear-s0", "2026-11-21T12:00:00+00:00")
    broken = made(tmp_path, "20261122-120000-linear-s0")
    broken.info_file.write_text("{")
    odd = made(tmp_path, "odd")
    odd.info_file.write_text("[]")
    assert list_runs(tmp_path) == [odd, first, broken]


def test_a_run_is_found_by_name_by_path_and_as_latest(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first = made(runs, "20261121-120000-linear-s0", "2026-11-21T12:00:00+00:00")
    second = made(runs, "20261122-120000-linear-s0", "2026-11-22T12:00:00+00:00")
    assert find_run("latest", runs) == second
    assert find_run(first.name, runs) == first
    assert find_run(str(first.path), tmp_path / "elsewhere") == first
    assert find_run(f"runs/{first.name}", Path("runs")).path.samefile(first.path)


def test_a_run_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    for day in range(10, 18):
        made(tmp_path, f"202611{day}-120000-linear-s0", f"2026-11-{day}T12:00:00+00:00")
    with pytest.raises(ConfigError, match=r"no such run in .*; did you mean 20261113-120000-lin"):
        find_run("20261113-120000-linear-s1", tmp_path)
    with pytest.raises(ConfigError, match="did you mean latest"):
        find_run("lates", tmp_path)
    with pytest.raises(ConfigError) as caught:
        find_run("?", tmp_path)
    last = ", ".join(f"202611{day}-120000-linear-s0" for day in (17, 16, 15, 14, 13))
    assert str(caught.value).endswith(f"; known: latest, {last}")


@pytest.mark.parametrize("name", ["x", "\0", "x" * 5000, "\x1b[2J"])
def test_without_runs_it_says_so(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no such run in runs; there are no runs yet$") as caught:
        find_run(name, DEFAULT_FOLDER)
    assert str(caught.value).isprintable()
    with pytest.raises(ConfigError, match="no runs yet; make one with: mnistlab train"):
        find_run("latest", DEFAULT_FOLDER)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="not a run folder"):
        find_run(str(tmp_path / "other"), tmp_path)


def test_a_reference_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    assert Run(Path("runs/20261122-120000-linear-s0")).reference == "20261122-120000-linear-s0"
    assert Run(Path("else/where")).reference == "else/where"
    run = Run(tmp_path / "a 'b' $c")
    said = subprocess.run(
        ["sh", "-c", f"printf %s {run.reference}"], capture_output=True, text=True, check=True
    )
    assert said.stdout == str(run.path)


def test_metrics_are_a_strict_csv_that_keeps_every_digit(tmp_path: Path) -> None:
    rows = [
        dict(zip(METRICS, (0, 0.1 + 0.2, 1 / 3, 0.5, 0.25), strict=True)),
        dict(zip(METRICS, (1, 1e-30, 2.0, 1.0, 12345.678901), strict=True)),
    ]
    Run(tmp_path).write_metrics(rows)
    text = (tmp_path / "metrics.csv").read_text()
    assert text.startswith("epoch,train_loss,valid_loss,accuracy,seconds\n0,0.30000000000000004,")
    assert text.endswith("\n")
    assert " " not in text
    read = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(text.splitlines())]
    assert read == rows


def test_run_json_is_read_as_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_info({"model": "linear", "command": ["ü", "\udcff"]})
    assert run.info() == {"schema_version": 1, "model": "linear", "command": ["ü", "\udcff"]}
    assert json.loads(run.info_file.read_bytes()) == run.info()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 200_000])
def test_a_damaged_run_json_is_refused(tmp_path: Path, content: bytes) -> None:
    run = Run(tmp_path)
    run.info_file.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"run\.json: not "):
        run.info()


HOLDER = """
import sys
from pathlib import Path
from mnistlab.runs import Run
with Run(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_holds_is_refused_until_it_ends(tmp_path: Path) -> None:
    run = made(tmp_path, "one")
    run.write_info({"pid": 4711})  # of the process before, as the one that resumes has just begun
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, run.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LockedError, match=rf"training it \(process {holder.pid}\)"),
            run.locked(),
        ):
            raise AssertionError  # not reached
        holder.kill()  # even then the system frees the lock
    with run.locked():
        assert run.path.is_dir()


def test_taking_the_lock_clears_what_an_interrupted_write_left(tmp_path: Path) -> None:
    left = tmp_path / ".model.safetensors.0123.mnistlab-tmp"
    left.write_bytes(b"half")
    with Run(tmp_path).locked():
        assert not left.exists()


def test_a_lock_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = Run(tmp_path / "file" / "run")
    with pytest.raises(RunError, match=r"cannot be written: .*--run-dir"), run.locked():
        raise AssertionError  # not reached


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(KeyboardInterrupt), run.locked():
        raise KeyboardInterrupt
    with run.locked():
        assert os.path.isdir(tmp_path)
