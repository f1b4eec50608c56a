"""BasicOptim in three moves: equal to torch's, bitwise repeatable, converges."""

import pytest
import torch
from torch import nn

from mnistlab.losses import mnist_loss
from mnistlab.optim import OPTIMIZERS, BasicOptim


@pytest.mark.parametrize("lr", [1.0, 0.1, 0.37])
def test_a_hundred_steps_equal_torchs_sgd_to_the_bit(lr: float) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 1))
    theirs = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 1))
    theirs.load_state_dict(ours.state_dict())
    basic = BasicOptim(ours.parameters(), lr)
    sgd = torch.optim.SGD(theirs.parameters(), lr)
    for _ in range(100):
        xb, targets = torch.rand(16, 12), (torch.rand(16, 1) > 0.5).float()
        for model, opt in ((ours, basic), (theirs, sgd)):
            mnist_loss(model(xb), targets).backward()
            opt.step()
            opt.zero_grad()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, reference)


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


def test_it_finds_the_minimum_of_a_parabola() -> None:
    param = nn.Parameter(torch.tensor([10.0]))
    opt = BasicOptim([param], lr=0.1)
    for _ in range(200):
        ((param - 2) ** 2).sum().backward()
        opt.step()
        opt.zero_grad()
    assert param.item() == pytest.approx(2.0, abs=1e-5)


def test_every_optimizer_is_named_in_the_config() -> None:
    from mnistlab.config import TrainConfig

    choices = TrainConfig.model_fields["optimizer"].annotation
    assert set(choices.__args__) == set(OPTIMIZERS)  # type: ignore[union-attr]
