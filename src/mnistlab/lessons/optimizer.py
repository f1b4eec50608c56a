"""What an optimizer does: a step down the slope, then forget the slope.

fastbook ch. 4, "An End-to-End Example of SGD" and "Creating an Optimizer".
"""

from typing import Any

import torch
from torch import Tensor, nn

from mnistlab import BasicOptim, Curves, build_model, load_data, mnist_loss
from mnistlab.data.batches import batches, epoch_order, to_float
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, check, check_true
from mnistlab.losses import targets_for

CHAPTER_SEED = 2287  # the notes do not name theirs; with this one the figures are theirs


def three_passes(model: nn.Module, xb: Tensor, targets: Tensor) -> list[float]:
    """The gradient of the bias after one, two and three backward passes without clearing."""
    _weights, bias = model.parameters()
    gradients = []
    for _pass in range(3):
        mnist_loss(model(xb), targets).backward()
        assert bias.grad is not None
        gradients.append(bias.grad.item())
    return gradients


def lesson(seed: int = 0) -> Lesson:
    """`seed` draws the models and the order of the batches."""
    yield Say("""Setup: two weights by hand, then linear and two-layer models on 3s and 7s. What
        does an optimizer do? Two weights, a loss w1^2 + w2^2, and a step of lr times the gradient:
        downwards.""")
    lr = 0.25
    w = nn.Parameter(torch.tensor([1.0, 2.0]))
    (w**2).sum().backward()
    assert w.grad is not None
    yield check("the gradient, 2w", w.grad, [2, 4], source="by hand")
    yield check("w - lr x gradient", w.detach() - lr * w.grad, [0.5, 1], source="by hand")
    BasicOptim([w], lr).step()  # in place
    yield check("the same from BasicOptim", w, [0.5, 1], source="by hand")
    yield check("the loss, 5 before the step", (w**2).sum(), 1.25, source="0.5^2 + 1^2")

    yield Say("""`backward` adds its gradients to those that are there. Three times the same batch
        of 4, without a step, and the gradient of the bias is there once, twice, three times. (Which
        model the notes drew is not known; the one of seed 2287 gives their figures.)""")
    data = load_data()
    images, labels = (tensor[:4] for tensor in data.train_ds.tensors)
    xb, targets = to_float(images), targets_for(labels, 2)
    model = build_model("linear", data.image_size, data.classes, CHAPTER_SEED, init="normal")
    passes = three_passes(model, xb, targets)
    yield check("gradient of the bias", passes, [-0.0017, -0.0034, -0.0051], within=0.00005)
    model = build_model("linear", data.image_size, data.classes, seed)
    passes = three_passes(model, xb, targets)
    multiples = [times * passes[0] for times in (1, 2, 3)]
    yield check("another model", passes, multiples, within=1e-6, source="1, 2, 3 times")
    BasicOptim(model.parameters(), lr=1.0).zero_grad()
    yield check_true("zero_grad forgets them", all(p.grad is None for p in model.parameters()))
    fresh = three_passes(model, xb, targets)[0]
    yield check("and the next pass starts afresh", fresh, passes[0], source="the first time")

    yield Ask("After 49 steps: how far is BasicOptim from the library's optimizer?")
    yield Say("""Now 49 steps, one epoch, beside `torch.optim.SGD`: the same weights to start from,
        the same batches. The library's offers momentum, weight decay and more; at its plainest it
        is BasicOptim.""")
    for name, lr in (("linear", 1.0), ("two-layer", 0.1)):
        weights, losses = [], []
        kinds: list[Any] = [BasicOptim, torch.optim.SGD]
        for kind in kinds:
            model = build_model(name, data.image_size, data.classes, seed)
            opt, history = kind(model.parameters(), lr), []
            order = epoch_order(len(data.train_ds), seed, epoch=0)
            for images, labels in batches(data.train_ds, 256, order):
                loss = mnist_loss(model(to_float(images)), targets_for(labels, 2))
                loss.backward()
                opt.step()
                opt.zero_grad()
                history.append(loss.item())
            weights.append(nn.utils.parameters_to_vector(model.parameters()))
            losses.append(history)
        title, steps = _("Two optimizers, one curve ({name})"), list(range(len(losses[0])))
        lines = {"BasicOptim": (steps, losses[0])}
        dots = {_("torch.optim.SGD, on the same curve"): (steps, losses[1])}
        yield Curves(title.format(name=name), lines, _("step"), _("loss of the batch"), dots)
        same, total = int((weights[0] == weights[1]).sum()), weights[0].numel()
        title = N_("{name}: weights equal to the last bit")
        yield check(title, same, total, source="all of them", name=name)
        largest = max(abs(one - two) for one, two in zip(*losses, strict=True))
        title = N_("{name}: largest difference of a loss")
        yield check(title, largest, 0, source="none", name=name)
    yield Say("""Now change this: `torch.optim.Adam` in place of `torch.optim.SGD`. How far do the
        weights part, and are these still good rates?""")
