"""`lesson backprop`: gradients by hand, beside torch's own, and the notes' factor of 128."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from mnistlab.lessons import backprop
from mnistlab.lessons.kit import Check, Item, Show
from mnistlab.report.pictures import Curves


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These products are small; sharing each of them between threads costs more than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def items() -> list[Item]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    items = list(backprop.lesson())
    torch.set_num_threads(threads)
    return items


def failed(items: list[Item]) -> list[Check]:
    return [item for item in items if isinstance(item, Check) and not item.holds]


def test_every_check_holds(items: list[Item]) -> None:
    assert sum(isinstance(item, Check) for item in items) >= 12
    assert failed(items) == []


@pytest.mark.parametrize("seed", range(20))
def test_every_check_holds_for_20_seeds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backprop, "STEPS", 100)
    state = torch.get_rng_state()
    assert failed(list(backprop.lesson(seed))) == []
    assert torch.equal(torch.get_rng_state(), state)


def test_the_losses_of_400_steps_are_shown_every_50(items: list[Item]) -> None:
    shown = {item.title: item.value for item in items if isinstance(item, Show)}
    assert len(shown["loss, the notes' gradients"]) == 9
    (picture,) = [item for item in items if isinstance(item, Curves)]
    for steps, losses in picture.lines.values():
        assert list(steps) == list(range(0, 401, 50))
        assert len(losses) == 9


def test_backward_agrees_with_torchs_modules_and_its_own_loss() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False))
    x, y = torch.randn(backprop.N, 5), torch.randn(backprop.N, 3)
    # torch's mean is over all numbers, 3 an example
    (3 * nn.functional.mse_loss(net(x), y)).backward()
    first, second = net.parameters()
    d_w1, d_w2 = backprop.backward(x, first.detach().T, second.detach().T, y)
    assert first.grad is not None
    assert second.grad is not None
    torch.testing.assert_close(d_w1, first.grad.T)
    torch.testing.assert_close(d_w2, second.grad.T)


def test_the_notes_gradients_are_128_times_too_small() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w1, w2, y = (
        torch.randn(*shape, generator=generator)
        for shape in ((backprop.N, 5), (5, 4), (4, 3), (backprop.N, 3))
    )
    right, notes = backprop.backward(x, w1, w2, y), backprop.backward_of_notes(x, w1, w2, y)
    for ours, theirs in zip(right, notes, strict=True):
        assert torch.equal(ours, 128 * theirs)  # 128 is a power of two: not a bit is lost
