"""`mnistlab runs export`: what TensorBoard, MLflow and a table say of a run is what it did."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnistlab.exports import curves
from mnistlab.runs import Run, find_run
from tests.command import Result

Mnistlab = Callable[..., Result]


@pytest.fixture
def run(mnistlab: Mnistlab, tiny: Path) -> Run:
    """Three epochs; it makes mistakes."""
    mnistlab("train", "--data", tiny, "--epochs", "3", "--lr", "1e-3", "-q").ok()
    return find_run("latest", Path("runs"))


def table(path: str = "runs.csv") -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def rows_of(run: Run) -> list[dict[str, str]]:
    return table(str(run.metrics_file))


def test_the_table_has_every_epoch_of_every_run_and_all_settings(
    mnistlab: Mnistlab, run: Run, tiny: Path
) -> None:
    mnistlab("train", "--data", tiny, "--model", "two-layer", "--epochs", "2", "--seeds", "2").ok()
    second = find_run("latest", Path("runs"))
    mnistlab("baseline", "pixel-similarity", "--data", tiny, "-q").ok()
    third = find_run("latest", Path("runs"))
    names = (run.name, second.name, third.name)
    assert mnistlab("runs", "export", *names, "--to", "csv").ok().out == "runs.csv\n"
    rows = table()
    assert [row["run"] for row in rows] == [run.name] * 3 + [second.name] * 4 + [third.name]
    assert [row["accuracy"] for row in rows[:3]] == [row["accuracy"] for row in rows_of(run)]
    assert [(row["seed"], row["epoch"]) for row in rows[3:7]] == [
        (row["seed"], row["epoch"]) for row in rows_of(second)
    ]
    assert {row["hidden"] for row in rows[3:7]} == {"30"}
    assert {(row["lr"], row["epochs"], row["hidden"]) for row in rows[:3]} == {("0.001", "3", "")}
    assert rows[7]["model"] == "pixel-similarity"


def test_following_yields_each_epoch_once_until_the_run_is_free(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is finished while we look: its record grows at each sleep."""
    record = run.record()
    assert record.result is not None
    done = record.result.epochs
    locks = [run.locked()]
    locks[0].__enter__()

    def write(count: int) -> None:
        assert record.result is not None
        part = record.result.model_copy(update={"epochs": done[:count]})
        status = "done" if count == 3 else "running"
        run.write_record(record.model_copy(update={"result": part, "status": status}))

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        write(min(len(naps), 3))
        if len(naps) == 4:
            locks.pop().__exit__(None, None, None)

    naps: list[float] = []
    monkeypatch.setattr("mnistlab.exports.curves.time.sleep", sleep)
    write(0)
    seen = list(curves.epochs(run, follow=True))
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert [figures["accuracy"] for _, figures in seen] == [row.accuracy for row in done]
    assert len(naps) == 4


def test_what_is_saved_right_before_the_end_is_not_missed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = run.record()
    assert record.result is not None
    some = record.result.model_copy(update={"epochs": record.result.epochs[:1]})
    run.write_record(record.model_copy(update={"result": some}))

    def ends(_: Run) -> bool:
        run.write_record(record)
        return False

    monkeypatch.setattr(Run, "is_locked", ends)
    assert [epoch for epoch, _ in curves.epochs(run, follow=True)] == [0, 1, 2]


def test_without_follow_a_running_run_is_read_as_it_is(run: Run) -> None:
    with run.locked():
        assert [epoch for epoch, _ in curves.epochs(run, follow=False)] == [0, 1, 2]


@pytest.mark.parametrize("to", ["tensorboard", "mlflow"])
def test_what_is_not_installed_is_named_and_nothing_is_made(
    mnistlab: Mnistlab, run: Run, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    monkeypatch.setitem(sys.modules, to, None)
    before = sorted(Path().rglob("*"))
    result = mnistlab("runs", "export", "latest", "--to", to)
    assert (result.code, result.out) == (2, "")
    advice = f"error: --to {to} needs {to}; install it with: pip install {to}\n"
    assert result.err == advice
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("latest", "--to", "csv", "-o", "a.txt"), "the name must end in .csv"),
        (("nothing", "--to", "csv"), "no such run"),
        (("latest", "--to", "excel"), "'excel' is not one of"),
        (("latest",), "Missing option '--to'"),
    ],
)
def test_what_cannot_be_exported_is_exit_2(
    mnistlab: Mnistlab, run: Run, arguments: tuple[str, ...], message: str
) -> None:
    result = mnistlab("runs", "export", *arguments)
    assert result.code == 2
    assert message in result.err
    assert not Path("runs.csv").exists()


PICTURES = ["confusion", "curves", "mistakes", "samples", "weights"]


def test_tensorboard_reads_curves_settings_and_pictures(mnistlab: Mnistlab, run: Run) -> None:
    reason = "TensorBoard is not installed"
    reader: Any = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason=reason
    )
    mnistlab("runs", "export", "latest", "--to", "tensorboard", "-o", "tb", "--follow").ok()
    events = reader.EventAccumulator(f"tb/{run.name}")
    events.Reload()
    for key in ("train_loss", "valid_loss", "accuracy", "seconds"):
        found = events.Scalars(key)
        assert [event.step for event in found] == [0, 1, 2]
        expected = [float(row[key]) for row in rows_of(run)]
        assert [event.value for event in found] == pytest.approx(expected)
    assert sorted(events.Tags()["images"]) == PICTURES
    [settings] = events.Tensors("settings/text_summary")
    assert b"lr = 0.001" in settings.tensor_proto.string_val[0]
    assert events.Images("weights")[0].width > 100
    again = mnistlab("runs", "export", "latest", "--to", "tensorboard", "-o", "tb")
    assert again.code == 2
    assert "exists already" in again.err


def test_a_run_without_its_data_has_its_curves_and_says_what_is_missing(
    mnistlab: Mnistlab, run: Run, tiny: Path
) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    tiny.rename(tiny.with_name("gone"))
    result = mnistlab("runs", "export", "latest", "--to", "tensorboard", "--json").ok()
    for what in ("confusion", "mistakes", "samples"):
        assert f"skipped {run.name}, {what}: " in result.err
    assert result.err.count("skipped ") == 3


def test_mlflow_reads_curves_settings_and_pictures(mnistlab: Mnistlab, run: Run) -> None:
    mlflow: Any = pytest.importorskip("mlflow", reason="MLflow is not installed")
    mnistlab("runs", "export", "latest", "--to", "mlflow", "-o", "ml").ok()
    client = mlflow.MlflowClient(Path("ml").absolute().as_uri())
    experiment = client.get_experiment_by_name("mnistlab")
    [found] = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == run.name
    assert found.data.params["lr"] == "0.001"
    for key in ("train_loss", "valid_loss", "accuracy"):
        history = [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, key)]
        assert history == [(int(row["epoch"]), float(row[key])) for row in rows_of(run)]
    refused = mnistlab("runs", "export", "latest", "--to", "mlflow", "-o", "no://where")
    assert refused.code == 2
    assert "-o no://where: " in refused.err
    files = client.list_artifacts(found.info.run_id, "pictures")
    assert sorted(Path(file.path).stem for file in files) == PICTURES
