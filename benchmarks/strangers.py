"""`python -m benchmarks.strangers FOLDER [PICTURE]`: who refuses the digits that were never seen?

FOLDER holds the four files of MNIST. Each way gives an image a number, high for strange; the curve
is the share of unseen digits refused against the share of known ones (valid) lost. Prints tables
for docs/calibration.md and draws the curves. With `pairs` in place of PICTURE: other pairs of
digits, with the settings that were found with 3 and 7.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from mnistlab.calibration import Calibration
from mnistlab.data.archives import read_idx
from mnistlab.data.memory import load_tensors
from mnistlab.data.splitting import Folds, split_into_folds
from mnistlab.data.store import ImageData
from mnistlab.experiment import Experiment, prepare
from mnistlab.report.files import draw
from mnistlab.report.pictures import Curves
from mnistlab.resolving import resolve
from mnistlab.studies.calibrate import KEPT, PARTS, conformal_quantile, train_guard
from mnistlab.studies.seeds import of_fold
from mnistlab.training import compute_logits

Score = Callable[[torch.Tensor], torch.Tensor]
LOST = (0.005, 0.01, 0.02, 0.05)


def sibling_of(experiment: Experiment) -> Experiment:
    """Trained on nine tenths of the training images; its valid is the last tenth."""
    train = experiment.data.train
    folds = Folds(experiment.data, train, split_into_folds(train.labels(), train.digests(), PARTS))
    sibling = of_fold(replace(experiment, folds=folds), PARTS - 1)
    list(sibling.train())
    return sibling


def hidden_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What goes into the last layer, (n, hidden)."""
    seen: list[torch.Tensor] = []
    hook = model.get_submodule("out").register_forward_hook(
        lambda _, given, __: seen.append(given[0])
    )
    compute_logits(model, images)
    hook.remove()
    return torch.cat(seen).double()


def ways(sibling: Experiment, *, of_pixels: bool) -> dict[str, Score]:
    """Ways that look at pixels, at logits and at the last hidden layer."""
    model = sibling.now.model
    pixels, labels = sibling.data.train_ds.tensors

    def flat(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).double() / 255

    def predicted(images: torch.Tensor) -> torch.Tensor:
        return (compute_logits(model, images) <= 0).long().squeeze(1)

    def gaussians(features: Score, ridge: float) -> Score:
        x = features(pixels)
        means = torch.stack([x[labels == c].mean(0) for c in (0, 1)])
        within = torch.cov((x - means[labels]).T)
        scale = torch.linalg.inv(
            within + ridge * within.trace() / len(within) * torch.eye(x.shape[1])
        )

        def score(images: torch.Tensor) -> torch.Tensor:
            away = features(images)[:, None] - means
            squares: torch.Tensor = (away @ scale) * away
            return squares.sum(2).amin(1)

        return score

    def neighbours(features: Score) -> Score:
        x = features(pixels).float()
        return lambda images: torch.cdist(features(images).float(), x).kthvalue(5, 1).values

    def reconstruction(k: int) -> Score:
        parts = []
        for c in (0, 1):
            x = flat(pixels[labels == c])
            axes = torch.linalg.eigh(torch.cov(x.T)).eigenvectors[:, -k:]
            parts.append((x.mean(0), axes))

        def score(images: torch.Tensor) -> torch.Tensor:
            errors = []
            for mean, axes in parts:
                away = flat(images) - mean
                errors.append(away.square().sum(1) - (away @ axes).square().sum(1))
            return torch.stack(errors, 1)[torch.arange(len(images)), predicted(images)]

        return score

    def means(images: torch.Tensor) -> torch.Tensor:
        x = flat(pixels)
        return torch.cdist(
            flat(images), torch.stack([x[labels == c].mean(0) for c in (0, 1)])
        ).amin(1)

    def hidden(images: torch.Tensor) -> torch.Tensor:
        return hidden_of(model, images)

    found: dict[str, Score] = {
        "logit": lambda images: -compute_logits(model, images).squeeze(1).abs(),
        "neighbours, last hidden layer": neighbours(hidden),
        "Mahalanobis, last hidden layer": gaussians(hidden, 0.01),
    }
    if not of_pixels:
        return found
    return found | {
        "distance to class means, pixels": means,
        "Mahalanobis, pixels": gaussians(flat, 0.1),
        "PCA of each class, 10 axes": reconstruction(10),
        "neighbours, pixels": neighbours(flat),
    }


def refused_at(known: torch.Tensor, unseen: torch.Tensor, lost: float) -> float:
    """The share of unseen ones refused where this share of known ones is lost."""
    return float((unseen > known.double().quantile(1 - lost)).double().mean())


def guard_of(sibling: Experiment) -> tuple[Score, float]:
    """How strange an image is to a guard, and the threshold from the held-out images."""
    guard = train_guard(sibling)
    made = Calibration("", 1.0, 0.0, 0.0, guard.now.model, guard.card)
    held_out = -made.familiarity(sibling.data.valid_ds.tensors[0])
    return lambda images: -made.familiarity(images), conformal_quantile(held_out, KEPT)


def pair_of(folder: Path, one: int, other: int) -> tuple[ImageData, torch.Tensor, torch.Tensor]:
    """Two digits of MNIST as data, and the other eight of the test with their labels."""
    parts = [
        tuple(torch.from_numpy(read_idx(folder / f"{part}-{kind}-ubyte.gz").copy())
              for kind in ("images-idx3", "labels-idx1"))
        for part in ("train", "t10k")
    ]  # fmt: skip
    chosen = []
    for images, labels in parts:
        rows = (labels == one) | (labels == other)
        chosen.append((images[rows], (labels[rows] == other).long()))
    images, labels = parts[1]
    rest = (labels != one) & (labels != other)
    data = load_tensors(*chosen[0], [str(one), str(other)], valid=chosen[1])
    return data, images[rest], labels[rest]


def other_pairs(folder: Path) -> None:
    """The guard on pairs of digits for which nothing was chosen: a table."""
    print("| known | lost | refused | refused at 2 % lost |\n|---|---|---|---|")
    for one, other in ((0, 1), (1, 4), (4, 9), (9, 2), (2, 5), (5, 8), (8, 6)):
        data, unseen, _ = pair_of(folder, one, other)
        sibling = sibling_of(prepare(resolve({"epochs": 1}), data=data))
        score, threshold = guard_of(sibling)
        known, strange = score(data.valid_ds.tensors[0]), score(unseen)
        own = [float((each > threshold).double().mean()) for each in (known, strange)]
        best = refused_at(known, strange, 0.02)
        print(f"| {one}, {other} | {own[0]:.4f} | {own[1]:.3f} | {best:.3f} |", flush=True)


def main() -> None:
    """Print the tables and draw the curves."""
    torch.set_num_threads(1)
    folder, picture = (*sys.argv[1:], "")[:2]
    if picture == "pairs":
        other_pairs(Path(folder))
        return
    _, unseen, digits = pair_of(Path(folder), 3, 7)
    lines = {}
    print("| model | way | " + " | ".join(f"{100 * lost:g} %" for lost in LOST) + " |")
    print("|" + "---|" * (2 + len(LOST)))
    for name in ("two-layer", "cnn"):
        experiment = prepare(resolve({"threads": 1}, source=name))
        sibling = sibling_of(experiment)
        scores = ways(sibling, of_pixels=name == "cnn")
        if name == "cnn":
            scores["guard"], threshold = guard_of(sibling)
        valid = experiment.data.valid_ds.tensors[0]
        for way, score in scores.items():
            known, strange = score(valid), score(unseen)
            figures = " | ".join(f"{refused_at(known, strange, lost):.3f}" for lost in LOST)
            print(f"| {name if way != 'guard' else 'every'} | {way} | {figures} |", flush=True)
            if name == "cnn":
                at = [step / 1000 for step in range(1, 51)]
                lines[way] = (at, [refused_at(known, strange, lost) for lost in at])
    share = (strange > threshold).double()
    by_digit = ", ".join(f"{d}: {float(share[digits == d].mean()):.2f}" for d in range(10)
                         if d not in (3, 7))  # fmt: skip
    print(f"guard at its threshold: lost {float((known > threshold).double().mean()):.4f}, refused "
          f"{float(share.mean()):.4f} ({by_digit})")  # fmt: skip
    curves = Curves(
        "Digits never seen that are refused, cnn on 3 and 7",
        lines,
        "share of known digits lost",
        "share of unseen digits refused",
        y_range=(0, 1.45),  # with room for the legend
    )
    if picture:
        draw([curves], picture)


if __name__ == "__main__":
    main()
