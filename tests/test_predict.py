"""Predicting files: the drawn set, what a prediction says, what cannot be used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from mnistlab import scoring
from mnistlab.data.folders import ImageData, even_background, load_folders
from mnistlab.errors import RunError
from mnistlab.losses import mnist_loss
from mnistlab.models import ModelCard, PixelSimilarity, build_model
from mnistlab.optim import BasicOptim
from mnistlab.scoring import predict_images, save_prepared
from mnistlab.training import train_epochs
from tests.conftest import make_tree
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


@pytest.fixture(scope="module")
def two_layer(sample: ImageData) -> Opened:
    """What `mnistlab train --config two-layer` makes."""
    torch.set_num_threads(1)
    model = build_model("two-layer", sample.image_size, sample.classes, seed=0, hidden=30)
    opt = BasicOptim(model.parameters(), lr=0.1)
    for _ in train_epochs(
        model, opt, mnist_loss, sample.train_ds, sample.valid_ds, sample.classes, epochs=40
    ):
        pass
    ground = even_background(sample.train_ds.tensors[0])
    return model, ModelCard("two-layer", sample.classes, (28, 28), {"hidden": 30}, "mnist", ground)


def test_the_halves_of_the_drawn_set_share_no_tool_and_no_hand() -> None:
    assert not set(HELD_OUT_FONTS) & set(TUNING_FONTS)
    assert not set(HELD_OUT_PENS) & set(TUNING_PENS)
    hands = [{pen.hand for pen in pens.values()} for pens in (TUNING_PENS, HELD_OUT_PENS)]
    assert not hands[0] & hands[1]


def test_digits_drawn_with_tools_that_nothing_was_tuned_on_are_told_apart(
    two_layer: Opened,
) -> None:
    drawn = list(drawings(held_out=True, half=True))
    outcomes = predicted(*two_layer, drawn)
    right = {name: count / total for name, (count, total) in shares(outcomes).items()}
    assert right["all"] >= 0.9
    assert min(right.values()) >= 0.75, right  # no font, pen, size or light is lost
    assert inverted(outcomes) / len(drawn) >= 0.97
    # the preparation does it, not the model
    scaled = shares(predicted(*two_layer, drawn, "never"))["all"]
    assert scaled[0] / scaled[1] < 0.7


def test_only_predict_needs_scipy() -> None:
    code = "import sys, mnistlab.scoring, mnistlab.experiment; assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


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
    monkeypatch.setattr(scoring, "EVAL_BATCH", 4)
    results, faults = predict_images(
        *two_layer, names, progress=lambda done, total: steps.append((done, total))
    )
    assert list(faults) == ["missing.png"]
    assert [one.file for one in results] == [name for name in names if name != "missing.png"]
    assert [one.predicted for one in results] == [one.predicted for one in at_once]
    assert steps == [(0, 23), (16, 23), (23, 23)]


def test_files_that_cannot_be_used_are_named_and_the_rest_goes_on(
    sample: ImageData, two_layer: Opened
) -> None:
    Image.new("L", (300, 300), 255).save("blank.png")
    Path("text.png").write_text("no image")
    [good] = write(sample.valid_ds.tensors[0][:1])
    Path("cut.png").write_bytes(Path(good).read_bytes()[:-30])
    os.symlink("nowhere", "link.png")
    names = ["blank.png", "text.png", "-", "cut.png", good, "no.png", "link.png", "a" * 300]
    results, faults = predict_images(*two_layer, names)
    assert [one.file for one in results] == [good]
    assert faults.pop("cut.png").startswith("damaged or truncated image")
    assert faults == {
        "blank.png": "no ink found: nothing stands out from the background",
        "text.png": "not an image in a known format",
        "-": "empty file (zero bytes)",
        "no.png": "cannot be read: No such file or directory",
        "link.png": "cannot be read: No such file or directory",
        "a" * 300: "cannot be read: File name too long",
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
