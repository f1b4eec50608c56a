"""Fitting the baseline, against figures worked out by numpy."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnistlab import baseline as module
from mnistlab.baseline import Baseline, fit_baseline, save_baseline
from mnistlab.data.folders import load_folders
from mnistlab.errors import ConfigError, RunError
from mnistlab.runs import Run, list_runs
from mnistlab.storage import load_model, weights_sha256
from tests.conftest import make_tree


def fitted(tree: Path, distance: str = "l1") -> tuple[Baseline, Run]:
    """A baseline of `tree` and the run it was saved as."""
    data = load_folders(tree)
    baseline = fit_baseline(data, distance)
    settings = {"data": str(tree), "device": "auto", "skip_bad": False}
    return baseline, save_baseline(baseline, data, settings, Path("runs"), ["mnistlab"])


def pixels(
    tree: Path, split: str, label: str
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    files = sorted((tree / split / label).iterdir())
    return np.stack([np.asarray(Image.open(file), dtype=np.float64) for file in files]) / 255


@pytest.mark.parametrize("distance", ["l1", "rmse"])
def test_the_baseline_counts_what_numpy_counts(tmp_path: Path, distance: str) -> None:
    labels = ("a", "b", "c")
    tree = make_tree(tmp_path / "t", labels, train=9, valid=5)
    # make it hard enough for mistakes: half of the valid c's are a's
    for i in range(2):
        shutil.copy(tree / f"valid/a/{i}.png", tree / f"valid/c/{i}.png")
    means = np.stack([pixels(tree, "train", label).mean(0) for label in labels])
    confusion = np.zeros((3, 3), dtype=int)
    for i, label in enumerate(labels):
        difference = pixels(tree, "valid", label)[:, None] - means
        if distance == "l1":
            far = np.abs(difference).mean((2, 3))
        else:
            far = np.sqrt((difference**2).mean((2, 3)))
        for nearest in far.argmin(1):
            confusion[i, nearest] += 1
    found = fitted(tree, distance)[0].evaluation
    assert found.confusion == tuple(map(tuple, confusion.tolist()))
    assert found.accuracy == 13 / 15
    assert found.per_class == {"a": 1.0, "b": 1.0, "c": 0.6}


def test_the_baseline_writes_a_run_like_any_other(tiny: Path) -> None:
    baseline, run = fitted(tiny)
    assert {path.name for path in run.path.iterdir()} == {
        "best.safetensors",
        "metrics.csv",
        "model.safetensors",
        "config.toml",
        "run.json",
    }
    info = run.info()
    assert info["model"] == "pixel-similarity"
    assert info["status"] == "done"
    assert info["config"] == {
        "model": "pixel-similarity",
        "distance": "l1",
        "data": str(tiny),
        "device": torch.device(info["config"]["device"]).type,
        "skip_bad": False,
    }
    assert info["data"]["train"] == {"dark": 12, "light": 12}
    model, card = load_model(run.model_file)
    assert card == baseline.card
    assert info["result"]["weights_sha256"] == weights_sha256(model.state_dict())
    header, row = (run.path / "metrics.csv").read_text().splitlines()
    assert header == "epoch,train_loss,valid_loss,accuracy,seconds"
    assert row.split(",")[2] == repr(baseline.evaluation.loss)


def test_a_full_disk_while_the_baseline_is_written_is_told(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_model", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        fitted(tiny)


def test_a_baseline_is_never_seen_in_part(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Run, *_: object) -> None:
        assert self.model_file.exists()
        assert list_runs(Path("runs")) == []
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_metrics", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted(tiny)
    assert list(Path("runs").iterdir()) == []


def test_a_device_that_is_not_there_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="--device abc"):
        fit_baseline(load_folders(tiny), "l1", device="abc")
