"""Many seeds at once: each model comes out as if it had been trained alone."""

import pytest
import torch
from torch.utils.data import TensorDataset

from mnistlab.data.folders import ImageData
from mnistlab.errors import DivergedError
from mnistlab.losses import LOSSES, mnist_loss
from mnistlab.metrics import EpochMetrics
from mnistlab.models import LinearModel, TwoLayerModel, build_model
from mnistlab.optim import BasicOptim
from mnistlab.studies.seeds import (
    WIDE_LOSSES,
    StackedLinear,
    StackedTwoLayer,
    train_many,
    wide_mnist_loss,
)
from mnistlab.training import compute_logits, train_epochs

SEEDS = range(5)


def alone(
    name: str, data: ImageData, seed: int, lr: float
) -> tuple[torch.nn.Module, list[EpochMetrics]]:
    model = build_model(name, data.image_size, data.classes, seed)
    opt = BasicOptim(model.parameters(), lr)
    rows = train_epochs(
        model, opt, mnist_loss, data.train_ds, data.valid_ds, data.classes, epochs=2, shuffle=False
    )
    return model, list(rows)


@pytest.mark.parametrize("name", ["linear", "two-layer"])
def test_each_model_of_a_stack_equals_the_same_seed_trained_alone(
    name: str, sample: ImageData
) -> None:
    lr = 0.1  # the linear model's 1.0 makes differences of the last bit grow from step to step
    models = [build_model(name, sample.image_size, sample.classes, seed) for seed in SEEDS]
    stack: torch.nn.Module
    if name == "linear":
        stack = StackedLinear([m for m in models if isinstance(m, LinearModel)])
    else:
        stack = StackedTwoLayer([m for m in models if isinstance(m, TwoLayerModel)])
    for place, model in enumerate(models):  # before training
        xb = sample.valid_ds.tensors[0][:50].unsqueeze(1) / 255
        torch.testing.assert_close(stack(xb)[:, place], model(xb).squeeze(1))
    *_, last = train_many(
        stack, lambda p: BasicOptim(p, lr), sample.train_ds, sample.valid_ds, epochs=2
    )
    for place, seed in enumerate(SEEDS):
        model, rows = alone(name, sample, seed, lr)
        mine = compute_logits(model, sample.valid_ds.tensors[0]).squeeze(1)
        torch.testing.assert_close(last.valid_logits[:, place], mine, atol=2e-4, rtol=2e-4)
        torch.testing.assert_close(
            last.batch_losses[:, place], rows[-1].batch_losses, atol=1e-5, rtol=1e-4
        )


def test_a_stack_gives_back_the_state_of_each_model(sample: ImageData) -> None:
    models = [build_model("linear", (28, 28), sample.classes, seed) for seed in SEEDS]
    stack = StackedLinear([m for m in models if isinstance(m, LinearModel)])
    for place, model in enumerate(models):
        for name, tensor in model.state_dict().items():
            assert torch.equal(stack.state_of(place)[name], tensor)


def test_the_wide_loss_is_the_loss_of_each_column_and_guards_its_shapes() -> None:
    logits, targets = torch.randn(30, 4), (torch.rand(30, 1) > 0.5).float()
    each = wide_mnist_loss(logits, targets)
    for place in range(4):
        torch.testing.assert_close(each[place], mnist_loss(logits[:, [place]], targets))
    with pytest.raises(ValueError, match="targets must be"):
        wide_mnist_loss(logits, targets.squeeze(1))


def test_a_shuffled_order_is_shared_and_divergence_is_told() -> None:
    ds = TensorDataset(torch.randint(0, 255, (40, 3, 3), dtype=torch.uint8), torch.arange(40) % 2)
    models = [build_model("linear", (3, 3), "ab", seed) for seed in (0, 0)]
    stack = StackedLinear([m for m in models if isinstance(m, LinearModel)])
    *_, last = train_many(
        stack, lambda p: BasicOptim(p, 0.5), ds, ds, epochs=2, batch_size=7, order_seed=3
    )
    assert torch.equal(last.valid_logits[:, 0], last.valid_logits[:, 1])
    stack.weights.data[0, 0] = float("nan")
    rows = train_many(stack, lambda p: BasicOptim(p, 0.5), ds, ds, epochs=1)
    with pytest.raises(DivergedError, match="epoch 0"):
        list(rows)


def test_every_wide_loss_is_the_loss_of_each_column() -> None:
    logits, targets = torch.randn(30, 4), (torch.rand(30, 1) > 0.5).float()
    for name in ("mnist", "bce"):
        each = WIDE_LOSSES[name](logits, targets)
        for place in range(4):
            alone = LOSSES[name](logits[:, [place]], targets)
            torch.testing.assert_close(each[place], alone)
    logits, labels = torch.randn(30, 4, 5), torch.randint(0, 5, (30,))
    each = WIDE_LOSSES["cross-entropy"](logits, labels)
    for place in range(4):
        alone = torch.nn.functional.cross_entropy(logits[:, place], labels)
        torch.testing.assert_close(each[place], alone)
    assert set(WIDE_LOSSES) == set(LOSSES)
    with pytest.raises(ValueError, match="targets must be"):
        WIDE_LOSSES["cross-entropy"](logits, labels.unsqueeze(1))
    with pytest.raises(ValueError, match="targets must be"):
        WIDE_LOSSES["bce"](torch.randn(30, 4), targets.squeeze(1))
