"""Fitting the baseline, against figures worked out by numpy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistlab.experiment import train_run
from mnistlab.runs import Run
from mnistlab.scoring import score_run
from mnistlab.storage import load_model, weights_sha256
from tests.command import Result
from tests.conftest import make_tree


def fitted(tree: Path, distance: str = "l1") -> Run:
    settings = {"model": "pixel-similarity", "data": str(tree), "distance": distance}
    return train_run(settings)


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
    found = score_run(fitted(tree, distance)).evaluation
    assert found.confusion == tuple(map(tuple, confusion.tolist()))
    assert found.accuracy == 13 / 15
    assert found.per_class == {"a": 1.0, "b": 1.0, "c": 0.6}


def test_the_baseline_writes_a_run_like_any_other(tiny: Path) -> None:
    run = fitted(tiny)
    names = {path.name for path in run.path.iterdir()} - {".lock"}
    assert names == {
        *("best.safetensors", "metrics.csv", "model.safetensors", "resume.safetensors"),
        *("config.toml", "run.json"),
    }
    record = run.record()
    assert (record.model, record.status) == ("pixel-similarity", "done")
    assert record.config.applicable() == {
        "model": "pixel-similarity",
        "data": str(tiny),
        "distance": "l1",
        "loss": "mnist",
        "device": record.config.device,
        "threads": 1,
        "valid_fraction": 0.2,
        "layout": "auto",
        "image_size": "own",
        "fit": "pad",
        "transpose": False,
        "folds": 0,
        "skip_bad": False,
    }
    assert record.data.train == {"dark": 12, "light": 12}
    model, card = load_model(run.model_file)
    assert card.settings == {"distance": "l1"}
    assert record.result is not None
    assert record.result.weights_sha256 == weights_sha256(model.state_dict())
    header, row = (run.path / "metrics.csv").read_text().splitlines()
    assert header == "epoch,train_loss,valid_loss,accuracy,seconds"
    assert row.split(",")[2] == repr(record.result.epochs[0].valid_loss)


def test_it_cannot_be_trained_on_or_with_what_it_has_not(
    tiny: Path, mnistlab: Callable[..., Result]
) -> None:
    run = fitted(tiny)
    assert mnistlab("train", "--resume", run.path).code == 2
    assert mnistlab("lr-find", "--model", "pixel-similarity", "--data", tiny).code == 2
    assert mnistlab("train", "--model", "pixel-similarity", "--seeds", "3").code == 2
