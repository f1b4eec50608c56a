"""The optimizers in three moves: equal to torch's, resumed exactly, they converge."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from mnistlab.errors import DamagedFileError
from mnistlab.losses import mnist_loss
from mnistlab.optim import OPTIMIZERS, BasicOptim

TORCHS: dict[str, tuple[dict[str, float], Callable[..., torch.optim.Optimizer]]] = {
    "basic": ({}, torch.optim.SGD),
    "momentum": ({"momentum": 0.9}, partial(torch.optim.SGD, momentum=0.9)),
    "nesterov": ({"momentum": 0.8}, partial(torch.optim.SGD, momentum=0.8, nesterov=True)),
    "adam": ({"momentum": 0.7, "beta2": 0.9}, partial(torch.optim.Adam, betas=(0.7, 0.9))),
    "adamw": (
        {"momentum": 0.9, "beta2": 0.99, "weight_decay": 0.1},
        partial(torch.optim.AdamW, betas=(0.9, 0.99), weight_decay=0.1),
    ),
}


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 1))


def train(model: nn.Module, opt: BasicOptim | torch.optim.Optimizer, steps: range) -> None:
    """Steps on batches that are a function of the step alone."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        xb = torch.rand(16, 12, generator=generator)
        targets = (xb.sum(1, keepdim=True) > 6).float()
        mnist_loss(model(xb), targets).backward()
        opt.step()
        opt.zero_grad()


@pytest.mark.parametrize("lr", [1.0, 0.01, 0.37])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_hundred_steps_equal_torchs_to_the_bit(name: str, lr: float) -> None:
    torch.manual_seed(0)
    ours, theirs = net(), net()
    theirs.load_state_dict(ours.state_dict())
    settings, reference = TORCHS[name]
    train(ours, OPTIMIZERS[name](ours.parameters(), lr, **settings), range(100))
    train(theirs, reference(theirs.parameters(), lr), range(100))
    for mine, torchs in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, torchs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_taken_over_goes_on_to_the_bit(name: str) -> None:
    torch.manual_seed(1)
    whole = net()
    opt = OPTIMIZERS[name](whole.parameters(), 0.1)
    train(whole, opt, range(13))
    resumed = net()
    resumed.load_state_dict(whole.state_dict())
    again = OPTIMIZERS[name](resumed.parameters(), 0.1)
    again.load_state(opt.state())
    kept = opt.state()
    train(whole, opt, range(13, 40))
    train(resumed, again, range(13, 40))
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    if name != "basic":  # what was given is a copy: training on does not change it
        assert any(not torch.equal(kept[key], value) for key, value in opt.state().items())


def test_the_state_of_another_optimizer_is_refused() -> None:
    model = net()
    states = {name: OPTIMIZERS[name](model.parameters(), 0.1).state() for name in OPTIMIZERS}
    for name, other in (("basic", "adam"), ("adam", "basic"), ("adam", "momentum")):
        with pytest.raises(DamagedFileError, match="the optimizer's state is not one of"):
            OPTIMIZERS[name](model.parameters(), 0.1).load_state(states[other])
    with pytest.raises(DamagedFileError, match="Momentum"):
        OPTIMIZERS["momentum"](nn.Linear(3, 3).parameters(), 0.1).load_state(states["momentum"])


def test_momentum_by_hand() -> None:
    for name, moves in (("momentum", (1.0, 1.5, 1.75)), ("nesterov", (1.5, 1.75, 1.875))):
        param = nn.Parameter(torch.tensor([0.0]))
        opt = OPTIMIZERS[name]([param], lr=1.0, momentum=0.5)
        for move in moves:  # a gradient of 1 each time: velocity 1, 1.5, 1.75
            before = param.item()
            param.grad = torch.tensor([1.0])
            opt.step()
            assert before - param.item() == move


def test_adams_first_step_is_lr_whatever_the_gradient() -> None:
    for gradient in (1e-3, 1.0, 1e4):
        param = nn.Parameter(torch.tensor([0.0]))
        param.grad = torch.tensor([gradient])
        OPTIMIZERS["adam"]([param], lr=0.25).step()
        assert param.item() == pytest.approx(-0.25, rel=1e-4)


def test_adamw_shrinks_weights_even_where_the_gradient_is_nothing() -> None:
    param = nn.Parameter(torch.tensor([2.0]))
    param.grad = torch.tensor([0.0])
    OPTIMIZERS["adamw"]([param], lr=0.5, weight_decay=0.1).step()
    assert param.item() == pytest.approx(2.0 * (1 - 0.05))


def test_one_step_by_hand() -> None:
    param = nn.Parameter(torch.tensor([1.0, 2.0]))
    (param**2).sum().backward()  # gradient 2, 4
    BasicOptim([param], lr=0.25).step()
    assert param.tolist() == [0.5, 1.0]


def test_without_zero_grad_gradients_add_up_and_with_it_they_do_not() -> None:
    param = nn.Parameter(torch.tensor([3.0]))
    opt = BasicOptim([param], lr=0.1)
    for expected in (2.0, 4.0):
        (2 * param).sum().backward()
        assert param.grad is not None
        assert param.grad.item() == expected
    opt.zero_grad()
    assert param.grad is None
    opt.step()  # nothing to do without a gradient
    assert param.item() == 3.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_finds_the_minimum_of_a_parabola(name: str) -> None:
    param = nn.Parameter(torch.tensor([10.0]))
    settings = {"weight_decay": 0.0} if name == "adamw" else {}
    opt = OPTIMIZERS[name]([param], lr=0.1, **settings)
    for _ in range(1000):
        ((param - 2) ** 2).sum().backward()
        opt.step()
        opt.zero_grad()
    assert param.item() == pytest.approx(2.0, abs=1e-4)


def test_every_optimizer_is_named_in_the_config() -> None:
    from mnistlab.config import choices_of

    assert set(choices_of("optimizer")) == set(OPTIMIZERS)
