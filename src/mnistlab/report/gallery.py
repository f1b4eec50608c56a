"""A run gathered to be looked at, and the pictures of it: curves, confusion, mistakes, weights."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from mnistlab.data.folders import Progress, Split
from mnistlab.data.tree import SPLITS
from mnistlab.errors import ConfigError, DamagedFileError, DataError, RunError
from mnistlab.metrics import Evaluation
from mnistlab.models import LinearModel, PixelSimilarity, TwoLayerModel
from mnistlab.names import printable
from mnistlab.report.history import curves_of
from mnistlab.report.pictures import Images, Matrix, Picture
from mnistlab.runs import Run
from mnistlab.scoring import RunScore, open_model, score_run
from mnistlab.storage import ModelCard

WEIGHTS_SHOWN = 64
CLASSES_SHOWN = 26
MISTAKES_SHOWN = 24


@dataclass(frozen=True)
class Gathered:
    """All there is to show of a run.

    `info` is `run.json`, empty where it cannot be read; `score` is None where the data cannot be;
    `missing` says of each of the two why.
    """

    run: Run
    best: bool
    info: dict[str, Any]
    model: nn.Module
    card: ModelCard
    score: RunScore | None
    missing: dict[str, str]


def gather(
    run: Run,
    *,
    data: str | None = None,
    split: str = "valid",
    best: bool = False,
    skip_bad: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Gathered:
    """Open a run's model and score it on `split` of `data` (default: what it was trained on).

    Without its own data the run is still shown, as far as its folder goes; data that was asked
    for must be there. Raises RunError, DamagedFileError, DataError, ConfigError.
    """
    model, card = open_model(run, best=best)
    info, missing = info_of(run)
    score = None
    try:
        score = score_run(
            run,
            data=data,
            split=split,
            best=best,
            skip_bad=skip_bad,
            device=device,
            progress=progress,
        )
    except (DataError, RunError) as error:
        if data is not None or split not in SPLITS:
            raise
        missing["data"] = str(error)
    return Gathered(run, best, info, model, card, score, missing)


def info_of(run: Run) -> tuple[dict[str, Any], dict[str, str]]:
    """`run.json` of a run, and `{}` or why it cannot be read."""
    try:
        return run.info(), {}
    except FileNotFoundError:
        return {}, {"info": f"{printable(run.info_file)}: no such file"}
    except OSError as error:
        return {}, {"info": f"{printable(run.info_file)}: cannot be read: {error.strerror}"}
    except DamagedFileError as error:
        return {}, {"info": str(error)}


def confusion_matrix(evaluation: Evaluation) -> Matrix:
    """What each class was called; classes without images keep their row of zeros."""
    return Matrix(
        "Confusion: a row for what an image is, a column for what it was called",
        evaluation.classes,
        evaluation.classes,
        evaluation.confusion,
        "is",
        "called",
    )


def mistake_images(score: RunScore, top: int = MISTAKES_SHOWN) -> Images:
    """The images that are wrong, the most confident first; none if all are right."""
    pixels = score.split.ds.tensors[0]
    found = score.mistakes(top)
    return Images(
        "Most confident mistakes",
        {
            f"{verdict.actual} taken for {verdict.predicted}\n"
            f"probability {probability(verdict.probability)}\n{verdict.file}": pixels[verdict.index]
            for verdict in found
        },
        limits=(0, 255),
    )


def sample_images(split: Split, name: str, each: int = 8) -> Images:
    """`each` images of every class, evenly spread over its files; `name` is train or valid.

    Of more than `CLASSES_SHOWN` classes the first ones.
    """
    pixels, labels = split.ds.tensors
    shown = {}
    for label, class_name in list(enumerate(split.classes))[:CLASSES_SHOWN]:
        own = (labels == label).nonzero().flatten().tolist()
        count = min(each, len(own))
        for place in range(count):
            index = own[place * len(own) // count]
            shown[f"{class_name}\n{name}/{split.files[index]}"] = pixels[index]
    return Images(f"Samples of {name}", shown, limits=(0, 255))


def mean_images(split: Split, name: str) -> Images:
    """The mean image of every class, 0…1; of more than `CLASSES_SHOWN` classes the first ones."""
    pixels, labels = split.ds.tensors
    baseline = PixelSimilarity(split.image_size, len(split.classes)).fit(pixels, labels)
    named = list(zip(split.classes, baseline.means[:, 0], strict=True))[:CLASSES_SHOWN]
    return Images(f"Mean images of {name}", dict(named), limits=(0, 1))


def weight_images(model: nn.Module, card: ModelCard) -> Images | None:
    """What a model has learned, as images; None for a model that has no picture of it."""
    if isinstance(model, PixelSimilarity):
        means = dict(list(zip(card.classes, model.means[:, 0], strict=True))[:WEIGHTS_SHOWN])
        return Images("Mean images", means, limits=(0, 1))
    if isinstance(model, LinearModel):
        images = model.weights.detach().T.reshape(-1, *card.image_size)
        if len(card.classes) == 2:
            first, second = card.classes
            return Images("Weights", {f"{first} against {second}": images[0]}, signed=True)
        named = dict(list(zip(card.classes, images, strict=True))[:WEIGHTS_SHOWN])
        return Images("Weights, one image a class", named, signed=True)
    if isinstance(model, TwoLayerModel):
        return _hidden_units(model, card)
    return _filters(model)


def _hidden_units(model: TwoLayerModel, card: ModelCard) -> Images:
    images = model.hidden.weight.detach().reshape(-1, *card.image_size)
    out = model.out.weight.detach()  # (1, hidden) or (C, hidden)
    order = out.norm(dim=0).argsort(descending=True, stable=True).tolist()[:WEIGHTS_SHOWN]
    named = {}
    for unit in order:
        strongest = int(out[:, unit].abs().argmax())
        value = float(out[strongest, unit])
        # the one logit of two classes speaks for the first; a unit that lowers it, for the second
        label = strongest if out.shape[0] > 1 else int(value < 0)
        word = "against" if value < 0 and out.shape[0] > 1 else "for"
        named[f"unit {unit}\n{abs(value):.2f} {word} {card.classes[label]}"] = images[unit]
    some = f"the {len(order)} of {out.shape[1]} with most" if len(order) < out.shape[1] else "by"
    return Images(f"Hidden units, {some} weight to the output", named, signed=True)


def _filters(model: nn.Module) -> Images | None:
    layer = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    if layer is None or max(layer.kernel_size) < 2:
        return None
    # several input channels hold the same grey image, so what acts on it is their sum
    filters = layer.weight.detach().sum(1)[:WEIGHTS_SHOWN]
    named = {f"filter {place}": image for place, image in enumerate(filters)}
    return Images("Filters of the first layer", named, signed=True)


def probability(value: float) -> str:
    """A probability in 0…1 with four digits, or with as many as it takes not to read as 1."""
    for digits in (4, 6, 9, 12):
        if float(shown := f"{value:.{digits}f}") < 1:
            return shown
    return "1.0000"


WHATS = ("curves", "confusion", "mistakes", "weights", "samples")


def pictures(
    what: str, run: Run, *, best: bool = False, count: int = MISTAKES_SHOWN, **source: Any
) -> list[Picture]:
    """The pictures of one kind (`WHATS`) of a run, reading no more of it than they need.

    `count`: how many mistakes, about how many samples. `source`: data, split, skip_bad, device,
    progress as `score_run` takes them. Raises ConfigError where there is nothing of the kind to
    draw, and as `score_run` does.
    """
    drawn: list[Picture | None] = []
    if what == "curves":
        info, missing = info_of(run)
        if missing:
            raise RunError(missing["info"])
        drawn += curves_of(info)
    elif what == "weights":
        drawn.append(weight_images(*open_model(run, best=best)))
    else:
        drawn.append(_of_score(what, score_run(run, best=best, **source), count))
    found = [picture for picture in drawn if picture is not None]
    if not found or (isinstance(found[0], Images) and not found[0].images):
        raise ConfigError(f"{printable(run.path)}: {_NOTHING[what]}")
    return found


def _of_score(what: str, score: RunScore, count: int) -> Picture:
    if what == "confusion":
        return confusion_matrix(score.evaluation)
    if what == "mistakes":
        return mistake_images(score, count)
    each = max(1, count // len(score.split.classes))
    return sample_images(score.split, score.split_name, each)


_NOTHING = {
    "curves": "no curves; it has fewer than two epochs",
    "mistakes": "no mistakes; every image is right",
    "samples": "no samples; there are no images",
    "weights": "its model has no picture of its weights",
}
