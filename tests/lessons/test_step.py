"""`lesson step`: against torch's own SGD, the chain rule, and a real run's first loss."""

import copy

import pytest
import torch

from mnistlab.data.batches import batches, epoch_order
from mnistlab.data.folders import ImageData
from mnistlab.errors import ConfigError
from mnistlab.lessons import run_lesson, step
from mnistlab.lessons.kit import Check, Show
from mnistlab.losses import mnist_loss
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Images
from mnistlab.training import train_epochs


@pytest.fixture(autouse=True)
def loaded(sample: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # two of them spin when the machine is busy
    monkeypatch.setattr(step, "load_data", lambda: sample)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("model", ["linear", "two-layer"])
def test_every_check_holds_for_20_seeds(model: str, seed: int) -> None:
    state = torch.get_rng_state()
    checks = [item for item in step.lesson(model, seed) if isinstance(item, Check)]
    assert [check for check in checks if not check.holds] == []
    assert len(checks) == 4
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("lr", [1e-9, 0.3, 30.0, 1e6])
@pytest.mark.parametrize("model", ["linear", "two-layer"])
def test_every_check_holds_at_other_rates(model: str, lr: float) -> None:
    checks = [item for item in step.lesson(model, 0, lr) if isinstance(item, Check)]
    assert [check for check in checks if not check.holds] == []


@pytest.mark.parametrize("model", ["linear", "two-layer"])
def test_its_loss_is_the_first_loss_of_a_real_run(model: str, sample: ImageData) -> None:
    net = build_model(model, sample.image_size, sample.classes, 5)
    run = train_epochs(
        net,
        BasicOptim(net.parameters(), 1.0),
        mnist_loss,
        sample.train_ds,
        sample.valid_ds,
        sample.classes,
        epochs=1,
        seed=5,
    )
    checks = [item for item in step.lesson(model, 5) if isinstance(item, Check)]
    (loss,) = [check.ours for check in checks if check.title == "the loss"]
    assert loss == next(run).batch_losses[0]


@pytest.mark.parametrize(("model", "lr"), [("linear", 1.0), ("two-layer", 0.1)])
def test_the_weights_after_are_those_of_torchs_own_sgd(
    model: str, lr: float, sample: ImageData
) -> None:
    net = build_model(model, sample.image_size, sample.classes, 2)
    before = copy.deepcopy(net)
    images, labels = next(batches(sample.train_ds, 256, epoch_order(12396, 2, 0)))
    probs = net(images.unsqueeze(1) / 255).sigmoid()
    torch.where(labels.unsqueeze(1) == 0, 1 - probs, probs).mean().backward()
    torch.optim.SGD(net.parameters(), lr).step()
    drawn = [item for item in step.lesson(model, 2) if isinstance(item, Images)]
    assert [picture.signed for picture in drawn] == [False, True, True, True]
    shown = {name: image for item in drawn for name, image in item.images.items()}
    items = step.lesson(model, 2)
    (place,) = [item.value for item in items if isinstance(item, Show) and "row" in item.title]
    for name, module in (("weights before", before), ("weights after", net)):
        weights = step.as_images(step.pixel_weights(module).detach())[place[0]]
        torch.testing.assert_close(shown[name], weights)
    assert shown["minus their gradient"].abs().argmax() == place[1] * 28 + place[2]


def test_the_gradient_of_a_linear_model_follows_the_chain_rule(sample: ImageData) -> None:
    net = build_model("linear", sample.image_size, sample.classes, 0)
    images, labels = next(batches(sample.train_ds, 256, epoch_order(12396, 0, 0)))
    xb = images.unsqueeze(1) / 255
    p = net(xb).detach().sigmoid()
    sign = torch.where(labels.unsqueeze(1) == 0, -1.0, 1.0)  # a 3 wants p higher
    by_hand = (sign * p * (1 - p) * xb.flatten(1)).mean(0).reshape(28, 28)
    pictures = [item for item in step.lesson("linear", 0) if isinstance(item, Images)]
    shown = {name: image for item in pictures for name, image in item.images.items()}
    torch.testing.assert_close(shown["minus their gradient"], -by_hand, atol=1e-7, rtol=1e-5)


def test_six_images_of_the_batch_are_shown_under_their_classes(sample: ImageData) -> None:
    order = epoch_order(12396, 0, 0)[:6]
    first = next(item for item in step.lesson() if isinstance(item, Images))
    names = [sample.classes[label] for label in sample.train_ds.tensors[1][order].tolist()]
    assert [*first.images] == [f"{i + 1}: a {name}" for i, name in enumerate(names)]
    for image, index in zip(first.images.values(), order, strict=True):
        assert torch.equal(image * 255, sample.train_ds.tensors[0][index].float())


def test_another_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="two-layer"):
        run_lesson("step", model="two-layers")
    with pytest.raises(ConfigError, match="pixel-similarity"):
        run_lesson("step", model="pixel-similarity")


@pytest.mark.parametrize("lr", [0.0, -1.0, float("inf"), float("nan"), 1e7])
def test_a_rate_that_leads_nowhere_is_refused(lr: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        run_lesson("step", lr=lr)
