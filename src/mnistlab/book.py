"""The figures of the chapter, as two sources print them: the study notes and the book.

They differ only where something is drawn at random. notes: four sets of Chinese study notes, whose
figures are those of the notebook run with seed 42 (`notebook_models`), but for the linear model
from scratch. book: fastai/fastbook `04_mnist_basics.ipynb` at commit be67ff5, of which
the printed book is made; its random draws are not known. All on the 2038 validation images. What
their own loop prints are means of batch means (7 batches of 256, one of 246), four digits; tables
count every image once. What is printed epoch by epoch is in `data/chapter4.csv`.
"""

import csv
from collections.abc import Callable

import torch
from torch import nn

from mnistlab.files import packaged
from mnistlab.models import LinearModel, TwoLayerModel

Printed = tuple[float, float]  # by the notes, nan where they leave it out; by the book
Table = dict[int, Printed]  # by epoch


def printed_tables() -> dict[str, dict[str, Table]]:
    """Curve → column → table: all figures that the chapter prints epoch by epoch."""
    curves: dict[str, dict[str, Table]] = {}
    with (packaged("data") / "chapter4.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            table = curves.setdefault(row["curve"], {}).setdefault(row["column"], {})
            table[int(row["epoch"])] = float(row["notes"] or "nan"), float(row["book"])
    return curves


def notebook_models() -> dict[str, list[nn.Module]]:
    """The models that the notes' notebook draws, by the title of their curve.

    fastbook sets seed 42 when it is imported. What the notebook takes from torch's generator from
    there on is followed in its order: also each pass over a DataLoader takes one number.
    """
    models: dict[str, list[nn.Module]] = {}

    def passes(count: int) -> None:
        for _ in range(count):
            torch.empty((), dtype=torch.int64).random_()

    def draw(title: str, make: Callable[..., nn.Module], *settings: str) -> None:
        models.setdefault(title, []).append(make((28, 28), 2, *settings))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(42)
        torch.randn(20)  # the points of the roller coaster, and its three parameters
        torch.randn(3)
        draw("random model", LinearModel, "normal")
        passes(2)
        LinearModel((28, 28), 2, "normal")  # from scratch: the notes have another one
        passes(1 + 1 + 2 * 21)  # the first batch, the score before, 21 epochs and their scores
        draw("nn.Linear, BasicOptim", LinearModel)
        passes(1 + 2 * 20)
        draw("nn.Linear, the library's SGD", LinearModel)
        passes(2 * 20)
        draw("nn.Linear, BasicOptim", LinearModel)  # that of the table
        passes(2 * 10)
        for shape in ((784, 30), (30,), (30, 1), (1,)):
            torch.randn(shape)  # two layers by hand, which it never trains
        draw("two layers", TwoLayerModel)
    return models
