"""What code of the user's own must hold: tried on seven images before any training."""

import copy
from collections.abc import Mapping

import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnistlab.config import TrainConfig, flag_of, short
from mnistlab.data.batches import to_float
from mnistlab.errors import ConfigError
from mnistlab.losses import targets_for, training_loss
from mnistlab.models import ModelCard
from mnistlab.names import printable
from mnistlab.optim import RATES, new_optimizer
from mnistlab.own_code import blamed
from mnistlab.storage import check_weights, weights_sha256
from mnistlab.training import check_logits


def check_own(
    card: ModelCard, config: TrainConfig, origins: Mapping[str, str], ds: TensorDataset
) -> None:
    """Try model, loss and optimizer of `card`, and a step with them; on models of their own.

    ds: images uint8 (n, H, W) and labels (n,). Raises ConfigError for the first thing that would
    spoil a training or could not be repeated.
    """
    if stepping := card.sources.get("optimizer"):
        # one cycle sets the momentum also where it is not asked for
        used = {*stepping.asked(dict.fromkeys(RATES))}
        used |= {"momentum"} if config.schedule == "one-cycle" else set()
        for key in RATES:
            given = origins[key] == flag_of(key)
            _require(flag_of(key), f"{stepping.name} asks for none", not given or key in used)
    images, labels = (tensor[torch.arange(7) % len(tensor)] for tensor in ds.tensors)
    xb, targets = to_float(images), targets_for(labels, len(card.classes))
    with blamed(card.model), torch.random.fork_rng(devices=[]):
        model, before = card.build(config.seed), xb.clone()
        module = f"must make an nn.Module, not {type(model).__name__}"
        _require(card.model, module, isinstance(model, nn.Module))
        start = copy.deepcopy(model.eval()).state_dict()
        check_weights(start, card)
        with torch.no_grad():
            one, seven, again = (model(part) for part in (xb[:1], xb, xb))
        check_logits(one, 1, len(card.classes))
        check_logits(seven, 7, len(card.classes))
        same_state = weights_sha256(model.state_dict()) == weights_sha256(start)
        _require(card.model, "forward changes its images; work on a copy", xb.equal(before))
        _require(card.model, "its logits are not finite numbers", bool(seven.isfinite().all()))
        _require(card.model, "in eval mode it draws other logits each time", seven.equal(again))
        _require(card.model, "in eval mode forward changes its state", same_state)
        hashes = set[str]()
        for each in (model, model, card.build(config.seed)):
            hashes.add(_after_a_step(each, card, config, xb, targets))
            model.load_state_dict(start)  # all that a resumed run knows of it
    fault = "the same step from one seed differs; draw random numbers with torch alone, and keep "
    _require(card.model, fault + "in buffers what changes from step to step", len(hashes) == 1)


def _after_a_step(
    model: nn.Module, card: ModelCard, config: TrainConfig, xb: torch.Tensor, targets: torch.Tensor
) -> str:
    """The hash of the weights after one step of training."""
    torch.manual_seed(config.seed)
    opt, stepping = new_optimizer(config, model, card.sources), short(config.optimizer)
    for name in ("step", "zero_grad"):
        _require(stepping, f"it has no {name}", callable(getattr(opt, name, None)))
    has_rate = hasattr(opt, "lr") or config.schedule == "constant"
    _require(stepping, "it has no attribute lr, which a schedule sets", has_rate)
    weights = torch.ones(len(card.classes)) if config.class_weights == "balanced" else None
    loss_func = training_loss(card.loss_func(), config.label_smoothing, weights)
    loss = loss_func(model.train()(xb).float(), targets)
    number = torch.as_tensor(loss).shape == () and bool(torch.as_tensor(loss).isfinite())
    _require(card.loss, "must give one finite number, the mean over the images", number)
    loss.backward()
    params = [*model.named_parameters()]
    lost = ", ".join(name for name, one in params if one.requires_grad and one.grad is None)
    _require(card.model, f"no gradient comes to {lost}; use it in forward, or remove it", not lost)
    opt.step()
    opt.zero_grad()
    cleared = not any(one.grad is not None and one.grad.any() for _, one in params)
    _require(stepping, "zero_grad leaves gradients", cleared)
    if hasattr(opt, "load_state"):
        state = opt.state()
        tensors = all(isinstance(tensor, torch.Tensor) for tensor in state.values())
        _require(stepping, "state must give tensors by name", tensors)
        opt.load_state(state)
    return weights_sha256(model.state_dict())


def _require(name: str, fault: str, holds: bool) -> None:
    if not holds:
        raise ConfigError(f"{printable(name)}: {fault}")
