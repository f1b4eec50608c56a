"""Folds: each as if alone, every image predicted once, and what that says of its label."""

import csv
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mnistlab.data.named import load_data, mnist_sample
from mnistlab.data.splitting import folds_of
from mnistlab.data.store import BETWEEN, Split
from mnistlab.experiment import train_run
from mnistlab.losses import probabilities
from mnistlab.models import ModelCard
from mnistlab.runs import list_runs
from mnistlab.storage import load_model
from mnistlab.studies.doubt import find_doubts
from mnistlab.training import compute_logits
from tests.command import Result
from tests.conftest import make_tree
from tests.data.test_layouts import classes_alone

Mnistlab = Callable[..., Result]
MODELS: dict[str, dict[str, Any]] = {
    "linear": {"epochs": 3},
    "two-layer": {"epochs": 2, "schedule": "one-cycle", "class_weights": "balanced"},
    "cnn": {
        "epochs": 2,
        "channels": [2],
        "padding": True,
        "hidden": 4,
        "batch_size": 5,
        "augment": True,
    },
    "pixel-similarity": {},
}


def flags(settings: dict[str, Any]) -> list[str]:
    words = []
    for key, value in settings.items():
        name = key.replace("_", "-")
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [f"--{name}"] if value is True else [f"--{name}", text]
    return words


@pytest.fixture
def own(tmp_path: Path) -> Path:
    classes_alone(tmp_path / "own")
    return tmp_path / "own"


@pytest.mark.parametrize("model", MODELS)
def test_each_fold_is_as_the_tree_of_data_split(mnistlab: Mnistlab, own: Path, model: str) -> None:
    settings = MODELS[model]
    words = ["--model", model, "--data", own, "--folds", 3, *flags(settings), "--json"]
    result = mnistlab("train", *words).ok().json
    mnistlab("data", "split", own, "trees", "--folds", 3).ok()
    accuracies = []
    for number, row in enumerate(result["folds"]):
        tree = f"trees/fold-{number}"
        alone = train_run({"model": model, "data": tree, **settings}, folder=Path("alone"))
        record = alone.record()
        assert record.result is not None
        assert row["weights_sha256"] == record.result.weights_sha256
        assert row["valid_loss"] == record.result.epochs[-1].valid_loss
        accuracies.append(row["accuracy"])
    assert result["summary"]["mean"] == pytest.approx(sum(accuracies) / 3)
    mnistlab("runs", "verify", "latest").ok()


def test_every_image_is_predicted_by_the_model_that_has_not_seen_it(
    mnistlab: Mnistlab, own: Path
) -> None:
    result = mnistlab("train", "--data", own, "--folds", "3", "--epochs", "2", "--json").ok().json
    with open(result["predictions"], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {
        path.relative_to(own).as_posix() for path in own.rglob("*.png")
    }
    # the model of the run is that of the median fold
    number = result["summary"]["median"]["fold"]
    model, card = load_model(Path(result["run"]) / "model.safetensors")
    fold = folds_of(load_data(own), 3).data_of(number)
    expected = probabilities(compute_logits(model, fold.valid_ds.tensors[0]).double())
    its = [row for row in rows if row["fold"] == str(number)]
    assert [row["file"] for row in its] == fold.valid.files
    actual = [[float(row[f"p_{name}"]) for name in card.classes] for row in its]
    assert torch.equal(torch.tensor(actual, dtype=torch.float64), expected)
    # eval scores it on what it has not seen, and so does the report
    score = mnistlab("eval", "--json").ok().json
    assert (score["n"], score["accuracy"]) == (len(its), result["folds"][number]["accuracy"])
    mnistlab("report").ok()
    page = (Path(result["run"]) / "report.html").read_text(encoding="utf-8")
    assert f"the weights of fold {number}, the median of 3" in page
    assert "have changed since the training" not in page
    assert "folds     3: mean" in mnistlab("runs", "show", "latest").ok().out


def test_rows_and_files_of_a_run_of_folds(mnistlab: Mnistlab, own: Path) -> None:
    result = mnistlab("train", "--data", own, "--folds", "2", "--epochs", "1").ok()
    assert result.out.splitlines()[0].split()[0] == "fold"
    assert "over 2 folds" in result.out
    assert "folds   0 to 1, one after the other" in result.err
    [run] = list_runs(Path("runs"))
    assert run.foreign_files() == []
    for words in (("train", "--resume", "latest"), ("eject", "latest")):
        refused = mnistlab(*words)
        assert (refused.code, "folds" in refused.err) == (2, True)


def test_what_does_not_go_with_folds_is_refused(mnistlab: Mnistlab, tmp_path: Path) -> None:
    make_tree(tmp_path / "own", train=2, valid=1)
    cases = {
        ("--folds", "1"): "folds: 1 leaves nothing to train on",
        ("--folds", "2", "--seeds", "2"): "folds: every fold is trained from one seed",
        ("--folds", "2", "--patience", "1"): "folds: patience and keep choose",
        ("--folds", "2", "--keep", "best"): "folds: patience and keep choose",
        ("--folds", "4"): "the class light has 2 different images; 4 folds need 4",
    }
    for words, fault in cases.items():
        result = mnistlab("train", "--data", "own", *words)
        assert result.code == 2, words
        assert fault in result.err
    assert list_runs(Path("runs")) == []


def test_a_fold_that_diverges_is_told_and_the_others_are_saved(
    mnistlab: Mnistlab, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, calls = ModelCard.build, []

    def with_a_hole(card: ModelCard, seed: int = 0) -> torch.nn.Module:
        model = build(card, seed)
        calls.append(seed)
        if len(calls) == 3:  # prepared; fold 0 is looked at, then trained
            torch.nn.init.constant_(model.get_parameter("weights"), float("nan"))
        return model

    monkeypatch.setattr(ModelCard, "build", with_a_hole)
    result = mnistlab("train", "--data", own, "--folds", "3", "--epochs", "1")
    assert result.code == 1
    assert "1 of 3 folds diverged: 0" in result.err
    [run] = list_runs(Path("runs"))
    rows = run.folds_file.read_text(encoding="utf-8").splitlines()[1:]
    assert {row.split(",")[2] for row in rows} == {"1", "2"}
    monkeypatch.undo()


# data doubt


def split_of(labels: list[int], classes: tuple[str, ...]) -> Split:
    counts = {name: labels.count(i) for i, name in enumerate(classes)}
    ds = torch.utils.data.TensorDataset(torch.zeros(len(labels), 2, 2), torch.tensor(labels))
    files = [f"{classes[label]}/{i}" for i, label in enumerate(labels)]
    return Split(ds, counts, (2, 2), BETWEEN.join(files), "", "")


def test_doubts_by_hand() -> None:
    """Thresholds: a 0.6 = (0.9 + 0.7 + 0.2) / 3, b 0.8 = (0.9 + 0.7) / 2."""
    p_a = [0.9, 0.7, 0.2, 0.1, 0.3]
    probs = torch.tensor([[p, 1 - p] for p in p_a], dtype=torch.float64)
    ranked, n_confident = find_doubts(split_of([0, 0, 0, 1, 1], ("a", "b")), probs)
    assert [doubt.file for doubt in ranked] == ["a/2", "b/4", "a/1", "b/3", "a/0"]
    # (0.8 - 0.8) - (0.2 - 0.6)
    worst = ranked[0]
    assert (worst.label, worst.suggested) == ("a", "b")
    figures = [worst.margin, worst.probability, worst.of_label]
    assert figures == pytest.approx([0.4, 0.8, 0.2])
    assert n_confident == 1  # 0.3 of the second is below the mean 0.6 of a


def flip(source: Path, target: Path, count: int) -> set[str]:
    """Copy a tree and put `count` images into the folder of the other class."""
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    flipped = set(random.Random(0).sample(files, count))
    classes = sorted({file.split("/")[1] for file in files})
    names = set()
    for file in files:
        split, label, name = file.split("/")
        if file in flipped:
            label = classes[1 - classes.index(label)]
            names.add(f"{split}/{label}/{name}")
        (target / split / label).mkdir(parents=True, exist_ok=True)
        assert not (target / split / label / name).exists()
        shutil.copyfile(source / file, target / split / label / name)
    return names


@pytest.fixture
def flipped(tmp_path: Path) -> set[str]:
    tree = make_tree(tmp_path / "sound")
    for path in [*tree.rglob("*.png")]:
        path.rename(path.with_name(f"{path.parent.name}-{path.name}"))
    return flip(tree, tmp_path / "wrong", 3)


def test_wrong_labels_are_named_shown_and_left_out(mnistlab: Mnistlab, flipped: set[str]) -> None:
    words = ("wrong", "--model", "linear", "--top", "3", "--csv", "d.csv", "--page", "d.html")
    result = mnistlab("data", "doubt", *words, "--json").ok()
    assert {row["file"] for row in result.json["doubts"]} == flipped
    assert (result.json["confident"], result.json["images"]) == (2, 32)
    page = Path("d.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 3
    assert "light, or dark?" in page
    table = mnistlab("data", "doubt", *words).ok()
    assert table.out.splitlines()[0].split()[:3] == ["file", "label", "suggested"]
    assert len(table.out.splitlines()) == 5
    assert "mnistlab train --data wrong --exclude d.csv" in table.err
    mnistlab("train", "--data", "wrong", "--exclude", "d.csv", "--epochs", "1").ok()
    assert not Path("runs/doubt").exists()
    data = load_data("wrong", exclude="d.csv")
    assert not flipped & {*data.train.paths(), *data.valid.paths()}


def test_bad_wishes_of_doubt_are_refused(mnistlab: Mnistlab, tiny: Path) -> None:
    cases = {
        ("--folds", "1"): "folds",
        ("--model", "none"): "not a known name",
        ("--csv", "d.txt"): "must end in .csv",
        ("--page", "d.png"): "must end in .html",
        ("--folds", "17", "--model", "linear"): "17 folds need 17",
    }
    for words, fault in cases.items():
        result = mnistlab("data", "doubt", tiny, *words)
        assert result.code == 2, words
        assert fault in result.err
    assert [path.name for path in Path().iterdir()] == ["tiny"]


def test_of_200_wrong_labels_most_are_named(
    request: pytest.FixtureRequest, mnistlab: Mnistlab, tmp_path: Path
) -> None:
    """After one epoch, to be quick; under --campaign as it is by default, which finds 99 %."""
    many = request.config.getoption("campaign")
    wrong = flip(mnist_sample(), tmp_path / "wrong", 200)
    smaller = () if many else ("--epochs", "1")
    result = mnistlab("data", "doubt", "wrong", "--top", "200", "--json", *smaller).ok().json
    found = {row["file"] for row in result["doubts"]} & wrong
    assert len(found) >= 200 * (0.95 if many else 0.9)
