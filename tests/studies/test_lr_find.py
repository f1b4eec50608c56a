"""The learning rate finder: where it lands, and that it leaves no trace."""

import math
import shlex
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mnistlab.errors import ConfigError
from mnistlab.experiment import prepare
from mnistlab.resolving import resolve
from mnistlab.storage import weights_sha256
from mnistlab.studies.lr_find import Sweep, find_lr
from tests.command import Result

# The best of a grid of rates for each model with its defaults (accuracy after its epochs): linear
# 3 to 6 (0.985), two-layer 6 to 10 (0.99), cnn 0.01 (0.999).
BEST = {"linear": 4.0, "two-layer": 8.0, "cnn": 0.01}


@pytest.mark.parametrize(
    ("model", "seed", "steps"),
    [*((model, seed, 200) for model in ("linear", "two-layer") for seed in (0, 1)), ("cnn", 0, 50)],
)
def test_the_suggestion_is_within_a_factor_of_ten_of_the_best_rate(
    model: str, seed: int, steps: int
) -> None:
    found = find_lr(prepare(resolve({"model": model, "seed": seed, "threads": 1})), steps=steps)
    assert BEST[model] / 10 <= found.suggestion <= BEST[model] * 10
    assert found.lrs[found.steepest] <= found.suggestion * 1.5
    assert found.suggestion <= found.lrs[found.lowest] * 1.5


def test_a_suggested_rate_trains_better_than_one_far_below_and_far_above() -> None:
    def accuracy(lr: float) -> float:
        experiment = prepare(resolve({"lr": lr, "epochs": 5}))
        return [row.accuracy for row in experiment.train()][-1]

    suggestion = find_lr(prepare(resolve({}))).suggestion
    assert accuracy(suggestion) > accuracy(suggestion / 50)
    assert accuracy(suggestion) > accuracy(suggestion * 100)


def test_a_training_after_it_is_the_same_to_the_bit(tiny: Any) -> None:
    flags = {"data": str(tiny), "epochs": 2}
    plain = prepare(resolve(flags))
    list(plain.train())
    searched = prepare(resolve(flags))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    find_lr(searched, steps=30)
    assert torch.equal(torch.random.get_rng_state(), before)
    list(searched.train())
    assert weights_sha256(plain.now.model.state_dict()) == weights_sha256(
        searched.now.model.state_dict()
    )


def test_rates_grow_by_the_same_factor_from_start_to_end() -> None:
    found = find_lr(prepare(resolve({})), start=0.01, end=1.0, steps=21)
    assert found.complete
    assert found.lrs[0] == pytest.approx(0.01)
    assert found.lrs[-1] == pytest.approx(1.0)
    factors = {round(b / a, 9) for a, b in zip(found.lrs, found.lrs[1:], strict=False)}
    assert factors == {round(100 ** (1 / 20), 9)}


def test_it_ends_when_the_loss_runs_away() -> None:
    found = find_lr(prepare(resolve({"loss": "bce"})), end=1e30)
    assert not found.complete
    assert len(found.lrs) < 200
    assert all(map(math.isfinite, found.losses))
    assert found.suggestion < found.lrs[-1]


def test_a_curve_drawn_by_hand_has_the_suggestion_that_follows() -> None:
    lrs = [10.0 ** (i / 20 - 4) for i in range(121)]  # 1e-4 to 100
    # flat until 0.01, falls to 1 (steepest in the middle, 0.1), climbs after
    losses = [
        1.0 if lr < 0.01 else 0.5 + 0.5 * math.cos(math.pi * (math.log10(lr) + 2) / 2)
        if lr < 1 else lr - 1
        for lr in lrs
    ]  # fmt: skip
    found = Sweep(lrs, losses, losses, complete=True)
    assert found.lrs[found.lowest] == pytest.approx(1.0)
    assert found.lrs[found.steepest] == pytest.approx(0.1, rel=0.3)
    assert found.suggestion in (0.2, 0.3, 0.4)  # one digit is all that a sweep can tell


@pytest.mark.parametrize(
    "flags",
    [{"start": 1.0, "end": 0.1}, {"start": 0.0}, {"end": math.inf}, {"steps": 9}],
)
def test_a_range_that_is_none_is_refused(flags: dict[str, Any], tiny: Any) -> None:
    with pytest.raises(ConfigError, match="makes no sense"):
        find_lr(prepare(resolve({"data": str(tiny)})), **flags)


def test_the_command_draws_tells_and_writes_nothing(
    mnistlab: Callable[..., Result], tmp_path: Any
) -> None:
    result = mnistlab("lr-find", "--plot", "lr.png").ok()
    lines = result.out.splitlines()
    assert lines[0] == "loss as the learning rate grows"
    assert lines[-1].startswith("suggestion  ")
    assert max(map(len, lines[:-1])) <= 80
    assert [path.name for path in tmp_path.iterdir()] == ["lr.png"]
    document = mnistlab("lr-find", "--json").ok().json
    assert f"suggestion  {document['suggestion']:g}  for linear" in lines[-1]
    assert len(document["steps"]) >= 100
    assert mnistlab("lr-find", "--start", "5", "--end", "1").code == 2


def test_the_advice_trains_with_the_settings_of_the_sweep(
    mnistlab: Callable[..., Result], tiny: Any, tmp_path: Any
) -> None:
    tree = shutil.copytree(tiny, tmp_path / "my data")
    flags = ("--data", tree, "--config", "two-layer", "--batch-size", "5", "--threads", "1")
    advice = mnistlab("lr-find", *flags).ok().err.splitlines()[-1]
    command = shlex.split(advice.removeprefix("next   mnistlab "))
    assert command[:-1] == [
        *("train", "--config", "two-layer", "--data", str(tree), "--batch-size", "5"),
        *("--threads", "1", "--lr"),
    ]
    mnistlab(*command, "--dry-run").ok()
