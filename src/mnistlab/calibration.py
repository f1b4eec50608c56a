"""How sure a model may be. `studies/calibrate.py` fits it on images that no model has seen.

temperature T: probabilities are those of logits / T. C. Guo et al., arXiv:1706.04599.
quantile q: a class fits if its probability is at least 1 - q; of 95 % of new images, the true class
does (split conformal prediction: A. Angelopoulos and S. Bates, arXiv:2107.07511).
guard, threshold: a small net beside the model, with one logit more than there are classes, that of
"none of them". An image that is less familiar to it than the threshold is strange.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnistlab.data.batches import to_float
from mnistlab.errors import DamagedFileError
from mnistlab.losses import predictions, probabilities
from mnistlab.models import ModelCard
from mnistlab.names import printable
from mnistlab.runs import Run
from mnistlab.storage import FORMAT, load_model, read_tensors, weights_sha256, write_tensors
from mnistlab.training import compute_logits

BINS = 15  # of confidence, of equal width


@dataclass
class Calibration:
    """See above. weights_sha256: of the weights that it was fitted for. card: of the guard."""

    weights_sha256: str
    temperature: float
    quantile: float
    threshold: float
    guard: nn.Module
    card: ModelCard

    def familiarity(self, images: torch.Tensor) -> torch.Tensor:
        """How familiar each image uint8 (n, H, W) is to the guard: (n,), any real, low is strange.

        The log of the odds that it is one of the classes, computed on the CPU. Images are brought
        to the guard's size.
        """
        small = nn.functional.adaptive_avg_pool2d(to_float(images.cpu()), self.card.image_size)
        logits = compute_logits(self.guard, (small.squeeze(1) * 255).round().byte())
        return logits[:, :-1].logsumexp(1) - logits[:, -1]

    def judge(
        self, logits: torch.Tensor, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of images uint8 (n, H, W) and the model's logits (n, 1) or (n, C): sure, fits, shares.

        shares: calibrated probabilities, float64 (n, C). fits: bool (n, C), the classes that fit,
        always with the predicted one. sure: bool (n,), one class fits and the image is not strange.
        """
        logits = logits.cpu().double()
        shares = probabilities(logits / self.temperature)
        fits = shares >= 1 - self.quantile
        fits[torch.arange(len(fits)), predictions(logits)] = True
        known = self.familiarity(images) >= self.threshold
        return known & (fits.sum(1) == 1), fits, shares

    def assess(
        self, logits: torch.Tensor, images: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, Any]:
        """How well it does on images with labels int64 (n,), as plain data; shares are 0…1.

        ece: expected calibration error before and after. coverage: of the true class among those
        that fit. not_sure: of all images; lost: of all images, right and yet not sure.
        """
        sure, fits, shares = self.judge(logits, images)
        logits, labels = logits.cpu().double(), labels.cpu()
        right = predictions(logits) == labels
        before, after = (reliability(one, labels) for one in (probabilities(logits), shares))
        return {
            **self.figures(),
            "ece": {"before": before[0], "after": after[0]},
            "coverage": float(fits[torch.arange(len(labels)), labels].double().mean()),
            "not_sure": float((~sure).double().mean()),
            "lost": float((right & ~sure).double().mean()),
            "reliability": {"before": before[1], "after": after[1]},
        }

    def save(self, path: Path) -> None:
        """Write it, as a whole or not at all. Raises OSError."""
        content = {"kind": "calibration", "format": FORMAT, "card": asdict(self.card)}
        write_tensors(path, self.guard.state_dict(), content | {"own": self.figures()})

    def figures(self) -> dict[str, Any]:
        """All but the guard, by name."""
        return {key: value for key, value in vars(self).items() if key not in ("guard", "card")}


def reliability(shares: torch.Tensor, labels: torch.Tensor) -> tuple[float, list[list[float]]]:
    """The expected calibration error of probabilities (n, C), and of each bin that is not empty its
    mean confidence, its accuracy and its share of the images.
    """
    confidence, predicted = shares.max(1)
    bins = (confidence * BINS).ceil().clamp(1, BINS)
    rows = []
    for number in bins.unique().tolist():
        own = bins == number
        right = (predicted[own] == labels[own]).double().mean()
        rows.append([float(confidence[own].mean()), float(right), float(own.double().mean())])
    return sum(abs(sure - right) * share for sure, right, share in rows), rows


def calibration_of(run: Run, model: nn.Module) -> Calibration | None:
    """The calibration of a run's `model`; None without one, or where it is of other weights.

    Raises DamagedFileError, RunError.
    """
    if not run.calibration_file.exists():
        return None
    guard, card = load_model(run.calibration_file, "calibration")
    own = read_tensors(run.calibration_file)[1].get("own")
    try:
        fitted = Calibration(**own, guard=guard, card=card)
        numbers = (fitted.temperature, fitted.quantile, fitted.threshold)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(numbers)
    except (TypeError, ValueError) as error:
        why = "cannot be loaded: its figures cannot be right"
        raise DamagedFileError(f"{printable(run.calibration_file)}: {why}") from error
    is_of_model = fitted.weights_sha256 == weights_sha256(model.state_dict())
    return fitted if is_of_model else None
