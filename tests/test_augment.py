"""Augmentation: small, repeatable, and never outside the levels."""

import torch

from mnistlab.data.batches import augment
from mnistlab.data.store import ImageData


def test_what_is_done_depends_on_seed_epoch_and_position_alone() -> None:
    xb = torch.rand(8, 1, 28, 28)
    first = augment(xb, 1, 2, 3)
    torch.manual_seed(99)
    torch.rand(5)
    before = torch.random.get_rng_state()
    assert torch.equal(augment(xb, 1, 2, 3), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (2, 1, 3)):
        assert not torch.equal(augment(xb, *other), first)


def test_levels_stay_in_range_and_shapes_are_kept() -> None:
    for shape in ((4, 1, 28, 28), (1, 1, 5, 9), (300, 1, 16, 16)):
        out = augment(torch.rand(shape), 0, 0, 0)
        assert out.shape == shape
        assert float(out.min()) >= 0
        assert float(out.max()) <= 1


def test_images_move_a_little_each_in_its_own_way(sample: ImageData) -> None:
    xb = sample.train_ds.tensors[0][:400].unsqueeze(1) / 255
    out = augment(xb, 0, 0, 0)
    assert not any(torch.equal(before, after) for before, after in zip(xb, out, strict=True))
    rows = torch.arange(28.0)

    def centers(images: torch.Tensor) -> torch.Tensor:
        mass = images.sum((1, 2, 3))
        down = (images.sum((1, 3)) * rows).sum(1) / mass
        right = (images.sum((1, 2)) * rows).sum(1) / mass
        return torch.stack([down, right], dim=1)

    moved = centers(out) - centers(xb)
    assert float(moved.abs().max()) < 4.5  # two pixels of shift, and what turning adds
    assert float(moved.mean().abs()) < 0.3  # to all sides alike
    assert 0.5 < float(moved.std()) < 2
    # the ink stays about the same: it is not scaled away or pushed out of the frame
    share = out.sum((1, 2, 3)) / xb.sum((1, 2, 3))
    assert float(share.min()) > 0.7
    assert float(share.max()) < 1.45


def test_a_batch_of_equal_images_gets_as_many_different_ones() -> None:
    xb = torch.zeros(50, 1, 28, 28)
    xb[:, :, 8:20, 12:16] = 1
    assert len(torch.unique(augment(xb, 3, 1, 4).flatten(1), dim=0)) == 50
