"""Which images are in which batch."""

import itertools
import string

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from mnistlab.data.batches import batches, epoch_order, to_float


def numbers(n: int) -> TensorDataset:
    return TensorDataset(torch.arange(n, dtype=torch.uint8), torch.arange(n) * 10)


def test_the_chapters_examples_fifteen_by_five_and_letters_by_six() -> None:
    # fastbook ch. 4: DataLoader(range(15), batch_size=5, shuffle=True), and the letters by 6
    shuffled = [xb.tolist() for xb, _ in batches(numbers(15), 5, epoch_order(15, 1, 0))]
    assert [len(batch) for batch in shuffled] == [5, 5, 5]
    assert sorted(itertools.chain(*shuffled)) == list(range(15))
    letters = TensorDataset(torch.tensor([ord(c) for c in string.ascii_lowercase]))
    found = ["".join(map(chr, xb.tolist())) for (xb,) in batches(letters, 6)]
    assert found == ["abcdef", "ghijkl", "mnopqr", "stuvwx", "yz"]


@pytest.mark.parametrize(("n", "size"), [(10, 3), (10, 10), (10, 99), (1, 1), (0, 4)])
def test_unshuffled_batches_are_those_of_torchs_dataloader(n: int, size: int) -> None:
    ours = list(batches(numbers(n), size))
    theirs = list(DataLoader(numbers(n), batch_size=size)) if n else []
    assert len(ours) == len(theirs)
    for mine, torchs in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, torchs, strict=True))


def test_shuffled_batches_follow_the_order_with_their_labels() -> None:
    order = torch.tensor([3, 0, 4, 1, 2])
    assert [(xb.tolist(), yb.tolist()) for xb, yb in batches(numbers(5), 2, order)] == [
        ([3, 0], [30, 0]),
        ([4, 1], [40, 10]),
        ([2], [20]),
    ]


@pytest.mark.parametrize("order", [None, torch.tensor([3, 0, 4, 1, 2])])
def test_starting_later_gives_the_rest(order: torch.Tensor | None) -> None:
    everything = [xb.tolist() for xb, _ in batches(numbers(5), 2, order)]
    for start in range(5):
        rest = [xb.tolist() for xb, _ in batches(numbers(5), 2, order, start)]
        assert rest == everything[start:]


def test_an_order_is_a_permutation_and_depends_on_seed_and_epoch_alone() -> None:
    orders = {}
    for seed, epoch in itertools.product((0, 1, 2, 10, 11, 2**40), (0, 1, 2, 10, 11)):
        order = epoch_order(50, seed, epoch)
        assert sorted(order.tolist()) == list(range(50))
        torch.rand(7)
        assert torch.equal(order, epoch_order(50, seed, epoch))
        orders[seed, epoch] = tuple(order.tolist())
    assert len(set(orders.values())) == len(orders)  # neighbours share no epoch


def test_an_order_leaves_torchs_own_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    epoch_order(100, 3, 4)
    list(batches(numbers(10), 3, epoch_order(10, 0, 0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_place_is_as_likely() -> None:
    firsts = [int(epoch_order(4, seed, 0)[0]) for seed in range(400)]
    # binomial, n 400, p 1/4: mean 100, standard deviation 8.7; five of them either way
    assert all(abs(firsts.count(k) - 100) < 43 for k in range(4))


def test_floats_are_0_to_1_with_a_channel() -> None:
    images = torch.tensor([[[0, 51], [255, 128]]], dtype=torch.uint8)
    floats = to_float(images)
    assert floats.dtype == torch.float32
    assert floats.shape == (1, 1, 2, 2)
    assert floats.flatten().tolist() == pytest.approx([0, 0.2, 1, 128 / 255])
    assert floats.max() == 1
