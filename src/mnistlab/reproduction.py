"""Every figure of the chapter beside ours: equal, inside our seeds' range, or different.

The exact figures are the checks of the lessons; the trained ones are compared with the range that
128 linear and 24 two-layer models give, since the random draw of the notes is not known.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mnistlab.data.store import ImageData
from mnistlab.experiment import prepare
from mnistlab.lessons import run_lesson
from mnistlab.lessons.kit import Check, plain
from mnistlab.losses import mnist_loss, targets_for
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves
from mnistlab.resolving import resolve
from mnistlab.studies.stack import Stack, train_stack, wide_loss
from mnistlab.training import compute_logits, evaluate

# The figures as the notes print them, all on the 2038 validation images. What their own loop prints
# are means of batch means (7 batches of 256, one of 246), four digits; tables count every image
# once.

# Shares of the 3s and of the 7s that are right, and the mean of the two.
PIXEL_SIMILARITY = {"l1": (0.9168, 0.9854, 0.9511), "rmse": (0.9584, 0.9737, 0.9661)}

# Linear from scratch (weights and bias standard normal, rate 1): one epoch, then twenty more.
SCRATCH = (
    0.7092, 0.7895, 0.8930, 0.9331, 0.9467, 0.9565, 0.9589, 0.9604, 0.9663, 0.9687, 0.9702,
    0.9697, 0.9716, 0.9721, 0.9726, 0.9736, 0.9741, 0.9746, 0.9746, 0.9746, 0.9751,
)  # fmt: skip
SCRATCH_UNTRAINED = 0.465

# nn.Linear with BasicOptim, rate 1.
BASIC_OPTIM = (
    0.4932, 0.7686, 0.8555, 0.9136, 0.9346, 0.9482, 0.9570, 0.9634, 0.9658, 0.9678,
    0.9697, 0.9717, 0.9736, 0.9746, 0.9761, 0.9770, 0.9775, 0.9775, 0.9780, 0.9785,
)  # fmt: skip
BASIC_OPTIM_UNTRAINED = 0.4608

# The library's SGD in its place.
LIBRARY_SGD = (
    0.4932, 0.8179, 0.8496, 0.9141, 0.9346, 0.9482, 0.9570, 0.9619, 0.9658, 0.9673,
    0.9692, 0.9712, 0.9741, 0.9751, 0.9761, 0.9775, 0.9775, 0.9780, 0.9785, 0.9790,
)  # fmt: skip

# nn.Linear: epoch → smoothed train_loss, valid_loss, accuracy.
LINEAR_TABLE = {
    0: (0.636709, 0.503144, 0.495584), 1: (0.429828, 0.248517, 0.777233),
    2: (0.161680, 0.155361, 0.861629), 3: (0.072948, 0.097722, 0.917566),
    4: (0.040128, 0.073205, 0.936212), 5: (0.027210, 0.059466, 0.950442),
    6: (0.021837, 0.050799, 0.957802), 7: (0.019398, 0.044980, 0.964181),
    8: (0.018122, 0.040853, 0.966143), 9: (0.017330, 0.037788, 0.968106),
}  # fmt: skip

# Two layers (784 → 30 → ReLU → 1), rate 0.1; the notes leave epoch 21 out.
TWO_LAYER_TABLE = {
    0: (0.333021, 0.396112, 0.512267), 1: (0.152461, 0.235238, 0.797350),
    2: (0.083573, 0.117471, 0.911678), 3: (0.054309, 0.078720, 0.940628),
    4: (0.040829, 0.061228, 0.956330), 5: (0.034006, 0.051490, 0.963690),
    6: (0.030123, 0.045381, 0.966634), 7: (0.027619, 0.041218, 0.968106),
    8: (0.025825, 0.038200, 0.969087), 9: (0.024441, 0.035901, 0.969578),
    10: (0.023321, 0.034082, 0.971541), 11: (0.022387, 0.032598, 0.972031),
    12: (0.021592, 0.031353, 0.974485), 13: (0.020904, 0.030284, 0.975466),
    14: (0.020300, 0.029352, 0.975466), 15: (0.019766, 0.028526, 0.975466),
    16: (0.019288, 0.027788, 0.976448), 17: (0.018857, 0.027124, 0.977429),
    18: (0.018465, 0.026523, 0.978410), 19: (0.018107, 0.025977, 0.978901),
    20: (0.017777, 0.025479, 0.978901), 22: (0.017191, 0.024601, 0.980373),
    23: (0.016927, 0.024213, 0.980373), 24: (0.016680, 0.023855, 0.981354),
    25: (0.016449, 0.023521, 0.981354), 26: (0.016230, 0.023211, 0.981354),
    27: (0.016023, 0.022922, 0.981354), 28: (0.015827, 0.022653, 0.981845),
    29: (0.015641, 0.022401, 0.981845), 30: (0.015463, 0.022165, 0.981845),
    31: (0.015294, 0.021944, 0.983317), 32: (0.015132, 0.021736, 0.982826),
    33: (0.014977, 0.021541, 0.982826), 34: (0.014828, 0.021357, 0.982336),
    35: (0.014686, 0.021184, 0.982336), 36: (0.014549, 0.021019, 0.982336),
    37: (0.014417, 0.020864, 0.982336), 38: (0.014290, 0.020716, 0.982336),
    39: (0.014168, 0.020576, 0.982336),
}  # fmt: skip

# 18-layer residual net, one-cycle, one epoch.
RESNET = {"train_loss": 0.065800, "valid_loss": 0.017196, "accuracy": 0.994112}

# § "The MNIST loss function": the training accuracy of a random linear model, and the gradient of
# the bias for a batch of four images, both for a draw that is not known.
RANDOM_TRAINING_ACCURACY = 0.4912068545818329
BIAS_GRADIENT = -0.0017

SEEDS = {"linear": 128, "two-layer": 24, "resnet18": 5}
SMOOTHING = 0.98  # of the chapter's train_loss
# Models trained at once: more two-layer models than that fall out of the processor's cache.
AT_ONCE = {"linear": 1024, "two-layer": 8}
# fastai's defaults for `cnn_learner` and `fit_one_cycle(1, 0.1)`
RESIDUAL_SETTINGS = {
    "model": "resnet18", "batch_size": 64, "lr": 0.1, "optimizer": "adamw", "momentum": 0.95,
    "beta2": 0.99, "weight_decay": 0.01, "label_smoothing": 0.0, "loss": "bce",
    "precision": "fp32",
}  # fmt: skip

# Which lessons hold the exact figures of which section of the chapter.
EXACT = {
    "1 data": ("pixels",),
    "2 pixel similarity": ("similarity",),
    "3 derivatives": ("derivative",),
    "4 small problems": ("rollercoaster", "line", "backprop", "momentum", "activations"),
    "5 loss": ("loss", "batches", "optimizer"),
}
# Lessons on what the chapter states without a number: their statements are rows as well.
STATED = ("derivative", "backprop", "momentum")

# The columns of the chapter's tables, and what it prints of its own loop.
TABLE = ("train_loss (smoothed)", "valid_loss", "accuracy")
BATCH_MEANS = "mean of batch means"

Progress = Callable[[str], None]
Table = Mapping[int, tuple[float, ...]]  # by epoch
Columns = dict[str, Tensor]  # by name: the values of all seeds, (epochs, seeds)


@dataclass(frozen=True)
class Figure:
    """One row: the chapter's value, ours, and how they compare.

    verdict: `equal`, `inside`, `differs` or `left out` (`reason` says why). For a trained figure,
    `ours` is the median and `percentile` the share (0…100) of our seeds at or below the chapter's
    value.
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


Figures = list[Figure]


def reproduce(
    data: ImageData,
    seeds: int | None = None,
    progress: Progress = lambda step: None,
    *,
    full: bool = False,
) -> tuple[Figures, list[Curves]]:
    """Every figure of the chapter on the bundled data; its curves inside the range of our seeds.

    `full` also trains the residual net, half a minute a seed. `seeds` replaces the default numbers
    of seeds (128 linear, 24 two-layer). `progress` is called with each step that begins.
    """
    figures = data_figures(data)
    for section, lessons in EXACT.items():
        for lesson in lessons:
            progress(f"lesson {lesson}")
            figures += exact_figures(section, lesson)
    progress("random models")
    figures += random_figures(data, range(seeds or SEEDS["linear"]))

    curves = []
    for title, model, settings, optimizer, values, table in (
        ("linear from scratch", "linear", {"init": "normal"}, BasicOptim, SCRATCH, {}),
        ("nn.Linear, BasicOptim", "linear", {}, BasicOptim, BASIC_OPTIM, LINEAR_TABLE),
        ("nn.Linear, the library's SGD", "linear", {}, torch.optim.SGD, LIBRARY_SGD, {}),
        ("two layers", "two-layer", {}, BasicOptim, (), TWO_LAYER_TABLE),
    ):
        count = seeds or SEEDS[model]
        progress(f"{title}, {count} seeds")
        models = models_of(data, range(count), model, **settings)
        parts = range(0, len(models), AT_ONCE[model])
        stacks = [Stack(models[first : first + AT_ONCE[model]]) for first in parts]
        make_opt = partial(optimizer, lr=1.0 if model == "linear" else 0.1)
        ours = train_columns(data, stacks, make_opt, len(values) or max(table) + 1)
        printed = dict(enumerate(zip(values, strict=True)))
        figures += table_figures(title, printed, ours, (BATCH_MEANS,), digits=4)
        figures += table_figures(title.partition(",")[0], table, ours)
        column = BATCH_MEANS if printed else "accuracy"
        chapter = {epoch: row[-1] for epoch, row in (printed or table).items()}
        curves.append(compared(title, chapter, ours[column]))

    if full:
        figures += residual_figures(range(SEEDS["resnet18"]), progress)
    else:
        left_out = partial(Figure, ours=None, verdict="left out", reason="--full trains it")
        for name, value in RESNET.items():
            figures.append(left_out("6 training", f"resnet18 {name}", value))
    figures.sort(key=lambda figure: figure.section)  # stable: the order within a section stays
    return figures, curves


# Figures without a random draw


def data_figures(data: ImageData) -> Figures:
    """What the chapter says of the files (counts, names, order, labels) and of the baseline."""
    table = (data.root / "labels.csv").read_text(encoding="utf-8").splitlines()
    rows = [row.split(",") for row in table[1:]]
    labels = sorted({(name.split("/")[1], label) for name, label in rows})
    files = data.train.files
    section = "1 data"
    train, valid = list(data.train.counts.values()), list(data.valid.counts.values())
    figures = [
        exact(section, "images in train/3, train/7", [6131, 6265], train),
        exact(section, "images in valid/3, valid/7", [1010, 1028], valid),
        exact(section, "the second 3 of the names sorted as strings", "3/10000.png", files[1]),
        exact(section, "and the first and third", ["3/10.png", "3/10011.png"], files[:3:2]),
        exact(section, "header of labels.csv", "name,label", table[0]),
        exact(section, "rows of labels.csv: all files", 14434, len(rows)),
        exact(section, "labels of 3 and 7 there", [["3", "0"], ["7", "1"]], labels),
    ]
    section = "2 pixel similarity"
    for distance, expected in PIXEL_SIMILARITY.items():
        model = build_model("pixel-similarity", data.image_size, data.classes, distance=distance)
        model.fit(*data.train_ds.tensors)  # type: ignore[operator]
        evaluation = evaluate(model, data.valid_ds, data.classes, mnist_loss)
        values = [*evaluation.per_class.values(), evaluation.balanced_accuracy]
        item = f"accuracy by {distance}: 3s, 7s, mean of the two"
        figures.append(exact(section, item, expected, [round(value, 4) for value in values]))
        if distance == "l1":
            counts = [evaluation.correct, evaluation.n]
            figures.append(exact(section, "right, of all", [1939, 2038], counts))
    return figures


def exact_figures(section: str, lesson: str) -> Figures:
    """The checks of a lesson that compare with the chapter, as rows."""
    figures = []
    for item in run_lesson(lesson):
        if isinstance(item, Check) and (
            item.source == "the chapter" or (lesson in STATED and item.expected is True)
        ):
            title, verdict = f"{lesson}: {item.title}", "equal" if item.holds else "differs"
            figures.append(Figure(section, title, item.expected, item.ours, verdict))
    return figures


def exact(section: str, item: str, chapter: Any, ours: Any) -> Figure:
    """The row of a figure that must be equal."""
    same = plain(chapter) == plain(ours)
    return Figure(section, item, chapter, ours, "equal" if same else "differs")


# Figures of random draws: is the chapter's value inside the range of our seeds?


def spread(
    section: str, item: str, chapter: float, ours: Tensor, digits: float = math.inf
) -> Figure:
    """Whether the chapter's value lies within the range of ours, (seeds,).

    `digits` are those that the chapter prints: its value stands for half a unit either way.
    """
    half = 0.5 * 10.0**-digits
    values = ours.double()
    low, high = values.min().item(), values.max().item()
    verdict = "inside" if low - half <= chapter <= high + half else "differs"
    below = 100 * (values <= chapter + half).double().mean().item()
    median = values.median().item()
    return Figure(section, item, chapter, median, verdict, low, high, below, len(values))


def random_figures(data: ImageData, seeds: range) -> Figures:
    """Figures of untrained random models: accuracies, and the gradient of one batch of four."""
    models = models_of(data, seeds, "linear", init="normal")
    library = models_of(data, seeds, "linear", init="uniform")
    scratch, moved = Stack(models), Stack(models)
    moved.get_parameter("weights").data[0] *= 1.0001  # the chapter's `weights[0] *= 1.0001`
    before, after = (is_right(stack, data.train_ds) for stack in (scratch, moved))
    changed = int((after.sum(0) != before.sum(0)).sum())
    item = f"accuracies that weights[0] x 1.0001 changes, of {len(seeds)}"
    figures = [
        spread("5 loss", "random model", RANDOM_TRAINING_ACCURACY, before.double().mean(0)),
        exact("5 loss", item, 0, changed),
    ]
    xb = data.train_ds.tensors[0][:4].unsqueeze(1) / 255  # four 3s
    losses = [mnist_loss(model(xb), torch.ones(4, 1)) for model in models]
    once = torch.cat(torch.autograd.grad(losses, [m.get_parameter("bias") for m in models]))
    for times, item in ((1, "1 pass"), (2, "2 passes"), (3, "3 passes")):
        value = round(BIAS_GRADIENT * times, 4)
        figures.append(spread("5 loss", f"bias gradient, {item}", value, once * times, digits=4))
    for title, stack, value, digits in (
        ("scratch", scratch, SCRATCH_UNTRAINED, 3),
        ("nn.Linear", Stack(library), BASIC_OPTIM_UNTRAINED, 4),
    ):
        means = mean_of_batch_means(is_right(stack, data.valid_ds))
        figures.append(spread("6 training", f"{title}, untrained", value, means, digits))
    return figures


def train_columns(
    data: ImageData, stacks: Sequence[Stack], make_opt: Callable[..., Any], epochs: int
) -> Columns:
    """Train `stacks` in the chapter's order, batches of 256, and compute its columns."""
    targets = targets_for(data.valid_ds.tensors[1], 2)
    parts = []
    for stack in stacks:
        opt = make_opt(stack.parameters())
        rows = train_stack(stack, opt, data.train_ds, data.valid_ds, epochs=epochs)
        batch_losses, logits = zip(*rows, strict=True)
        losses = smoothed(torch.cat(batch_losses))
        rights = [(part > 0) == (targets > 0) for part in logits]
        columns = (
            losses.unflatten(0, (epochs, -1))[:, -1],
            torch.stack([wide_loss(mnist_loss, part, targets) for part in logits]),
            torch.stack([right.double().mean(0) for right in rights]),
            torch.stack([mean_of_batch_means(right) for right in rights]),
        )
        parts.append(torch.stack(columns))
    return dict(zip((*TABLE, BATCH_MEANS), torch.cat(parts, dim=2), strict=True))


def smoothed(losses: Tensor) -> Tensor:
    """The chapter's train_loss after each batch: (batches, S) → (batches, S).

    An exponential average over batches, carried on across epochs and corrected for its start.
    """
    average, averages = torch.zeros(losses.shape[1], dtype=torch.float64), []
    for steps, loss in enumerate(losses.double(), start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        averages.append(average / (1 - SMOOTHING**steps))
    return torch.stack(averages)


def table_figures(
    title: str, table: Table, ours: Columns, names: Sequence[str] = TABLE, digits: int = 6
) -> Figures:
    """A table of the chapter, column by column, beside ours."""
    return [
        spread(
            "6 training", f"{title}, {name}, epoch {epoch}", row[place], ours[name][epoch], digits
        )
        for place, name in enumerate(names)
        for epoch, row in table.items()
    ]


def compared(title: str, chapter: dict[int, float], ours: Tensor) -> Curves:
    """The chapter's accuracies as dots in the range of our seeds, (epochs, S)."""
    epochs = list(range(len(ours)))
    return Curves(
        f"{title}: the chapter inside {ours.shape[1]} seeds",
        lines={"our median": (epochs, ours.median(1).values.tolist())},
        dots={"the chapter": (list(chapter), list(chapter.values()))},
        bands={"our seeds, min to max": (epochs, ours.amin(1).tolist(), ours.amax(1).tolist())},
        x_label="epoch",
        y_label="accuracy",
    )


def residual_figures(seeds: range, progress: Progress) -> Figures:
    """The chapter's last table: resnet18, one cycle over one epoch, peak rate 0.1, batch 64."""
    rows = []
    for seed in seeds:
        progress(f"resnet18, seed {seed} of {len(seeds)}")
        rows += list(prepare(resolve({**RESIDUAL_SETTINGS, "seed": seed})).train())
    columns = {
        "train_loss": smoothed(torch.stack([row.batch_losses for row in rows], dim=1))[-1],
        "valid_loss": torch.tensor([row.valid_loss for row in rows]),
        "accuracy": torch.tensor([row.accuracy for row in rows]),
    }
    return [
        spread("6 training", f"resnet18 {name}", value, columns[name], digits=6)
        for name, value in RESNET.items()
    ]


def models_of(data: ImageData, seeds: range, name: str, **settings: str) -> list[nn.Module]:
    """A model a seed."""
    return [build_model(name, data.image_size, data.classes, s, **settings) for s in seeds]


def is_right(stack: nn.Module, ds: TensorDataset) -> Tensor:
    """Whether each answer of S models is right, bool (n, S)."""
    images, labels = ds.tensors
    return (compute_logits(stack, images) > 0) == (targets_for(labels, 2) > 0)


def mean_of_batch_means(right: Tensor) -> Tensor:
    """The chapter's `validate_epoch`: a mean of the means of batches of 256."""
    return torch.stack([batch.double().mean(0) for batch in right.split(256)]).mean(0)
