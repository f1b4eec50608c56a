"""Scoring a run, against figures worked out by hand."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from mnistlab.errors import DataError, RunError
from mnistlab.models import ModelCard, build_model
from mnistlab.runs import Run
from mnistlab.scoring import data_of, open_model, score_run
from mnistlab.storage import save_model
from tests.conftest import baseline_of, make_tree


def test_a_baseline_is_scored_as_it_was_fitted(tiny: Path) -> None:
    run = baseline_of(tiny)
    record = run.record()
    score = score_run(run)
    assert record.result is not None
    assert score.evaluation.accuracy == record.result.accuracy
    assert score.evaluation.loss == record.result.epochs[0].valid_loss
    assert score.data == str(tiny)
    assert score_run(run, best=True).evaluation == score.evaluation
    assert score_run(run, split="train").evaluation.n == 24


def test_classes_are_matched_by_name_not_by_position(tmp_path: Path, tiny: Path) -> None:
    run = baseline_of(tiny)
    only_light = tmp_path / "other"
    shutil.copytree(tiny / "valid/light", only_light / "valid/light")
    score = score_run(run, {"data": str(only_light)})
    assert score.evaluation.classes == ("dark", "light")
    assert score.evaluation.confusion == ((0, 0), (0, 4))
    assert score.evaluation.per_class == {"light": 1.0}


def test_other_classes_and_sizes_are_refused_together(tmp_path: Path, tiny: Path) -> None:
    run = baseline_of(tiny)
    other = make_tree(tmp_path / "o", ("dark", "lihgt", "zebra"), size=(6, 5), train=1)
    with pytest.raises(DataError) as caught:
        score_run(run, {"data": str(other)})
    assert caught.value.faults == [
        f"{other}: the model knows no class lihgt; did you mean light?",
        f"{other}: the model knows no class zebra; known: dark, light",
        f"{other}: images of 6 x 5 pixels; the model takes 4 x 4",
    ]


def test_the_best_weights_are_scored_when_asked_for(tiny: Path) -> None:
    run = baseline_of(tiny)
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
    run = baseline_of(tiny)
    (tiny / "valid/dark/0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"0\.png"):
        score_run(run)
    assert score_run(run, {"skip_bad": True}).evaluation.n == 7
    content = json.loads(run.record_file.read_text())
    content["config"]["skip_bad"] = True
    run.record_file.write_text(json.dumps(content))
    score = score_run(run)
    assert score.evaluation.n == 7
    assert len(score.split.skipped) == 1
    with pytest.raises(DataError, match=r"0\.png"):
        score_run(run, {"data": str(tiny)})  # named data is not the run's own


def linear_run(tiny: Path, weight: float) -> Run:
    """A run whose logit is `weight` times the mean level minus a half: above 0 means dark."""
    run = baseline_of(tiny)
    card = ModelCard("linear", ("dark", "light"), (4, 4), {"init": "normal"}, "mnist")
    model = build_model("linear", (4, 4), card.classes)
    torch.nn.init.constant_(model.get_parameter("weights"), weight / 16)
    torch.nn.init.constant_(model.get_parameter("bias"), -weight / 2)
    save_model(run.model_file, model.state_dict(), card)
    return run


def test_every_image_gets_a_verdict_with_its_own_file(tiny: Path) -> None:
    score = score_run(linear_run(tiny, -8.0))
    found = list(score.verdicts())
    assert [verdict.file for verdict in found] == [
        f"valid/{label}/{i}.png" for label in ("dark", "light") for i in range(4)
    ]
    assert [verdict.index for verdict in found] == list(range(8))
    for verdict in found:
        pixels = score.split.ds.tensors[0][verdict.index].double() / 255
        dark = 1 / (1 + math.exp(8 * (float(pixels.mean()) - 0.5)))
        assert verdict.probabilities["dark"] == pytest.approx(dark, abs=1e-6)
        assert verdict.probability == max(verdict.probabilities.values())
        assert verdict.actual == verdict.predicted == verdict.file.split("/")[1]
    assert score.mistakes() == []


def test_the_most_confident_mistake_comes_first(tiny: Path) -> None:
    score = score_run(linear_run(tiny, 8.0))  # everything is turned round
    found = score.mistakes()
    assert len(found) == 8
    assert [v.probability for v in found] == sorted((v.probability for v in found), reverse=True)
    assert all(v.actual != v.predicted for v in found)
    assert score.mistakes(3) == found[:3]
    assert score.mistakes(0) == []
    # what lies farthest from the middle is taken for the other with most conviction
    levels = score.split.ds.tensors[0].double().mean((1, 2)) / 255
    assert found[0].index == int((levels - 0.5).abs().argmax())


def test_of_equally_sure_mistakes_the_first_file_comes_first(tiny: Path) -> None:
    score = score_run(linear_run(tiny, 0.0))  # every logit is 0: all are called light, at one half
    assert [v.index for v in score.mistakes()] == [0, 1, 2, 3]
