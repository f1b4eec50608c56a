"""Why this answer: exact for linear, checked by hand, and dependent on what was learned."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

from mnistlab.data.batches import to_float
from mnistlab.data.store import ImageData
from mnistlab.models import build_model
from mnistlab.report.sources import (
    GREY,
    gradient_times_input,
    logit_of,
    occlusion,
    why_pictures,
)
from mnistlab.runs import Run
from mnistlab.scoring import open_model
from tests.command import Result

Mnistlab = Callable[..., Result]


def some_image(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (height, width), generator=generator).byte()


@pytest.mark.parametrize("classes", [("3", "7"), ("3", "5", "7")])
@pytest.mark.parametrize("label", [0, 1])
def test_gradient_times_input_is_the_exact_share_of_a_linear_model(
    classes: tuple[str, ...], label: int
) -> None:
    model, image = build_model("linear", (5, 6), classes), some_image(5, 6)
    weights, bias = model.get_parameter("weights"), model.get_parameter("bias")
    sign = -1 if len(classes) == 2 and label else 1
    column = 0 if len(classes) == 2 else label
    expected = sign * weights[:, column].reshape(5, 6) * image / 255
    shares = gradient_times_input(model, image, label)
    torch.testing.assert_close(shares, expected.detach())
    logit = logit_of(model(to_float(image[None])), label)
    torch.testing.assert_close(shares.sum() + sign * bias[column], logit[0])


@pytest.mark.parametrize(("height", "width"), [(7, 7), (29, 32), (3, 40)])
def test_occlusion_is_what_a_patch_by_patch_loop_finds(height: int, width: int) -> None:
    model = build_model("two-layer", (height, width), ("a", "b", "c"), hidden=5)
    image = some_image(height, width)

    def logit(pixels: torch.Tensor) -> float:
        with torch.no_grad():
            return float(model(pixels.float()[None, None] / 255)[0, 2])

    step = {7: 1, 29: 2, 3: 1}[height]
    found: list[list[list[float]]] = [[[] for _ in range(width)] for _ in range(height)]
    for top in range(0, height, step):
        for left in range(0, width, step):
            pixels = image.clone()
            pixels[top : top + 2 * step, left : left + 2 * step] = GREY
            for y in range(top, min(top + 2 * step, height)):
                for x in range(left, min(left + 2 * step, width)):
                    found[y][x].append(logit(image) - logit(pixels))
    expected = torch.tensor([[sum(cell) / len(cell) for cell in row] for row in found])
    torch.testing.assert_close(occlusion(model, image, 2), expected, atol=1e-5, rtol=1e-4)


def test_the_patch_reaches_every_edge() -> None:
    class Corner(nn.Module):
        def forward(self, xb: torch.Tensor) -> torch.Tensor:
            return xb[:, :, -1, -1]

    lost = occlusion(Corner(), torch.full((29, 30), 255, dtype=torch.uint8), 0)
    assert lost[-1, -1] > 0.4
    assert lost[:20, :20].eq(0).all()


def shuffled(model: nn.Module) -> nn.Module:
    """A model of the same kind whose weights are those of `model` in another order."""
    generator = torch.Generator().manual_seed(0)
    state = {
        name: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view_as(tensor)
        for name, tensor in model.state_dict().items()
    }
    other = build_model("two-layer", (28, 28), ("3", "7"))
    other.load_state_dict(state)
    return other


@pytest.mark.parametrize("explain", [gradient_times_input, occlusion])
def test_a_model_with_shuffled_weights_gives_another_picture(
    book_two_layer: Run, sample: ImageData, explain: Callable[..., torch.Tensor]
) -> None:
    """J. Adebayo et al., Sanity Checks for Saliency Maps, arXiv:1810.03292."""
    model, _ = open_model(book_two_layer)
    other = shuffled(model)
    ranks = []
    for image in sample.valid_ds.tensors[0][::200]:
        pixels = image > 0  # elsewhere gradient x input is 0 whatever the model has learned
        ours, theirs = (explain(one, image, 0)[pixels].tolist() for one in (model, other))
        assert spearmanr(ours, explain(model, image, 0)[pixels].tolist()).statistic > 0.999
        ranks.append(abs(spearmanr(ours, theirs).statistic))
    assert sum(ranks) / len(ranks) < 0.3


# the commands


@pytest.fixture
def run(mnistlab: Mnistlab, tiny: Path) -> Path:
    mnistlab("train", "--data", tiny, "--epochs", "2", "-q").ok()
    [path] = Path("runs").iterdir()
    return path


def test_linear_prints_the_sum_that_is_the_logit(mnistlab: Mnistlab, run: Path, tiny: Path) -> None:
    for image in (tiny / "valid/dark/0.png", tiny / "valid/light/0.png"):
        text = mnistlab("show", image, "--why").ok().out
        assert text.isascii()
        assert max(map(len, text.splitlines())) <= 80
        number = r" (-?[0-9.]+)"
        [logit, _] = map(float, re.findall(f"logit{number}", text))
        [total] = map(float, re.findall(f"sum of shares{number}", text))
        [rest] = map(float, re.findall(f"the rest{number}", text))
        bias = float(open_model(Run(run))[0].get_parameter("bias").detach())
        assert abs(abs(rest) - abs(bias)) < 2e-4  # turned, where it answers the second class
        assert abs(total + rest - logit) < 2e-4
        predicted = mnistlab("predict", run, image, "--json").ok().json["predictions"][0]
        assert f"{predicted['class']}, logit" in text
        assert f"probability {predicted['probability']:.4f}" in text


def test_other_models_have_two_pictures_of_each_image(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("train", "--data", tiny, "--model", "two-layer", "--epochs", "1", "-q").ok()
    files = (tiny / "valid/dark/0.png", tiny / "valid/light")
    pictures = mnistlab("show", "latest", *files, "--why", "--json").ok().json["pictures"]
    titles = ["What the model saw", "Gradient x input", "Occlusion"]
    assert [picture["title"] for picture in pictures] == titles
    assert {len(picture["images"]) for picture in pictures} == {5}
    document = mnistlab("plot", *files, "--why", "-o", "why.png", "--json").ok().json
    assert document["what"] == "why"
    mnistlab("plot", *files, "--why", "-o", "why.html").ok()
    page = Path("why.html").read_text("utf-8")
    assert re.findall("<h2>(.*)</h2>", page) == titles
    assert page.count("<img ") == 15
    assert "<script" not in page
    assert str(tiny) not in page
    with Image.open("why.png") as image:
        assert len(image.convert("RGB").getcolors(10**6) or []) > 20


def test_an_image_is_prepared_as_predict_does(
    book_two_layer: Run, sample: ImageData, tmp_path: Path
) -> None:
    image = sample.valid_ds.tensors[0][0]
    Image.fromarray(255 - image.numpy()).save(tmp_path / "negative.png")
    seen = why_pictures(book_two_layer, [str(tmp_path / "negative.png")])[0]
    assert next(iter(seen.images.values())).equal(image)


@pytest.mark.parametrize(
    "arguments", [(), ("latest",), ("tiny",), ("one.png", "--what", "weights"), ("runs",)]
)
def test_what_cannot_be_explained_is_exit_2(
    mnistlab: Mnistlab, run: Path, arguments: tuple[str, ...]
) -> None:
    Image.new("L", (4, 4), 9).save("one.png")
    result = mnistlab("show", *arguments, "--why")
    assert (result.code, result.out) == (2, "")
    messages = ("--why: explains image files", "no images in it", "--what weights: is for runs")
    assert any(message in result.err for message in messages)


def test_two_runs_or_a_file_that_is_no_image_are_refused(mnistlab: Mnistlab, run: Path) -> None:
    Path("no.png").write_bytes(b"no")
    assert mnistlab("show", run, run.name, "no.png", "--why").code == 2
    result = mnistlab("plot", "no.png", "--why", "-o", "p.png")
    assert result.code == 2
    assert "no.png: " in result.err
    assert not Path("p.png").exists()
