"""Run folders: named, found, listed, locked, never overwritten."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mnistlab import runs as module
from mnistlab.errors import ConfigError, DamagedFileError, LockedError, RunError
from mnistlab.files import temporary_beside
from mnistlab.records import EpochRow
from mnistlab.runs import DEFAULT_FOLDER, Run, create_run, find_run, list_runs
from mnistlab.summaries import SORTABLE, summaries, summarize
from tests import needs
from tests.command import Result

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            assert tz is UTC
            return NOON

    monkeypatch.setattr(module, "datetime", Clock)


def made(folder: Path, name: str, created: str = "", **parts: Any) -> Run:
    """A run folder with a `run.json`, whatever else it says."""
    run = Run(folder / name)
    run.path.mkdir(parents=True)
    record = {"status": "done", "model": "linear", "config": {}, "created": created, **parts}
    run.record_file.write_text(json.dumps(record))
    return run


def touch_record(run: Run) -> None:
    run.record_file.write_text("{}")


@pytest.mark.usefixtures("noon")
def test_a_run_is_named_by_utc_time_model_and_seed(tmp_path: Path) -> None:
    run = create_run(tmp_path / "a" / "b", "two-layer", 7, touch_record)
    assert run.path == tmp_path / "a" / "b" / "20261122-120000-two-layer-s7"
    assert list(run.path.iterdir()) == [run.record_file]


@pytest.mark.usefixtures("noon")
def test_runs_in_one_second_get_folders_of_their_own_and_take_none_that_is_there(
    tmp_path: Path,
) -> None:
    base = tmp_path / "20261122-120000-linear-s0"
    base.write_text("mine")
    names = [create_run(tmp_path, "linear", 0, touch_record).name for _ in range(2)]
    assert names == [f"{base.name}-2", f"{base.name}-3"]
    assert base.read_text() == "mine"


def test_a_run_appears_with_its_first_files_in_it_or_not_at_all(tmp_path: Path) -> None:
    def fill(run: Run) -> None:
        touch_record(run)
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
    run = create_run(tmp_path, "linear", 0, touch_record)
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
    assert create_run(tmp_path, "linear", 0, touch_record).name == f"{taken.name}-2"
    assert taken.record_file.exists()


def test_runs_are_listed_oldest_first_and_only_runs(tmp_path: Path) -> None:
    made(tmp_path, "20261122-120000-linear-s0-2", "2026-11-22T12:00:00.500000+00:00")
    made(tmp_path, "20261122-120000-linear-s0", "2026-11-22T12:00:00.100000+00:00")
    made(tmp_path, "zebra, renamed", "2026-11-21T12:00:00+00:00")
    made(tmp_path, "20261123-000000-linear-s0")  # its run.json does not say when
    only_model = tmp_path / "20261120-000000-linear-s1"
    only_model.mkdir()
    (only_model / "model.safetensors").write_bytes(b"")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("")
    assert [run.name for run in list_runs(tmp_path)] == [
        "20261120-000000-linear-s1",
        "zebra, renamed",
        "20261122-120000-linear-s0",
        "20261122-120000-linear-s0-2",
        "20261123-000000-linear-s0",
    ]
    assert list_runs(tmp_path / "absent") == []


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


@needs.posix
def test_a_reference_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    assert Run(Path("runs/20261122-120000-linear-s0")).reference == "20261122-120000-linear-s0"
    assert Run(Path("else/where")).reference == str(Path("else/where"))
    run = Run(tmp_path / "a 'b' $c")
    said = subprocess.run(
        ["sh", "-c", f"printf %s {run.reference}"], capture_output=True, text=True, check=True
    )
    assert said.stdout == str(run.path)


def test_metrics_are_a_strict_csv_with_every_digit(tmp_path: Path) -> None:
    rows = [
        EpochRow(epoch=0, train_loss=0.1 + 0.2, valid_loss=1 / 3, accuracy=0.5, seconds=0.25),
        EpochRow(epoch=1, train_loss=1e-30, valid_loss=2.0, accuracy=1.0, seconds=12345.678901),
    ]
    Run(tmp_path).write_metrics([(None, row) for row in rows])
    text = (tmp_path / "metrics.csv").read_text()
    assert text.startswith("epoch,train_loss,valid_loss,accuracy,seconds\n0,0.30000000000000004,")
    assert text.endswith("\n")
    assert " " not in text
    read = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(text.splitlines())]
    assert read == [row.model_dump() for row in rows]
    Run(tmp_path).write_metrics([(7, row) for row in rows])
    assert (tmp_path / "metrics.csv").read_text().startswith("seed,epoch,train_loss")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b"{}", "status cannot be right"),
        (b'{"status": "done", "model": "linear", "config": 3}', "config cannot be right"),
        (
            b'{"status": "done", "model": "linear", "config": {"lr": -1.0}}',
            "config.lr cannot be right",
        ),
        (
            b'{"status": "done", "model": "linear", "config": {}, "result": {"accuracy": NaN}}',
            "result.accuracy cannot be right",
        ),
    ],
)
def test_a_damaged_record_is_refused_and_still_listed(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    run = made(tmp_path, "odd")
    run.record_file.write_bytes(content)
    with pytest.raises(DamagedFileError, match=rf"run\.json: {fault}"):
        run.record()
    summary = summarize(run)
    assert (summary.name, summary.status, summary.accuracy) == ("odd", "damaged", None)
    assert summaries(tmp_path) == [summary]


def test_a_trained_run_in_a_line(mnistlab: Callable[..., Result], tiny: Path) -> None:
    document = mnistlab("train", "--data", tiny, "--epochs", "3", "--seed", "5", "--json").json
    summary = summarize(Run(Path(document["run"])))
    assert (summary.model, summary.seed, summary.seeds, summary.status) == ("linear", 5, 1, "done")
    assert (summary.epochs, summary.data, summary.lr) == (3, str(tiny), 1.0)
    assert summary.accuracy == document["accuracy"]
    assert summary.best == document["best"]["accuracy"]
    assert summary.seconds == pytest.approx(sum(row["seconds"] for row in document["epochs"]))


@pytest.mark.parametrize("flags", [(), ("--seeds", "2"), ("--keep", "best")])
def test_an_edited_result_is_noticed(
    mnistlab: Callable[..., Result], tiny: Path, flags: tuple[str, ...]
) -> None:
    arguments = ("train", "--data", tiny, "--epochs", "3", "--json", *flags)
    run = Run(Path(mnistlab(*arguments).ok().json["run"]))
    assert summarize(run).status == "done"
    content = json.loads(run.record_file.read_text())
    content["result"]["accuracy"] = 0.99999
    run.record_file.write_text(json.dumps(content))
    assert summarize(run).status == "edited"
    assert "edited" in mnistlab("runs", "list").ok().out
    verified = mnistlab("runs", "verify")
    assert verified.code == 3
    assert "result in run.json" in verified.err
    assert "weights   equal to the last bit, but the files" in verified.out


def test_a_run_that_nobody_holds_was_killed(tmp_path: Path) -> None:
    run = made(tmp_path, "one", status="running")
    assert summarize(run).status == "killed"
    with run.locked():
        assert summarize(run).status == "running"
    assert summarize(run).status == "killed"


def test_sorting_puts_what_has_no_value_last(tmp_path: Path) -> None:
    for name, accuracy in (("run2", 0.5), ("run10", None), ("run1", 0.9)):
        made(tmp_path, name, name, result={"accuracy": accuracy, "epochs": []})
    names = {key: [run.name for run in summaries(tmp_path, key)] for key in ("name", "accuracy")}
    assert names == {"name": ["run1", "run2", "run10"], "accuracy": ["run2", "run1", "run10"]}
    reverse = [run.name for run in summaries(tmp_path, "accuracy", reverse=True)]
    assert reverse == ["run1", "run2", "run10"]
    for key in SORTABLE:
        assert len(summaries(tmp_path, key)) == 3
    with pytest.raises(ConfigError, match="--sort acuracy; did you mean accuracy"):
        summaries(tmp_path, "acuracy")


def test_listing_runs_does_not_wait_for_torch(mnistlab: Callable[..., Result], tiny: Path) -> None:
    mnistlab("train", "--data", tiny, "--epochs", "1").ok()
    code = (
        "import sys\nfrom mnistlab.cli.app import app\n"
        "for arguments in (['runs', 'list'], ['runs', 'show']):\n"
        "    app(arguments, standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


HOLDER = """
import sys
from pathlib import Path
from mnistlab.runs import Run
with Run(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_holds_is_refused_until_it_ends(tmp_path: Path) -> None:
    run = made(tmp_path, "one", pid=4711)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, run.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        # Windows lets nobody read what is locked
        by = "" if needs.WINDOWS else rf" \(process {holder.pid}\)"
        with pytest.raises(LockedError, match=f"training it{by};"), run.locked():
            raise AssertionError  # not reached
        holder.kill()  # even then the system frees the lock
    with run.locked():
        assert run.path.is_dir()


def test_taking_the_lock_clears_what_an_interrupted_write_left(tmp_path: Path) -> None:
    run = made(tmp_path, "one")
    left = run.path / ".model.safetensors.0123.mnistlab-tmp"
    left.write_bytes(b"half")
    with run.locked():
        assert not left.exists()


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    run = made(tmp_path, "one")
    with pytest.raises(KeyboardInterrupt), run.locked():
        raise KeyboardInterrupt
    with run.locked():
        assert os.path.isdir(tmp_path)


def test_a_folder_that_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    run = made(tmp_path, "one")
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match=r"cannot be written: .*--run-dir"), run.locked():
        raise AssertionError  # not reached
    assert not run.path.exists()


@needs.symlinks
def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    run = made(tmp_path, "one")
    (tmp_path / "precious").write_text("old")
    (run.path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match="symbolic"), run.locked():
        raise AssertionError  # not reached
    assert (tmp_path / "precious").read_text() == "old"
