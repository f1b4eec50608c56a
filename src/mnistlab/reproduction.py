"""Every figure of the chapter beside ours: equal, inside our seeds' range, or different.

The exact figures are the checks of the lessons; the trained ones are compared with the range that
many seeds give, since the notes' random draw is not known.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn

from mnistlab import book
from mnistlab.data.folders import ImageFolders
from mnistlab.lessons import run_lesson
from mnistlab.lessons.kit import Check
from mnistlab.losses import mnist_loss
from mnistlab.many import (
    ManyMetrics,
    StackedLinear,
    StackedTwoLayer,
    Steps,
    train_many,
    wide_logits,
    wide_mnist_loss,
)
from mnistlab.models import LinearModel, TwoLayerModel, build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves
from mnistlab.training import evaluate

LINEAR_SEEDS = 128
TWO_LAYER_SEEDS = 24
_GROUP = 8  # two-layer models per stack: more of them fall out of the processor's cache
_SMOOTHING = 0.98

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


@dataclass(frozen=True)
class Figure:
    """One row: the chapter's value, ours, and how they compare.

    verdict: `equal`, `inside`, `differs` or `left out`. For a spread, `ours` is the
    median and `percentile` the share (0…100) of our seeds at or below the chapter's value.
    """

    section: str
    item: str
    chapter: Any
    ours: Any
    verdict: str
    low: float | None = None
    high: float | None = None
    percentile: float | None = None
    seeds: int | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


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
    data: ImageFolders, seeds: int | None = None, progress: Progress = lambda step: None
) -> Reproduction:
    """Compute every figure of the chapter on the bundled data.

    `seeds` replaces the default numbers of seeds (128 linear, 24 two-layer). `progress` is told
    the step that begins.
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
        track = _Track(data, len(linear_seeds))
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
    for name, value in zip(("train_loss", "valid_loss", "accuracy"), book.RESNET, strict=True):
        found.figures.append(
            Figure(
                "6 training",
                f"resnet18 {name}",
                value,
                None,
                "left out",
                reason="no such model yet",
            )
        )
    found.figures.sort(key=lambda figure: figure.section)  # stable: the order within stays
    return found


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


def data_figures(data: ImageFolders) -> list[Figure]:
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
    same = _plain(chapter) == _plain(ours)
    return Figure(section, item, chapter, ours, "equal" if same else "differs")


def random_figures(data: ImageFolders, seeds: range) -> list[Figure]:
    """Figures of untrained random models: accuracies, and the gradient of one batch of four."""
    scratch = _linear_models(data, seeds, "normal")
    library = _linear_models(data, seeds, "uniform")
    training = _hits(wide_logits(StackedLinear(scratch), data.train_ds), data.train_ds.tensors[1])
    rows = [
        spread("5 loss", "random model", book.RANDOM_TRAINING_ACCURACY,
               training.double().mean(0)),
    ]  # fmt: skip
    moved = [copy.deepcopy(model) for model in scratch]
    for model in moved:
        model.weights.data[0] *= 1.0001  # the chapter's `weights[0] *= 1.0001`
    after = _hits(wide_logits(StackedLinear(moved), data.train_ds), data.train_ds.tensors[1])
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
        means = _batch_means(_hits(logits, data.valid_ds.tensors[1]))
        rows.append(spread("6 training", f"{title}, untrained", value, means, digits=digits))
    return rows


def spread(
    section: str, item: str, chapter: float, ours: torch.Tensor, digits: int | None = None
) -> Figure:
    """Whether the chapter's value lies within the range of ours, (seeds,).

    `digits` are those that the chapter prints: its value stands for half a unit either way.
    """
    half = 0.0 if digits is None else 0.5 * 10.0**-digits
    values = ours.double()
    low, high = values.min().item(), values.max().item()
    inside = low - half <= chapter <= high + half
    return Figure(
        section,
        item,
        chapter,
        values.median().item(),
        "inside" if inside else "differs",
        low=low,
        high=high,
        percentile=100 * (values <= chapter + half).double().mean().item(),
        seeds=len(values),
    )


class _Track:
    """What the chapter prints of each epoch, for many seeds."""

    def __init__(self, data: ImageFolders, seeds: int) -> None:
        self.labels = data.valid_ds.tensors[1]
        self.targets = (self.labels == 0).float().unsqueeze(1)
        self.smooth = torch.zeros(seeds, dtype=torch.float64)
        self.steps = 0
        self.train_losses: list[torch.Tensor] = []
        self.valid_losses: list[torch.Tensor] = []
        self.accuracies: list[torch.Tensor] = []
        self.batch_means: list[torch.Tensor] = []

    def add(self, metrics: ManyMetrics) -> None:
        # The chapter's train_loss: an exponential average over batches, carried on across epochs
        # and corrected for its start.
        for losses in metrics.batch_losses.double():
            self.smooth = _SMOOTHING * self.smooth + (1 - _SMOOTHING) * losses
            self.steps += 1
        self.train_losses.append(self.smooth / (1 - _SMOOTHING**self.steps))
        self.valid_losses.append(wide_mnist_loss(metrics.valid_logits, self.targets))
        hits = _hits(metrics.valid_logits, self.labels)
        self.accuracies.append(hits.double().mean(0))
        self.batch_means.append(_batch_means(hits))

    def batch_mean_figures(self, title: str, values: Sequence[float]) -> list[Figure]:
        return [
            spread("6 training", f"{title}, mean of batch means, epoch {epoch}", value, ours, 4)
            for epoch, (value, ours) in enumerate(zip(values, self.batch_means, strict=True))
        ]

    def table_figures(
        self, title: str, table: dict[int, tuple[float, float, float]]
    ) -> list[Figure]:
        columns = (
            ("train_loss (smoothed)", self.train_losses),
            ("valid_loss", self.valid_losses),
            ("accuracy", self.accuracies),
        )
        return [
            spread("6 training", f"{title}, {name}, epoch {epoch}", value, ours[epoch], 6)
            for place, (name, ours) in enumerate(columns)
            for epoch, value in ((epoch, row[place]) for epoch, row in table.items())
        ]

    def curves(
        self, title: str, chapter: Sequence[float] | dict[int, float], ours: list[torch.Tensor]
    ) -> Curves:
        known = chapter if isinstance(chapter, dict) else dict(enumerate(chapter))
        epochs = [float(epoch) for epoch in range(len(ours))]
        low, high = ([float(bound(v)) for v in ours] for bound in (torch.min, torch.max))
        return Curves(
            f"{title}: the chapter inside {len(ours[0])} seeds",
            {"our median": (epochs, [float(v.median()) for v in ours])},
            "epoch",
            "accuracy",
            dots={"the chapter": ([float(e) for e in known], list(known.values()))},
            bands={"our seeds, min to max": (epochs, low, high)},
        )


def _two_layer(data: ImageFolders, seeds: range, progress: Progress) -> _Track:
    parts = []
    for first in seeds[::_GROUP]:
        group = seeds[first : first + _GROUP]
        progress(f"two layers, seeds {group[0]}-{group[-1]} of {len(seeds)}")
        models = [build_model("two-layer", data.image_size, data.classes, s) for s in group]
        stack = StackedTwoLayer([m for m in models if isinstance(m, TwoLayerModel)])
        track = _Track(data, len(group))
        epochs = max(book.TWO_LAYER_TABLE) + 1
        for metrics in train_many(stack, _basic(0.1), data.train_ds, data.valid_ds, epochs=epochs):
            track.add(metrics)
        parts.append(track)
    joined = _Track(data, len(seeds))
    for name in ("train_losses", "valid_losses", "accuracies", "batch_means"):
        columns = zip(*(getattr(part, name) for part in parts), strict=True)
        setattr(joined, name, [torch.cat(column) for column in columns])
    return joined


def _linear_models(data: ImageFolders, seeds: range, init: str) -> list[LinearModel]:
    models = [build_model("linear", data.image_size, data.classes, s, init=init) for s in seeds]
    return [model for model in models if isinstance(model, LinearModel)]


def _basic(lr: float) -> Callable[[Sequence[nn.Parameter]], Steps]:
    return lambda params: BasicOptim(params, lr)


def _library(lr: float) -> Callable[[Sequence[nn.Parameter]], Steps]:
    return lambda params: torch.optim.SGD(params, lr)


def _hits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Logits (n, S), labels (n,) → whether each is right, bool (n, S)."""
    return (logits > 0) == (labels == 0).unsqueeze(1)


def _batch_means(hits: torch.Tensor) -> torch.Tensor:
    """The chapter's `validate_epoch`: a mean of the means of batches of 256."""
    return torch.stack([batch.double().mean(0) for batch in hits.split(256)]).mean(0)


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
