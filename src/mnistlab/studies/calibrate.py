"""How far may a model be trusted? Fit a `Calibration` on images that no model has seen.

A sibling of the model, of the same config and seed, is trained on nine tenths of the training
images; temperature, quantile and threshold are fitted on the last tenth, never on valid. The guard
learns to tell the nine tenths from `strangers` that are made of them.
"""

import math
from dataclasses import replace

import torch
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from mnistlab.calibration import Calibration
from mnistlab.data.batches import epoch_order
from mnistlab.data.memory import load_tensors
from mnistlab.data.moved import require_same, whereabouts
from mnistlab.data.splitting import Folds, split_into_folds
from mnistlab.data.store import Progress
from mnistlab.errors import ConfigError
from mnistlab.experiment import Experiment, prepare
from mnistlab.losses import predictions, probabilities
from mnistlab.names import printable
from mnistlab.own_code import kept
from mnistlab.resolving import resolve
from mnistlab.runs import Run
from mnistlab.scoring import open_model
from mnistlab.storage import weights_sha256
from mnistlab.studies.seeds import of_fold
from mnistlab.training import compute_logits

PARTS = 10
LEAST = 400  # training images: of a tenth, 19 are needed to say what 95 % are
LEVEL = 0.95  # of new images, the share whose true class fits
KEPT = 0.985  # share of the held-out images that are familiar enough
EXAMPLES = 12_000  # that the guard learns from at most, and as many strangers
SIDE = 28  # pixels, of all images that the guard sees
_POINTS, _ARCS = 80, 5  # of a stroke
_AT_ONCE = 256  # images: the distances of all points to all pixels then need 64 MB
_NET = {"model": "cnn", "channels": [32, 24], "hidden": 16, "kernel": 7, "stride": 3}
_STEPS = {"optimizer": "adam", "lr": 0.01, "beta2": 0.99, "schedule": "one-cycle", "epochs": 8}


def calibrate_run(
    run: Run, data: str | None = None, progress: Progress | None = None
) -> Calibration:
    """Fit the calibration of a run's model and write it into the run folder.

    `data` says where its data are now. Raises ConfigError for a run of several models or of too
    few images, RunError, DataError, DamagedFileError, DivergedError.
    """
    digest, record = weights_sha256(open_model(run)[0].state_dict()), run.record()
    if run.is_study or record.status != "done":
        raise ConfigError(f"{printable(run.path)}: not a finished run of one model")
    resolved = replace(resolve({"data": data}, str(run.config_file)), sources=kept(record.sources))
    whereabouts(run, resolved.config.data, data)
    experiment = prepare(resolved, progress)
    require_same(run, experiment.data, record.data.fingerprint)
    train = experiment.data.train
    if len(train.ds) < LEAST:
        raise ConfigError(f"{printable(run.path)}: too few images; calibrating takes {LEAST}")
    folds = Folds(experiment.data, train, split_into_folds(train.labels(), train.digests(), PARTS))
    sibling = of_fold(replace(experiment, folds=folds), PARTS - 1)  # its valid is the last tenth
    list(sibling.train())
    model = sibling.now.model
    model.load_state_dict(sibling.capture().model_weights)
    images, labels = sibling.data.valid_ds.tensors
    logits = compute_logits(model, images.to(sibling.device)).cpu().double()
    temperature = fit_temperature(logits, labels)
    shares = probabilities(logits / temperature)
    quantile = conformal_quantile(1 - shares[torch.arange(len(labels)), labels], LEVEL)
    guard = train_guard(sibling)
    fitted = Calibration(digest, temperature, quantile, 0.0, guard.now.model, guard.card)
    fitted.threshold = -conformal_quantile(-fitted.familiarity(images), KEPT)
    fitted.save(run.calibration_file)
    return fitted


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The T from 0.01 to 100, to 1 %, for which the cross-entropy of logits / T is least.

    logits: float64 (n, 1) or (n, C). Where every image is right, the smallest T would do best: then
    as if each class had been seen once more (Laplace's rule, as in Platt's scaling).
    """
    all_right = bool((predictions(logits) == labels).all())
    if logits.shape[1] == 1:  # that of the second class is 0
        logits = torch.cat([logits, torch.zeros_like(logits)], dim=1)
    n, n_classes = logits.shape
    smoothing = n_classes / (n + n_classes) if all_right else 0.0

    def loss(temperature: float) -> float:
        return float(cross_entropy(logits / temperature, labels, label_smoothing=smoothing))

    return min((1.01**power for power in range(-463, 464)), key=loss)


def conformal_quantile(scores: torch.Tensor, level: float) -> float:
    """What a new score does not exceed with probability `level` or more: of n scores (n,), the
    ⌈level (n + 1)⌉-th smallest; the largest where n is too small for that.
    """
    rank = math.ceil(level * (len(scores) + 1))
    return float(scores.sort().values[:rank][-1])


def train_guard(sibling: Experiment) -> Experiment:
    """A net that was trained to know the sibling's training images, by class, from strangers."""
    seed, n_classes = sibling.config.seed, len(sibling.card.classes)
    pixels, labels = sibling.data.train_ds.tensors
    rows = torch.arange(0, len(pixels), math.ceil(len(pixels) / EXAMPLES))  # some of every class
    rows = rows.repeat(max(EXAMPLES // len(rows), 1))  # few images stand beside many strangers
    rows = rows[epoch_order(len(rows), seed, 0)]
    known = adaptive_avg_pool2d(pixels[rows].float() / 255, SIDE)
    light = (sibling.card.ground or 0) > 0.5  # then ink is what is dark
    strange = strangers(1 - known if light else known, seed)
    images = torch.cat([known, 1 - strange if light else strange]).mul(255).round().byte()
    labels = torch.cat([labels[rows], torch.full((len(rows),), n_classes)])
    first = [labels.tolist().index(label) for label in range(n_classes + 1)]
    valid = images[first], labels[first]  # not looked at
    data = load_tensors(images, labels, [*map(str, range(n_classes + 1))], valid)
    own = {"seed": seed, "threads": sibling.config.threads, "device": sibling.config.device}
    guard = prepare(resolve({**_NET, **_STEPS, **own, "cosines": True, "augment": True}), data=data)
    list(guard.train())
    guard.now.model.cpu().eval()
    return guard


def strangers(ink: torch.Tensor, seed: int) -> torch.Tensor:
    """Images of what is none of the known classes, made without any others.

    A quarter each: halves of two known images, turned; half a known one and half a stroke of a pen;
    and two quarters of strokes. A few come out as a known class; the guard takes these for known.
    As many as there are known images `ink`, float (n, 28, 28) in 0…1, in mixed order.
    """
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number, known in enumerate(ink.split(_AT_ONCE)):
        one = known.rot90(1 + number % 3, (1, 2))
        other = known.roll(1, 0).rot90(number % 4, (1, 2)).flip(1)  # of another image
        kind = torch.arange(len(known))[:, None, None] % 4
        strokes = pen_strokes(len(known), generator)
        one, other = torch.where(kind == 3, known, one), torch.where(kind == 3, strokes, other)
        # a line through the image, about the middle: one lies on its one side, other on the other
        angle = torch.rand(len(known), 1, 1, generator=generator) * 2 * math.pi
        shift = torch.rand(len(known), 1, 1, generator=generator) * 0.5 - 0.25
        place = torch.linspace(-1, 1, SIDE)
        side = place * angle.cos() + place[:, None] * angle.sin() > shift
        made.append(torch.where(kind < 2, strokes, torch.where(side, one, other)))
    return torch.cat(made)


def pen_strokes(n: int, generator: torch.Generator) -> torch.Tensor:
    """n strokes of a pen, (n, 28, 28): one to five arcs, some with a corner or a gap between them.

    Along an arc the heading turns evenly: one arc that turns once about is a circle.
    """

    def drawn(low: float, high: float, columns: int = _ARCS) -> torch.Tensor:
        return torch.rand(n, columns, generator=generator) * (high - low) + low

    n_arcs = torch.randint(1, _ARCS + 1, (n, 1), generator=generator)
    arc = (torch.arange(_POINTS) / _POINTS * n_arcs).long()  # of each point: (n, points)
    begins = arc.diff(dim=1, prepend=arc[:, :1]) > 0
    turn = drawn(-1.5 * math.pi, 1.5 * math.pi).gather(1, arc) * n_arcs / _POINTS
    corner = (drawn(-math.pi, math.pi) * (drawn(0, 1) < 0.5)).gather(1, arc) * begins
    heading = drawn(0, 2 * math.pi, 1) + (turn + corner).cumsum(1)
    steps = torch.stack([heading.cos() * drawn(0.5, 1.1, 1), heading.sin()], dim=2)
    at = (steps * drawn(0.4, 1.6).gather(1, arc)[:, :, None]).cumsum(1)  # (n, points, 2): x, y
    at = at - at.mean(1, keepdim=True)
    size = at.square().sum(2).mean(1).sqrt().clamp(min=0.1)
    at = at * (drawn(5, 9.5, 1) / size[:, None])[:, :, None] + (SIDE - 1) / 2
    lifted = (drawn(0, 1) < 0.15).gather(1, arc) & (arc > 0)
    at = at + 1000 * lifted[:, :, None]  # far from every pixel
    pixels = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).flip(1).float()
    distance = torch.cdist(pixels, at).amin(2).reshape(n, SIDE, SIDE)
    return (drawn(0.5, 1.8, 1)[:, :, None] + 0.5 - distance).clamp(0, 1)
