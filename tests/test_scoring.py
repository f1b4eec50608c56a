"""Scoring a run and fitting the baseline, against figures worked out by hand or by numpy."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnistlab import scoring as module
from mnistlab.baseline import Baseline, fit_baseline
from mnistlab.checkpoint import ModelCard, load_model, save_model, weights_sha256
from mnistlab.data.folders import load_folders
from mnistlab.errors import ConfigError, DamagedFileError, DataError, RunError
from mnistlab.models import build_model
from mnistlab.runs import Run
from mnistlab.scoring import data_of, open_model, score_run
from tests.conftest import make_tree


def fitted(tree: Path, distance: str = "l1") -> Baseline:
    return fit_baseline(load_folders(tree), str(tree), distance, Path("runs"), ["mnistlab"])


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
    found = fitted(tree, distance).evaluation
    assert found.confusion == tuple(map(tuple, confusion.tolist()))
    assert found.accuracy == 13 / 15
    assert found.per_class == {"a": 1.0, "b": 1.0, "c": 0.6}


def test_the_baseline_writes_a_run_like_any_other(tiny: Path) -> None:
    baseline = fitted(tiny)
    run = baseline.run
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


def test_a_baseline_is_scored_as_it_was_fitted(tiny: Path) -> None:
    baseline = fitted(tiny, "rmse")
    score = score_run(baseline.run)
    assert score.evaluation == baseline.evaluation
    assert score.card == baseline.card
    assert score.data == str(tiny)
    assert score_run(baseline.run, best=True).evaluation == baseline.evaluation
    assert score_run(baseline.run, split="train").evaluation.n == 24


def test_a_full_disk_while_the_baseline_is_written_is_told(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_model", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        fitted(tiny)


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="--device abc"):
        fit_baseline(load_folders(tiny), str(tiny), "l1", Path("runs"), [], device="abc")
    assert not Path("runs").exists()


def test_classes_are_matched_by_name_not_by_position(tmp_path: Path, tiny: Path) -> None:
    run = fitted(tiny).run
    only_light = tmp_path / "other"
    shutil.copytree(tiny / "valid/light", only_light / "valid/light")
    score = score_run(run, data=str(only_light))
    assert score.evaluation.classes == ("dark", "light")
    assert score.evaluation.confusion == ((0, 0), (0, 4))
    assert score.evaluation.per_class == {"light": 1.0}


def test_other_classes_and_sizes_are_refused_together(tmp_path: Path, tiny: Path) -> None:
    run = fitted(tiny).run
    other = make_tree(tmp_path / "o", ("dark", "lihgt", "zebra"), size=(6, 5), train=1)
    with pytest.raises(DataError) as caught:
        score_run(run, data=str(other))
    assert caught.value.faults == [
        f"{other}: the model knows no class lihgt; did you mean light?",
        f"{other}: the model knows no class zebra; known: dark, light",
        f"{other}: images of 6 x 5 pixels; the model takes 4 x 4",
    ]


def test_the_best_weights_are_scored_when_asked_for(tiny: Path) -> None:
    run = fitted(tiny).run
    card = ModelCard("linear", ("dark", "light"), (4, 4), {"init": "normal"}, "mnist")
    model = build_model("linear", (4, 4), card.classes)
    for name, bias in (("model", -1.0), ("best", 1.0)):
        torch.nn.init.zeros_(model.get_parameter("weights"))
        torch.nn.init.constant_(model.get_parameter("bias"), bias)
        save_model(run.path / f"{name}.safetensors", model.state_dict(), card)
    # a logit above 0 means the first class
    assert score_run(run).evaluation.confusion == ((0, 4), (0, 4))
    assert score_run(run, best=True).evaluation.confusion == ((4, 0), (4, 0))


def test_a_run_without_a_model_names_the_command_that_goes_on(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"saved no model yet; go on with: .* --resume one$"):
        open_model(Run(Path("runs/one")))
    with pytest.raises(RunError, match=r"--resume 'else where/one'$"):
        open_model(Run(Path("else where/one")), best=True)


@pytest.mark.parametrize("info", [None, "{", "{}", '{"config": 3}', '{"config": {}}'])
def test_a_run_that_does_not_say_its_data_asks_for_it(tmp_path: Path, info: str | None) -> None:
    if info is not None:
        (tmp_path / "run.json").write_text(info)
    with pytest.raises(RunError, match="does not say what data it was; name it with --data"):
        data_of(Run(tmp_path))


def test_bad_files_that_the_run_skipped_are_skipped_again(tiny: Path) -> None:
    run = fitted(tiny).run
    (tiny / "valid/dark/0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"0\.png"):
        score_run(run)
    assert score_run(run, skip_bad=True).evaluation.n == 7
    info = run.info()
    info["config"]["skip_bad"] = True
    run.info_file.write_text(json.dumps(info))
    score = score_run(run)
    assert score.evaluation.n == 7
    assert len(score.split.skipped) == 1
    with pytest.raises(DataError, match=r"0\.png"):
        score_run(run, data=str(tiny))  # named data is not the run's own


def test_a_damaged_model_is_refused(tiny: Path) -> None:
    run = fitted(tiny).run
    content = bytearray(run.model_file.read_bytes())
    content[-1] ^= 1
    run.model_file.write_bytes(content)
    with pytest.raises(DamagedFileError):
        score_run(run)
