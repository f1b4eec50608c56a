"""Images in memory: predicted as the same image in a file, and trained as a folder is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnistlab import load_data, load_folders, load_tensors, predict_images, train_run
from mnistlab.data.images import levels_of
from mnistlab.data.store import ImageData
from mnistlab.errors import ConfigError
from mnistlab.models import ModelCard, PixelSimilarity
from mnistlab.runs import Run
from mnistlab.scoring import open_model
from tests.command import Result
from tests.conftest import make_tree


@pytest.fixture(scope="module")
def levels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (4, 9, 7, 3)).astype(np.uint8)


FORMS: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "a path": lambda image: _file(image),
    "a path as text": lambda image: str(_file(image)),
    "opened, not read": lambda image: Image.open(_file(image)),
    "Pillow": Image.fromarray,
    "uint8": lambda image: image,
    "int64": lambda image: image.astype(np.int64),
    "float64": lambda image: image / 255,
    "tensor": torch.from_numpy,
    "float32 tensor": lambda image: torch.from_numpy(image) / 255,
    "bfloat16 would lose bits, float16 does not": lambda i: (torch.from_numpy(i) / 255).half(),
    "needs a gradient": lambda image: (torch.from_numpy(image) / 255).requires_grad_(),
    "one in a list": lambda image: [image],
}


def _file(image: np.ndarray[Any, Any]) -> Path:
    Image.fromarray(image).save("one.png")
    return Path("one.png")


@pytest.mark.parametrize("fit", [None, "pad", "ink"])
@pytest.mark.parametrize("colour", [False, True])
def test_each_form_of_an_image_gives_what_its_file_gives_to_the_bit(
    book_two_layer: Run, sample: ImageData, fit: str | None, colour: bool
) -> None:
    model, card = open_model(book_two_layer)
    card = ModelCard(**vars(card) | {"fit": fit})
    image = np.kron(sample.valid_ds.tensors[0][3].numpy(), np.ones((3, 3), dtype=np.uint8))
    if colour:
        image = np.stack((image, image // 2, image // 3), 2)
    [expected], _ = predict_images(model, card, [str(_file(image))])
    for form, make in FORMS.items():
        [found], faults = predict_images(model, card, make(image))
        assert not faults
        assert found.probabilities == expected.probabilities, form
        assert (found.levels == expected.levels).all(), form
        assert found.steps == expected.steps


def test_many_of_all_kinds_keep_their_order_and_have_names(book_two_layer: Run) -> None:
    model, card = open_model(book_two_layer)
    images = torch.zeros(5, 28, 28, dtype=torch.uint8)
    images[:, 4:24, 12:16] = 255
    images[3] = 0
    Image.fromarray(images[0].numpy()).save("seven.png")
    results, faults = predict_images(
        model, card, ["seven.png", images[1:4], Image.fromarray(images[4].numpy()), "missing.png"]
    )
    assert [one.file for one in results] == ["seven.png", "image 1", "image 2", "image 4"]
    assert len({one.probability for one in results}) == 1
    assert faults["image 3"].startswith("no ink found")
    assert faults["missing.png"].startswith("cannot be read")


def test_an_image_of_somebody_is_not_changed_and_a_phone_may_have_lain_on_its_side() -> None:
    data = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.fromarray(data).save("turned.png", exif=exif)
    card = ModelCard("pixel-similarity", ("a", "b"), (4, 3), {}, "bce", None)
    model = PixelSimilarity((4, 3), 2)
    with Image.open("turned.png") as opened:
        results, _ = predict_images(model, card, [opened, "turned.png"])
        assert opened.size == (4, 3)
    assert (results[0].levels == results[1].levels).all()
    assert (results[0].levels == np.rot90(data, -1)).all()


def test_a_damaged_image_is_a_fault_as_its_file_is() -> None:
    Image.fromarray(np.zeros((50, 50), dtype=np.uint8)).save("cut.bmp")
    content = Path("cut.bmp").read_bytes()
    Path("cut.bmp").write_bytes(content[:-500])
    card = ModelCard("pixel-similarity", ("a", "b"), (4, 3), {}, "bce", None)
    with Image.open("cut.bmp") as opened:
        results, faults = predict_images(PixelSimilarity((4, 3), 2), card, opened)
    assert results == []
    assert faults["image 0"].startswith("damaged or truncated image")


@pytest.mark.parametrize(
    ("shape", "as_n"),
    [
        ((9, 7), (1, 9, 7)),
        ((9, 7, 3), (1, 9, 7, 3)),
        ((1, 9, 7), (1, 9, 7)),
        ((3, 9, 7), (3, 9, 7)),
        ((4, 9, 7), (4, 9, 7)),
        ((4, 1, 9, 7), (4, 9, 7)),
        ((4, 9, 7, 1), (4, 9, 7)),
        ((4, 3, 9, 7), (4, 9, 7, 3)),
        ((4, 9, 7, 3), (4, 9, 7, 3)),
    ],
)
def test_shapes(shape: tuple[int, ...], as_n: tuple[int, ...]) -> None:
    assert levels_of(np.zeros(shape, dtype=np.uint8)).shape == as_n
    assert levels_of(torch.ones(shape)).shape == as_n
    assert levels_of(np.ones(shape, dtype=bool)).min() == 255


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.zeros(5), r"an array of the shape \(5,\) holds no images; expected \(H, W\)"),
        (np.zeros((0, 9, 7)), r"the shape \(0, 9, 7\) holds no images"),
        (np.zeros((2, 5, 9, 7)), r"the shape \(2, 5, 9, 7\) holds no images"),
        (torch.zeros(1, 1, 1, 9, 7), r"the shape \(1, 1, 1, 9, 7\) holds no images"),
        (torch.full((9, 7), 255.0), "levels from 255 to 255; they are from 0 to 1$"),
        (torch.full((9, 7), torch.nan), "levels from nan to nan; they are from 0 to 1$"),
        (np.full((9, 7), -1), "levels from -1 to -1; they are from 0 to 255"),
        (np.full((9, 7), 1000), "levels from 1000 to 1000; they"),
        (np.zeros((9, 7), dtype=complex), "an array of complex128 holds no images"),
        ([[0, 1], [1, 0]], "a path, a PIL image, an array or a tensor, not list"),
        ([b"three.png"], "not bytes"),
    ],
)
def test_what_is_no_image_is_refused(book_two_layer: Run, image: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        predict_images(*open_model(book_two_layer), image)


def test_a_folder_may_be_named_by_a_path_or_by_text(tiny: Path) -> None:
    fingerprints = {
        load(place).fingerprint for load in (load_data, load_folders) for place in (tiny, str(tiny))
    }
    assert len(fingerprints) == 1


def test_tensors_are_the_same_dataset_as_the_same_images_in_a_folder(tiny: Path) -> None:
    folder = load_data(tiny)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0)).sort().indices
    images, labels = folder.train_ds.tensors
    order = torch.cat((order[labels[order] == 1], order[labels[order] == 0]))
    by_label = torch.cat((torch.arange(12, 24), torch.arange(12)))
    for form in (images[by_label], images[by_label].numpy(), images[by_label] / 255):
        own = load_tensors(form, labels[by_label], folder.classes, valid=folder.valid_ds.tensors)
        assert own.fingerprint == folder.fingerprint
        assert own.train.counts == folder.train.counts
    assert own.train.path_of(12) == "light/0"


def test_without_validation_images_they_are_split_as_a_folder_is(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", train=40)
    folder = load_data(tree / "train", valid_fraction=0.3)
    everything = load_data(tree)
    images, labels = everything.train_ds.tensors
    own = load_tensors(images, labels, everything.classes, valid_fraction=0.3)
    assert {len(own.train_ds), len(own.valid_ds)} == {len(folder.train_ds), len(folder.valid_ds)}
    for part in ("train_ds", "valid_ds"):
        ours, theirs = (getattr(data, part).tensors[0].flatten(1) for data in (own, folder))
        assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_it_trains_through_the_loop_and_as_a_run(
    tiny: Path, mnistlab: Callable[..., Result]
) -> None:
    folder = load_data(tiny)
    images, labels = folder.train_ds.tensors
    own = load_tensors(images, labels, folder.classes, valid=folder.valid_ds.tensors)
    runs = [train_run({"epochs": 2}, data=own), train_run({"epochs": 2, "data": str(tiny)})]
    first, second = (run.record().result for run in runs)
    assert first is not None
    assert second is not None
    assert first.weights_sha256 == second.weights_sha256
    # its images are nowhere: the same ones in a folder serve
    refused = mnistlab("runs", "verify", runs[0].name)
    assert refused.code == 2
    assert "images in memory" in refused.err
    assert "--data" in refused.err
    mnistlab("runs", "verify", runs[0].name, "--data", tiny).ok()
    with pytest.raises(ConfigError, match="data: given twice"):
        train_run({"data": "mnist"}, data=own)
    assert "name the place now with --data" in mnistlab("eval", runs[0].name).err


GOOD = torch.arange(8, dtype=torch.uint8)[:, None, None].expand(8, 3, 3)


@pytest.mark.parametrize(
    ("labels", "classes", "more", "why"),
    [
        ([0, 1] * 3, "ab", {}, "an integer from 0 to 1 for each of 8 images"),
        ([0.0, 1.0] * 4, "ab", {}, "an integer from 0 to 1"),
        ([0, 2] * 4, "ab", {}, "an integer from 0 to 1"),
        ([0, -1] * 4, "ab", {}, "an integer from 0 to 1"),
        ([0, 1] * 4, "abc", {}, "c: both sides need an image"),
        ([0] * 7 + [1], "ab", {}, "b: both sides need an image"),
        ([0, 1] * 4, "aa", {}, "classes: two or more different names"),
        ([0, 1] * 4, [0, 1], {}, "classes: two or more different names"),
        ([0, 1] * 4, "ab", {"valid_fraction": 1.0}, "a share between 0 and 1, not 1.0"),
        ([0, 1] * 4, "ab", {"valid": (GOOD[:, 1:], [0, 1] * 4)}, "two sizes: 3 x 3 and 3 x 2"),
        ([0, 1] * 4, "ab", {"valid": (GOOD, [0] * 8)}, "b: both sides need an image"),
    ],
)
def test_tensors_that_cannot_be_right(labels: Any, classes: Any, more: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_tensors(GOOD, labels, list(classes), **more)
