"""An image that is left alone at the end of an epoch, where a batch norm cannot be trained on one.

resnet18 on images of up to 32 pixels ends in a single pixel; nine images by four are 4, 4 and 1.
"""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.data.batches import batches, count_batches, epoch_order
from mnistlab.errors import ConfigError
from mnistlab.experiment import Experiment, prepare, recipe_of, start
from mnistlab.losses import cross_entropy
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim, new_optimizer, one_cycle
from mnistlab.resolving import resolve
from mnistlab.resuming import resume
from mnistlab.storage import weights_sha256
from mnistlab.studies.lr_find import find_lr
from mnistlab.training import Place, Recipe, check_model, train_batches, train_epochs
from tests.command import run_in_process
from tests.conftest import make_tree

SETTINGS: dict[str, Any] = {"model": "resnet18", "batch_size": 4, "epochs": 2, "threads": 1}


@pytest.fixture
def nine(tmp_path: Path) -> Path:
    """Three images of 8 x 8 for each of three classes."""
    return make_tree(tmp_path / "nine", ("a", "b", "c"), size=(8, 8), train=3)


def prepared(nine: Path, **settings: Any) -> Experiment:
    return prepare(resolve({**SETTINGS, "data": str(nine), **settings}))


def test_an_epoch_equals_the_same_steps_with_torchs_own_tools(nine: Path) -> None:
    plain = {"optimizer": "basic", "schedule": "constant", "label_smoothing": 0.0, "lr": 0.01}
    ours = prepared(nine, shuffle=False, **plain)
    theirs = build_model("resnet18", (8, 8), "abc").train()
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.01)
    x, y = ours.data.train_ds.tensors[0].unsqueeze(1) / 255, ours.data.train_ds.tensors[1]
    losses = list[float]()
    for part in [slice(4), slice(4, 9)] * 2:
        loss = cross_entropy(theirs(x[part]), y[part])
        loss.backward()
        sgd.step()
        sgd.zero_grad()
        losses.append(loss.item())
    rows = list(ours.train())
    assert ours.n_batches == len(rows[0].batch_losses) == 2
    assert [loss for row in rows for loss in row.batch_losses.tolist()] == losses
    means = [(4 * one + 5 * two) / 9 for one, two in (losses[:2], losses[2:])]
    assert [row.train_loss for row in rows] == pytest.approx(means)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.now.model.state_dict()[name], tensor)


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("ordered", [True, False])
def test_batches_and_their_number_agree(least: int, ordered: bool) -> None:
    for n, size in itertools.product(range(least, 20), range(least, 9)):
        order = torch.randperm(n) if ordered else None
        got = [xb for (xb,) in batches(TensorDataset(torch.arange(n)), size, order, least=least)]
        sizes = list(map(len, got))
        assert torch.cat(got).equal(torch.arange(n) if order is None else order)
        assert len(got) == count_batches(n, size, least)
        assert sizes[:-1] == [size] * (len(got) - 1)
        assert sizes[-1] == size + 1 if least == 2 and n % size == 1 else sizes[-1] <= size
        for begin in range(len(got)):
            rest = batches(TensorDataset(torch.arange(n)), size, order, begin, least)
            assert [len(xb) for (xb,) in rest] == sizes[begin:]


def test_only_a_model_that_cannot_take_one_image_gets_two() -> None:
    def least(name: str, side: int, **settings: Any) -> int:
        ds = TensorDataset(torch.zeros(3, side, side, dtype=torch.uint8), torch.arange(3) % 2)
        return check_model(build_model(name, (side, side), "ab", **settings), ds, 2)[1]

    assert [least("resnet18", side) for side in (8, 28, 32, 33, 64)] == [2, 2, 2, 1, 1]
    assert least("cnn", 28, batch_norm=True, padding=True) == 1
    assert [least(name, 8) for name in ("linear", "two-layer", "pixel-similarity")] == [1, 1, 1]


def test_the_cycle_ends_with_the_last_step(nine: Path) -> None:
    experiment = prepared(nine)
    config = experiment.config
    list(experiment.train())
    cycle = one_cycle(config.lr, config.momentum, 4, warmup=config.warmup)
    assert (experiment.now.opt.lr, experiment.now.opt.momentum) == cycle(3)


@pytest.mark.parametrize("after", [1, 2])
def test_a_run_stopped_after_any_batch_goes_on_to_the_same_weights(
    after: int, nine: Path, tmp_path: Path
) -> None:
    def digest(experiment: Experiment) -> str:
        list(experiment.train())
        return weights_sha256(experiment.now.model.state_dict())

    calls = itertools.count()
    broken = start(prepared(nine, optimizer="basic"), tmp_path / "runs", ["mnistlab", "train"])
    assert broken.run is not None
    list(broken.train(lambda: next(calls) >= after))
    again = resume(broken.run, ["mnistlab", "train", "--resume"])
    place = again.now.place
    assert place.epoch * 2 + place.batch == after
    assert digest(again) == digest(prepared(nine, optimizer="basic"))


def test_lr_find_takes_the_same_batches(nine: Path) -> None:
    experiment = prepared(nine, schedule="constant")
    sweep = find_lr(experiment, start=1e-7, end=1e-6, steps=10)
    config, lrs = experiment.config, iter(sweep.lrs)
    model = experiment.card.build(config.seed)
    images, labels = experiment.data.train_ds.tensors
    opt, losses = new_optimizer(config, model), list[torch.Tensor]()
    recipe = replace(
        recipe_of(config, 2, experiment.train_loss()),
        schedule=lambda step: (next(lrs), config.momentum),
        least=2,
    )
    assert recipe.train_loss is not None
    for epoch in range(5):
        losses += train_batches(
            model, opt, recipe.train_loss, TensorDataset(images, labels), 4,
            epoch_order(9, config.seed, epoch), config.seed, recipe, Place(epoch),
        )  # fmt: skip
    assert sweep.losses == torch.stack(losses).tolist()


@pytest.mark.parametrize(
    "command",
    [["train"], ["train", "--dry-run"], ["train", "--seeds", "2"], ["lr-find"]],
    ids=" ".join,
)
def test_batches_of_one_are_refused_before_any_work(command: list[str], nine: Path) -> None:
    flags = ["--data", str(nine), "--model", "resnet18", "--batch-size", "1"]
    done = run_in_process(*command, *flags)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: --batch-size 1: the model cannot be trained on one image")
    assert not Path("runs").exists()
    assert run_in_process(*command, *flags[:2], "--batch-size", "1", "--threads", "1").code == 0


def test_a_single_training_image_is_refused_and_two_are_not() -> None:
    def train(n: int, **options: Any) -> int:
        ds = TensorDataset(torch.zeros(n, 8, 8, dtype=torch.uint8), torch.zeros(n).long())
        model: nn.Module = build_model("resnet18", (8, 8), "abc")
        opt = BasicOptim(model.parameters(), 0.1)
        rows = train_epochs(model, opt, cross_entropy, ds, ds, "abc", epochs=1, **options)
        return len(next(rows).batch_losses)

    with pytest.raises(ConfigError, match=r"^one training image: .* alone.*; add images$"):
        train(1)
    with pytest.raises(ConfigError, match=r"^--batch-size 1: .*; use 2 or more$"):
        train(2, batch_size=1)
    assert [train(2), train(3, batch_size=2), train(5, batch_size=2)] == [1, 1, 2]
    assert Recipe().least == 1
