"""Where pictures come from: a run, a dataset, a folder of images, image files."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mnistlab.config import READING
from mnistlab.data.batches import augment, to_float
from mnistlab.data.datasets import NAMED
from mnistlab.data.images import UndecodableError, decode, quiet_pillow
from mnistlab.data.inputs import find_inputs
from mnistlab.data.layouts import LoadOptions
from mnistlab.data.named import load_split
from mnistlab.data.scan import EXPECTED, ROLES
from mnistlab.data.store import Progress, Split
from mnistlab.errors import ConfigError, DataError
from mnistlab.language import _
from mnistlab.models import Cosines, LinearModel, ModelCard, PixelSimilarity
from mnistlab.names import nearest, printable
from mnistlab.records import RunRecord
from mnistlab.report.pictures import Curves, Images, Picture, confusion_matrix
from mnistlab.runs import Run, find_run, list_runs
from mnistlab.scoring import RunScore, open_model, predict_images, score_run
from mnistlab.training import compute_logits

MAX_WEIGHTS = 64
MAX_CLASSES = 26
MAX_MISTAKES = 24
GREY = 128  # of a patch that hides a part of an image: halfway between black and white


@dataclass(frozen=True)
class Options:
    """What to draw.

    `what` is for runs: curves, confusion, mistakes, weights or samples, `default` if it is None;
    `count` is how many mistakes, about how many samples; `augmented` is for datasets. `split`
    (valid of a run, train of a dataset), `best` and `settings` are as `score_run` takes them.
    The default `why` explains a run's answers to image files.
    """

    what: str | None = None
    default: str = "weights"
    count: int = MAX_MISTAKES
    augmented: bool = False
    split: str | None = None
    best: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def pictures(
    names: Sequence[str], runs: Path, options: Options, progress: Progress | None = None
) -> tuple[list[Picture], dict[str, str]]:
    """The pictures of every source, and the files that are no image with the reason.

    Image files come first, side by side. Raises ConfigError for a name that is no source, an
    option that none has or a picture that there is not; RunError, DamagedFileError, DataError.
    """
    kinds = {name: kind_of(name, runs) for name in names}
    others = [printable(name) for name, kind in kinds.items() if kind != "run"]
    if options.what and others:
        raise ConfigError(f"--what {options.what}: is for runs; {others[0]} is none")
    if options.augmented and "dataset" not in kinds.values():
        raise ConfigError("--augment: is for datasets; name one, as in: mnistlab show mnist_sample")
    if options.default == "why":
        named = [name for name, kind in kinds.items() if kind == "run"] or ["latest"]
        files = [name for name, kind in kinds.items() if kind in ("image", "folder")]
        if len(named) > 1 or not files or "dataset" in kinds.values():
            example = "mnistlab show latest three.png --why"
            raise ConfigError(f"--why: explains image files by one run, as in: {example}")
        return [*why_pictures(find_run(named[0], runs), files, options.best)], {}
    drawn: list[Picture] = []
    skipped: dict[str, str] = {}
    if files := [name for name, kind in kinds.items() if kind == "image"]:
        picture, faults = image_files(files)
        if faults:
            raise DataError("images", [f"{printable(file)}: {faults[file]}" for file in faults])
        drawn.append(picture)
    for name, kind in kinds.items():
        if kind == "run":
            drawn += run_pictures(find_run(name, runs), options, progress)
        elif kind == "dataset":
            drawn += dataset_pictures(name, options, progress)
        elif kind == "folder":
            where, files = printable(name), find_inputs([name]).names
            picture, skipped_here = image_files(files[: options.count])
            if not picture.images:
                fault = f"{where}: no images in it; expected image files, or {EXPECTED}"
                raise DataError(where, [fault])
            title = f"{Path(name).name or where}, {len(picture.images)} of {len(files)} files"
            drawn.append(replace(picture, title=printable(title)))
            skipped |= skipped_here
    return drawn, skipped


def kind_of(name: str, runs: Path) -> str:
    """`run` (in `runs` first), `dataset`, `folder` (of images) or `image`: what `name` names.

    Raises ConfigError, with the nearest name, where it is none of them.
    """
    if not name:
        raise ConfigError("an empty name; name an image, a run or a folder")
    path = Path(name)
    with contextlib.suppress(OSError, ValueError):  # no file can have such a name
        if name == "latest" or Run(runs / name).exists() or Run(path).exists():
            return "run"
        if name in NAMED or any((path / split).is_dir() for split in ROLES):
            return "dataset"
        if path.exists():
            return "folder" if path.is_dir() else "image"
    hint = ""
    if path.name == name:
        hint = nearest(name, ["latest", *NAMED, *(run.name for run in list_runs(runs)[:-6:-1])])
    raise ConfigError(f"{printable(name)}: no such image, run or folder{hint}")


# of a run


def run_pictures(run: Run, options: Options, progress: Progress | None = None) -> list[Picture]:
    """One kind of pictures of a run, reading no more of it than they need.

    Raises ConfigError where there is nothing of the kind to draw, and as `score_run` does.
    """
    what, where = options.what or options.default, printable(run.path)
    if what == "curves":
        if curves := curves_of(run.record()):
            return [*curves]
        raise ConfigError(f"{where}: no curves; it has fewer than two epochs")
    if what == "weights":
        if weights := weight_images(*open_model(run, best=options.best)):
            return [weights]
        raise ConfigError(f"{where}: its model has no picture of its weights")
    split, settings = options.split or "valid", options.settings
    score = score_run(run, settings, split=split, best=options.best, progress=progress)
    if what == "confusion":
        return [confusion_matrix(score.evaluation)]
    if what == "samples":
        each = max(1, options.count // len(score.split.classes))
        return [sample_images(score.split, score.split_name, each)]
    mistakes = mistake_images(score, options.count)
    if not mistakes.images:
        raise ConfigError(f"{where}: no mistakes; every image is right")
    return [mistakes]


def curves_of(record: RunRecord) -> list[Curves]:
    """Loss and accuracy by epoch; none for fewer than two epochs.

    Of a run of several seeds or folds: the means, and the accuracies inside the range from the
    lowest to the highest of them.
    """
    if record.result is None or len(record.result.epochs) < 2:
        return []
    result = record.result

    def series(rows: list[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
        return [row["epoch"] for row in rows], [row[key] for row in rows]

    epochs = [row.model_dump() for row in result.epochs]
    band = [row for row in result.band or [] if row["n"]]
    losses, mean_over = epochs, _("mean over the images")
    accuracies = {_("validation"): series(epochs, "accuracy")}
    bands, dots = {}, {}
    if len(band) > 1:
        kind = _("fold") if result.folds else _("seed")
        losses, mean_over = band, _("mean over images and {kind}s").format(kind=kind)
        median = _("median {kind}").format(kind=kind)
        accuracies = {_("mean"): series(band, "mean"), median: series(epochs, "accuracy")}
        bands[_("all {kind}s").format(kind=kind)] = (*series(band, "min"), series(band, "max")[1])
    elif result.best and not result.summary:
        dots[_("best")] = ([result.best.epoch], [result.best.accuracy])
    # validation first: so it has the same colour in both pictures
    training, note = _("training"), ""
    if smoothing := record.config.label_smoothing:
        training = _("training, labels smoothed by {x:g}").format(x=smoothing)
        note = _("Smoothed labels raise the training loss; validation is without them.")
    lines = {_("validation"): series(losses, "valid_loss"), training: series(losses, "train_loss")}
    share = _("share of the validation images right")
    return [
        Curves(_("Loss"), lines, _("epoch"), mean_over, note=note),
        Curves(_("Accuracy"), accuracies, _("epoch"), share, dots, bands),
    ]


def mistake_images(score: RunScore, top: int = MAX_MISTAKES) -> Images:
    """The images that are wrong, the most confident first; none if all are right."""
    pixels = score.split.ds.tensors[0]
    name = _("{actual} taken for {predicted}\nprobability {probability:.4f}\n{file}")
    images = {
        name.format_map(vars(verdict)): pixels[verdict.index] for verdict in score.mistakes(top)
    }
    return Images(_("Most confident mistakes"), images, limits=(0, 255))


def weight_images(model: nn.Module, card: ModelCard) -> Images | None:
    """What a model has learned, as images; None for a model that has no picture of it."""
    if isinstance(model, PixelSimilarity):
        images, title = dict(zip(card.classes, model.means[:, 0], strict=True)), _("Mean images")
        note = _("The mean of the training images of each class; the nearest one decides.")
    elif isinstance(model, LinearModel):
        weights = model.weights.detach().T.reshape(-1, *card.image_size)
        # of two classes there is one logit, that of the first
        pair = [_("{} against {}").format(*card.classes)]
        names = pair if len(weights) == 1 else card.classes
        images, title = dict(zip(names, weights, strict=True)), _("Weights")
        note = _("Ink on positive (red) pixels is for the class, on blue ones against it.")
    else:
        kinds = Cosines | nn.Conv2d | nn.Linear
        layers = (part for part in model.modules() if isinstance(part, kinds))
        layer = next(layers, None)
        if isinstance(layer, Cosines):
            weights, part = layer.filters.sum(1), _("wave")
            title = _("Waves of the first layer")
        elif isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1:
            # several input channels hold the same grey image, so what acts on it is their sum
            weights, part = layer.weight.detach().sum(1), _("filter")
            title = _("Filters of the first layer")
        elif isinstance(layer, nn.Linear) and layer.in_features == math.prod(card.image_size):
            weights, part = layer.weight.detach().reshape(-1, *card.image_size), _("unit")
            title = _("Units of the first layer")
        else:
            return None
        images = {f"{part} {number}": image for number, image in enumerate(weights)}
        note = _(
            "Ink on positive (red) pixels raises what a {part} gives, on blue ones lowers it."
        ).format(part=part)
    if len(images) > MAX_WEIGHTS:
        title += _(", {n} of {total}").format(n=MAX_WEIGHTS, total=len(images))
        images = dict(list(images.items())[:MAX_WEIGHTS])
    means = isinstance(model, PixelSimilarity)
    return Images(title, images, signed=not means, limits=(0, 1) if means else None, note=note)


def why_pictures(run: Run, names: Sequence[str], best: bool = False) -> list[Images]:
    """What a run's model saw in image files, prepared as for `predict`, and why it answered so.

    Raises DataError for files that cannot be used, RunError.
    """
    model, card = open_model(run, best=best)
    inputs = find_inputs(names)
    results, faults = predict_images(model, card, inputs.names)
    if faults := inputs.faults | faults:
        raise DataError("images", [f"{printable(name)}: {faults[name]}" for name in faults])
    seen, shares, lost = {}, {}, {}
    for one in results:
        label, image = card.classes.index(one.predicted), torch.tensor(one.levels)
        logit = logit_of(compute_logits(model, image[None]), label).item()
        name = f"{Path(one.file).name}\n{one.predicted}, logit {logit:.4f}"
        seen[f"{name}\nprobability {one.probability:.4f}"] = image
        share = gradient_times_input(model, image, label)
        total = share.sum().item()
        shares[f"{name}\nsum of shares {total:.4f}\nthe rest {logit - total:.4f}"] = share
        lost[name] = occlusion(model, image, label)
    drawn = [Images("What the model saw", seen, limits=(0, 255))]
    note = "Red is for the answer, blue against it."
    if isinstance(model, LinearModel):
        note += " The rest is the bias: nothing is left out."
        return [*drawn, Images("Weight x pixel", shares, signed=True, note=note)]
    drawn.append(Images("Gradient x input", shares, signed=True, note=note))
    note = "What the logit loses (red) or gains (blue) where a grey patch hides the image."
    return [*drawn, Images("Occlusion", lost, signed=True, note=note)]


def logit_of(logits: torch.Tensor, label: int) -> torch.Tensor:
    """Logits (n, 1) or (n, C) → the logit that speaks for the class `label`, (n,)."""
    # one logit for two classes is that of the first; what lowers it speaks for the second
    return logits[:, label] if logits.shape[1] > 1 else logits[:, 0] * (1 - 2 * label)


def gradient_times_input(model: nn.Module, image: torch.Tensor, label: int) -> torch.Tensor:
    """The slope of the logit of `label` at each pixel, times the pixel.

    The slope of a linear model is its weight, so that this is the exact share of each pixel.
    """
    xb = to_float(image[None]).requires_grad_()
    [slope] = torch.autograd.grad(logit_of(model(xb), label).sum(), xb)
    return (slope * xb).detach()[0, 0]


def occlusion(model: nn.Module, image: torch.Tensor, label: int) -> torch.Tensor:
    """What the logit of `label` loses where a grey patch hides the image, mean over the patches.

    A patch is a seventh of the image; the next is half of that on. Zeiler, Fergus, arXiv:1311.2901.
    """
    step = max(1, min(image.shape) // 14)
    corners = [*product(*(range(0, end, step) for end in image.shape))]
    masks = torch.zeros(len(corners), *image.shape)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + 2 * step, x : x + 2 * step] = 1
    hidden = torch.where(masks > 0, GREY, image).byte()
    logits = logit_of(compute_logits(model, torch.cat([image[None], hidden])), label)
    lost: torch.Tensor = torch.tensordot(logits[0] - logits[1:], masks, dims=1)
    return lost / masks.sum(0)


# of data


def dataset_pictures(
    name: str, options: Options, progress: Progress | None = None
) -> list[Picture]:
    """The mean image of each class of a dataset, and about `count` of its images.

    With `augmented` also these as a training with `augment` first sees them. Raises DataError.
    """
    split = options.split or "train"
    keys = (*READING, "skip_bad")
    given = {k: v for k, v in options.settings.items() if k in keys and v is not None}
    loaded = load_split(name, split, LoadOptions(**given), progress=progress)
    samples = sample_images(loaded, split, max(1, options.count // len(loaded.classes)))
    drawn: list[Picture] = [mean_images(loaded, split), samples]
    if options.augmented:
        xb = to_float(torch.stack(list(samples.images.values())))
        moved = (augment(xb, seed=0, epoch=0, batch=0).squeeze(1) * 255).round()
        images = dict(zip(samples.images, moved, strict=True))
        drawn.append(Images("The same, augmented", images, limits=(0, 255)))
    return drawn


def sample_images(split: Split, name: str, each: int = 8) -> Images:
    """`each` images of every class, evenly spread over its files; `name` is train or valid.

    Of more than `MAX_CLASSES` classes the first ones.
    """
    pixels, labels = split.ds.tensors
    images = {}
    for label, class_name in enumerate(split.classes[:MAX_CLASSES]):
        own = (labels == label).nonzero().flatten().tolist()
        count = min(each, len(own))
        for place in range(count):
            index = own[place * len(own) // count]
            images[f"{class_name}\n{split.path_of(index)}"] = pixels[index]
    return Images(_("Samples of {split}").format(split=name), images, limits=(0, 255))


def mean_images(split: Split, name: str) -> Images:
    """The mean image of every class, 0…1; of more than `MAX_CLASSES` classes the first ones."""
    baseline = PixelSimilarity(split.image_size, len(split.classes)).fit(*split.ds.tensors)
    by_class = dict(zip(split.classes[:MAX_CLASSES], baseline.means[:, 0], strict=False))
    return Images(f"Mean images of {name}", by_class, limits=(0, 1))


def image_files(names: Sequence[str]) -> tuple[Images, dict[str, str]]:
    """Image files as a model sees them (grey, turned as the camera says), and those that are none.

    The faults have the reason under the name of a file.
    """
    images: dict[str, torch.Tensor] = {}
    faults: dict[str, str] = {}
    with quiet_pillow():
        for name in names:
            try:
                images[name] = torch.from_numpy(np.array(decode(Path(name)).grey))
            except UndecodableError as fault:
                faults[name] = str(fault)
    title = "Images"
    if len(names) == len(images) == 1:
        [only] = images.values()
        title = f"Image, {only.shape[1]} x {only.shape[0]}"
    if len({Path(name).name for name in images}) == len(images):
        images = {Path(name).name: image for name, image in images.items()}
    return Images(title, images, limits=(0, 255)), faults
