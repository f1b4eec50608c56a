"""The job of `mnistlab train` written with fastai, from the PNG folder: `… fastai_job FOLDER`.

The chapter's way: every file opened once into a tensor, stacked, two DataLoaders, a Learner with
SGD and mnist_loss, 20 epochs of a linear model.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.peers import batch_accuracy, chapter_loss, import_fastai


def items(vision: Any, folder: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """All (x, y) of a split, the 3s first."""
    stacks = [
        torch.stack(
            [vision.tensor(vision.Image.open(file)) for file in sorted((folder / digit).iterdir())]
        )
        for digit in ("3", "7")
    ]
    x = torch.cat(stacks).view(-1, 784).float() / 255
    y = torch.tensor([1.0] * len(stacks[0]) + [0.0] * len(stacks[1])).unsqueeze(1)
    return list(zip(x, y, strict=True))


def main() -> None:
    """Train and print the last accuracy."""
    vision = import_fastai()
    root = Path(sys.argv[1])
    loaders = vision.DataLoaders(
        vision.DataLoader(items(vision, root / "train"), batch_size=256, shuffle=True),
        vision.DataLoader(items(vision, root / "valid"), batch_size=256),
    )
    learner = vision.Learner(
        loaders,
        nn.Linear(784, 1),
        opt_func=vision.SGD,
        loss_func=chapter_loss,
        metrics=batch_accuracy,
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(20, lr=1.0)
    print(learner.recorder.values[-1][-1])


if __name__ == "__main__":
    main()
