"""A finished model on data: open a run's model, score it, say what it made of each image."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.calibration import Calibration, calibration_of
from mnistlab.config import READING, Fit, flag_of
from mnistlab.data.fit import How, Levels, Prepared, fitted, prepare
from mnistlab.data.images import (
    UndecodableError,
    decode,
    decode_bytes,
    decode_image,
    quiet_pillow,
)
from mnistlab.data.inputs import STDIN
from mnistlab.data.layouts import LoadOptions, options_of
from mnistlab.data.memory import Source, named_images
from mnistlab.data.named import load_data, load_split, whereabouts
from mnistlab.data.scan import SPLITS
from mnistlab.data.splitting import folds_of
from mnistlab.data.store import Progress, Split
from mnistlab.devices import choose_device, set_threads
from mnistlab.errors import ConfigError, DataError, RunError
from mnistlab.files import building
from mnistlab.losses import predictions, probabilities
from mnistlab.metrics import Evaluation
from mnistlab.models import ModelCard
from mnistlab.names import nearest, printable
from mnistlab.runs import Run
from mnistlab.storage import load_model
from mnistlab.training import compute_logits, score_logits


@dataclass(frozen=True)
class Verdict:
    """What a model made of one image of a dataset.

    `file` is `split/class/name` below the data folder; `index` is its place in the split;
    `probability` is that of the predicted class, 0…1; `probabilities` has every class.
    """

    file: str
    index: int
    actual: str
    predicted: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class RunScore:
    """What `score_run` returns: the scores, and on what images.

    `labels` int64 (n,) and `logits` (n, 1) or (n, C), on the CPU, are in the order of the files of
    `split` and of the classes of `card`. calibration: what `Calibration.assess` says, if there is
    one.
    """

    card: ModelCard
    data: str
    split_name: str
    split: Split
    evaluation: Evaluation
    labels: torch.Tensor
    logits: torch.Tensor
    calibration: dict[str, Any] | None = None

    def mistakes(self, top: int | None = None) -> list[Verdict]:
        """The images that are wrong, the most confident first; at most `top` of them."""
        sure = probabilities(self.logits.double()).amax(1)
        wrong = (predictions(self.logits) != self.labels).nonzero().flatten()
        # stable: of equals, the first file comes first
        order = wrong[sure[wrong].argsort(descending=True, stable=True)]
        return list(self.verdicts(order[:top].tolist()))

    def verdicts(self, indices: Sequence[int] | None = None) -> Iterator[Verdict]:
        """The images at `indices`; without them every image of the split in its order."""
        names, labels = self.card.classes, self.labels.tolist()
        rows = range(len(labels)) if indices is None else indices
        for index, answer in zip(rows, answers(self.logits[[*rows]], names), strict=True):
            yield Verdict(self.split.path_of(index), index, names[labels[index]], *answer)


def answers(
    logits: torch.Tensor, classes: Sequence[str]
) -> Iterator[tuple[str, float, dict[str, float]]]:
    """Of each image the predicted class, its probability, and that of every class."""
    # in float64: in float32 a sure model's 0.99999999 would read as 1
    probs = probabilities(logits.double()).tolist()
    for label, row in zip(predictions(logits).tolist(), probs, strict=True):
        yield classes[label], row[label], dict(zip(classes, row, strict=True))


def open_model(run: Run, *, best: bool = False) -> tuple[nn.Module, ModelCard]:
    """The last (or the best) model of a run. Raises RunError if it has none yet."""
    path = run.best_file if best else run.model_file
    try:
        return load_model(path)
    except FileNotFoundError as error:
        raise RunError(
            f"{printable(path)}: no such file; the run has saved no model yet; go on with: "
            f"mnistlab train --resume {printable(run.reference)}"
        ) from error


def score_run(
    run: Run,
    settings: Mapping[str, Any] | None = None,
    *,
    split: str = "valid",
    best: bool = False,
    options: LoadOptions | None = None,
    progress: Progress | None = None,
) -> RunScore:
    """Score a run's model on one split of its data, or of the setting `data`.

    settings: `data` and how that is read (`config.READING`), `skip_bad`, `device` and `threads`;
    the defaults are those of the run. options: how `data` is read, where no setting says so. Images
    are brought to the model's size as its training images were. Classes are matched by name; `data`
    may hold fewer classes than the model, not others. Bad files are skipped if `skip_bad`, and in
    the run's own data if the run skipped them too.
    Raises RunError, DamagedFileError, DataError, ConfigError.
    """
    settings = {key: value for key, value in (settings or {}).items() if value is not None}
    set_threads(settings.get("threads", run.threads))
    device = choose_device(settings.get("device", "auto"))
    model, card = open_model(run, best=best)
    reading = {key: settings[key] for key in READING if key in settings}
    is_own = "data" not in settings
    if is_own and reading:
        given = ", ".join(map(flag_of, reading))
        raise ConfigError(f"{given}: of other images, with --data; a run's own are read as it did")
    if is_own:
        name, options = data_of(run)
    else:
        name, options = settings["data"], options or LoadOptions(**reading)
    options = replace(
        options,
        image_size=card.image_size,
        fit=cast("Fit", card.fit or (options.fit if is_own else "pad")),
        skip_bad=options.skip_bad or bool(settings.get("skip_bad")),
    )
    record = run.known_record() if is_own and split in SPLITS else None
    if record and record.config.folds and record.result and record.result.summary:
        # of `train --folds`: the images that its model was trained (or scored) on
        folds = folds_of(load_data(name, options, progress=progress), record.config.folds)
        data = folds.data_of(record.result.summary["best" if best else "median"]["fold"])
        loaded = data.train if split == "train" else data.valid
    else:
        loaded = load_split(name, split, options, progress=progress)
    ds = matched(loaded, card, name)
    images, labels = (tensor.to(device) for tensor in ds.tensors)
    logits = compute_logits(model.to(device), images)
    evaluation = score_logits(logits, labels, card.classes, card.loss_func())
    calibration = calibration_of(run, model)
    assessed = calibration.assess(logits, images, labels) if calibration else None
    return RunScore(card, name, split, loaded, evaluation, ds.tensors[1], logits.cpu(), assessed)


def data_of(run: Run) -> tuple[str, LoadOptions]:
    """The data a run was trained on, and how they were read.

    Raises RunError if the run does not say, DataError if they are no longer there.
    """
    record = run.known_record()
    if record is None:
        raise RunError(
            f"{printable(run.record_file)}: does not say what data it was; name it with --data"
        )
    return whereabouts(run, record.config.data), options_of(record.config)


def matched(split: Split, card: ModelCard, name: str) -> TensorDataset:
    """`split` with its labels in the order of the model's classes. Raises DataError."""
    faults = [
        f"{printable(name)}: the model knows no class {printable(label)}"
        f"{nearest(label, card.classes)}"
        for label in split.classes
        if label not in card.classes
    ]
    if faults:
        raise DataError(printable(name), faults)
    images, labels = split.ds.tensors
    place = torch.tensor([card.classes.index(label) for label in split.classes])
    return TensorDataset(images, place[labels])


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one image.

    probability: of the predicted class, 0…1. probabilities: of every class, in the model's order.
    sure, fits: see `Calibration.judge`; without a calibration always true, and the predicted class.
    levels: uint8 (H, W), what the model saw. steps: how they were prepared, in words.
    """

    file: str
    predicted: str
    probability: float
    probabilities: dict[str, float]
    levels: Levels
    steps: tuple[str, ...]
    inverted: bool
    sure: bool
    fits: tuple[str, ...]

    @property
    def answer(self) -> str:
        """In words: the class, or "not sure" and those that fit."""
        return self.predicted if self.sure else f"not sure ({', '.join(self.fits)}?)"


def predict_images(
    model: nn.Module,
    card: ModelCard,
    images: Source | Sequence[Source],
    *,
    how: How = "auto",
    invert: bool | None = None,
    stdin: bytes = b"",
    calibration: Calibration | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Prediction], dict[str, str]]:
    """Prepare every image (`data.fit.prepare`) and classify it, on the model's device.

    images: paths (`-` is the image whose bytes are `stdin`), Pillow's images, arrays and tensors
    (`data.images.levels_of`), one or many. Returns the predictions in their order and, for every
    image that cannot be used, why. Only one file is in memory at its own size. calibration: that of
    the model; the probabilities are then calibrated. Raises ConfigError for what is no image.
    """
    device = next(itertools.chain(model.parameters(), model.buffers())).device
    usable: list[tuple[str, Prepared]] = []
    faults: dict[str, str] = {}
    names = list(named_images(images))
    with quiet_pillow():
        for position, (name, own) in enumerate(names):
            progress(position, len(names))
            try:
                if own is not None:
                    image = decode_image(own).grey
                elif name == STDIN:
                    image = decode_bytes(stdin).grey
                else:
                    image = decode(Path(name)).grey
                if card.fit is None or how != "auto" or invert is not None:
                    prepared = prepare(image, card.image_size, card.ground, how=how, invert=invert)
                else:  # exactly as the training images were
                    small = fitted(image, card.image_size, cast("Fit", card.fit))
                    size = "{1} x {0}".format(*card.image_size)
                    prepared = Prepared(np.asarray(small), (f"{card.fit} to {size}",))
            except UndecodableError as fault:
                faults[name] = str(fault)
            else:
                usable.append((name, prepared))
    progress(len(names), len(names))
    if not usable:
        return [], faults
    xb = torch.from_numpy(np.stack([prepared.levels for _, prepared in usable])).to(device)
    logits = compute_logits(model, xb)
    sure = torch.full((len(xb),), True)
    fits = nn.functional.one_hot(predictions(logits), len(card.classes))
    if calibration is not None:
        sure, fits, _ = calibration.judge(logits, xb)
        logits = logits / calibration.temperature
    judged = zip(answers(logits.cpu(), card.classes), sure.tolist(), fits.tolist(), strict=True)
    results: list[Prediction] = []
    for (name, prepared), (answer, is_sure, fit) in zip(usable, judged, strict=True):
        seen = (prepared.levels, prepared.steps, prepared.inverted)
        fitting = tuple(itertools.compress(card.classes, fit))
        results.append(Prediction(name, *answer, *seen, is_sure, fitting))
    return results, faults


def save_prepared(folder: Path, results: Sequence[Prediction]) -> None:
    """Write what the model saw as `<number>-<name>.png` into `folder`, which is new or empty.

    The folder appears complete or not at all. Raises RunError.
    """
    digits = len(str(len(results)))
    try:
        with building(folder) as draft:
            draft.mkdir()
            for number, result in enumerate(results, 1):
                stem = "stdin" if result.file == STDIN else Path(result.file).stem[:40]
                Image.fromarray(result.levels).save(draft / f"{number:0{digits}d}-{stem}.png")
            if folder.exists():
                folder.rmdir()
            draft.rename(folder)
    except OSError as error:
        why = error.strerror or error
        raise RunError(f"{printable(folder)}: cannot be written: {why}") from error
