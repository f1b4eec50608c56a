"""`train --from RUN`: the first weights of a model are those of another run."""

from pathlib import Path

import torch

from mnistlab.config import PIN, TrainConfig, flag_of
from mnistlab.errors import ConfigError
from mnistlab.models import ModelCard, shapes_of
from mnistlab.names import printable
from mnistlab.runs import Run
from mnistlab.storage import load_model, weights_sha256


def first_weights(config: TrainConfig, card: ModelCard) -> tuple[dict[str, torch.Tensor], str]:
    """What a model of `card` takes from the run that `config` names, and `from_run` with its hash.

    All its weights where both know the same classes in the same order, else those of all layers
    before the last. Raises ConfigError, DamagedFileError.
    """
    path, _, known = config.from_run.partition(PIN)
    where = f"--from {printable(path)}"
    try:
        model, source = load_model(Run(Path(path)).model_file)
    except FileNotFoundError as error:
        raise ConfigError(f"{where}: no such run, or it has saved no model") from error
    weights = model.state_dict()
    sha = weights_sha256(weights)
    if known not in ("", sha):
        why = f"SHA-256 {sha[:16]}..., not {known[:16]}..."
        raise ConfigError(f"{where}: has other weights than those to begin with ({why})")
    theirs, ours = ({"model": one.model, **one.settings} for one in (source, card))
    faults = [
        f"{flag_of(key)} {printable(value)}: {where} has {printable(theirs[key])}"
        for key, value in ours.items()
        if value != theirs.get(key, value)
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    if source.classes != card.classes:
        last = [*weights][-1].rpartition(".")[0]  # layers are named in their order
        weights = {k: v for k, v in weights.items() if last and not k.startswith(f"{last}.")}
    if not weights:
        raise ConfigError(
            f"{where}: knows other classes, and of a {card.model} model's only layer nothing is "
            "left then; begin with a model of more layers"
        )
    shapes = card.state_shapes()
    if any(shapes[name] != shape for name, shape in shapes_of(weights).items()):
        (height, width), (own_height, own_width) = source.image_size, card.image_size
        raise ConfigError(
            f"{where}: its {card.model} takes images of {width} x {height}, and these are "
            f"{own_width} x {own_height}; bring them to that with --image-size {height}x{width}"
        )
    return weights, f"{path}{PIN}{sha}"
