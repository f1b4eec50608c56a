"""Image files in, class and probability out: decoded, prepared as the training images were."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from mnistlab.checkpoint import ModelCard
from mnistlab.data.handwriting import How, Levels, Prepared, prepare
from mnistlab.data.images import UndecodableError, decode_grey, decode_grey_bytes, quiet_pillow
from mnistlab.data.inputs import STDIN
from mnistlab.errors import RunError
from mnistlab.files import remove, temporary_beside
from mnistlab.logits import predictions, probabilities
from mnistlab.names import printable
from mnistlab.training import EVAL_BATCH, compute_logits


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
