"""A net of two layers, softmax and its loss, ten classes. fastbook ch. 4 and 5."""

from typing import Any

import torch
from torch import Tensor, nn

from mnistlab.exercises.kit import CUT, Exercise, Tries, digits, gradient, images_of
from mnistlab.exercises.pixels import distance
from mnistlab.language import N_
from mnistlab.losses import cross_entropy as our_cross_entropy


def filled(model: nn.Module, value: float) -> nn.Module:
    """`model` with every parameter set to `value`: its output does not depend on their order."""
    with torch.no_grad():
        for param in model.parameters():
            param.fill_(value)
    return model


def try_simple_net(simple_net: Any) -> Tries:
    xb = images_of("3")[:5].flatten(1)
    for hidden in (30, 5):
        model = simple_net(784, hidden)
        count = sum(param.numel() for param in model.parameters())
        yield N_("how many weights and biases"), count
        yield N_("five images, all parameters 0.01"), filled(model, 0.01)(xb)
        yield N_("five images, all parameters -0.01: the ReLU is 0"), filled(model, -0.01)(xb)


def net(*behind: nn.Module, relu: bool = True) -> Any:
    middle = [nn.ReLU()] if relu else []
    return lambda n, h: nn.Sequential(nn.Linear(n, h), *middle, nn.Linear(h, 1), *behind)


simple_net = Exercise(
    task=N_("""Write the chapter's `simple_net`: a function that
makes a model of two linear layers with a ReLU between them. The
model takes images as rows (b, inputs) and gives logits (b, 1)."""),
    code="""
from torch import nn
def simple_net(inputs: int, hidden: int) -> nn.Module: ...
""",
    right={"simple_net": net()},
    scenario=try_simple_net,
    mistakes={
        N_("There is no ReLU between them: two linear layers alone are one."): net(relu=False),
        N_("A ReLU at the end: but the logit of a 7 must be negative."): net(nn.ReLU()),
        N_("A sigmoid at the end: it belongs into the loss."): net(nn.Sigmoid()),
    },
    hints=N_("""`nn.Sequential` puts modules one after the other.
`nn.Linear(a, b)` goes from a numbers to b numbers, with weights and a bias.
A linear layer to `hidden`, `nn.ReLU()`, a linear layer to 1."""),
)


def try_cross_entropy(softmax: Any, cross_entropy: Any) -> Tries:
    logits = torch.tensor([[0.9376, 0.5373, 0.6736], [2.0, -1.0, 0.0]])
    labels = torch.tensor([1, 0])
    yield N_("softmax of the chapter's three logits, and of three others"), softmax(logits)
    yield N_("softmax of 1000, 1000 and 0"), softmax(torch.tensor([[1000.0, 1000.0, 0.0]]))
    yield N_("cross-entropy of the two rows"), cross_entropy(logits, labels)
    large = torch.tensor([[0.0, 50.0, -60.0], [-200.0, 0.0, 0.0]])
    yield N_("cross-entropy where the model is sure and wrong"), cross_entropy(large, labels)
    logits.requires_grad_()
    yield N_("its gradient"), gradient(cross_entropy(logits, labels), logits)


def loss(of_true: Any) -> Any:
    """A cross-entropy: `of_true` of the log softmax of each row's true class, (b, 1)."""

    def cross_entropy(logits: Tensor, labels: Tensor) -> Any:
        return of_true(logits.log_softmax(1).gather(1, labels.unsqueeze(1)))

    return {"cross_entropy": cross_entropy}


cross_entropy = Exercise(
    task=N_("""Write `softmax`, logits (b, C) to probabilities (b, C) of which each row sums
to 1, and `cross_entropy`: minus the log of the probability of the true class, its mean over
the batch. labels: (b,), the true class of each row, 0 to C-1. Logits may be large: e^1000 is
infinite, so subtract the largest logit of a row first; and no log of a probability that is 0."""),
    code="""
def softmax(logits: Tensor) -> Tensor: ...
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor: ...
""",
    right={"softmax": lambda logits: logits.softmax(1), "cross_entropy": our_cross_entropy},
    scenario=try_cross_entropy,
    mistakes={
        N_("The softmax sums to 1 over a column: take axis 1, a row."): {
            "softmax": lambda logits: logits.softmax(0)
        },
        N_("e^1000 is infinite: subtract the largest logit of each row first."): {
            "softmax": lambda logits: logits.exp() / logits.exp().sum(1, keepdim=True)
        },
        N_("The minus is missing: a loss is not negative."): loss(lambda logs: logs.mean()),
        N_("The log of a probability of 0 is infinite: compute it from the logits."): (
            loss(lambda logs: -logs.exp().log().mean())
        ),
        CUT: loss(lambda logs: -logs.mean().detach()),
    },
    hints=N_("""Divide e^logit by its sum over the row; `keepdim=True` keeps the shapes fitting.
`logits[range(len(labels)), labels]` picks the logit of the true class of each row.
The log of the softmax is logit - max - log(sum of e^(logit - max))."""),
)


def try_ten_digits(mean_images: Any, nearest: Any) -> Tries:
    images, labels, new = digits()
    means = mean_images(images, labels)
    yield N_("the mean image of each digit"), means
    yield N_("the nearest mean of some images"), nearest(new, means)
    yield N_("the nearest mean of a mean image: itself"), nearest(means, means)


def nearest_by(choose: Any) -> Any:
    """`choose` among the distances of each image to the ten means, (n, 10)."""
    return lambda images, means: choose(distance(images.unsqueeze(1), means), 1)


def mean_images_of(images: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([images[labels == digit].mean(0) for digit in range(10)])


ten_digits = Exercise(
    task=N_("""Pixel similarity for all ten digits. `mean_images`: the mean image of each digit 0
to 9, in this order, (10, 28, 28). `nearest`: for each image the digit whose mean is nearest (L1),
(n,). images: floats (n, 28, 28); labels: (n,), each 0 to 9, in any order; means: (10, 28, 28)."""),
    code="""
def mean_images(images: Tensor, labels: Tensor) -> Tensor: ...
def nearest(images: Tensor, means: Tensor) -> Tensor: ...
""",
    right={"mean_images": mean_images_of, "nearest": nearest_by(torch.argmin)},
    scenario=try_ten_digits,
    mistakes={
        N_("Take the images of one digit: labels == digit."): {
            "mean_images": lambda images, labels: images.mean(0).expand(10, -1, -1)
        },
        N_("You take the farthest mean: `argmin`."): {"nearest": nearest_by(torch.argmax)},
        N_("Which digit has the smallest distance: `argmin`, not `min`."): {
            "nearest": nearest_by(torch.amin)
        },
    },
    hints=N_("""`images[labels == 3]` are all images of a 3; `torch.stack` makes one tensor of ten.
images (n, 1, 28, 28) - means (10, 28, 28) gives each image less each mean: (n, 10, 28, 28).
The mean over the last two axes leaves (n, 10); `argmin(1)` says which is the smallest."""),
)
