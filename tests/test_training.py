"""The loop: the chapter's steps, exact stops, honest averages, no silent divergence."""

from itertools import chain
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mnistlab.data.batches import batches, epoch_order, to_float
from mnistlab.data.store import ImageData
from mnistlab.errors import ConfigError, DivergedError
from mnistlab.experiment import recipe_of
from mnistlab.losses import LOSSES, losses_for, mnist_loss, targets_for, training_loss
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim, new_optimizer
from mnistlab.resolving import resolve
from mnistlab.training import (
    Place,
    compute_logits,
    evaluate,
    train_batches,
    train_epochs,
)


def made(n: int, n_classes: int = 2, seed: int = 0) -> TensorDataset:
    """Random 6 x 6 images whose brightness gives the class away."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, n_classes, (n,), generator=generator)
    noise = torch.randint(0, 100, (n, 6, 6), generator=generator)
    return TensorDataset((noise + labels[:, None, None] * 10).to(torch.uint8), labels)


def trained(n_classes: int = 2, **options: Any) -> tuple[nn.Module, list[Any]]:
    classes = [str(k) for k in range(n_classes)]
    model = build_model("two-layer", (6, 6), classes, seed=3, hidden=5)
    opt = BasicOptim(model.parameters(), options.pop("lr", 0.5))
    settings = {"epochs": 3, "batch_size": 16, "seed": 1} | options
    loss = LOSSES[losses_for(n_classes)[0]]
    train_ds, valid_ds = made(100, n_classes), made(37, n_classes, seed=1)
    rows = train_epochs(model, opt, loss, train_ds, valid_ds, classes, **settings)
    return model, list(rows)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_unshuffled_training_equals_a_plain_pytorch_loop_to_the_bit(sample: ImageData) -> None:
    # The outside truth: a DataLoader, nn.Linear-like model, torch's SGD, the chapter's formula.
    ours = build_model("linear", sample.image_size, sample.classes, seed=0)
    theirs = build_model("linear", sample.image_size, sample.classes, seed=0)
    *_, last = train_epochs(
        ours,
        BasicOptim(ours.parameters(), 1.0),
        mnist_loss,
        sample.train_ds,
        sample.valid_ds,
        sample.classes,
        epochs=2,
        shuffle=False,
    )
    x = sample.train_ds.tensors[0].float() / 255
    y = (sample.train_ds.tensors[1] == 0).float().unsqueeze(1)
    sgd = torch.optim.SGD(theirs.parameters(), lr=1.0)
    for _ in range(2):
        for xb, yb in DataLoader(TensorDataset(x, y), batch_size=256):
            probs = theirs(xb).sigmoid()
            torch.where(yb == 1, 1 - probs, probs).mean().backward()
            sgd.step()
            sgd.zero_grad()
    assert same(ours, theirs)
    valid = sample.valid_ds.tensors[0].float() / 255
    right = (theirs(valid).squeeze(1) > 0) == (sample.valid_ds.tensors[1] == 0)
    assert last.accuracy == int(right.sum()) / 2038


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_training_repeats_to_the_bit(shuffle: bool, n_classes: int) -> None:
    first, rows = trained(n_classes, shuffle=shuffle)
    torch.rand(11)  # whatever else draws random numbers
    second, again = trained(n_classes, shuffle=shuffle)
    assert same(first, second)
    assert [row.accuracy for row in rows] == [row.accuracy for row in again]


@pytest.mark.parametrize("stop_after", [0, 1, 6, 7, 10, 20])
def test_a_run_stopped_after_any_batch_and_gone_on_with_equals_an_unbroken_one(
    stop_after: int,
) -> None:
    unbroken, rows = trained()
    place, seen = Place(), [0]

    def stop() -> bool:
        seen[0] += 1
        return seen[0] > stop_after

    classes = ["0", "1"]
    model = build_model("two-layer", (6, 6), classes, seed=3, hidden=5)
    train_ds, valid_ds = made(100), made(37, seed=1)
    done: list[Any] = []
    for stopping in (stop, lambda: False):
        opt = BasicOptim(model.parameters(), 0.5)
        place.stop = stopping
        done += train_epochs(
            model, opt, mnist_loss, train_ds, valid_ds, classes,
            epochs=3, batch_size=16, seed=1, place=place,
        )  # fmt: skip
    assert same(model, unbroken)
    assert [(m.epoch, m.train_loss, m.valid_loss, m.accuracy) for m in done] == [
        (m.epoch, m.train_loss, m.valid_loss, m.accuracy) for m in rows
    ]


def test_an_evaluation_between_epochs_changes_nothing() -> None:
    plain, _ = trained()
    classes = ["0", "1"]
    model = build_model("two-layer", (6, 6), classes, seed=3, hidden=5)
    opt = BasicOptim(model.parameters(), 0.5)
    ds, valid = made(100), made(37, seed=1)
    for _ in train_epochs(
        model, opt, mnist_loss, ds, valid, classes, epochs=3, batch_size=16, seed=1
    ):
        evaluate(model, ds, classes, mnist_loss)
        torch.rand(3)
    assert same(model, plain)


def test_the_train_loss_is_a_mean_over_images_not_over_batches() -> None:
    # 100 images by 16: six batches of 16 and one of 4, which must not weigh as much.
    _, rows = trained(epochs=1)
    losses = rows[0].batch_losses.tolist()
    assert len(losses) == 7
    assert rows[0].train_loss == pytest.approx((sum(losses[:6]) * 16 + losses[6] * 4) / 100)


def test_every_image_counts_once_in_an_evaluation_however_the_batches_fall() -> None:
    model = build_model("linear", (6, 6), ["0", "1"], seed=0)
    ds = made(2500)
    found = evaluate(model, ds, ["0", "1"], mnist_loss)
    logits = model(ds.tensors[0].unsqueeze(1).float() / 255)
    probs = logits.sigmoid().squeeze(1).double()
    truth = (ds.tensors[1] == 0).double()
    assert found.n == 2500
    assert found.loss == pytest.approx((probs - truth).abs().mean().item(), abs=1e-7)
    assert found.correct == int(((probs > 0.5) == (truth == 1)).sum())


def test_computing_logits_keeps_the_mode_and_makes_no_gradients() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(36, 1))
    images = made(10).tensors[0]
    model.train()
    first, second = compute_logits(model, images), compute_logits(model, images)
    assert torch.equal(first, second)  # dropout was off
    assert model.training
    assert not first.requires_grad


@pytest.mark.parametrize("lr", [1e38, 3e38])
def test_a_loss_that_is_not_finite_stops_with_epoch_batch_and_rate(lr: float) -> None:
    with pytest.raises(DivergedError, match=r"epoch \d+, (batch \d+|validation), at lr") as caught:
        trained(n_classes=4, lr=lr, epochs=50)
    assert f"at lr {lr:g}:" in str(caught.value)


def test_a_weight_that_is_not_finite_is_seen_even_where_the_loss_still_is() -> None:
    class Sticky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Parameter(torch.zeros(1))
            self.broken = nn.Parameter(torch.tensor([float("inf")]))

        def forward(self, xb: torch.Tensor) -> torch.Tensor:
            return xb.flatten(1).mean(1, keepdim=True) * self.used

    model = Sticky()
    rows = train_epochs(
        model, BasicOptim(model.parameters(), 0.1), mnist_loss, made(20), made(10), "01", epochs=1
    )
    with pytest.raises(DivergedError, match="a loss or a weight"):
        list(rows)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 26])
@pytest.mark.parametrize("size", [1, 5, 6, 100])
@pytest.mark.parametrize("ordered", [True, False])
def test_batches_hold_every_image_once(n: int, size: int, ordered: bool) -> None:
    ds = TensorDataset(torch.arange(n))
    order = None if ordered else epoch_order(n, 7, 0)
    found = [xb.tolist() for (xb,) in batches(ds, size, order)]
    assert sorted(chain.from_iterable(found)) == list(range(n))
    assert [len(xb) for xb in found[:-1]] == [size] * (len(found) - 1)
    if order is not None:
        assert list(chain.from_iterable(found)) == order.tolist()


def test_the_chapters_mini_batches() -> None:
    # book.md §5: 15 items by 5 are 3 batches; 26 letters by 6 are 5 batches, the last of 2
    assert len(list(batches(TensorDataset(torch.arange(15)), 5, epoch_order(15, 0, 0)))) == 3
    assert [len(b) for (b,) in batches(TensorDataset(torch.arange(26)), 6)] == [6, 6, 6, 6, 2]


def test_orders_differ_by_seed_and_epoch_and_neighbours_share_nothing() -> None:
    orders = {(s, e): tuple(epoch_order(50, s, e).tolist()) for s in range(4) for e in range(4)}
    assert len(set(orders.values())) == 16
    assert orders[(0, 1)] != orders[(1, 0)]


def test_to_float_is_the_chapters_division() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert torch.equal(to_float(images)[0, 0], images[0].float() / 255)


def test_the_loop_reads_the_place_from_the_outside() -> None:
    place, seen = Place(), []

    def stop() -> bool:
        seen.append((place.epoch, place.batch))
        return False

    place.stop = stop
    trained(place=place, epochs=2)
    assert seen == [(epoch, batch) for epoch in range(2) for batch in range(7)]
    assert (place.epoch, place.batch, place.losses) == (2, 0, [])


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "linear"},
        {"model": "two-layer", "optimizer": "nesterov", "augment": True},
        {"model": "cnn", "batch_norm": True, "optimizer": "adamw", "schedule": "one-cycle"},
        {"model": "resnet18", "optimizer": "adam", "label_smoothing": 0.1},
    ],
    ids=lambda settings: settings["model"],
)
def test_no_value_is_read_within_an_epoch(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tensors on torch's meta device have no values: whatever asks for one, as .item() does and as
    # a GPU would have to be waited for, is an error there.
    config = resolve({"batch_size": 8, **settings}).config
    model = build_model(config.model, (32, 32), "ab", **config.model_settings()).to("meta")
    ds = TensorDataset(
        torch.empty(20, 32, 32, dtype=torch.uint8, device="meta"),
        torch.empty(20, dtype=torch.int64, device="meta"),
    )
    ds = TensorDataset(ds.tensors[0], targets_for(ds.tensors[1], 2))
    place, opt = Place(), new_optimizer(config, model)
    loss_func = training_loss(LOSSES["bce"], config.label_smoothing)
    recipe = recipe_of(config, 3, loss_func)
    for _ in train_batches(model, opt, loss_func, ds, 8, None, 0, recipe, place):
        pass
    assert place.batch == 3


class Dropping(nn.Module):
    """A model that draws random numbers in training."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(36, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.out(self.dropout(xb.flatten(1)))
        return logits


def test_a_model_that_draws_repeats_and_goes_on_to_the_bit_and_leaves_the_callers_numbers() -> None:
    def trained_until(stop_after: int, place: Place, model: nn.Module) -> None:
        left = iter(range(stop_after))
        place.stop = lambda: next(left, None) is None
        opt = BasicOptim(model.parameters(), 0.5)
        settings = {"epochs": 2, "batch_size": 16, "place": place}
        list(train_epochs(model, opt, mnist_loss, made(100), made(37, 2), ["0", "1"], **settings))  # type: ignore[arg-type]

    torch.manual_seed(5)
    models = [Dropping(), Dropping(), Dropping()]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    torch.manual_seed(77)
    expected = torch.rand(3)
    torch.manual_seed(77)
    trained_until(999, Place(), models[0])
    assert torch.equal(torch.rand(3), expected)
    place = Place()
    for batches_done in (5, 999):
        torch.rand(7)  # other random numbers in between
        trained_until(batches_done, place, models[1])
    trained_until(999, Place(), models[2])
    assert same(models[0], models[1])
    assert same(models[0], models[2])


class Shaped(nn.Module):
    """A model that gives logits of a wrong shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.shape = shape

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        return self.weight.expand(len(xb), *self.shape)


FLOATS = TensorDataset(torch.rand(20, 6, 6), torch.zeros(20, dtype=torch.int64))
COLOUR = TensorDataset(torch.zeros(20, 3, 6, 6, dtype=torch.uint8), FLOATS.tensors[1])
FAR = TensorDataset(made(20).tensors[0], torch.full((20,), 5))


@pytest.mark.parametrize(
    ("model", "ds", "fault"),
    [
        (Dropping(), FLOATS, r"images must be uint8 \(n, H, W\).*not torch.float32 \(20, 6, 6\)"),
        (Dropping(), COLOUR, r"not torch.uint8 \(20, 3, 6, 6\)"),
        (Dropping(), list(range(9)), "must be a TensorDataset of images and labels, not list"),
        (Dropping(), FAR, "labels must be 0 to 1 for 2 classes, not 5 to 5"),
        (Shaped((2,)), made(20), r"the model gives \(2, 2\) .* must give logits \(2, 1\)"),
        (Shaped(()), made(20), r"the model gives \(2,\) for 2 images of 2 classes"),
        (nn.Linear(5, 1), made(20), r"cannot take images \(2, 1, 6, 6\)"),
    ],
)
def test_what_breaks_the_contract_is_refused_at_once_with_its_shapes(
    model: nn.Module, ds: Any, fault: str
) -> None:
    opt = BasicOptim(model.parameters(), 0.5)
    with pytest.raises(ConfigError, match=fault):
        next(train_epochs(model, opt, mnist_loss, ds, made(9), ["0", "1"], epochs=1))
    if "(2" not in fault:
        with pytest.raises(ConfigError, match=fault):
            evaluate(model, ds, ["0", "1"], mnist_loss)
