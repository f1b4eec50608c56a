"""A net of two layers, softmax and its loss, ten classes. fastbook ch. 4 and 5."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mnistlab.exercises.kit import Exercise, digits, images_of
from mnistlab.language import N_
from mnistlab.losses import cross_entropy as our_cross_entropy


def filled(model: nn.Module, value: float) -> nn.Module:
    """`model` with every parameter set to `value`: its output does not depend on their order."""
    with torch.no_grad():
        for param in model.parameters():
            param.fill_(value)
    return model


def try_simple_net(simple_net: Any) -> Iterator[tuple[str, Any]]:
    xb = images_of("3")[:5].flatten(1)
    for hidden in (30, 5):
        model = simple_net(784, hidden)
        count = sum(param.numel() for param in model.parameters())
        yield N_("how many weights and biases"), count
        yield N_("five images, all parameters 0.01"), filled(model, 0.01)(xb)
        yield N_("five images, all parameters -0.01: the ReLU is 0"), filled(model, -0.01)(xb)


def _net(*behind: nn.Module, relu: bool = True, bias: bool = True) -> Any:
    middle = [nn.ReLU()] if relu else []
    return lambda n, h: nn.Sequential(
        nn.Linear(n, h, bias=bias), *middle, nn.Linear(h, 1, bias=bias), *behind
    )


simple_net = Exercise(
    task=N_("""\
Write the chapter's `simple_net`: a function that makes a model of two linear layers with a ReLU
between them. The model takes images as rows (b, inputs) and gives logits (b, 1).
"""),
    code="""\
from torch import nn


def simple_net(inputs: int, hidden: int) -> nn.Module:
    ...
""",
    right={"simple_net": _net()},
    scenario=try_simple_net,
    mistakes={
        N_("There is no ReLU between the layers: two linear layers alone are one linear layer."): (
            _net(relu=False)
        ),
        N_("There is a ReLU behind the last layer, but the logit of a 7 must be negative."): (
            _net(nn.ReLU())
        ),
        N_("There is a sigmoid behind the last layer; the sigmoid belongs into the loss."): (
            _net(nn.Sigmoid())
        ),
        N_("The layers have no bias."): _net(bias=False),
        N_("The number of hidden units is always 30: use what is asked for."): (
            lambda inputs, hidden: _net()(inputs, 30)
        ),
    },
    hints=N_("""\
`nn.Sequential` puts modules one after the other.
`nn.Linear(a, b)` goes from a numbers to b numbers, with weights and a bias.
A linear layer to `hidden`, `nn.ReLU()`, a linear layer to 1.
"""),
)  # fmt: skip


def try_cross_entropy(softmax: Any, cross_entropy: Any) -> Iterator[tuple[str, Any]]:
    logits = torch.tensor([[0.9376, 0.5373, 0.6736], [2.0, -1.0, 0.0]])
    labels = torch.tensor([1, 0])
    yield N_("softmax of the chapter's three logits, and of three others"), softmax(logits)
    yield N_("softmax of 1000, 1000 and 0"), softmax(torch.tensor([[1000.0, 1000.0, 0.0]]))
    yield N_("cross-entropy of the two rows"), cross_entropy(logits, labels)
    large = torch.tensor([[0.0, 50.0, -60.0], [-200.0, 0.0, 0.0]])
    yield N_("cross-entropy where the model is sure and wrong"), cross_entropy(large, labels)
    logits.requires_grad_()
    cross_entropy(logits, labels).backward()
    yield N_("its gradient"), logits.grad


def _loss(picked: Any) -> Any:
    """A cross-entropy that makes of the log softmax (b, C) and of that of the true class (b,)."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        logs = logits.log_softmax(1)
        result: Tensor = picked(logs, logs[range(len(labels)), labels])
        return result

    return loss


cross_entropy = Exercise(
    task=N_("""\
Write `softmax`, logits (b, C) to probabilities (b, C) of which each row sums to 1, and
`cross_entropy`: minus the log of the probability of the true class, its mean over the batch.
labels: (b,), the true class of each row, 0 to C-1. Logits may be large: e^1000 is infinite, so
subtract the largest logit of a row first; and no log of a probability that is 0.
"""),
    code="""\
from torch import Tensor


def softmax(logits: Tensor) -> Tensor:
    ...


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    ...
""",
    right={"softmax": lambda logits: logits.softmax(1), "cross_entropy": our_cross_entropy},
    scenario=try_cross_entropy,
    mistakes={
        N_("Your softmax sums to 1 over a column; the classes of an image are a row, axis 1."): {
            "softmax": lambda logits: logits.softmax(0)
        },
        N_("e^1000 is infinite, and infinite by infinite is no number: subtract the largest logit "
           "of each row before `exp`; the softmax stays the same."): {
            "softmax": lambda logits: logits.exp() / logits.exp().sum(1, keepdim=True)
        },
        N_("e^x is missing: logits may be negative, probabilities may not."): {
            "softmax": lambda logits: logits / logits.sum(1, keepdim=True)
        },
        N_("The minus is missing: the log of a probability is negative, a loss is not."): {
            "cross_entropy": _loss(lambda logs, true: true.mean())
        },
        N_("This is the sum over the batch; asked is the mean."): {
            "cross_entropy": _loss(lambda logs, true: -true.sum())
        },
        N_("This is the mean over all classes; only the true class of each row counts."): {
            "cross_entropy": _loss(lambda logs, true: -logs.mean())
        },
        N_("The log of a probability that became 0 is infinite: the log of a softmax is "
           "logit - log(sum of e^logit), which needs no probability."): {
            "cross_entropy": lambda logits, labels: (
                -logits.softmax(1)[range(len(labels)), labels].log().mean()
            )
        },
        N_("The log is missing: 1 minus the probability is not the cross-entropy."): {
            "cross_entropy": _loss(lambda logs, true: (1 - true.exp()).mean())
        },
    },
    hints=N_("""\
Divide e^logit by the sum of e^logit over its row; `keepdim=True` keeps the shapes fitting.
`logits[range(len(labels)), labels]` picks the logit of the true class of each row.
The log of the softmax is logit - max - log(sum of e^(logit - max)).
"""),
)  # fmt: skip


def try_ten_digits(mean_images: Any, nearest: Any) -> Iterator[tuple[str, Any]]:
    images, labels, new = digits()
    means = mean_images(images, labels)
    yield N_("the mean image of each digit"), means
    yield N_("the nearest mean of some images"), nearest(new, means)
    yield N_("the nearest mean of a mean image: itself"), nearest(means, means)


def _nearest(distance: Any, largest: bool = False) -> Any:
    def nearest(images: Tensor, means: Tensor) -> Tensor:
        distances: Tensor = distance(images.unsqueeze(1) - means)
        return distances.argmax(1) if largest else distances.argmin(1)

    return nearest


def _mean_images(images: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([images[labels == digit].mean(0) for digit in range(10)])


ten_digits = Exercise(
    task=N_("""\
Pixel similarity for all ten digits. `mean_images`: the mean image of each digit 0 to 9, in this
order, (10, 28, 28). `nearest`: for each image the digit whose mean is nearest (L1), (n,).
images: floats (n, 28, 28); labels: (n,), each 0 to 9, in any order; means: (10, 28, 28).
"""),
    code="""\
from torch import Tensor


def mean_images(images: Tensor, labels: Tensor) -> Tensor:
    ...


def nearest(images: Tensor, means: Tensor) -> Tensor:
    ...
""",
    right={"mean_images": _mean_images, "nearest": _nearest(lambda d: d.abs().mean((-1, -2)))},
    scenario=try_ten_digits,
    mistakes={
        N_("This is the mean of all images; take those of one digit, labels == digit."): {
            "mean_images": lambda images, labels: images.mean(0).expand(10, -1, -1)
        },
        N_("You divide by the number of all images; divide by those of the digit."): {
            "mean_images": lambda images, labels: torch.stack(
                [images[labels == digit].sum(0) / len(images) for digit in range(10)]
            )
        },
        N_("The means are not in the order 0 to 9 but in that in which the digits appear."): {
            "mean_images": lambda images, labels: _mean_images(images, labels)[
                list(dict.fromkeys(labels.tolist()))
            ]
        },
        N_("You take the farthest mean: the nearest has the smallest distance, `argmin`."): {
            "nearest": _nearest(lambda d: d.abs().mean((-1, -2)), largest=True)
        },
        N_("Without `abs`, too bright and too dark pixels cancel each other."): {
            "nearest": _nearest(lambda d: d.mean((-1, -2)))
        },
        N_("These are the smallest distances; asked is which digit has them: `argmin`."): {
            "nearest": lambda images, means: (
                (images.unsqueeze(1) - means).abs().mean((-1, -2)).amin(1)
            )
        },
    },
    hints=N_("""\
`images[labels == 3]` are all images of a 3; `torch.stack` makes one tensor of ten.
images (n, 1, 28, 28) - means (10, 28, 28) gives each image against each mean: (n, 10, 28, 28).
The mean over the last two axes leaves (n, 10); `argmin(1)` says which is the smallest.
"""),
)  # fmt: skip

EXERCISES = {"simple_net": simple_net, "cross_entropy": cross_entropy, "ten_digits": ten_digits}
