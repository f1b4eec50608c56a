"""One step of SGD on real images, number by number. fastbook ch. 4, "SGD"."""

import copy

import torch
from torch import Tensor, nn

from mnistlab import BasicOptim, Images, build_model, load_data, mnist_loss
from mnistlab.data.batches import batches, epoch_order, to_float
from mnistlab.errors import ConfigError
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true
from mnistlab.losses import targets_for
from mnistlab.names import nearest, printable

RATES = {"linear": 1.0, "two-layer": 0.1}  # the chapter's


def pixel_weights(model: nn.Module) -> nn.Parameter:
    """The weights that the pixels are multiplied with: the first matrix of the model."""
    return next(param for param in model.parameters() if param.ndim == 2)


def as_images(weights: Tensor | None) -> Tensor:
    """(784, 1) of the linear model, (30, 784) of two layers: as (units, 28, 28), same memory."""
    assert weights is not None
    return (weights.T if weights.shape[1] == 1 else weights).reshape(-1, 28, 28)


def lesson(model: str = "linear", seed: int = 0, lr: float | None = None) -> Lesson:
    """`seed` draws the model (linear or two-layer) and the batch; `lr` None is the chapter's.

    Raises ConfigError for another model, or a rate that is not a number above 0.
    """
    if model not in RATES:
        raise ConfigError(f"lesson step: model {printable(model)}{nearest(model, RATES)}")
    if lr is not None and not 0 < lr <= 1e6:
        raise ConfigError(f"lesson step: lr {lr:g}; it must be a number above 0, up to 1e6")
    yield Say("""Setup: one model and one batch, the first 256 images of a shuffled epoch. What does
        a step of SGD do to a weight, and to the loss? Here are six of the images.""")
    data = load_data()
    order = epoch_order(len(data.train_ds), seed, epoch=0)
    images, labels = next(batches(data.train_ds, 256, order))
    xb, targets = to_float(images), targets_for(labels, 2)  # (256, 1, 28, 28), (256, 1)
    digits = [data.classes[label] for label in labels.tolist()]
    yield Show("images of each class", {digit: digits.count(digit) for digit in data.classes})
    six = {_("{n}: a {digit}").format(n=i + 1, digit=digits[i]): xb[i, 0] for i in range(6)}
    yield Images(_("Six of 256"), six, limits=(0, 1))

    yield Say("Initialise: the {model} model, its weights drawn at random.", model=model)
    net = build_model(model, data.image_size, data.classes, seed)
    yield Show("its parameters", {key: param.shape for key, param in net.named_parameters()})

    yield Say("Predict: one logit an image; above 0, a probability above 0.5, the model says 3.")
    logits = net(xb)
    probs = logits.detach().sigmoid()
    yield Show("logits of the six", logits[:6].flatten())
    yield Show("as probabilities of a 3", probs[:6].flatten())
    yield Say("Loss: how far each probability is from its target, 1 for a 3 and 0 for a 7.")
    errors = torch.where(targets == 1, 1 - probs, probs)
    yield Show("errors of the six", errors[:6].flatten())
    loss = mnist_loss(logits, targets)
    yield check("the loss", loss, errors.mean(), within=1e-6, source="mean of 256 errors")

    yield Say("Gradient: one backward pass gives each weight its slope. Take the steepest one.")
    loss.backward()
    slopes = as_images(pixel_weights(net).grad).clone()
    steepest = tuple(map(int, torch.unravel_index(slopes.abs().argmax(), slopes.shape)))
    yield Show("its unit, and its pixel's row and column", steepest)
    yield Say("Is it right? Move this weight alone, a little up, a little down: see the loss.")
    # A copy in float64, as the rounding of float32 is larger than the change of the loss.
    twin, h, losses = copy.deepcopy(net).double(), 1e-7, []
    weights = as_images(pixel_weights(twin).data)
    for move in (h, -2 * h):
        weights[steepest] += move
        losses.append(mnist_loss(twin(xb.double()), targets.double()).item())
    slope = (losses[0] - losses[1]) / (2 * h)
    yield check("its gradient", slopes[steepest], slope, within=1e-6, source="finite differences")

    rate = RATES[model] if lr is None else lr
    text = N_("Step: subtract lr times its gradient from every weight; lr is {rate:g}.")
    yield Say(text, rate=rate)
    weights = as_images(pixel_weights(net).data)
    before = weights.clone()
    opt = BasicOptim(net.parameters(), rate)
    opt.step()
    opt.zero_grad()
    w, move = before[steepest].item(), rate * slopes[steepest].item()
    yield Show("that weight, and lr x gradient", [w, move])
    near = 1e-6 * max(1, abs(move))  # the digits of float32
    yield check("the new weight", weights[steepest], w - move, within=near, source="w - lr x g")
    yield Ask("By how much does this one step lower the loss of the batch?")
    after = mnist_loss(net(xb), targets).item()
    yield Show("the loss of the same batch, before and after", [loss.item(), after])
    if lr is None:  # a rate of one's own may be too high
        yield check_true("the loss fell", after < loss.item())
    step = _("- lr x gradient")
    pictures = {_("before"): before, step: -rate * slopes, _("after"): weights}
    of_unit = {name: image[steepest[0]] for name, image in pictures.items()}
    title = _("The weights of that unit: before + step = after")
    yield Images(title, of_unit, signed=True)
    yield Say("Repeat with the next 48 batches: that is an epoch. Stop when it is good enough.")
    yield Say("""Now change this: `--model two-layer --lr 1`. Where is the steepest weight now, and
        how much of the loss does the step win at the same rate?""")
