"""The losses against the chapter's numbers, torch's own losses and the chapter's formula."""

import math

import pytest
import torch
from torch.nn import functional

from mnistlab.losses import (
    LOSSES,
    binary_cross_entropy,
    class_weights,
    cross_entropy,
    losses_for,
    mnist_loss,
    n_logits,
    targets_for,
    training_loss,
)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values).unsqueeze(1)


def logit(*probs: float) -> torch.Tensor:
    return column(*(math.log(p / (1 - p)) for p in probs))


def test_the_chapters_worked_example() -> None:
    # book.md §5: targets (1, 0, 1), predictions (0.9, 0.4, 0.2) → 0.4333; 0.8 for the last → 0.2333
    targets = column(1, 0, 1)
    assert mnist_loss(logit(0.9, 0.4, 0.2), targets).item() == pytest.approx(0.43333, abs=1e-5)
    assert mnist_loss(logit(0.9, 0.4, 0.8), targets).item() == pytest.approx(0.23333, abs=1e-5)


def test_mnist_loss_is_the_chapters_where_formula_to_the_bit_value_and_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.cat([torch.randn(500, 1) * 5, column(0.0, 50.0, -50.0, 200.0, -200.0)])
    targets = (torch.rand(505, 1) > 0.5).float()
    ours, chapters = (logits.clone().requires_grad_() for _ in range(2))
    loss = mnist_loss(ours, targets)
    probs = chapters.sigmoid()
    reference = torch.where(targets == 1, 1 - probs, probs).mean()
    loss.backward()
    reference.backward()
    assert torch.equal(loss, reference)
    assert ours.grad is not None
    assert chapters.grad is not None
    assert torch.equal(ours.grad, chapters.grad)


def test_binary_cross_entropy_equals_torchs() -> None:
    torch.manual_seed(1)
    logits, targets = torch.randn(300, 1) * 10, (torch.rand(300, 1) > 0.3).float()
    expected = functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(binary_cross_entropy(logits, targets), expected)


def test_binary_cross_entropy_survives_huge_logits() -> None:
    loss = binary_cross_entropy(column(1e4, -1e4), column(0, 1))
    assert loss.item() == pytest.approx(1e4)


def test_cross_entropy_equals_torchs_value_and_gradient() -> None:
    torch.manual_seed(2)
    ours = (torch.randn(200, 10) * 8).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    targets = torch.randint(0, 10, (200,))
    loss, reference = cross_entropy(ours, targets), functional.cross_entropy(theirs, targets)
    torch.testing.assert_close(loss, reference)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_losses_equal_torchs(smoothing: float) -> None:
    torch.manual_seed(3)
    logits, targets = torch.randn(200, 10) * 5, torch.randint(0, 10, (200,))
    expected = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    torch.testing.assert_close(
        training_loss(LOSSES["cross-entropy"], smoothing)(logits, targets), expected
    )
    # one logit is the cross-entropy of two: of (x, 0)
    one, first = torch.randn(200, 1) * 5, torch.randint(0, 2, (200, 1)).float()
    both = torch.cat([one, torch.zeros(200, 1)], dim=1)
    labels = (first.squeeze(1) == 0).long()
    expected = functional.cross_entropy(both, labels, label_smoothing=smoothing)
    torch.testing.assert_close(training_loss(LOSSES["bce"], smoothing)(one, first), expected)
    assert training_loss(LOSSES["mnist"], 0.0) is mnist_loss


def test_weights_are_inverse_to_the_images_of_a_class_and_one_on_average() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    weights = class_weights(labels, 2)
    torch.testing.assert_close(weights, torch.tensor([100 / 180, 100 / 20]))
    assert weights[labels].mean().item() == pytest.approx(1)
    torch.testing.assert_close(
        class_weights(torch.tensor([2, 0, 2, 2]), 3), torch.tensor([4 / 3, 4 / 3, 4 / 9])
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", LOSSES)
def test_weighted_losses_are_torchs_sums_divided_by_the_size_value_and_gradient(
    name: str, smoothing: float
) -> None:
    torch.manual_seed(4)
    n_classes, b = 5 if name == "cross-entropy" else 2, 64
    labels = torch.multinomial(torch.arange(1.0, n_classes + 1), b, replacement=True)
    targets, weights = targets_for(labels, n_classes), class_weights(labels, n_classes)
    ours = (torch.randn(b, n_logits(n_classes)) * 4).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    if name == "cross-entropy":
        reference = functional.cross_entropy(
            theirs, targets, weights, reduction="sum", label_smoothing=smoothing
        )
    elif name == "bce":
        smooth, each = targets * (1 - smoothing) + smoothing / 2, weights[labels].unsqueeze(1)
        reference = functional.binary_cross_entropy_with_logits(
            theirs, smooth, each, reduction="sum"
        )
    else:  # the chapter's formula, by hand
        smoothing = 0.0
        probs = theirs.sigmoid()
        distances = torch.where(targets == 1, 1 - probs, probs)
        reference = sum(weights[int(label)] * d for label, d in zip(labels, distances, strict=True))
    loss = training_loss(LOSSES[name], smoothing, weights)(ours, targets)
    loss.backward()
    (reference.sum() / b).backward()
    torch.testing.assert_close(loss, reference.sum() / b, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0)
    assert (loss - training_loss(LOSSES[name], smoothing)(ours, targets)).abs() > 0.01
    # parts of a batch add up, whatever classes are in them
    parts = [
        training_loss(LOSSES[name], smoothing, weights)(ours[part], targets[part]) * len(part)
        for part in (torch.arange(10), torch.arange(10, b))
    ]
    torch.testing.assert_close(torch.stack(parts).sum() / b, loss)


@pytest.mark.parametrize("loss", [mnist_loss, binary_cross_entropy])
@pytest.mark.parametrize("shape", [(256,), (1, 256), (256, 2), (255, 1)])
def test_shapes_that_would_broadcast_in_silence_are_refused(loss, shape) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"must both be \(b, 1\)"):
        loss(torch.zeros(256, 1), torch.zeros(shape))


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (torch.zeros(8, 3), torch.zeros(8, 1, dtype=torch.int64)),
        (torch.zeros(8, 3), torch.zeros(8)),
        (torch.zeros(8), torch.zeros(8, dtype=torch.int64)),
    ],
)
def test_cross_entropy_refuses_targets_that_are_not_one_class_per_image(
    logits: torch.Tensor, targets: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match="needs logits"):
        cross_entropy(logits, targets)


def test_the_default_losses_fit_the_number_of_classes() -> None:
    assert losses_for(2) == ("mnist", "bce")
    assert losses_for(3) == losses_for(10) == ("cross-entropy",)
    assert set(LOSSES) == {*losses_for(2), *losses_for(3)}
