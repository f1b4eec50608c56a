"""The same fits, each as somebody would write them: `python -m benchmarks.peers PEER MODEL [N]`.

Prints one line of JSON: seconds of the fit alone, accuracy on the validation images. All use the
same tensors, batches of 256 in the chapter's order (or their own shuffle) and the same first
weights.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mnistlab.data.named import load_data
from mnistlab.data.store import ImageData
from mnistlab.losses import mnist_loss
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim
from mnistlab.training import train_epochs

EPOCHS = {"linear": 20, "two-layer": 40}
LR = {"linear": 1.0, "two-layer": 0.1}
Fit = Callable[[ImageData, str, bool], tuple[float, float]]


def mnistlab(data: ImageData, name: str, shuffle: bool) -> tuple[float, float]:
    """Ours, as `mnistlab train` runs it: on one thread."""
    torch.set_num_threads(1)
    return all_cores(data, name, shuffle)


def all_cores(data: ImageData, name: str, shuffle: bool) -> tuple[float, float]:
    """Ours on as many threads as torch chooses, as the others run."""
    model = build_model(name, data.image_size, data.classes)
    opt = BasicOptim(model.parameters(), LR[name])
    started = time.perf_counter()
    *_, last = train_epochs(
        model, opt, mnist_loss, data.train_ds, data.valid_ds, data.classes,
        epochs=EPOCHS[name], batch_size=256, shuffle=shuffle,
    )  # fmt: skip
    return time.perf_counter() - started, last.accuracy


def dataloader(data: ImageData, name: str, shuffle: bool) -> tuple[float, float]:
    """The plain PyTorch loop over `DataLoader(TensorDataset)`, torch's SGD."""
    train, valid = _float_sets(data)
    model = _module(name)
    sgd = torch.optim.SGD(model.parameters(), lr=LR[name])
    train_dl = DataLoader(train, batch_size=256, shuffle=shuffle)
    valid_dl = DataLoader(valid, batch_size=256)
    accuracy = 0.0
    started = time.perf_counter()
    for _ in range(EPOCHS[name]):
        for xb, yb in train_dl:
            loss = chapter_loss(model(xb), yb)
            loss.backward()
            sgd.step()
            sgd.zero_grad()
        with torch.no_grad():
            right = sum(int(((model(xb) > 0) == (yb == 1)).sum()) for xb, yb in valid_dl)
        accuracy = right / len(valid)
    return time.perf_counter() - started, accuracy


def fastai(data: ImageData, name: str, shuffle: bool) -> tuple[float, float]:
    """fastai's Learner, as the chapter writes it, without its progress bar."""
    vision = import_fastai()
    train, valid = _float_sets(data)
    train_dl = vision.DataLoader(_items(train), batch_size=256, shuffle=shuffle)
    valid_dl = vision.DataLoader(_items(valid), batch_size=256)
    learner = vision.Learner(
        vision.DataLoaders(train_dl, valid_dl),
        _module(name),
        opt_func=vision.SGD,
        loss_func=chapter_loss,
        metrics=batch_accuracy,
    )
    started = time.perf_counter()
    with learner.no_bar(), learner.no_logging():
        learner.fit(EPOCHS[name], lr=LR[name])
    return time.perf_counter() - started, float(learner.recorder.values[-1][-1])


def products(data: ImageData, name: str, shuffle: bool) -> tuple[float, float]:
    """The floor of one thread: only the products that such a fit needs, forward and backward."""
    torch.set_num_threads(1)
    return products_all_cores(data, name, shuffle)


def products_all_cores(data: ImageData, name: str, shuffle: bool) -> tuple[float, float]:
    """The same floor on as many threads as torch chooses."""
    x = data.train_ds.tensors[0].float().flatten(1) / 255
    valid = data.valid_ds.tensors[0].float().flatten(1) / 255
    width = 1 if name == "linear" else 30
    weights, grad = torch.randn(784, width), torch.randn(256, width)
    started = time.perf_counter()
    for _ in range(EPOCHS[name]):
        for first in range(0, len(x), 256):
            xb = x[first : first + 256]
            xb @ weights
            xb.T @ grad[: len(xb)]
        valid @ weights
    return time.perf_counter() - started, 0.0


PEERS: dict[str, Fit] = {
    "mnistlab": mnistlab,
    "mnistlab-all-cores": all_cores,
    "fastai": fastai,
    "dataloader": dataloader,
    "products": products,
    "products-all-cores": products_all_cores,
}


def chapter_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The chapter's own formula."""
    probs = logits.sigmoid()
    return torch.where(targets == 1, 1 - probs, probs).mean()


def batch_accuracy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The chapter's own metric."""
    return ((logits.sigmoid() > 0.5) == targets).float().mean()


def import_fastai() -> Any:
    """`fastai.vision.all`, beside a torchvision whose compiled operators may be missing."""
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for operator in ("nms", "qnms"):
        try:
            getattr(torch.ops.torchvision, operator)
        except AttributeError:
            torch.library.define(f"torchvision::{operator}", signature)
    import fastai.vision.all as vision

    return vision


def _module(name: str) -> nn.Module:
    # drawn with the seed that ours has, so that both start from the same weights
    torch.manual_seed(0)
    if name == "linear":
        return nn.Linear(784, 1)
    return nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 1))


def _items(ds: TensorDataset) -> list[tuple[torch.Tensor, ...]]:
    # the chapter's `dset = list(zip(x, y))`
    return [ds[i] for i in range(len(ds))]


def _float_sets(data: ImageData) -> list[TensorDataset]:
    return [
        TensorDataset(
            ds.tensors[0].float().flatten(1) / 255, (ds.tensors[1] == 0).float().unsqueeze(1)
        )
        for ds in (data.train_ds, data.valid_ds)
    ]


def main() -> None:
    """One fit."""
    peer, name, order = sys.argv[1:4]
    seconds, accuracy = PEERS[peer](load_data(), name, order == "shuffled")
    print(json.dumps({"seconds": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
