"""One step of SGD on real images, number by number.

The first batch of a run goes once through the chapter's steps: logits, loss, the gradient of one
weight (by autograd, and again by moving it), and where it goes. fastbook ch. 4, "SGD".
"""

import copy

import torch
from torch import Tensor, nn

from mnistlab.data.batches import batches, epoch_order, to_float
from mnistlab.data.named import load_data
from mnistlab.errors import ConfigError
from mnistlab.lessons.kit import Lesson, Say, Show, check, check_true
from mnistlab.losses import mnist_loss, targets_for
from mnistlab.models import build_model
from mnistlab.names import nearest, printable
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Images

RATES = {"linear": 1.0, "two-layer": 0.1}  # the chapter's


def lesson(model: str = "linear", seed: int = 0, lr: float | None = None) -> Lesson:
    """`seed` draws the model (linear or two-layer) and the batch; `lr` None is the chapter's.

    Raises ConfigError for another model, or a rate that is not a number above 0.
    """
    if model not in RATES:
        raise ConfigError(f"lesson step: model {printable(model)}{nearest(model, RATES)}")
    if lr is not None and not 0 < lr <= 1e6:
        raise ConfigError(f"lesson step: lr {lr:g}; it must be a number above 0, up to 1e6")
    return first_step(model, seed, lr)


def first_step(name: str, seed: int, lr: float | None) -> Lesson:
    data = load_data()
    order = epoch_order(len(data.train_ds), seed, epoch=0)
    images, labels = next(batches(data.train_ds, 256, order))
    xb, targets = to_float(images), targets_for(labels, 2)
    digits = [data.classes[label] for label in labels.tolist()]
    yield Say("The batch: the first 256 images of a shuffled epoch. Here are six of them.")
    yield Show("images of each class", {digit: digits.count(digit) for digit in data.classes})
    yield Images("Six of 256", {f"{i + 1}: a {digits[i]}": xb[i, 0] for i in range(6)})
    yield Say(f"Initialise: the {name} model, its weights drawn at random.")
    model = build_model(name, data.image_size, data.classes, seed)
    yield Show("its parameters", {key: [*param.shape] for key, param in model.named_parameters()})
    yield from prediction(model, xb, targets)
    yield from gradient(model, xb, targets)
    yield from step(model, xb, targets, lr or RATES[name], sure=lr is None)
    yield Say("Repeat with the next 48 batches: that is an epoch. Stop when it is good enough.")


def prediction(model: nn.Module, xb: Tensor, targets: Tensor) -> Lesson:
    yield Say("Predict: one logit an image; above 0, a probability above 0.5, the model says 3.")
    with torch.no_grad():
        logits = model(xb)
        yield Show("logits of the six", logits[:6].flatten())
        yield Show("as probabilities of a 3", logits[:6].sigmoid().flatten())
        yield Say("Loss: how far each probability is from its target, 1 for a 3 and 0 for a 7.")
        errors = torch.where(targets == 1, 1 - logits.sigmoid(), logits.sigmoid())
        yield Show("errors of the six", errors[:6].flatten())
        loss = mnist_loss(logits, targets)
    yield check("the loss", loss, errors.mean(), within=1e-6, source="mean of 256 errors")


def pixel_weights(model: nn.Module) -> nn.Parameter:
    return next(param for param in model.parameters() if param.ndim == 2)


def as_images(weights: Tensor | None) -> Tensor:
    """(784, 1) of the linear model, (30, 784) of two layers: as (units, 28, 28), same memory."""
    assert weights is not None
    images: Tensor = (weights.T if weights.shape[1] == 1 else weights).unflatten(1, (28, 28))
    return images


def steepest(slopes: Tensor) -> tuple[int, int, int]:
    unit, row, column = torch.unravel_index(slopes.abs().argmax(), slopes.shape)
    return int(unit), int(row), int(column)


def gradient(model: nn.Module, xb: Tensor, targets: Tensor) -> Lesson:
    yield Say("Gradient: one backward pass gives each weight its slope. Take the steepest one.")
    mnist_loss(model(xb), targets).backward()
    slopes = as_images(pixel_weights(model).grad)
    where = steepest(slopes)
    yield Show("its unit, and its pixel's row and column", where)
    yield Say("Is it right? Move this weight alone, a little up, a little down: see the loss.")
    twin, h, losses = copy.deepcopy(model).double(), 1e-7, []  # float32 would drown such an h
    weights = as_images(pixel_weights(twin).data)
    for move in (h, -2 * h):
        weights[where] += move
        losses.append(mnist_loss(twin(xb.double()), targets.double()).item())
    rise = (losses[0] - losses[1]) / (2 * h)
    yield check("its gradient", slopes[where], rise, within=1e-6, source="finite differences")


def step(model: nn.Module, xb: Tensor, targets: Tensor, lr: float, sure: bool) -> Lesson:
    yield Say(f"Step: subtract lr times its gradient from every weight; lr is {lr:g}.")
    weights = as_images(pixel_weights(model).data)
    slopes = as_images(pixel_weights(model).grad)
    where = steepest(slopes)
    before, loss = weights.clone(), mnist_loss(model(xb), targets).item()
    opt = BasicOptim(model.parameters(), lr)
    opt.step()
    opt.zero_grad()
    w, move = before[where].item(), lr * slopes[where].item()
    yield Show("that weight, and lr x gradient", [w, move])
    digits = 1e-6 * max(1, abs(move))  # as far as float32 can tell
    yield check("the new weight", weights[where], w - move, within=digits, source="w - lr x g")
    after = mnist_loss(model(xb), targets).item()
    yield Show("the loss of the same batch, before and after", [loss, after])
    if sure:  # a rate of one's own may be too high
        yield check_true("the loss fell", after < loss)
    seen = {"weights before": before, "minus their gradient": -slopes, "weights after": weights}
    for title, images in seen.items():
        yield Images(f"That unit: {title}", {title: images[where[0]]}, signed=True)
