"""A finished model on data and on files: figures worked out by hand, and the drawn set."""

import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from mnistlab import training
from mnistlab.data.folders import load_folders
from mnistlab.data.store import ImageData
from mnistlab.errors import DataError, RunError
from mnistlab.models import ModelCard, PixelSimilarity, build_model
from mnistlab.runs import Run
from mnistlab.scoring import data_of, open_model, predict_images, save_prepared, score_run
from mnistlab.storage import save_model
from mnistlab.system import quoted
from tests import needs
from tests.conftest import Examples, baseline_of, linear_run_of, make_tree
from tests.drawn import (
    HELD_OUT_FONTS,
    HELD_OUT_PENS,
    TUNING_FONTS,
    TUNING_PENS,
    drawings,
    inverted,
    predicted,
    shares,
)

Opened = tuple[nn.Module, ModelCard]


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


def test_other_classes_are_refused_together(tmp_path: Path, tiny: Path) -> None:
    run = baseline_of(tiny)
    other = make_tree(tmp_path / "o", ("dark", "lihgt", "zebra"), size=(6, 5), train=1)
    with pytest.raises(DataError) as caught:
        score_run(run, {"data": str(other)})
    assert caught.value.faults == [
        f"{other}: the model knows no class lihgt; did you mean light?",
        f"{other}: the model knows no class zebra; known: dark, light",
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
    there = re.escape(quoted(Path("else where/one")))
    with pytest.raises(RunError, match=rf"--resume {there}$"):
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


def test_every_image_gets_a_verdict_with_its_own_file(tiny: Path) -> None:
    score = score_run(linear_run_of(tiny, -8.0))
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
    score = score_run(linear_run_of(tiny, 8.0))  # everything is turned round
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
    score = score_run(linear_run_of(tiny, 0.0))  # every logit is 0: all are called light
    assert [v.index for v in score.mistakes()] == [0, 1, 2, 3]


# predicting files


@pytest.fixture(scope="session")
def two_layer(book_two_layer: Run) -> Opened:
    return open_model(book_two_layer)


def test_the_halves_of_the_drawn_set_share_no_tool_and_no_hand() -> None:
    assert not set(HELD_OUT_FONTS) & set(TUNING_FONTS)
    assert not set(HELD_OUT_PENS) & set(TUNING_PENS)
    hands = [{pen.hand for pen in pens.values()} for pens in (TUNING_PENS, HELD_OUT_PENS)]
    assert not hands[0] & hands[1]


def test_digits_drawn_with_tools_that_nothing_was_tuned_on_are_told_apart(
    two_layer: Opened, examples: Examples
) -> None:
    drawn = list(drawings(held_out=True, part=examples(7, 1)))
    outcomes = predicted(*two_layer, drawn)
    right = {name: count / total for name, (count, total) in shares(outcomes).items()}
    assert right["all"] >= 0.9
    assert min(right.values()) >= 0.75, right  # no font, pen, size or light is lost
    assert inverted(outcomes) / len(drawn) >= 0.97
    # the preparation does it, not the model
    scaled = shares(predicted(*two_layer, drawn, "never"))["all"]
    assert scaled[0] / scaled[1] < 0.7


def write(images: torch.Tensor) -> list[str]:
    Path("d").mkdir()
    names = [f"d/{i}.png" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image.numpy()).save(name)
    return names


def test_many_images_are_predicted_in_batches_and_in_their_order(
    sample: ImageData, two_layer: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = write(sample.valid_ds.tensors[0][::100])
    names[3:3] = ["missing.png"]
    names.append(names[0])
    at_once, _ = predict_images(*two_layer, names)
    steps: list[tuple[int, int]] = []
    monkeypatch.setattr(training, "eval_batch", lambda height, width: 4)
    results, faults = predict_images(
        *two_layer, names, progress=lambda done, total: steps.append((done, total))
    )
    assert list(faults) == ["missing.png"]
    assert [one.file for one in results] == [name for name in names if name != "missing.png"]
    assert [one.predicted for one in results] == [one.predicted for one in at_once]
    assert steps == [(done, 23) for done in range(24)]


def test_files_that_cannot_be_used_are_named_and_the_rest_goes_on(
    sample: ImageData, two_layer: Opened
) -> None:
    Image.new("L", (300, 300), 255).save("blank.png")
    Path("text.png").write_text("no image", encoding="utf-8")
    [good] = write(sample.valid_ds.tensors[0][:1])
    Path("cut.png").write_bytes(Path(good).read_bytes()[:-30])
    if needs.SYMLINKS:
        os.symlink("nowhere", "link.png")
    names = ["blank.png", "text.png", "-", "cut.png", good, "no.png", "link.png", "a" * 300]
    missing = "No such file or directory"
    results, faults = predict_images(*two_layer, names)
    assert [one.file for one in results] == [good]
    assert faults.pop("cut.png").startswith("damaged or truncated image")
    assert faults == {
        "blank.png": "no ink found: nothing stands out from the background",
        "text.png": "not an image in a known format",
        "-": "empty file (zero bytes)",
        "no.png": f"cannot be read: {missing}",
        "link.png": f"cannot be read: {missing}",
        "a" * 300: f"cannot be read: {missing if needs.WINDOWS else 'File name too long'}",
    }
    assert predict_images(*two_layer, []) == ([], {})


def test_a_model_of_more_classes_and_without_weights_predicts_too(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", ("a", "b", "c"), size=(5, 4))
    data = load_folders(tree)
    baseline = PixelSimilarity(data.image_size, 3).fit(*data.train_ds.tensors)
    card = ModelCard("pixel-similarity", data.classes, data.image_size, {}, "cross-entropy", None)
    names = [str(tree / f"valid/{name}/0.png") for name in "cab"]
    results, _ = predict_images(baseline, card, names)
    assert [one.predicted for one in results] == ["c", "a", "b"]
    for one in results:
        assert list(one.probabilities) == ["a", "b", "c"]
        assert sum(one.probabilities.values()) == pytest.approx(1)


def test_a_full_disk_leaves_no_part_of_the_prepared_images(
    sample: ImageData, two_layer: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, _ = predict_images(*two_layer, write(sample.valid_ds.tensors[0][:3]))
    saved = Image.Image.save

    def full(image: Image.Image, path: Path) -> None:
        if path.name.startswith("3-"):
            raise OSError(28, "No space left on device")
        saved(image, path)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(RunError, match="seen: cannot be written: No space left"):
        save_prepared(Path("seen"), results)
    assert [path.name for path in Path().iterdir()] == ["d"]
