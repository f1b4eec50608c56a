"""How many mini-batches there are, in what order, how to average over them, and why there are any.

An order is computed and not remembered; a mean of batch means is not the mean; and a larger batch
buys a less noisy gradient at the price of steps. fastbook ch. 4, "SGD and Mini-Batches".
"""

import math
from itertools import islice
from string import ascii_lowercase

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from mnistlab.data.batches import batches, epoch_order, to_float
from mnistlab.data.folders import ImageData
from mnistlab.data.named import load_data
from mnistlab.lessons.kit import Lesson, Say, Show, check, check_true
from mnistlab.losses import mnist_loss, predictions, targets_for
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves
from mnistlab.training import compute_logits, train_epochs


def lesson(seed: int = 0) -> Lesson:
    """`seed` shuffles the batches and draws the models."""
    yield from cutting_and_order(seed)
    data = load_data()
    yield from means_of_means(data, seed)
    yield from noise(data, seed)
    yield from steps(data, seed)


def cutting_and_order(seed: int) -> Lesson:
    yield Say("15 numbers in batches of 5, shuffled; 26 letters in batches of 6, as they are.")
    order = epoch_order(15, seed, epoch=0)
    numbers = [xb.tolist() for (xb,) in batches(TensorDataset(torch.arange(15)), 5, order)]
    yield Show("numbers", numbers)
    yield check("how many batches", len(numbers), 3)
    once = sorted(n for xb in numbers for n in xb) == [*range(15)]
    yield check_true("every number once", once)
    letters = TensorDataset(torch.tensor([ord(letter) for letter in ascii_lowercase]))
    words = ["".join(map(chr, xb)) for (xb,) in batches(letters, 6)]
    yield Show("letters", words)
    yield check("how many batches, how large the last", [len(words), len(words[-1])], [5, 2])
    yield Say(
        "An order is a function of (seed, epoch). Nothing is remembered between epochs, so a run "
        "that was stopped goes on exactly: at its third batch, say, without the first two."
    )
    order = epoch_order(26, seed, epoch=1)
    yield check_true("asked again, the same", torch.equal(order, epoch_order(26, seed, 1)))
    yield check_true("epoch 2 has another", not torch.equal(order, epoch_order(26, seed, 2)))
    (third,), (resumed,) = list(batches(letters, 6, order))[2], next(batches(letters, 6, order, 2))
    yield check_true("a start at 2 begins with the third batch", torch.equal(third, resumed))


def means_of_means(data: ImageData, seed: int) -> Lesson:
    yield Say(
        "A mean of batch means gives the last batch a full share, though it has fewer images; so "
        "each of them counts for more. Weigh the batches by size, or simply count images."
    )
    model = build_model("linear", data.image_size, data.classes, seed)
    images, labels = data.valid_ds.tensors
    right = (predictions(compute_logits(model, images)) == labels).double()
    means, sizes = zip(*((float(rb.mean()), len(rb)) for rb in right.split(256)), strict=True)
    overall = float(right.mean())
    yield check("batches of the validation images", sizes, [256] * 7 + [246], source="2038 images")
    yield Show("accuracy: mean of batch means, and mean over images", [sum(means) / 8, overall])
    weighted = sum(mean * size for mean, size in zip(means, sizes, strict=True)) / len(right)
    yield check("weighted by size", weighted, overall, within=1e-12, source="over images")


def noise(data: ImageData, seed: int) -> Lesson:
    yield Say(
        "Why not one image at a time? Because its gradient is mostly noise. Here is how far the "
        "gradient of a batch is from that of all images, as a share of the latter's length."
    )
    model = build_model("linear", data.image_size, data.classes, seed)
    images, labels = data.train_ds.tensors
    ds = TensorDataset(images, targets_for(labels, 2))

    def gradient(images: Tensor, targets: Tensor) -> Tensor:
        loss = mnist_loss(model(to_float(images)), targets)
        return torch.autograd.grad(loss, list(model.parameters()))[0]

    full, off = gradient(*ds.tensors), {}
    for size in (1, 4, 16, 64, 256, 1024):
        some = islice(batches(ds, size, epoch_order(len(ds), seed, 0)), min(len(ds) // size, 200))
        squares = torch.stack([(gradient(*batch) - full).square().sum() for batch in some])
        off[size] = float(squares.mean().sqrt() / full.norm())
    yield Show("noise by size of batch", {size: round(share, 3) for size, share in off.items()})
    powers, law = [math.log2(size) for size in off], [off[1] / math.sqrt(size) for size in off]
    lines = {"measured": (powers, [*off.values()]), "1 / root of the size": (powers, law)}
    yield Curves("Noise of the gradient", lines, "batch size, as a power of 2", "noise / gradient")
    yield check_true("one image has more noise than gradient", off[1] > 1)
    yield check("256 images have 16 times less", off[1] / off[256], 16, within=4, source="root 256")
    yield check("4 times as many halve it", off[64] / off[256], 2, within=0.4, source="root 4")


def steps(data: ImageData, seed: int) -> Lesson:
    yield Say(
        "Why not all at once? Noise falls with the root of the size only, and the price is steps: "
        "an epoch looks at every image once, whatever the size of its batches."
    )
    found = {}
    for size in (len(data.train_ds), 1024, 256):
        model = build_model("linear", data.image_size, data.classes, seed)
        opt, sets = BasicOptim(model.parameters(), lr=1.0), (data.train_ds, data.valid_ds)
        run = train_epochs(
            model, opt, mnist_loss, *sets, data.classes, epochs=1, batch_size=size, seed=seed
        )
        found[size] = next(run).valid_loss
        count = math.ceil(len(data.train_ds) / size)
        yield Show(f"steps of {size} images, and the loss after", [count, found[size]])
    best = min(found, key=lambda size: found[size])
    yield check("batch size with the lowest loss after one epoch", best, 256, source="most steps")
