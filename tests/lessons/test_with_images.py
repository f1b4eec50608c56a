"""Lessons on the bundled images: beside Pillow, the chain rule, torch's own SGD, a real run."""

import copy
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from mnistlab.data.batches import batches, epoch_order
from mnistlab.data.store import ImageData
from mnistlab.errors import ConfigError
from mnistlab.lessons import mistakes, optimizer, run_lesson, similarity, step
from mnistlab.lessons.kit import Ask, Check, Item, Say, Show
from mnistlab.losses import mnist_loss
from mnistlab.models import PixelSimilarity, build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves, Images
from mnistlab.training import train_epochs
from tests.lessons.conftest import ItemsOf


def values_of(items: Iterable[Item]) -> dict[str, Any]:
    return {item.title: item.value for item in items if isinstance(item, Show)}


def images_of(items: Iterable[Item]) -> dict[str, torch.Tensor]:
    pictures = [item for item in items if isinstance(item, Images)]
    return {name: image for picture in pictures for name, image in picture.images.items()}


def curves_of(items: Iterable[Item]) -> list[Curves]:
    return [item for item in items if isinstance(item, Curves)]


def test_the_corner_in_pixels_is_what_pillow_reads_from_the_file(
    sample: ImageData, items_of: ItemsOf
) -> None:
    with Image.open(sample.root / "train" / "3" / "10000.png") as image:
        corner = image.crop((4, 4, 10, 10)).tobytes()  # left, upper, right, lower
    corner_of_lesson = torch.tensor(values_of(items_of("pixels"))["second[4:10, 4:10]"])
    assert corner_of_lesson.flatten().tolist() == list(corner)


def test_the_mean_images_are_those_of_the_baseline(sample: ImageData, items_of: ItemsOf) -> None:
    images = images_of(items_of("pixels"))
    means = PixelSimilarity(sample.image_size, 2).fit(*sample.train_ds.tensors).means
    for name, mean in zip(("mean 3", "mean 7"), means, strict=True):
        torch.testing.assert_close(images[name], mean[0], rtol=0, atol=1e-5)


def test_distances_are_those_worked_out_by_hand_one_for_each_image_of_a_stack() -> None:
    black = torch.zeros(2, 2)
    stack = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
    assert similarity.l1(stack, black).tolist() == [0.5, 0.25]
    assert similarity.rmse(stack, black).tolist() == pytest.approx([0.5**0.5, 0.5])


def test_the_staircase_is_in_counts_of_images_and_the_loss_changes_everywhere(
    items_of: ItemsOf,
) -> None:
    _, picture = curves_of(items_of("loss"))
    wrong, losses = (ys for _, ys in picture.lines.values())
    assert all(float(count).is_integer() for count in wrong)
    assert wrong[100] == losses[100] == 0  # before the move
    jumps = sum(a != b for a, b in pairwise(wrong))
    assert jumps == values_of(items_of("loss"))["and those that change the accuracy"]
    assert 0 < jumps < 100


def test_the_two_means_differ_by_the_weight_of_the_last_batch(items_of: ItemsOf) -> None:
    title = "accuracy: mean of batch means, and mean over images"
    of_means, of_images = values_of(items_of("batches"))[title]
    # 2038 x the one is a count; the other is off by (1/8 - 246/2038) x (last batch - the rest)
    assert 2038 * of_images == pytest.approx(round(2038 * of_images), abs=1e-9)
    assert 0 < abs(of_means - of_images) < 1 / 8 - 246 / 2038


def test_the_gradient_of_the_bias_is_minus_the_mean_of_p_times_1_minus_p(
    sample: ImageData,
) -> None:
    # four 3s: each loss is 1 - p, its slope along the bias -p (1 - p)
    seed = optimizer.CHAPTER_SEED
    model = build_model("linear", (28, 28), sample.classes, seed, init="normal")
    p = model(sample.train_ds.tensors[0][:4].unsqueeze(1) / 255).detach().sigmoid()
    assert -(p * (1 - p)).mean().item() == pytest.approx(-0.0017, abs=0.00001)


def test_an_optimizer_that_goes_a_little_too_far_fails_every_comparison_with_torchs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class TooFar(BasicOptim):
        def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
            super().__init__(params, lr * 1.0001)

    monkeypatch.setattr(optimizer, "BasicOptim", TooFar)
    checks = [item for item in optimizer.lesson() if isinstance(item, Check)]
    assert [item.holds for item in checks[-4:]] == [False] * 4


@pytest.mark.parametrize(("model", "lr"), [("linear", 1.0), ("two-layer", 0.1)])
def test_a_step_is_that_of_torchs_own_sgd_and_its_loss_the_first_of_a_real_run(
    model: str, lr: float, sample: ImageData
) -> None:
    net = build_model(model, sample.image_size, sample.classes, 2)
    before, fresh = copy.deepcopy(net), copy.deepcopy(net)
    images, labels = next(batches(sample.train_ds, 256, epoch_order(12396, 2, 0)))
    probs = net(images.unsqueeze(1) / 255).sigmoid()
    torch.where(labels.unsqueeze(1) == 0, 1 - probs, probs).mean().backward()
    torch.optim.SGD(net.parameters(), lr).step()

    items = list(step.lesson(model, 2))
    drawn, unit = images_of(items), values_of(items)["its unit, and its pixel's row and column"]
    for name, module in (("before", before), ("after", net)):
        weights = step.as_images(step.pixel_weights(module).detach())[unit[0]]
        torch.testing.assert_close(drawn[name], weights)
    torch.testing.assert_close(drawn["before"] + drawn["- lr x gradient"], drawn["after"])

    opt, ds = BasicOptim(fresh.parameters(), lr), (sample.train_ds, sample.valid_ds)
    run = train_epochs(fresh, opt, mnist_loss, *ds, sample.classes, epochs=1, seed=2)
    (first,) = [item.ours for item in items if isinstance(item, Check) and item.title == "the loss"]
    assert first == next(run).batch_losses[0]


def test_the_gradient_of_a_linear_model_follows_the_chain_rule(
    sample: ImageData, items_of: ItemsOf
) -> None:
    net = build_model("linear", sample.image_size, sample.classes, 0)
    images, labels = next(batches(sample.train_ds, 256, epoch_order(12396, 0, 0)))
    xb = images.unsqueeze(1) / 255
    p = net(xb).detach().sigmoid()
    sign = torch.where(labels.unsqueeze(1) == 0, -1.0, 1.0)  # a 3 wants p higher
    by_hand = (sign * p * (1 - p) * xb.flatten(1)).mean(0).reshape(28, 28)
    drawn = images_of(items_of("step"))
    torch.testing.assert_close(drawn["- lr x gradient"], -by_hand, atol=1e-7, rtol=1e-5)
    for place, label in enumerate(labels[:6].tolist()):
        image = drawn[f"{place + 1}: a {sample.classes[label]}"]
        assert torch.equal(image, xb[place, 0])


@pytest.mark.parametrize("lr", [1e-9, 0.3, 30.0, 1e6])
@pytest.mark.parametrize("model", ["linear", "two-layer"])
def test_every_check_of_a_step_holds_at_other_rates(model: str, lr: float) -> None:
    checks = [item for item in step.lesson(model, 0, lr) if isinstance(item, Check)]
    assert all(item.holds for item in checks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "two-layers"}, "two-layer"),
        ({"model": "pixel-similarity"}, "pixel-similarity"),
        *(({"lr": lr}, "above 0") for lr in (0.0, -1.0, float("inf"), float("nan"), 1e7)),
    ],
)
def test_a_step_refuses_another_model_and_a_rate_that_leads_nowhere(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        list(run_lesson("step", **options))


def test_nine_mistakes_are_drawn_beside_their_controls_and_each_is_checked(
    items_of: ItemsOf,
) -> None:
    _setup, *items, _change = (item for item in items_of("mistakes") if not isinstance(item, Ask))
    stories = [item.text for item in items if isinstance(item, Say)]
    drawn = curves_of(items)
    assert [text.split(".")[0] for text in stories] == list("123456789")
    assert [text.split(":")[0] for text in stories] == [picture.title for picture in drawn]
    for picture in drawn:
        assert [*picture.lines] == ["mistake", "control"]
        assert picture.lines["mistake"][0] == picture.lines["control"][0]
    kinds = [type(item) for item in items if isinstance(item, Say | Check)]
    assert all(Check in pair for pair in pairwise([*kinds, Say]))


def test_a_mistake_that_is_none_fails_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistakes, "NeverClears", BasicOptim)
    first = next(item for item in mistakes.lesson(1) if isinstance(item, Check))
    assert not first.holds


def test_the_wrong_losses_of_the_mistakes_are_wrong_as_worked_out_by_hand() -> None:
    logits = torch.tensor([[2.0], [-1.0], [0.5], [3.0]], requires_grad=True)
    rate = mistakes.error_rate(logits, torch.tensor([[1.0], [1.0], [0.0], [1.0]]))
    rate.backward()
    assert rate.item() == 0.5
    assert logits.grad is not None
    assert not logits.grad.any()
    logits, targets = torch.tensor([[0.9], [0.2]]).logit(), torch.tensor([[1.0], [0.0]])
    # |0.9 - 1|, |0.9 - 0|, |0.2 - 1|, |0.2 - 0| in place of |0.9 - 1| and |0.2 - 0| alone
    assert mistakes.unguarded(logits, targets).item() == pytest.approx((0.1 + 0.9 + 0.8 + 0.2) / 4)
    assert mnist_loss(logits, targets).item() == pytest.approx((0.1 + 0.2) / 2)
