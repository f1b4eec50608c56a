"""What an optimizer does: a step down the slope, then forget the slope.

We take a step by hand and one with `BasicOptim`, watch gradients add up until they are cleared,
and let `BasicOptim` and the library's SGD train side by side on the real images: not one bit
differs. fastbook ch. 4, "An End-to-End Example of SGD" and "Creating an Optimizer".
"""

import copy

import torch
from torch import nn

from mnistlab.data.batches import batches, epoch_order, to_float
from mnistlab.data.folders import ImageData
from mnistlab.data.named import load_data
from mnistlab.lessons.kit import Lesson, Say, check, check_true
from mnistlab.losses import mnist_loss, targets_for
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves

SEED_OF_THE_CHAPTER = 2287  # the notes do not tell theirs; with this one the figures are theirs


def lesson(seed: int = 0) -> Lesson:
    """`seed` draws the models and the order of the batches."""
    yield from one_step()
    data = load_data()
    yield from adding_up(data, seed)
    yield Say(
        "Now 49 steps, one epoch, beside `torch.optim.SGD`: the same weights to start from, the "
        "same batches. The library's offers momentum, weight decay and more; at its plainest it "
        "is BasicOptim."
    )
    yield from side_by_side(data, seed, "linear", lr=1.0)
    yield from side_by_side(data, seed, "two-layer", lr=0.1)


def one_step() -> Lesson:
    yield Say("Two weights, a loss w1^2 + w2^2, and a step of lr times the gradient: downwards.")
    lr = 0.25
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    (w**2).sum().backward()
    assert w.grad is not None
    yield check("the gradient, 2w", w.grad, [2, 4], source="by hand")
    yield check("w - lr x gradient", w.detach() - lr * w.grad, [0.5, 1], source="by hand")

    param = nn.Parameter(torch.tensor([1.0, 2.0]))
    opt = BasicOptim([param], lr)
    (param**2).sum().backward()
    opt.step()
    yield check("the same from BasicOptim", param.detach(), [0.5, 1], source="by hand")
    yield check(
        "the loss, 5 before the step", (param.detach() ** 2).sum(), 1.25, source="0.5^2 + 1^2"
    )


def adding_up(data: ImageData, seed: int) -> Lesson:
    yield Say(
        "`backward` adds its gradients to those that are there. Three times the same batch of 4, "
        "without a step, and the gradient of the bias is there once, twice, three times. (Which "
        "model the notes drew is not known; the one of seed 2287 gives their figures.)"
    )
    images, labels = (tensor[:4] for tensor in data.train_ds.tensors)
    xb, targets = to_float(images), targets_for(labels, 2)

    def passes(model: nn.Module) -> list[float]:
        _weights, bias = model.parameters()
        found = []
        for _ in range(3):
            mnist_loss(model(xb), targets).backward()
            assert bias.grad is not None
            found.append(bias.grad.item())
        return found

    model = build_model("linear", data.image_size, data.classes, SEED_OF_THE_CHAPTER, init="normal")
    yield check("gradient of the bias", passes(model), [-0.0017, -0.0034, -0.0051], within=0.00005)
    model = build_model("linear", data.image_size, data.classes, seed)
    once, *more = passes(model)
    yield check(
        "another model",
        [once, *more],
        [once, 2 * once, 3 * once],
        within=1e-6,
        source="1, 2, 3 times",
    )
    opt = BasicOptim(model.parameters(), lr=1.0)
    opt.zero_grad()
    yield check_true("zero_grad forgets them", all(p.grad is None for p in model.parameters()))
    yield check("and the next pass starts afresh", passes(model)[0], once, source="the first time")


def side_by_side(data: ImageData, seed: int, name: str, lr: float) -> Lesson:
    ours = build_model(name, data.image_size, data.classes, seed)
    theirs = copy.deepcopy(ours)
    basic = BasicOptim(ours.parameters(), lr)
    sgd = torch.optim.SGD(theirs.parameters(), lr)
    losses: dict[str, list[float]] = {"BasicOptim": [], "torch.optim.SGD": []}
    order = epoch_order(len(data.train_ds), seed, epoch=0)
    for images, labels in batches(data.train_ds, 256, order):
        xb, targets = to_float(images), targets_for(labels, 2)
        for model, history in zip((ours, theirs), losses.values(), strict=True):
            loss = mnist_loss(model(xb), targets)
            loss.backward()
            history.append(loss.item())
        basic.step()
        basic.zero_grad()
        sgd.step()
        sgd.zero_grad()
    lines = {who: ([*range(49)], history) for who, history in losses.items()}
    yield Curves(f"Two optimizers, one curve ({name})", lines, "step", "loss of the batch")
    pairs = [*zip(ours.parameters(), theirs.parameters(), strict=True)]
    same = sum(int((mine == other).sum()) for mine, other in pairs)
    total = sum(mine.numel() for mine, _ in pairs)
    yield check(f"{name}: weights equal to the last bit", same, total, source="all of them")
    most = max(abs(one - two) for one, two in zip(*losses.values(), strict=True))
    yield check(f"{name}: largest difference of a loss", most, 0, source="none")
