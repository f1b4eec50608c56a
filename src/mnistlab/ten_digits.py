"""The chapter's steps with all ten digits: figures of our own, with their range over seeds.

No source prints them. Only those without a random draw have a verdict; the others are `measured`.
"""

import torch

from mnistlab.data.store import ImageData
from mnistlab.losses import cross_entropy
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves
from mnistlab.reproduction import Figures, Progress, exact, models_of, spread
from mnistlab.studies.stack import Stack, train_stack, wide_loss
from mnistlab.training import compute_logits, evaluate

COUNTS = {  # of the images of 0 to 9
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "valid": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}
STEPS = {
    # model, init, rate, epochs, seed of the order; None: the chapter's, a digit after the other
    "from scratch": ("linear", {"init": "normal"}, 1.0, 0, None),
    "linear, chapter's order": ("linear", {}, 1.0, 20, None),
    "linear, shuffled": ("linear", {}, 1.0, 5, 0),
    "two layers, shuffled": ("two-layer", {}, 0.5, 5, 0),
}


def ten_digits(
    data: ImageData, seeds: int | None, progress: Progress
) -> tuple[Figures, list[Curves]]:
    """As `reproduce`, of MNIST, without curves; losses and accuracies are of its 10,000 images."""
    figures = [
        exact("1 data", f"images in {name}, 0 to 9", COUNTS[name], list(split.counts.values()))
        for name, split in (("train", data.train), ("valid", data.valid))
    ]
    images, labels = data.valid_ds.tensors
    for distance, accuracy in (("l1", 0.6685), ("rmse", 0.8203)):
        model = build_model("pixel-similarity", data.image_size, data.classes, distance=distance)
        model.fit(*data.train_ds.tensors)  # type: ignore[operator]
        ours = evaluate(model, data.valid_ds, data.classes, cross_entropy).accuracy
        figures.append(exact("2 pixel similarity", f"by {distance}", accuracy, round(ours, 4)))
    loss = cross_entropy(torch.zeros(1, 10), labels[:1]).item()
    figures.append(exact("5 loss", "loss of logits of 0: ln 10", 2.302585, round(loss, 6)))
    for title, (name, settings, lr, epochs, order_seed) in STEPS.items():
        progress(title)
        stack = Stack(models_of(data, range(seeds or 6), name, **settings))
        trained = train_stack(
            stack,
            BasicOptim(stack.parameters(), lr=lr),
            data.train_ds,
            data.valid_ds,
            epochs=epochs,
            order_seed=order_seed,
            loss_func=cross_entropy,
            n_classes=10,
        )
        rows = [compute_logits(stack, images), *(logits for _, logits in trained)]
        losses = [wide_loss(cross_entropy, logits, labels) for logits in rows]
        accuracies = [(logits.argmax(2) == labels[:, None]).double().mean(0) for logits in rows]
        for column, values in (("loss", losses), ("accuracy", accuracies)):
            for epoch in sorted({0, min(1, epochs), epochs // 2, epochs}):
                item = f"{title}, {column}, epoch {epoch}"
                figures.append(spread("6 training", item, None, values[epoch]))
    return figures, []
