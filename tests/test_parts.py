"""A batch in parts: the gradient of the whole batch, batch norm part by part, what is refused."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from mnistlab.errors import ConfigError
from mnistlab.losses import mnist_loss
from mnistlab.parts import Parts, check_divisible
from mnistlab.training import Place, Recipe, calc_grad

XB = torch.randint(0, 256, (13, 4, 4), generator=torch.Generator().manual_seed(1)).byte()
TARGETS = (torch.arange(13) % 3 == 0).float().unsqueeze(1)


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [param.grad for param in model.parameters() if param.grad is not None]


def in_parts(model: nn.Module, n: int, xb: torch.Tensor, least: int = 1) -> torch.Tensor:
    calc = partial(calc_grad, model=model, loss_func=mnist_loss, seed=0, recipe=Recipe())
    return Parts(n).backward(calc, xb, TARGETS[: len(xb)], model, least, Place())


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 1))


@pytest.mark.parametrize("n_images", [13, 8, 3, 1])
@pytest.mark.parametrize("n", [1, 2, 8, 32])
def test_the_gradient_is_that_of_the_whole_batch(n: int, n_images: int) -> None:
    whole, cut, xb = small(), small(), XB[:n_images]
    loss = calc_grad(xb, TARGETS[:n_images], whole, mnist_loss, 0, Recipe(), Place())
    assert in_parts(cut, n, xb).item() == pytest.approx(loss.item(), abs=1e-6)
    for one, other in zip(gradients(whole), gradients(cut), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_gradients_are_added_as_a_tree() -> None:
    # 1e8 and -1e8 in neighbouring parts, so that the small ones beside them are lost or not:
    # ((1e8 + 1) + (-1e8 + 1)) is 0 in float32, in the order of the parts it is 1
    values = torch.tensor([1e8, 1.0, -1e8, 1.0])
    param = nn.Parameter(torch.zeros(1))
    model = nn.ParameterList([param])

    def calc(xb: torch.Tensor, targets: torch.Tensor, place: Place, share: float) -> torch.Tensor:
        param.grad = xb.clone()
        return xb[0]

    assert Parts(4).backward(calc, values, values, model, 1, Place()).item() == 0
    assert param.grad is not None
    assert param.grad.item() == 0
    assert (((values[0] + values[1]) + values[2]) + values[3]).item() == 1


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.75, None])
def test_batch_norm_follows_one_part_after_another(momentum: float | None) -> None:
    # torch's own batch norm, shown the parts in their order, ends with the same statistics
    def normed() -> nn.Sequential:
        torch.manual_seed(0)
        norm = nn.BatchNorm1d(5, momentum=momentum)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), norm, nn.Linear(5, 1)).train()

    cut, shown = normed(), normed()
    for _ in range(3):
        in_parts(cut, 4, XB, least=2)
        for part in (XB[0:2], XB[2:6], XB[6:8], XB[8:13]):  # 6 pairs in 4 parts, and one left over
            shown(part.unsqueeze(1).float() / 255)
    for one, other in zip(cut[2].buffers(), shown[2].buffers(), strict=True):
        torch.testing.assert_close(one, other)
    assert cut[2].momentum == momentum


def test_a_frozen_batch_norm_stays_as_it_is() -> None:
    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> "Frozen":
            return super().train(False)

    frozen = Frozen(16)
    frozen.load_state_dict(frozen.state_dict() | {"running_mean": torch.full((16,), 0.3)})
    model = nn.Sequential(nn.Flatten(), frozen, nn.Linear(16, 1)).train()
    before = copy.deepcopy(model.state_dict())
    in_parts(model, 4, XB)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_failure_leaves_batch_norm_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 1))
    before = copy.deepcopy(model.state_dict())

    def calc(xb: torch.Tensor, targets: torch.Tensor, place: Place, share: float) -> torch.Tensor:
        if place.batch:
            raise MemoryError
        return calc_grad(xb, targets, model, mnist_loss, 0, Recipe(), place, share)

    with pytest.raises(MemoryError):
        Parts(2).backward(calc, XB, TARGETS, model, 2, Place())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model[1].momentum == 0.1


def test_a_parameter_that_nothing_depends_on_gets_no_step() -> None:
    model = small()
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    in_parts(model, 4, XB)
    assert model.get_parameter("unused").grad is None


class Counting(nn.Module):
    """Counts what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Buffer(torch.zeros(()))
        self.out = nn.Linear(16, 1)

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.add_(len(xb))
        logits: torch.Tensor = self.out(xb.flatten(1))
        return logits


@pytest.mark.parametrize(
    ("make", "refused"),
    [(Counting, True), (small, False), (lambda: nn.Sequential(nn.BatchNorm2d(1)), False)],
)
def test_other_buffers_that_training_changes_are_refused(
    make: Callable[[], nn.Module], refused: bool
) -> None:
    model = make()
    before = copy.deepcopy(model.state_dict())
    if refused:
        with pytest.raises(ConfigError, match="changes its buffer seen in training"):
            check_divisible(model, torch.rand(2, 1, 4, 4))
    else:
        check_divisible(model, torch.rand(2, 1, 4, 4))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
