"""How many mini-batches there are, in what order, how to average over them, and why there are any.

fastbook ch. 4, "SGD and Mini-Batches".
"""

import math
from itertools import islice
from string import ascii_lowercase

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mnistlab import Curves, build_model, mnist_loss
from mnistlab.data.batches import batches, epoch_order, to_float
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true, images_of, trained
from mnistlab.losses import Loss, cross_entropy, predictions, targets_for
from mnistlab.training import compute_logits


def gradient(model: nn.Module, loss_func: Loss, images: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the weights, computed from these images."""
    loss = loss_func(model(to_float(images)), targets)
    return torch.autograd.grad(loss, list(model.parameters()))[0]


def lesson(seed: int = 0, digits: str = "two") -> Lesson:
    """`seed` shuffles the batches and draws the models. digits: `two` (3 and 7) or `all`."""
    data = images_of(digits)
    loss_func = mnist_loss if digits == "two" else cross_entropy
    yield Say("""Setup: numbers and letters first, then images and the linear model. How many
        batches are there, in what order, and why are there any? 15 numbers in batches of 5,
        shuffled; 26 letters in batches of 6, as they are.""")
    order = epoch_order(15, seed, epoch=0)
    numbers = [xb.tolist() for (xb,) in batches(TensorDataset(torch.arange(15)), 5, order)]
    yield Show("numbers", numbers)
    yield check("how many batches", len(numbers), 3)
    once = sorted(n for xb in numbers for n in xb) == [*range(15)]
    yield check_true("every number once", once)
    letters = TensorDataset(torch.tensor([ord(letter) for letter in ascii_lowercase]))
    groups = ["".join(map(chr, xb)) for (xb,) in batches(letters, 6)]
    yield Show("letters", groups)
    yield check("how many batches, how large the last", [len(groups), len(groups[-1])], [5, 2])

    yield Say("""An order is a function of (seed, epoch). Nothing is remembered between epochs, so a
        run that was stopped goes on exactly: at its third batch, say, without the first two.""")
    order = epoch_order(26, seed, epoch=1)
    yield check_true("asked again, the same", torch.equal(order, epoch_order(26, seed, 1)))
    yield check_true("epoch 2 has another", not torch.equal(order, epoch_order(26, seed, 2)))
    third = list(batches(letters, 6, order))[2][0]
    (resumed,) = next(batches(letters, 6, order, 2))
    yield check_true("a start at 2 begins with the third batch", torch.equal(third, resumed))

    yield Say("""A mean of batch means gives the last batch a full share, though it has fewer
        images; so each of them counts for more. Weigh the batches by size, or simply count
        images.""")
    model = build_model("linear", data.image_size, data.classes, seed)
    images, labels = data.valid_ds.tensors
    right = (predictions(compute_logits(model, images)) == labels).double()
    parts = right.split(256)
    means, sizes = [float(part.mean()) for part in parts], [len(part) for part in parts]
    overall = float(right.mean())
    full, rest = divmod(len(images), 256)
    yield check("batches of the validation images", sizes, [256] * full + [rest], source="by hand")
    title = N_("accuracy: mean of batch means, and mean over images")
    yield Show(title, [sum(means) / len(means), overall])
    weighted = sum(mean * size for mean, size in zip(means, sizes, strict=True)) / len(right)
    yield check("weighted by size", weighted, overall, within=1e-12, source="over images")

    yield Say("""Why not one image at a time? Because its gradient is mostly noise. Here is how far
        the gradient of a batch is from that of all images, as a share of the latter's length.""")
    yield Ask("How much less noise have 256 images than one: 2, 16 or 256 times?")
    images, labels = data.train_ds.tensors
    ds = TensorDataset(images, targets_for(labels, len(data.classes)))
    whole = gradient(model, loss_func, *ds.tensors)
    noise = {}
    for size in (1, 4, 16, 64, 256, 1024):
        some = islice(batches(ds, size, epoch_order(len(ds), seed, 0)), min(len(ds) // size, 200))
        off = torch.stack([gradient(model, loss_func, *xy) - whole for xy in some])
        noise[size] = float(off.square().sum((1, 2)).mean().sqrt() / whole.norm())
    yield Show("noise by size of batch", {size: round(share, 3) for size, share in noise.items()})
    law = {_("1 / root of the size"): ([*noise], [noise[1] / math.sqrt(size) for size in noise])}
    dots = {_("measured"): ([*noise], [*noise.values()])}  # they lie on the line, nearly
    title = _("Noise of the gradient")
    yield Curves(title, law, _("batch size"), _("noise / gradient"), dots)
    yield check_true("one image has more noise than gradient", noise[1] > 1)
    fall = noise[1] / noise[256]
    yield check("256 images have 16 times less", fall, 16, within=4, source="root 256")
    yield check("4 times as many halve it", noise[64] / noise[256], 2, within=0.4, source="root 4")

    yield Say("""Why not all at once? Noise falls with the root of the size only, and the price is
        steps: an epoch looks at every image once, whatever the size of its batches.""")
    losses = {}
    for size in (len(ds), 1024, 256):
        model = build_model("linear", data.image_size, data.classes, seed)
        rows = trained(model, data, lr=1.0, epochs=1, batch_size=size, loss=loss_func, seed=seed)
        losses[size] = rows[0].valid_loss
        steps = math.ceil(len(ds) / size)
        title = N_("steps of {size} images, and the loss after")
        yield Show(title, [steps, losses[size]], size=size)
    best = min(losses, key=lambda size: losses[size])
    yield check("batch size with the lowest loss after one epoch", best, 256, source="most steps")
    yield Say("""Now change this: `lr=10.0`. Do larger steps make up for fewer of them?""")
