"""Every figure of the chapter beside ours: equal, inside our seeds' range, or different.

The exact figures are the checks of the lessons; the trained ones are compared with the range that
many seeds give, since the notes' random draw is not known.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mnistlab import book
from mnistlab.config import resolve
from mnistlab.data.folders import ImageData
from mnistlab.experiment import prepare
from mnistlab.figures import SMOOTHING, Figure, Track, batch_means_of, hits, plain, spread
from mnistlab.lessons import run_lesson
from mnistlab.lessons.kit import Check
from mnistlab.losses import mnist_loss
from mnistlab.models import LinearModel, TwoLayerModel, build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves
from mnistlab.studies.seeds import (
    StackedLinear,
    StackedTwoLayer,
    Steps,
    train_many,
    wide_logits,
)
from mnistlab.training import evaluate

LINEAR_SEEDS = 128
TWO_LAYER_SEEDS = 24
RESIDUAL_SEEDS = 5
# fastai's defaults for `cnn_learner` and `fit_one_cycle(1, 0.1)`
_RESIDUAL = {
    "batch_size": 64, "lr": 0.1, "optimizer": "adamw", "momentum": 0.95, "beta2": 0.99,
    "weight_decay": 0.01, "label_smoothing": 0.0, "loss": "bce",
}  # fmt: skip
_GROUP = 8  # two-layer models per stack: more of them fall out of the processor's cache

# Which lessons hold the exact figures of which part of the chapter.
EXACT = {
    "1 data": ("pixels",),
    "2 pixel similarity": ("similarity",),
    "3 derivatives": ("derivative",),
    "4 small problems": ("rollercoaster", "line", "backprop", "momentum", "activations"),
    "5 loss": ("loss", "batches", "optimizer"),
}


# Lessons on what the chapter states without a number: their statements are rows as well.
STATED = ("derivative", "backprop", "momentum")


@dataclass
class Reproduction:
    """All figures so far, and the chapter's curves inside the band of our seeds."""

    figures: list[Figure] = field(default_factory=list)
    curves: list[Curves] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing differs without a reason."""
        return not any(f.verdict == "differs" and not f.reason for f in self.figures)


Progress = Callable[[str], None]


def reproduce(
    data: ImageData,
    seeds: int | None = None,
    progress: Progress = lambda step: None,
    *,
    full: bool = False,
) -> Reproduction:
    """Compute every figure of the chapter on the bundled data.

    `full` also trains the residual net, half a minute a seed. `seeds` replaces the default numbers
    of seeds (128 linear, 24 two-layer). `progress` is told the step that begins.
    """
    found = Reproduction(data_figures(data))
    for section, lessons in EXACT.items():
        for lesson in lessons:
            progress(f"lesson {lesson}")
            found.figures += exact_figures(section, lesson)
    progress("random models")
    linear_seeds = range(seeds or LINEAR_SEEDS)
    found.figures += random_figures(data, linear_seeds)
    for title, init, make_opt, values in (
        ("linear from scratch", "normal", _basic(1.0), book.SCRATCH),
        ("nn.Linear, BasicOptim", "uniform", _basic(1.0), book.BASIC_OPTIM),
        ("nn.Linear, the library's SGD", "uniform", _library(1.0), book.LIBRARY_SGD),
    ):
        progress(f"{title}, {len(linear_seeds)} seeds")
        table = book.LINEAR_TABLE if values is book.BASIC_OPTIM else {}
        stack = StackedLinear(_linear_models(data, linear_seeds, init))
        track = Track(data, len(linear_seeds))
        for metrics in train_many(
            stack, make_opt, data.train_ds, data.valid_ds, epochs=len(values)
        ):
            track.add(metrics)
        found.figures += track.batch_mean_figures(title, values)
        found.figures += track.table_figures("nn.Linear", table)
        found.curves.append(track.curves(title, values, track.batch_means))
    found_two = _two_layer(data, range(seeds or TWO_LAYER_SEEDS), progress)
    found.figures += found_two.table_figures("two layers", book.TWO_LAYER_TABLE)
    chapter = {epoch: row[2] for epoch, row in book.TWO_LAYER_TABLE.items()}
    found.curves.append(found_two.curves("two layers", chapter, found_two.accuracies))
    found.figures += residual_figures(range(RESIDUAL_SEEDS), progress) if full else _left_out()
    found.figures.sort(key=lambda figure: figure.section)  # stable: the order within stays
    return found


def residual_figures(seeds: range, progress: Progress = lambda step: None) -> list[Figure]:
    """The chapter's last table: resnet18, one cycle over one epoch, peak rate 0.1, batch 64."""
    rows = []
    for seed in seeds:
        progress(f"resnet18, seed {seed} of {len(seeds)}")
        flags = {"model": "resnet18", "seed": seed, **_RESIDUAL}
        rows += list(prepare(resolve(flags)).train())
    losses = torch.stack([row.batch_losses.double() for row in rows])
    weights = SMOOTHING ** torch.arange(losses.shape[1] - 1, -1, -1, dtype=torch.float64)
    smoothed = (losses * weights).sum(1) / weights.sum()
    columns = {
        "train_loss (smoothed)": smoothed,
        "valid_loss": torch.tensor([row.valid_loss for row in rows]),
        "accuracy": torch.tensor([row.accuracy for row in rows]),
    }
    return [
        spread("6 training", f"resnet18 {name}", value, ours, 6)
        for (name, ours), value in zip(columns.items(), book.RESNET, strict=True)
    ]


def _left_out() -> list[Figure]:
    return [
        Figure("6 training", f"resnet18 {name}", value, None, "left out", reason="--full trains it")
        for name, value in zip(("train_loss", "valid_loss", "accuracy"), book.RESNET, strict=True)
    ]


def exact_figures(section: str, lesson: str) -> list[Figure]:
    """The checks of a lesson that compare with the chapter, as rows."""
    return [
        Figure(
            section,
            f"{lesson}: {item.title}",
            item.expected,
            item.ours,
            "equal" if item.holds else "differs",
        )
        for item in run_lesson(lesson)
        if isinstance(item, Check)
        and (item.source == "the chapter" or (lesson in STATED and item.expected is True))
    ]


def data_figures(data: ImageData) -> list[Figure]:
    """What the chapter says of the files: counts, names, order, labels."""
    table = (data.root / "labels.csv").read_text(encoding="utf-8").splitlines()
    rows = [row.split(",") for row in table[1:]]
    second = data.train.files[1]
    equal = [
        ("images in train/3, train/7", [6131, 6265], list(data.train.counts.values())),
        ("images in valid/3, valid/7", [1010, 1028], list(data.valid.counts.values())),
        ("the second 3 of the names sorted as strings", "3/10000.png", second),
        ("and the first and third", ["3/10.png", "3/10011.png"], data.train.files[:3:2]),
        ("header of labels.csv", "name,label", table[0]),
        ("rows of labels.csv: all files", 14434, len(rows)),
        ("labels of 3 and 7 there", [["3", "0"], ["7", "1"]],
         sorted({(name.split("/")[1], label) for name, label in rows})),
    ]  # fmt: skip
    figures = [_exact("1 data", item, chapter, ours) for item, chapter, ours in equal]
    for distance, known in book.PIXEL_SIMILARITY.items():
        model = build_model("pixel-similarity", data.image_size, data.classes, distance=distance)
        model.fit(*data.train_ds.tensors)  # type: ignore[operator]
        found = evaluate(model, data.valid_ds, data.classes, mnist_loss)
        values = [*found.per_class.values(), found.balanced_accuracy]
        ours = [round(value, 4) for value in values]
        title = f"accuracy by {distance}: 3s, 7s, mean of the two"
        figures.append(_exact("2 pixel similarity", title, known, ours))
        if distance == "l1":
            counts = [found.correct, found.n]
            figures.append(_exact("2 pixel similarity", "right, of all", [1939, 2038], counts))
    return figures


def _exact(section: str, item: str, chapter: Any, ours: Any) -> Figure:
    same = plain(chapter) == plain(ours)
    return Figure(section, item, chapter, ours, "equal" if same else "differs")


def random_figures(data: ImageData, seeds: range) -> list[Figure]:
    """Figures of untrained random models: accuracies, and the gradient of one batch of four."""
    scratch = _linear_models(data, seeds, "normal")
    library = _linear_models(data, seeds, "uniform")
    training = hits(wide_logits(StackedLinear(scratch), data.train_ds), data.train_ds.tensors[1])
    rows = [
        spread("5 loss", "random model", book.RANDOM_TRAINING_ACCURACY,
               training.double().mean(0)),
    ]  # fmt: skip
    moved = [copy.deepcopy(model) for model in scratch]
    for model in moved:
        model.weights.data[0] *= 1.0001  # the chapter's `weights[0] *= 1.0001`
    after = hits(wide_logits(StackedLinear(moved), data.train_ds), data.train_ds.tensors[1])
    changed = int((after.sum(0) != training.sum(0)).sum())
    item = f"accuracies that weights[0] x 1.0001 changes, of {len(scratch)}"
    rows.append(_exact("5 loss", item, 0, changed))
    xb = data.train_ds.tensors[0][:4].unsqueeze(1) / 255
    gradients = []
    for model in scratch:
        mnist_loss(model(xb), torch.ones(4, 1)).backward()
        assert model.bias.grad is not None
        gradients.append(model.bias.grad.item())
    once = torch.tensor(gradients)
    for times in (1, 2, 3):
        item = f"bias gradient, {times} pass" + "es" * (times > 1)
        value = round(book.BIAS_GRADIENT * times, 4)
        rows.append(spread("5 loss", item, value, once * times, digits=4))
    for title, models, value, digits in (
        ("scratch", scratch, book.SCRATCH_UNTRAINED, 3),
        ("nn.Linear", library, book.BASIC_OPTIM_UNTRAINED, 4),
    ):
        logits = wide_logits(StackedLinear(models), data.valid_ds)
        means = batch_means_of(hits(logits, data.valid_ds.tensors[1]))
        rows.append(spread("6 training", f"{title}, untrained", value, means, digits=digits))
    return rows


def _two_layer(data: ImageData, seeds: range, progress: Progress) -> Track:
    parts = []
    for first in seeds[::_GROUP]:
        group = seeds[first : first + _GROUP]
        progress(f"two layers, seeds {group[0]}-{group[-1]} of {len(seeds)}")
        models = [build_model("two-layer", data.image_size, data.classes, s) for s in group]
        stack = StackedTwoLayer([m for m in models if isinstance(m, TwoLayerModel)])
        track = Track(data, len(group))
        epochs = max(book.TWO_LAYER_TABLE) + 1
        for metrics in train_many(stack, _basic(0.1), data.train_ds, data.valid_ds, epochs=epochs):
            track.add(metrics)
        parts.append(track)
    joined = Track(data, len(seeds))
    for name in ("train_losses", "valid_losses", "accuracies", "batch_means"):
        columns = zip(*(getattr(part, name) for part in parts), strict=True)
        setattr(joined, name, [torch.cat(column) for column in columns])
    return joined


def _linear_models(data: ImageData, seeds: range, init: str) -> list[LinearModel]:
    models = [build_model("linear", data.image_size, data.classes, s, init=init) for s in seeds]
    return [model for model in models if isinstance(model, LinearModel)]


def _basic(lr: float) -> Callable[[Sequence[nn.Parameter]], Steps]:
    return lambda params: BasicOptim(params, lr)


def _library(lr: float) -> Callable[[Sequence[nn.Parameter]], Steps]:
    return lambda params: torch.optim.SGD(params, lr)
