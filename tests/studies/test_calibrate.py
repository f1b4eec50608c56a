"""How sure a model may be: figures worked out by hand, and runs that say "not sure"."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mnistlab.calibration import Calibration, calibration_of, reliability
from mnistlab.data.idx import read_idx
from mnistlab.errors import DamagedFileError
from mnistlab.experiment import train_run
from mnistlab.models import ModelCard
from mnistlab.runs import Run, find_run
from mnistlab.scoring import open_model, predict_images
from mnistlab.studies.calibrate import (
    SIDE,
    calibrate_run,
    conformal_quantile,
    fit_temperature,
    pen_strokes,
    strangers,
)
from mnistlab.training import compute_logits
from tests.command import Result
from tests.conftest import make_tree

Mnistlab = Callable[..., Result]


# by hand


def test_a_temperature_is_the_one_that_makes_confidence_the_share_that_is_right() -> None:
    # logits of 2 and -2, of which 3 in 4 are right: sigmoid(2 / T) = 3/4 where T = 2 / ln 3
    logits = torch.tensor([[2.0], [2.0], [2.0], [-2.0]]).double()
    labels = torch.tensor([0, 0, 1, 1])
    assert fit_temperature(logits, labels) == pytest.approx(2 / math.log(3), rel=0.006)
    # three classes: softmax (x, 0, 0) with x = 4 / T is 3/4 where e^x = 6
    logits = torch.eye(3)[[0, 1, 2, 0]].double() * 4
    labels = torch.tensor([0, 1, 2, 1])
    assert fit_temperature(logits, labels) == pytest.approx(4 / math.log(6), rel=0.006)


def test_a_temperature_where_all_are_right_is_that_of_laplace() -> None:
    # n = 9: sigmoid(2 / T) = (n + 1) / (n + 2), so that e^(2 / T) = 10
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1, 0])
    logits = (2.0 - 4 * labels).unsqueeze(1).double()
    assert fit_temperature(logits, labels) == pytest.approx(2 / math.log(10), rel=0.006)


def test_a_conformal_quantile_counts_the_new_one_too() -> None:
    assert conformal_quantile(torch.arange(1, 20).flip(0).float(), 0.95) == 19  # ⌈0.95 · 20⌉
    assert conformal_quantile(torch.arange(1, 40).float(), 0.95) == 38
    assert conformal_quantile(torch.arange(1, 19).float(), 0.95) == 18  # 19 of 18


def test_sets_hold_the_true_class_of_95_in_100_new_images() -> None:
    generator = torch.Generator().manual_seed(0)
    covered = []
    for _ in range(300):
        # probabilities that are wrong, as those of a bad model: sets cover all the same
        shares = (torch.randn(1099, 4, generator=generator) * 3).softmax(1)
        labels = torch.randint(4, (1099,), generator=generator)
        misfit = 1 - shares[torch.arange(1099), labels]
        covered.append((misfit[99:] <= conformal_quantile(misfit[:99], 0.95)).double().mean())
    assert 0.945 < float(torch.stack(covered).mean()) < 0.957  # 95 of 100 are 0.95


def test_a_calibration_error_by_hand() -> None:
    # 0.6 closes the bin below 0.65, where one of two is right; 0.95 is in the last one
    first = torch.tensor([0.65, 0.65, 0.05, 0.95, 0.6], dtype=torch.float64)
    error, rows = reliability(torch.stack([first, 1 - first], 1), torch.tensor([0, 1, 1, 0, 0]))
    assert error == pytest.approx(0.2 * 0.4 + 0.4 * 0.15 + 0.4 * 0.05)
    expected = [[0.6, 1.0, 0.2], [0.65, 0.5, 0.4], [0.95, 1.0, 0.4]]
    assert rows == [pytest.approx(row) for row in expected]


class Bright(nn.Module):
    """A guard that is familiar with bright images: (b, 1, H, W) → (b, 4)."""

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        level = xb.mean((1, 2, 3))
        return torch.stack([level, level, level, 1 - level], dim=1)


def test_sure_is_one_class_that_fits_and_an_image_that_is_not_strange() -> None:
    card = ModelCard("cnn", ("0", "1", "2", "3"), (4, 4), {}, "cross-entropy")
    images = torch.tensor([255, 255, 0, 255]).byte()[:, None, None].expand(4, 6, 6)
    shares = torch.tensor([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.8, 0.1, 0.1], [0.36, 0.33, 0.31]])
    made = Calibration("", 2.0, 0.62, 0.0, Bright(), card)
    assert made.familiarity(images).tolist() == pytest.approx(
        [1 + math.log(3)] * 2 + [math.log(3) - 1, 1 + math.log(3)]
    )
    made = Calibration("", 2.0, 0.62, 1.0, Bright(), card)  # a class fits from 0.38 on
    sure, fits, calibrated = made.judge(2 * shares.log(), images)
    assert sure.tolist() == [True, False, False, True]
    # of the last one no class fits: then the predicted one
    assert fits.int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert torch.allclose(calibrated, shares.double(), atol=1e-6)
    found = made.assess(2 * shares.log(), images, torch.tensor([0, 1, 1, 0]))
    assert (found["coverage"], found["not_sure"], found["lost"]) == (0.75, 0.5, 0.25)


# strangers


def test_strangers_are_a_function_of_the_seed_and_stay_in_range() -> None:
    known = torch.rand(300, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    one, again, other = (strangers(known, seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.shape == known.shape
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert {*torch.linspace(0, 1, 5).tolist()} >= {float(one.min()), float(one.max())}


def test_strokes_of_a_pen_are_connected_ink_on_nothing() -> None:
    strokes = pen_strokes(200, torch.Generator().manual_seed(0))
    inked = (strokes > 0.5).double().mean((1, 2))
    assert 0.01 < float(inked.median()) < 0.3
    assert float((strokes == 0).double().mean()) > 0.6


# of runs


def bars(root: Path) -> Path:
    """Upright and level bars, 200 + 12 of each: 12 x 12 pixels, white on black."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 200), ("valid", 12)):
        for name in ("level", "upright"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.zeros((12, 12), np.uint8)
                at, level = draw.integers(3, 8), draw.integers(180, 256)
                pixels[at : at + 2, 2:10] = level
                pixels = pixels.T if name == "upright" else pixels
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that is trained for a moment."""
    monkeypatch.setattr("mnistlab.studies.calibrate.EXAMPLES", 300)


@pytest.fixture
def run(quick: None, tmp_path: Path) -> Run:
    return train_run({"data": str(bars(tmp_path / "bars")), "epochs": 3, "batch_size": 32})


def test_the_runs_own_files_stay_as_they_are_and_it_repeats_to_the_byte(run: Run) -> None:
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    made = calibrate_run(run)
    after = {path: path.read_bytes() for path in run.path.iterdir()}
    assert after.keys() - before.keys() == {run.calibration_file}
    assert before.items() <= after.items()
    assert not run.foreign_files()
    calibrate_run(run)
    assert run.calibration_file.read_bytes() == after[run.calibration_file]
    opened = calibration_of(run, open_model(run)[0])
    assert opened is not None
    assert opened.figures() == made.figures()


def test_an_own_model_is_calibrated_by_the_text_that_the_run_keeps(
    quick: None, mnistlab: Mnistlab, tmp_path: Path
) -> None:
    text = "from torch import nn\n\n\nclass Net(nn.Sequential):\n"
    text += "    def __init__(self, n_logits):\n"
    text += "        super().__init__(nn.Flatten(), nn.Linear(144, n_logits))\n"
    Path("net.py").write_text(text, encoding="utf-8")
    tree = bars(tmp_path / "bars")
    mnistlab("train", "--model", "net.py:Net", "--data", tree, "--epochs", "1").ok()
    Path("net.py").unlink()
    mnistlab("calibrate").ok()


def test_nothing_is_fitted_on_the_images_for_validation(quick: None, tmp_path: Path) -> None:
    figures = []
    for name in ("one", "other"):
        tree = bars(tmp_path / name)
        if name == "other":  # other pixels, and every label wrong
            for place in (tree / "valid").glob("*/*.png"):
                Image.fromarray(np.asarray(Image.open(place)).T // 2).save(place)
        run = train_run({"data": str(tree), "epochs": 3, "batch_size": 32})
        figures.append(calibrate_run(run).figures())
    assert figures[0] == figures[1]


def test_only_a_calibrated_run_says_not_sure(run: Run, mnistlab: Mnistlab, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 12), np.uint8)
    Image.fromarray(noise).save("noise.png")
    bar = run.record().config.data + "/valid/upright/0.png"
    words = ("predict", "latest", "noise.png", bar, "--prepare", "never")
    before = mnistlab(*words, "--json").ok().json["predictions"]
    assert [(p["sure"], p["fits"]) for p in before] == [(True, [p["class"]]) for p in before]
    assert "calibration" not in mnistlab("eval", "--json").ok().json

    done = mnistlab("calibrate", "latest", "--json").ok().json
    after = mnistlab(*words, "--json", "--csv", "p.csv").ok().json["predictions"]
    assert [p["class"] for p in after] == [p["class"] for p in before]
    assert [p["sure"] for p in after] == [False, True]
    assert after[1]["fits"] == ["upright"]
    assert after[1]["probability"] == pytest.approx(
        1 / (1 + (1 / before[1]["probability"] - 1) ** (1 / done["temperature"])), rel=1e-6
    )
    with open("p.csv", encoding="utf-8", newline="") as file:
        assert [row["sure"] for row in csv.DictReader(file)] == ["0", "1"]
    assert "not sure (" in mnistlab(*words, "-q").ok().out.splitlines()[0]
    found = mnistlab("eval", "--json").ok().json["calibration"]
    assert found["temperature"] == done["temperature"]
    assert found["coverage"] >= 0.95
    assert "calibration error" in mnistlab("eval").ok().out
    mnistlab("report", "-o", "r.html").ok()
    assert "Reliability" in Path("r.html").read_text(encoding="utf-8")
    # from Python
    model, card = open_model(run)
    calibration = calibration_of(run, model)
    predictions, _ = predict_images(
        model, card, ["noise.png"], how="never", calibration=calibration
    )
    assert not predictions[0].sure


def test_a_calibration_of_other_weights_is_not_used(run: Run, mnistlab: Mnistlab) -> None:
    mnistlab("calibrate").ok()
    further = mnistlab("train", "--resume", "latest", "--epochs", "4").ok()
    assert "its calibration is of the weights so far; then: mnistlab calibrate" in further.err
    assert "calibration" not in mnistlab("train", "--resume", "latest").ok().err  # it is done
    assert "calibration" not in mnistlab("eval", "--json").ok().json
    bar = run.record().config.data + "/valid/level/0.png"
    assert mnistlab("predict", "latest", bar, "--json").ok().json["predictions"][0]["sure"]


@pytest.mark.parametrize("figures", [{}, {"temperature": "hot"}, {"threshold": math.nan}])
def test_a_calibration_with_figures_that_cannot_be_right_is_refused(
    tmp_path: Path, figures: dict[str, object]
) -> None:
    card = ModelCard("linear", ("a", "b", "c"), (28, 28), {}, "cross-entropy", 0.0)
    run = Run(tmp_path)
    made = Calibration("0" * 64, 1.0, 0.5, 0.0, card.build(), card)
    vars(made).update(figures)
    if not figures:
        del made.quantile
    made.save(run.calibration_file)
    with pytest.raises(DamagedFileError, match="figures cannot be right"):
        calibration_of(run, card.build())


def test_train_calibrates_at_its_end(quick: None, mnistlab: Mnistlab, tmp_path: Path) -> None:
    tree = bars(tmp_path / "bars")
    words = ("train", "--data", tree, "--epochs", "2", "--calibrate", "--batch-size", "32")
    result = mnistlab(*words, "--json").ok()
    assert (Path(result.json["run"]) / "calibration.safetensors").is_file()


def test_what_cannot_be_calibrated_is_refused(mnistlab: Mnistlab, tmp_path: Path) -> None:
    tree = str(bars(tmp_path / "bars"))
    words = ("train", "--data", tree, "--epochs", "1")
    result = mnistlab(*words, "--seeds", "2", "--calibrate")
    assert (result.code, list(Path().glob("runs/*"))) == (2, [])
    assert "--calibrate" in result.err
    mnistlab(*words, "--seeds", "2").ok()
    result = mnistlab("calibrate")
    assert result.code == 2
    assert "one model" in result.err
    unfinished = train_run({"data": tree, "epochs": 1})
    unfinished.write_record(unfinished.record().model_copy(update={"status": "stopped"}))
    result = mnistlab("calibrate", unfinished.name)
    assert result.code == 2
    assert "finished" in result.err
    few = make_tree(tmp_path / "few", train=9)
    mnistlab("train", "--data", few, "--epochs", "1").ok()
    result = mnistlab("calibrate")
    assert result.code == 2
    assert "too few images" in result.err
    assert not find_run("latest", Path("runs")).calibration_file.exists()


def test_the_baseline_and_three_classes_can_be_calibrated(
    quick: None, mnistlab: Mnistlab, tmp_path: Path
) -> None:
    tree = make_tree(tmp_path / "three", ("a", "b", "c"), (6, 6), train=140)
    mnistlab("baseline", "pixel-similarity", "--data", tree).ok()
    mnistlab("calibrate").ok()
    assert mnistlab("eval", "--json").ok().json["calibration"]["coverage"] > 0.9


@pytest.mark.parametrize("preset", ["two-layer", "cnn"])
def test_the_figures_of_the_docs(
    preset: str, request: pytest.FixtureRequest, mnist: Path, tmp_path: Path
) -> None:
    """At most 2 % of the valid 3s and 7s are lost; of the other eight digits, most are refused."""
    if not request.config.getoption("campaign"):
        pytest.skip("takes 15 seconds: --campaign")
    run = train_run({"threads": 1}, preset, tmp_path)
    made, (model, _) = calibrate_run(run), open_model(run)
    from mnistlab.scoring import score_run

    found = score_run(run).calibration
    assert found is not None
    assert found["lost"] <= 0.02
    assert found["ece"]["after"] <= 0.005
    images, labels = (
        torch.from_numpy(read_idx(mnist / f"t10k-{kind}-ubyte.gz").copy())
        for kind in ("images-idx3", "labels-idx1")
    )
    unseen = images[(labels != 3) & (labels != 7)]
    sure, _, _ = made.judge(compute_logits(model, unseen), unseen)
    assert float((~sure).double().mean()) > 0.85
