"""Predicting files: the drawn set, agreement with eval's own figures, what cannot be used."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mnistlab import scoring as module
from mnistlab.data.folders import ImageData, load_folders
from mnistlab.data.ground import even_ground
from mnistlab.errors import RunError
from mnistlab.losses import mnist_loss
from mnistlab.models import PixelSimilarity, build_model
from mnistlab.optim import BasicOptim
from mnistlab.scoring import predict_images, save_prepared
from mnistlab.storage import ModelCard
from mnistlab.training import compute_logits, train_epochs
from tests.conftest import make_tree
from tests.drawn import (
    HELD_OUT_FONTS,
    HELD_OUT_PENS,
    SIZES,
    TUNING_FONTS,
    TUNING_PENS,
    drawings,
    outcomes,
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
    ground = even_ground(sample.train_ds.tensors[0])
    return model, ModelCard("two-layer", sample.classes, (28, 28), {"hidden": 30}, "mnist", ground)


# the drawn set


def test_the_halves_of_the_drawn_set_share_no_tool_and_no_hand() -> None:
    assert not set(HELD_OUT_FONTS) & set(TUNING_FONTS)
    assert not set(HELD_OUT_PENS) & set(TUNING_PENS)
    hands = [{pen.hand for pen in pens.values()} for pens in (TUNING_PENS, HELD_OUT_PENS)]
    assert not hands[0] & hands[1]
    assert len(HELD_OUT_FONTS) >= 5
    assert len(HELD_OUT_PENS) >= 5
    assert len(SIZES) >= 3


def test_digits_drawn_with_tools_that_nothing_was_tuned_on_are_told_apart(
    two_layer: Opened,
) -> None:
    drawn = list(drawings(held_out=True, half=True))
    assert len(drawn) == (len(HELD_OUT_FONTS) + len(HELD_OUT_PENS)) * len(SIZES) * 2
    found = list(outcomes(*two_layer, drawn))
    right = {name: count / total for name, (count, total) in shares(found).items()}
    assert right["all"] >= 0.9
    assert min(right.values()) >= 0.75, right  # no font, pen, size or light is lost
    turned = [one.prepared.inverted == one.drawing.dark for one in found]
    assert sum(turned) / len(turned) >= 0.97
    # the preparation does it, not the model
    scaled = shares(outcomes(*two_layer, drawn, "never"))["all"]
    assert scaled[0] / scaled[1] < 0.7


# what a prediction says


def write(images: torch.Tensor, folder: str, mode: str = "L") -> list[str]:
    Path(folder).mkdir(exist_ok=True)
    names = [f"{folder}/{i}.png" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image.numpy()).convert(mode).save(name)
    return names


def test_a_file_gets_what_its_pixels_get(sample: ImageData, two_layer: Opened) -> None:
    model, card = two_layer
    images = sample.valid_ds.tensors[0][1000:1020]
    found, faults = predict_images(model, card, write(images, "d", "RGBA"))
    assert faults == {}
    # a logit above 0 is the first class; the sigmoid is its probability (fastbook ch. 4)
    logits = compute_logits(model, images).squeeze(1).double().tolist()
    for one, image, logit in zip(found, images, logits, strict=True):
        first = 1 / (1 + np.exp(-logit))
        assert one.predicted == ("3" if logit > 0 else "7")
        assert one.probabilities == pytest.approx({"3": first, "7": 1 - first}, abs=1e-6)
        assert one.probability == max(one.probabilities.values())
        assert np.array_equal(one.levels, image.numpy())
        assert (one.steps, one.inverted) == ((), False)
        assert one.as_dict() == {
            "file": one.file,
            "class": one.predicted,
            "probability": one.probability,
            "probabilities": one.probabilities,
            "prepared": [],
            "inverted": False,
        }


def test_many_images_go_through_in_batches_and_keep_their_order(
    sample: ImageData, two_layer: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = write(sample.valid_ds.tensors[0][::100], "d")
    names[3:3] = ["missing.png"]
    names.append(names[0])
    at_once, _ = predict_images(*two_layer, names)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "EVAL_BATCH", 4)
    found, faults = predict_images(
        *two_layer, names, progress=lambda done, total: told.append((done, total))
    )
    assert list(faults) == ["missing.png"]
    assert [one.file for one in found] == [name for name in names if name != "missing.png"]
    assert [one.predicted for one in found] == [one.predicted for one in at_once]
    assert told == [(0, 23), (16, 23), (23, 23)]


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(
    sample: ImageData, two_layer: Opened
) -> None:
    Image.new("L", (300, 300), 255).save("blank.png")
    Path("text.png").write_text("no image")
    Path("empty.png").write_bytes(b"")
    Image.effect_noise((40, 40), 0).save("flat.png")
    [good] = write(sample.valid_ds.tensors[0][:1], "d")
    Path("cut.png").write_bytes(Path(good).read_bytes()[:-30])
    names = ["blank.png", "text.png", "empty.png", "flat.png", "cut.png", good, "no.png"]
    found, faults = predict_images(*two_layer, names)
    assert [one.file for one in found] == [good]
    assert faults.pop("cut.png").startswith("damaged or truncated image")
    assert faults == {
        "blank.png": "no ink found: nothing stands out from the paper",
        "text.png": "not an image in a known format",
        "empty.png": "empty file (zero bytes)",
        "flat.png": "no ink found: nothing stands out from the paper",
        "no.png": "cannot be read: No such file or directory",
    }
    assert predict_images(*two_layer, []) == ([], {})


def test_stdin_is_an_image_like_any_other(sample: ImageData, two_layer: Opened) -> None:
    [name] = write(sample.valid_ds.tensors[0][:1], "d")
    [[from_file], _] = predict_images(*two_layer, [name])
    [[from_stdin], _] = predict_images(*two_layer, ["-"], stdin=Path(name).read_bytes)
    assert from_stdin.file == "-"
    assert from_stdin.probabilities == from_file.probabilities
    assert predict_images(*two_layer, ["-"])[1] == {"-": "empty file (zero bytes)"}


def test_models_of_more_classes_and_without_weights_predict_too(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", ("a", "b", "c"), size=(5, 4))
    data = load_folders(tree)
    baseline = PixelSimilarity(data.image_size, 3).fit(*data.train_ds.tensors)
    card = ModelCard("pixel-similarity", data.classes, data.image_size, {}, "cross-entropy", None)
    names = [str(tree / f"valid/{name}/0.png") for name in "cab"]
    found, _ = predict_images(baseline, card, names)
    assert [one.predicted for one in found] == ["c", "a", "b"]
    for one in found:
        assert list(one.probabilities) == ["a", "b", "c"]
        assert sum(one.probabilities.values()) == pytest.approx(1)


# the prepared images


def test_the_prepared_images_are_what_the_model_saw(sample: ImageData, two_layer: Opened) -> None:
    names = write(255 - sample.valid_ds.tensors[0][:12], "d")
    found, _ = predict_images(*two_layer, [*names, "-"], stdin=Path(names[0]).read_bytes)
    Path("seen").mkdir()  # an empty folder may be there
    save_prepared(Path("seen"), found)
    files = sorted(Path("seen").iterdir())
    assert [file.name for file in files[:2]] == ["01-0.png", "02-1.png"]
    assert files[-1].name == "13-stdin.png"
    for file, image in zip(files[:12], sample.valid_ds.tensors[0][:12], strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), image.numpy())


def test_a_full_disk_leaves_no_part_of_the_prepared_images(
    sample: ImageData, two_layer: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = predict_images(*two_layer, write(sample.valid_ds.tensors[0][:3], "d"))
    saved = Image.Image.save

    def full(image: Image.Image, path: Path) -> None:
        if path.name.startswith("3-"):
            raise OSError(28, "No space left on device")
        saved(image, path)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(RunError, match="seen: cannot be written: No space left"):
        save_prepared(Path("seen"), found)
    assert [path.name for path in Path().iterdir()] == ["d"]
