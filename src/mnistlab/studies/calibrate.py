"""How far may a model be trusted? Fit a `Calibration` on images that no model has seen.

A sibling of the model, of the same config and seed, is trained on nine tenths of the training
images; temperature, quantile and threshold are fitted on the last tenth, never on valid. The guard
learns to tell the nine tenths from strangers that are made of them (`strangers.py`).
"""

import math
from dataclasses import replace

import torch

from mnistlab.calibration import LEVEL, Calibration, Figures
from mnistlab.data.batches import epoch_order
from mnistlab.data.memory import load_tensors
from mnistlab.data.moved import require_same, whereabouts
from mnistlab.data.splitting import Folds, split_into_folds
from mnistlab.data.store import Progress
from mnistlab.errors import ConfigError
from mnistlab.experiment import Experiment, TrainingState, new_optimizer, prepare
from mnistlab.losses import LOSSES, predictions, probabilities, targets_for
from mnistlab.names import printable
from mnistlab.resolving import resolve
from mnistlab.runs import Run
from mnistlab.scoring import open_model
from mnistlab.storage import weights_sha256
from mnistlab.studies.seeds import of_fold
from mnistlab.studies.strangers import SIDE, strangers
from mnistlab.training import compute_logits

PARTS = 10
KEPT = 0.985  # share of the held-out images that are familiar enough
_MOST = 12_000  # images that the guard learns from
_GUARD = {
    "model": "cnn",
    **{"channels": [32, 24], "hidden": 16, "kernel": 7, "stride": 3, "cosines": True},
    **{"optimizer": "adam", "lr": 0.01, "beta2": 0.99, "schedule": "one-cycle"},
    **{"epochs": 8, "batch_size": 256, "augment": True},
}


def calibrate_run(
    run: Run, data: str | None = None, progress: Progress | None = None
) -> Calibration:
    """Fit the calibration of a run's model and write it into the run folder.

    `data` says where its data are now. Raises ConfigError for a run of several models and for a
    class with too few images, RunError, DataError, DamagedFileError, DivergedError.
    """
    where = printable(run.path)
    if run.is_study:
        raise ConfigError(f"{where}: holds several models; calibrate a run of one (--seed N)")
    model, _ = open_model(run)
    record = run.record()
    resolved = resolve({"data": data}, str(run.config_file))
    whereabouts(run, resolved.config.data, data)
    experiment = prepare(resolved, progress)
    require_same(run, experiment.data, record.data.fingerprint)
    train = experiment.data.train
    if few := [name for name, count in train.counts.items() if count < PARTS]:
        raise ConfigError(f"{where}: {printable(few[0])} has fewer than {PARTS} training images")
    fold_of = split_into_folds(train.labels(), train.digests(), PARTS)
    sibling = of_fold(replace(experiment, folds=Folds(experiment.data, train, fold_of)), PARTS - 1)
    calibration = calibrate(sibling, weights_sha256(model.state_dict()))
    calibration.save(run.calibration_file)
    return calibration


def calibrate(sibling: Experiment, sha256: str) -> Calibration:
    """Train the sibling and a guard on its train, and fit the figures on its valid.

    sha256: of the weights that the calibration is for. Raises DivergedError.
    """
    model = sibling.draw(sibling.config.seed)
    now = TrainingState(model, new_optimizer(sibling.config, model))
    trained = replace(sibling, now=now, run=None)
    list(trained.train())
    model.load_state_dict(trained.capture().model_weights)
    images, labels = (tensor.to(sibling.device) for tensor in sibling.data.valid_ds.tensors)
    logits = compute_logits(model, images).double()
    temperature = fit_temperature(logits, labels, len(sibling.card.classes))
    shares = probabilities(logits / temperature)
    misfits = 1 - shares[torch.arange(len(labels)), labels]
    guard = _train_guard(sibling)
    draft = Figures(weights_sha256=sha256, temperature=temperature, quantile=1.0, threshold=0.0)
    fitted = Calibration(draft, guard.now.model.eval(), guard.card)
    strangest = min(conformal_quantile(-fitted.familiarity(images), KEPT), 1e9)
    figures = {"quantile": min(conformal_quantile(misfits, LEVEL), 1.0), "threshold": -strangest}
    return replace(fitted, figures=draft.model_copy(update=figures))


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor, n_classes: int) -> float:
    """The T for which the cross-entropy of logits / T is least; logits float64 (n, 1) or (n, C).

    Where every image is right, that would be 0: then as if each had been seen once more as every
    class (Laplace's rule, as in Platt's scaling).
    """
    loss = LOSSES["bce" if n_classes == 2 else "cross-entropy"]
    all_right = bool((predictions(logits) == labels).all())
    smoothing = n_classes / (len(labels) + n_classes) if all_right else 0.0
    targets = targets_for(labels, n_classes)
    log = logits.new_zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(logits / log.exp(), targets, smoothing)
        value.backward()
        return value

    optimizer.step(closure)
    return float(log.detach().exp())


def conformal_quantile(scores: torch.Tensor, level: float) -> float:
    """The score that a new one does not exceed with probability `level` or more: of n scores (n,),
    the ⌈level (n + 1)⌉-th smallest; infinite where n is too small for that.
    """
    rank = math.ceil(level * (len(scores) + 1))
    return float(scores.sort().values[rank - 1]) if rank <= len(scores) else math.inf


def _train_guard(sibling: Experiment) -> Experiment:
    """A net that knows the sibling's training images, by class, from strangers: trained."""
    seed, n_classes = sibling.config.seed, len(sibling.card.classes)
    pixels, labels = sibling.data.train_ds.tensors
    rows = torch.arange(0, len(pixels), math.ceil(len(pixels) / _MOST))  # some of every class
    rows = rows[epoch_order(len(rows), seed, 0)]
    known = torch.nn.functional.adaptive_avg_pool2d(pixels[rows].float() / 255, SIDE)
    pen = sibling.card.ground is not None
    dark = (sibling.card.ground or 0) < 0.5
    ink = strangers(known if dark else 1 - known, seed, pen=pen)
    images = torch.cat([known, ink if dark else 1 - ink])
    images = (images * 255).round().to(torch.uint8)
    labels = torch.cat([labels[rows], torch.full((len(ink),), n_classes)])
    names = [str(number) for number in range(n_classes + 1)]
    first = [labels.tolist().index(label) for label in range(n_classes + 1)]
    data = load_tensors(images, labels, names, valid=(images[first], labels[first]))
    settings = {"seed": seed, "threads": sibling.config.threads, "device": sibling.config.device}
    guard = prepare(resolve({**_GUARD, **settings}), data=data)
    list(guard.train())
    return guard
