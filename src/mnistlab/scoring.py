"""A finished model on data: open a run's model, score it, say what it made of each image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.data.folders import Progress, Split
from mnistlab.data.handwriting import How, Levels, Prepared, prepare
from mnistlab.data.images import UndecodableError, decode_grey, decode_grey_bytes, quiet_pillow
from mnistlab.data.inputs import STDIN
from mnistlab.data.named import load_split
from mnistlab.devices import choose_device
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.files import remove, temporary_beside
from mnistlab.losses import LOSSES, predictions, probabilities
from mnistlab.metrics import Evaluation
from mnistlab.names import nearest, printable
from mnistlab.runs import Run
from mnistlab.storage import ModelCard, load_model
from mnistlab.training import EVAL_BATCH, compute_logits, score_logits


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
    """What `score_run` found, and on what.

    `labels` int64 (n,) and `logits` (n, 1) or (n, C), on the CPU, are in the order of the files of
    `split` and of the classes of `card`.
    """

    card: ModelCard
    data: str
    split_name: str
    split: Split
    evaluation: Evaluation
    labels: torch.Tensor
    logits: torch.Tensor

    def verdicts(self) -> Iterator[Verdict]:
        """Every image of the split in its order."""
        return self._verdicts(range(len(self.labels)))

    def mistakes(self, top: int | None = None) -> list[Verdict]:
        """The images that are wrong, the most confident first; at most `top` of them."""
        predicted = predictions(self.logits)
        sure = probabilities(self.logits.double()).amax(1)
        wrong = (predicted != self.labels).nonzero().flatten()
        # stable: of equals, the first file comes first
        order = wrong[sure[wrong].argsort(descending=True, stable=True)]
        return list(self._verdicts(order[:top].tolist()))

    def _verdicts(self, indices: "range | list[int]") -> Iterator[Verdict]:
        names = self.card.classes
        predicted = predictions(self.logits).tolist()
        labels = self.labels.tolist()
        # in float64: in float32 a sure model's 0.99999999 would read as 1
        probs = probabilities(self.logits.double()).tolist()
        for index in indices:
            yield Verdict(
                f"{self.split_name}/{self.split.files[index]}",
                index,
                names[labels[index]],
                names[predicted[index]],
                probs[index][predicted[index]],
                dict(zip(names, probs[index], strict=True)),
            )


def open_model(run: Run, *, best: bool = False) -> tuple[nn.Module, ModelCard]:
    """The last (or the best) model of a run. Raises RunError if it has none yet."""
    path = run.best_file if best else run.model_file
    try:
        return load_model(path)
    except FileNotFoundError as error:
        how = f"go on with: mnistlab train --resume {printable(run.reference)}"
        if run.is_study:
            how = "train its seeds again"
        raise RunError(
            f"{printable(path)}: no such file; the run has saved no model yet; {how}"
        ) from error


def score_run(
    run: Run,
    *,
    data: str | None = None,
    split: str = "valid",
    best: bool = False,
    skip_bad: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> RunScore:
    """Score a run's model on one split of `data` (default: the data it was trained on).

    Classes are matched by name; `data` may hold fewer classes than the model, not others. Bad
    files are skipped if `skip_bad`, and in the run's own data if the run skipped them too.
    Raises RunError, DamagedFileError, DataError, ConfigError.
    """
    target = choose_device(device)
    model, card = open_model(run, best=best)
    name, skip = (data, skip_bad) if data is not None else data_of(run)
    loaded = load_split(name, split, skip_bad=skip_bad or skip, progress=progress)
    ds = matched(loaded, card, name)
    images, labels = (tensor.to(target) for tensor in ds.tensors)
    logits = compute_logits(model.to(target), images)
    evaluation = score_logits(logits, labels, card.classes, LOSSES[card.loss])
    return RunScore(card, name, split, loaded, evaluation, ds.tensors[1], logits.cpu())


def data_of(run: Run) -> tuple[str, bool]:
    """The data a run was trained on, and whether its bad files were skipped.

    Raises RunError if the run does not say.
    """
    try:
        config = run.info()["config"]
        return str(config["data"]), bool(config.get("skip_bad", False))
    except (OSError, KeyError, TypeError, AttributeError, DamagedFileError) as error:
        raise RunError(
            f"{printable(run.info_file)}: does not say what data it was; name it with --data"
        ) from error


def matched(split: Split, card: ModelCard, name: str) -> TensorDataset:
    """`split` with its labels in the order of the model's classes. Raises DataError."""
    faults = [
        f"{printable(name)}: the model knows no class {printable(label)}"
        f"{nearest(label, card.classes)}"
        for label in split.classes
        if label not in card.classes
    ]
    if split.image_size != card.image_size:
        (height, width), (own_height, own_width) = split.image_size, card.image_size
        faults.append(
            f"{printable(name)}: images of {width} x {height} pixels; the model takes "
            f"{own_width} x {own_height}"
        )
    if faults:
        raise DataError(printable(name), faults)
    images, labels = split.ds.tensors
    place = torch.tensor([card.classes.index(label) for label in split.classes])
    return TensorDataset(images, place[labels])


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one image.

    probability: of the predicted class, 0…1. probabilities: of every class, in the model's order.
    levels: uint8 (H, W), what the model saw. steps: what was done to get there, in words.
    """

    file: str
    predicted: str
    probability: float
    probabilities: dict[str, float]
    levels: Levels
    steps: tuple[str, ...]
    inverted: bool

    def as_dict(self) -> dict[str, object]:
        """As plain data, without the pixels."""
        return {
            "file": self.file,
            "class": self.predicted,
            "probability": self.probability,
            "probabilities": self.probabilities,
            "prepared": list(self.steps),
            "inverted": self.inverted,
        }


def predict_images(
    model: nn.Module,
    card: ModelCard,
    names: Sequence[str],
    *,
    how: How = "auto",
    invert: bool | None = None,
    stdin: Callable[[], bytes] = lambda: b"",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Prediction], dict[str, str]]:
    """Prepare every image (`data.handwriting.prepare`) and classify it, on the model's device.

    names: image files; `-` is what `stdin()` gives. Returns the predictions in their order and, of
    every file that cannot be used, why. No more than one image is held as it was decoded.
    """
    found: list[Prediction] = []
    faults: dict[str, str] = {}
    for start in range(0, len(names), EVAL_BATCH):
        batch: dict[int, Prepared] = {}
        with quiet_pillow():
            for position in range(start, min(start + EVAL_BATCH, len(names))):
                if position % 16 == 0:
                    progress(position, len(names))
                try:
                    image = _decoded(names[position], stdin)
                    batch[position] = prepare(
                        image, card.image_size, card.ground, how=how, invert=invert
                    )
                except UndecodableError as fault:
                    faults[names[position]] = str(fault)
        if batch:
            files = [names[position] for position in batch]
            found += _classified(model, card, files, list(batch.values()))
    progress(len(names), len(names))
    return found, faults


def _decoded(name: str, stdin: Callable[[], bytes]) -> Image.Image:
    return decode_grey_bytes(stdin()) if name == STDIN else decode_grey(Path(name))


def _classified(
    model: nn.Module, card: ModelCard, files: Sequence[str], images: Sequence[Prepared]
) -> Iterator[Prediction]:
    tensors = [*model.parameters(), *model.buffers()]
    xb = torch.from_numpy(np.stack([image.levels for image in images])).to(tensors[0].device)
    logits = compute_logits(model, xb).cpu()
    # in float64, as eval does: in float32 a sure model's 0.99999999 would read as 1
    probs = probabilities(logits.double()).tolist()
    for file, image, label, row in zip(
        files, images, predictions(logits).tolist(), probs, strict=True
    ):
        yield Prediction(
            file=file,
            predicted=card.classes[label],
            probability=row[label],
            probabilities=dict(zip(card.classes, row, strict=True)),
            levels=image.levels,
            steps=image.steps,
            inverted=image.inverted,
        )


def save_prepared(folder: Path, found: Sequence[Prediction]) -> None:
    """What the model saw as `<number>-<name>.png` in `folder`, which is new or empty.

    The folder appears whole or not at all. Raises RunError.
    """
    digits = len(str(len(found)))
    building = temporary_beside(folder)
    try:
        building.mkdir()
        for number, one in enumerate(found, 1):
            stem = "stdin" if one.file == STDIN else Path(one.file).stem[:40]
            Image.fromarray(one.levels).save(building / f"{number:0{digits}d}-{stem}.png")
        if folder.exists():
            folder.rmdir()
        building.rename(folder)
    except BaseException as error:
        remove(building)
        if isinstance(error, OSError):
            why = error.strerror or error
            raise RunError(f"{printable(folder)}: cannot be written: {why}") from error
        raise
