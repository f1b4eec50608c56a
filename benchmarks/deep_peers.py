"""Peers of the deep models: `python -m benchmarks.deep_peers pytorch-example|fastai FOLDER`.

Both print one line of JSON with the accuracies and seconds of each epoch.
"""

import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers import import_fastai
from mnistlab.data.named import load_data
from mnistlab.devices import torchvision

ENOUGH = 0.990


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """What `torchvision.datasets.MNIST` does with an item: array, Pillow image, transform."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        transforms = torchvision().transforms
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[i].numpy())), int(self.labels[i])


def pytorch_example() -> dict[str, list[float]]:
    """The net and the settings of pytorch/examples, mnist/main.py, until 0.990 is passed.

    Two convolutions of 32 and 64, dropout, 128 hidden; Adadelta at 1.0, times 0.7 an epoch; batches
    of 64, an item at a time.
    """
    torch.manual_seed(1)
    data = load_data("mnist")
    train_dl = DataLoader(Digits(*data.train_ds.tensors), batch_size=64, shuffle=True)
    valid_dl = DataLoader(Digits(*data.valid_ds.tensors), batch_size=1000)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.25), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, 10),
    )  # fmt: skip
    opt = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(opt, step_size=1, gamma=0.7)
    found: dict[str, list[float]] = {"accuracy": [], "training": []}
    while not found["accuracy"] or (found["accuracy"][-1] < ENOUGH and len(found["accuracy"]) < 14):
        started = time.perf_counter()
        model.train()
        for xb, yb in train_dl:
            opt.zero_grad()
            functional.nll_loss(functional.log_softmax(model(xb), dim=1), yb).backward()
            opt.step()
        scheduler.step()
        found["training"].append(time.perf_counter() - started)
        model.eval()
        with torch.no_grad():
            right = sum(int((model(xb).argmax(1) == yb).sum()) for xb, yb in valid_dl)
        found["accuracy"].append(right / len(data.valid_ds))
    return found


def fastai(folder: Path) -> dict[str, list[float]]:
    """The chapter's last step: resnet18 from scratch, one epoch, from the PNG folder."""
    vision = import_fastai()
    loaders = vision.ImageDataLoaders.from_folder(folder)
    learner = vision.vision_learner(
        loaders, vision.resnet18, pretrained=False, loss_func=functional.cross_entropy,
        metrics=vision.accuracy,
    )  # fmt: skip
    started = time.perf_counter()
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1, 0.1)
    seconds = time.perf_counter() - started
    return {"accuracy": [float(learner.recorder.values[-1][-1])], "seconds": [seconds]}


if __name__ == "__main__":
    result = fastai(Path(sys.argv[2])) if sys.argv[1] == "fastai" else pytorch_example()
    print(json.dumps(result))
