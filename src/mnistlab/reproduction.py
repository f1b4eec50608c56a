"""Every figure of the chapter beside ours: equal, inside our seeds' range, or different.

The exact figures are the checks of the lessons. The trained ones are those of the notes, drawn as
their notebook draws them where that is known; beside them stands what 128 linear and 24 two-layer
models of other seeds give, and what the printed book has.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mnistlab.book import Printed, Table, notebook_models, printed_tables
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

QUANTILES = {"low": 0.0, "low90": 0.05, "ours": 0.5, "high90": 0.95, "high": 1.0}
NEVER = 0.6  # of two classes: an accuracy below it is that of a model that did not learn

Progress = Callable[[str], None]
Columns = dict[str, Tensor]  # by name: the values of all seeds, (epochs, seeds)


@dataclass(frozen=True)
class Figure:
    """One row: the chapter's value, ours, and how they compare.

    chapter: as the notes print it; book: as the printed book does, where that is another.
    verdict: `equal`; of a trained figure `inside` (the middle 90 % of our seeds), `edge` (the 5 %
    at either end) or `differs` (outside all of them), or of ten digits `measured`; or `left out`
    (`reason` says why). Of seeds, `ours` is the median, low and high are min and max, low90 and
    high90 the 5th and the 95th percentile.
    percentile: the share (0…100) of our seeds at or below the chapter's value. replayed: ours from
    the random numbers of the notes' own notebook.
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
    book: float | None = None
    low90: float | None = None
    high90: float | None = None
    replayed: float | None = None


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

    curves, drawn, tables = [], notebook_models(), printed_tables()
    for title, model, settings, optimizer in (
        ("linear from scratch", "linear", {"init": "normal"}, BasicOptim),
        ("nn.Linear, BasicOptim", "linear", {}, BasicOptim),
        ("nn.Linear, the library's SGD", "linear", {}, torch.optim.SGD),
        ("two layers", "two-layer", {}, BasicOptim),
    ):
        count = seeds or SEEDS[model]
        progress(f"{title}, {count} seeds")
        models = models_of(data, range(count), model, **settings)
        models += drawn.get(title, [])
        parts = range(0, len(models), AT_ONCE[model])
        stacks = [Stack(models[first : first + AT_ONCE[model]]) for first in parts]
        make_opt = partial(optimizer, lr=1.0 if model == "linear" else 0.1)
        columns = tables[title]
        ours = train_columns(data, stacks, make_opt, max(map(len, columns.values())))
        for name, table in columns.items():
            figures += table_figures(title, name, table, ours[name], count)
        column = BATCH_MEANS if BATCH_MEANS in columns else "accuracy"
        curves.append(compared(title, columns[column], ours[column][:, :count]))

    if full:
        figures += residual_figures(range(SEEDS["resnet18"]), progress)
    else:
        left_out = partial(Figure, ours=None, verdict="left out", reason="--full trains it")
        for name, table in tables["resnet18"].items():
            notes, book = table[0]
            figures.append(left_out("6 training", f"resnet18 {name}", notes, book=book))
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
    for distance, *expected in (("l1", 0.9168, 0.9854, 0.9511), ("rmse", 0.9584, 0.9737, 0.9661)):
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
    chapter, ours = plain(chapter), plain(ours)
    return Figure(section, item, chapter, ours, "equal" if chapter == ours else "differs")


# Figures of random draws: is the chapter's value inside the range of our seeds?


def spread(
    section: str,
    item: str,
    printed: Printed | None,
    ours: Tensor,
    digits: int = 16,
    replayed: float | None = None,
) -> Figure:
    """Where the chapter's value lies among ours, (seeds,).

    printed: by the notes and by the book; None: by nobody, ours is only `measured`. `digits` are
    those that are printed: a value stands for half a unit either way. `replayed`, if it is known,
    is equal if it is at most one unit of the last digit away.
    """
    chapter, book = printed or (math.nan, None)
    unit, values = 10.0**-digits, ours.double()
    shares = torch.tensor(list(QUANTILES.values()), dtype=torch.float64)
    quantiles = values.quantile(shares, interpolation="nearest").tolist()
    at: dict[str, Any] = dict(zip(QUANTILES, quantiles, strict=True))
    verdict = "differs" if printed else "measured"
    if at["low"] - unit / 2 <= chapter <= at["high"] + unit / 2:
        inside = at["low90"] - unit / 2 <= chapter <= at["high90"] + unit / 2
        verdict = "inside" if inside else "edge"
    if replayed is not None and abs(replayed - chapter) < 1.01 * unit:
        verdict = "equal"
    if printed:
        below = (values <= chapter + unit / 2).double().mean().item()
        at |= {"percentile": 100 * below, "book": book, "replayed": replayed}
    shown = chapter if printed else None
    return Figure(section, item, shown, verdict=verdict, seeds=len(values), **at)


def random_figures(data: ImageData, seeds: range) -> Figures:
    """Figures of untrained random models: accuracies, and the gradient of one batch of four."""
    models = models_of(data, seeds, "linear", init="normal")
    library = models_of(data, seeds, "linear", init="uniform")
    scratch, moved = Stack(models), Stack(models)
    moved.get_parameter("weights").data[0] *= 1.0001  # the chapter's `weights[0] *= 1.0001`
    before, after = (is_right(stack, data.train_ds) for stack in (scratch, moved))
    changed = int((after.sum(0) != before.sum(0)).sum())
    item = f"accuracies that weights[0] x 1.0001 changes, of {len(seeds)}"
    printed = (0.4912068545818329, 0.4912068545818329)
    (drawn,) = notebook_models()["random model"]
    replayed = is_right(drawn, data.train_ds).double().mean().item()
    figures = [
        spread("5 loss", "random model", printed, before.double().mean(0), 7, replayed),
        exact("5 loss", item, 0, changed),
    ]
    xb = data.train_ds.tensors[0][:4].unsqueeze(1) / 255  # four 3s
    losses = [mnist_loss(model(xb), torch.ones(4, 1)) for model in models]
    once = torch.cat(torch.autograd.grad(losses, [m.get_parameter("bias") for m in models]))
    printed_gradients = (-0.0017, -0.0008), (-0.0034, -0.0015), (-0.0051, -0.0023)
    for times, both in enumerate(printed_gradients, start=1):
        item = f"bias gradient, {times} {'pass' if times == 1 else 'passes'}"
        figures.append(spread("5 loss", item, both, once * times, digits=4))
    for title, stack, value, digits in (
        ("scratch", scratch, (0.465, 0.5219), 3),
        ("nn.Linear", Stack(library), (0.4608, 0.4157), 4),
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


def table_figures(title: str, column: str, table: Table, ours: Tensor, seeds: int) -> Figures:
    """A column of the chapter beside that of our first `seeds` models, (epochs, models).

    Behind them are those that the notes' notebook draws, if any; tables are of its last one.
    """
    of_means, figures = column == BATCH_MEANS, []
    name = title if of_means else title.partition(",")[0]
    values, drawn = ours[:, :seeds], ours[:, seeds:]
    for epoch, (notes, book) in table.items():
        if math.isnan(notes):
            continue
        replayed = drawn[epoch, 0 if of_means else -1].item() if drawn.shape[1] else None
        item, digits = f"{name}, {column}, epoch {epoch}", 4 if of_means else 6
        figure = spread("6 training", item, (notes, book), values[epoch], digits, replayed)
        figures.append(figure)
    never = int((values[-1] < NEVER).sum())
    if never and column in ("accuracy", BATCH_MEANS):
        figures[-1] = replace(figures[-1], reason=f"{never} of {seeds} seeds never learned")
    return figures


def compared(title: str, table: Table, ours: Tensor) -> Curves:
    """The chapter's accuracies as dots in the middle 90 % of our seeds, (epochs, S)."""
    epochs = list(range(len(ours)))
    low, median, high = ours.double().quantile(torch.tensor([0.05, 0.5, 0.95]).double(), dim=1)
    notes = {epoch: notes for epoch, (notes, _) in table.items() if not math.isnan(notes)}
    book = {epoch: book for epoch, (_, book) in table.items()}
    return Curves(
        f"{title}: the chapter inside {ours.shape[1]} seeds",
        lines={"our median": (epochs, median.tolist())},
        dots={
            "the notes": (list(notes), list(notes.values())),
            "the printed book": (list(book), list(book.values())),
        },
        bands={"the middle 90 % of our seeds": (epochs, low.tolist(), high.tolist())},
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
        spread("6 training", f"resnet18 {name}", table[0], columns[name], digits=6)
        for name, table in printed_tables()["resnet18"].items()
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
