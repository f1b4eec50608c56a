"""Many seeds: each as if alone, whatever way they are trained."""

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from mnistlab.data.store import ImageData
from mnistlab.errors import DivergedError
from mnistlab.experiment import Experiment, prepare, start
from mnistlab.losses import LOSSES, cross_entropy, mnist_loss
from mnistlab.models import ModelCard, build_model
from mnistlab.optim import BasicOptim
from mnistlab.records import EpochRow
from mnistlab.resolving import resolve
from mnistlab.runs import Run
from mnistlab.storage import load_model, weights_sha256
from mnistlab.studies.seeds import SeedResult, SeedStudy, band
from mnistlab.studies.stack import Stack, train_stack, wide_loss
from mnistlab.training import compute_logits, evaluate, train_epochs


def alone(seed: int, **settings: Any) -> Experiment:
    """The experiment of one seed, trained to its end."""
    experiment = prepare(resolve({**settings, "seed": seed}))
    list(experiment.train())
    return experiment


def study_of(**settings: Any) -> SeedStudy:
    return SeedStudy(prepare(resolve(settings)))


def saved(study: SeedStudy) -> Run:
    """Give a study a run folder."""
    study.experiment = start(study.experiment, Path("runs"), ["mnistlab"])
    assert study.experiment.run is not None
    return study.experiment.run


def build_with_a_hole(monkeypatch: pytest.MonkeyPatch, seeds: Sequence[int]) -> None:
    """From now on the models of these seeds start with weights that are no numbers."""
    build = ModelCard.build

    def with_a_hole(card: ModelCard, seed: int = 0) -> torch.nn.Module:
        model = build(card, seed)
        if seed in seeds:
            torch.nn.init.constant_(model.get_parameter("weights"), float("nan"))
        return model

    monkeypatch.setattr(ModelCard, "build", with_a_hole)


def row_of(accuracy: float) -> EpochRow:
    return EpochRow(epoch=0, train_loss=1.0, valid_loss=2.0, accuracy=accuracy, seconds=0.5)


@pytest.mark.parametrize(
    "more",
    [{}, {"shuffle": False}, {"model": "two-layer", "order_seed": 4}],
    ids=["linear", "fixed order", "two-layer"],
)
def test_seeds_at_once_equal_each_seed_alone_in_the_same_order(more: dict[str, Any]) -> None:
    # at lr 1, the default, differences of the last bit grow from step to step
    settings: dict[str, Any] = {"epochs": 3, "lr": 0.1, **more}
    study = study_of(seed=4, seeds=6, **settings)
    assert study.experiment.config.is_wide
    assert len(list(study.train())) == 3
    for result in study.results:
        single = alone(result.seed, **{"order_seed": 4, **settings})
        assert result.weights.keys() == single.now.model.state_dict().keys()
        assert [row.epoch for row in result.epochs] == [0, 1, 2]
        for row, own in zip(result.epochs, single.now.history, strict=True):
            assert row.train_loss == pytest.approx(own.train_loss, abs=1e-6)
            assert row.valid_loss == pytest.approx(own.valid_loss, abs=1e-6)
            assert row.accuracy == pytest.approx(own.accuracy, abs=1.5 / 2038)
        for name, tensor in single.now.model.state_dict().items():
            # sums in another order: the last bits differ, and with them a little of each step
            torch.testing.assert_close(result.weights[name], tensor, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [{"model": "two-layer", "epochs": 1}, {"epochs": 1, "order_seed": "own"}],
    ids=["two-layer", "linear, own order"],
)
def test_seeds_in_turn_equal_each_seed_alone_to_the_bit(settings: dict[str, Any]) -> None:
    study = study_of(seed=1, seeds=3, **settings)
    assert not study.experiment.config.is_wide
    rows = list(study.train())
    assert [row["seed"] for row in rows] == [1, 2, 3]
    for result in study.results:
        single = alone(result.seed, **settings)
        assert weights_sha256(result.weights) == weights_sha256(single.now.model.state_dict())
        assert result.epochs[-1].accuracy == single.now.history[-1].accuracy


def test_more_than_two_classes_train_at_once_as_well(tmp_path: Path) -> None:
    from tests.conftest import make_tree

    tree = make_tree(tmp_path / "t", ("a", "b", "c"))
    settings = {"data": str(tree), "epochs": 4, "lr": 0.5, "batch_size": 7}
    study = study_of(seeds=3, **settings)
    list(study.train())
    for result in study.results:
        single = alone(result.seed, order_seed=0, **settings)
        for name, tensor in single.now.model.state_dict().items():
            torch.testing.assert_close(result.weights[name], tensor, atol=1e-6, rtol=1e-5)
        assert result.accuracy == single.now.history[-1].accuracy


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
def test_class_weights_at_once_are_those_of_each_seed_alone_and_only_of_training(
    classes: tuple[str, ...], tmp_path: Path
) -> None:
    from tests.conftest import make_tree

    tree = make_tree(tmp_path / "t", classes)
    for number in range(8):
        (tree / "train" / "b" / f"{number}.png").unlink()
    settings = {"data": str(tree), "epochs": 3, "lr": 0.1, "batch_size": 7}
    plain = alone(0, order_seed=0, **settings)
    settings["class_weights"] = "balanced"
    study = study_of(seeds=3, **settings)
    assert study.experiment.config.is_wide
    list(study.train())
    for result in study.results:
        single = alone(result.seed, order_seed=0, **settings)
        for name, tensor in single.now.model.state_dict().items():
            torch.testing.assert_close(result.weights[name], tensor, atol=1e-6, rtol=1e-5)
        last = single.now.history[-1]
        assert result.epochs[-1].train_loss == pytest.approx(last.train_loss, abs=1e-6)
        assert result.epochs[-1].valid_loss == pytest.approx(last.valid_loss, abs=1e-6)
        scored = evaluate(
            single.now.model, single.data.valid_ds, classes, LOSSES[single.config.loss]
        )
        assert last.valid_loss == scored.loss
    weights, drawn = study.results[0].weights["weights"], plain.now.model.state_dict()["weights"]
    assert (weights - drawn).abs().max() > 1e-3


def test_summary_and_band_are_those_of_the_statistics_module() -> None:
    study = study_of(seeds=5, epochs=2)
    shown = list(study.train())
    scores = [result.epochs[-1].accuracy for result in study.results]
    summary = study.summary()
    assert summary["mean"] == statistics.fmean(scores)
    assert summary["sd"] == statistics.stdev(scores)
    assert (summary["min"], summary["max"]) == (min(scores), max(scores))
    assert summary["median"]["accuracy"] == statistics.median_low(scores)
    assert summary["best"]["accuracy"] == max(scores)
    assert study.result().band == shown
    first = [result.epochs[0].accuracy for result in study.results]
    assert shown[0]["mean"] == statistics.fmean(first)


def test_the_run_keeps_the_median_and_the_best_seed_and_every_row(tiny: Path) -> None:
    settings = {"data": str(tiny), "epochs": 2, "seeds": 5, "seed": 10}
    study = study_of(**settings)
    run = saved(study)
    list(study.train())
    for file, kept in ((run.model_file, study.median), (run.best_file, study.best)):
        assert weights_sha256(load_model(file)[0].state_dict()) == weights_sha256(kept.weights)
    lines = (run.path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "seed,epoch,train_loss,valid_loss,accuracy,seconds"
    assert [tuple(map(int, line.split(",")[:2])) for line in lines[1:]] == [
        (seed, epoch) for seed in range(10, 15) for epoch in range(2)
    ]
    record = run.record()
    assert record.status == "done"
    assert record.result is not None
    assert [row.seed for row in record.result.seeds or []] == list(range(10, 15))
    assert record.result.weights_sha256 == weights_sha256(study.median.weights)
    assert not run.state_file.exists()


def test_of_two_in_the_middle_the_lower_is_typical_and_of_equals_the_first_is_best() -> None:
    study = study_of(seeds=4, epochs=1, data="mnist_sample")
    study.results = [
        SeedResult(seed, [row_of(accuracy)]) for seed, accuracy in enumerate((0.9, 0.7, 0.8, 0.9))
    ]
    assert study.median.seed == 2
    assert study.best.seed == 0


def test_a_seed_that_diverges_is_named_and_does_not_touch_the_others(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"data": str(tiny), "epochs": 2, "seeds": 3, "loss": "bce", "batch_size": 8}
    plain = study_of(**settings)
    list(plain.train())
    broken = study_of(**settings)
    build_with_a_hole(monkeypatch, [1])
    list(broken.train())
    assert [result.seed for result in broken.results if result.diverged] == [1]
    assert broken.summary()["diverged"] == [1]
    assert broken.summary()["n"] == 2
    for place in (0, 2):
        for name, tensor in plain.results[place].weights.items():
            assert torch.equal(broken.results[place].weights[name], tensor)
    with pytest.raises(Exception, match="1 of 3 seeds diverged: 1"):
        broken.check_diverged()


def test_a_stop_keeps_what_is_whole(tiny: Path) -> None:
    wide = study_of(data=str(tiny), epochs=5, seeds=3)
    run = saved(wide)
    list(wide.train(lambda: wide.place.epoch == 2))
    assert not wide.finished
    assert [len(result.epochs) for result in wide.results] == [2, 2, 2]
    assert run.record().status == "stopped"
    none = study_of(data=str(tiny), epochs=5, seeds=3)
    empty = saved(none)
    list(none.train(lambda: True))
    assert empty.record().status == "stopped"
    assert not empty.model_file.exists()
    turn = study_of(data=str(tiny), epochs=5, seeds=3, order_seed="own")
    list(turn.train(lambda: turn.under_way == 2 and turn.place.epoch == 3))
    assert [result.seed for result in turn.results] == [0, 1]
    full = study_of(data=str(tiny), epochs=2, seeds=3)
    list(full.train())
    for stopped, whole in zip(wide.results, full.results, strict=True):
        assert all(
            torch.equal(stopped.weights[name], whole.weights[name]) for name in whole.weights
        )


def test_a_study_in_which_every_seed_diverges_ends_at_once_and_says_so(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(data=str(tiny), epochs=50, seeds=3, lr=1e38)
    run = saved(study)
    build_with_a_hole(monkeypatch, study.seeds)
    assert len(list(study.train())) == 1
    assert run.record().status == "diverged"
    with pytest.raises(
        DivergedError, match=r"3 of 3 seeds diverged: 0, 1, 2; .* at lr 1e\+38; try a lower"
    ):
        study.check_diverged()


def test_a_band_leaves_out_the_seeds_that_went_no_further() -> None:
    results = [
        SeedResult(0, [row_of(0.5)]),
        SeedResult(1, [row_of(0.7), row_of(0.9)]),
    ]
    assert band(results, 0)["mean"] == pytest.approx(0.6)
    second = band(results, 1)
    assert (second["n"], second["mean"], second["sd"]) == (1, 0.9, 0.0)
    assert band(results, 2)["mean"] is None


def test_ten_classes_side_by_side_give_the_logits_of_each() -> None:
    xb = torch.rand(7, 1, 4, 4)
    for name in ("linear", "two-layer"):
        models = [build_model(name, (4, 4), "0123456789", seed) for seed in range(3)]
        wide = Stack(models)
        for place, model in enumerate(models):
            torch.testing.assert_close(wide(xb)[:, place], model(xb))
            own = wide.state_of(place)
            assert all(torch.equal(own[key], t) for key, t in model.state_dict().items())


@pytest.mark.parametrize("name", ["linear", "two-layer"])
def test_each_model_of_a_stack_equals_the_same_seed_trained_alone(
    name: str, sample: ImageData
) -> None:
    lr = 0.1  # the linear model's 1.0 makes differences of the last bit grow from step to step
    data = (sample.train_ds, sample.valid_ds)
    models = [build_model(name, sample.image_size, sample.classes, seed) for seed in range(5)]
    stack = Stack(models)
    wide_opt = BasicOptim(stack.parameters(), lr)
    *_, (batch_losses, logits) = train_stack(stack, wide_opt, *data, epochs=2)
    for place, model in enumerate(models):
        opt = BasicOptim(model.parameters(), lr)
        *_, row = train_epochs(
            model, opt, mnist_loss, *data, sample.classes, epochs=2, shuffle=False
        )
        mine = compute_logits(model, sample.valid_ds.tensors[0]).squeeze(1)
        torch.testing.assert_close(logits[:, place], mine, atol=2e-4, rtol=2e-4)
        torch.testing.assert_close(batch_losses[:, place], row.batch_losses, atol=1e-5, rtol=1e-4)


def test_a_shuffled_order_is_shared() -> None:
    ds = TensorDataset(torch.randint(0, 255, (40, 3, 3), dtype=torch.uint8), torch.arange(40) % 2)
    models = [build_model("linear", (3, 3), "ab", seed) for seed in (0, 0)]
    stack = Stack(models)
    opt = BasicOptim(stack.parameters(), 0.5)
    *_, (_, logits) = train_stack(stack, opt, ds, ds, epochs=2, batch_size=7, order_seed=3)
    assert torch.equal(logits[:, 0], logits[:, 1])


def test_every_wide_loss_is_the_loss_of_each_column_and_guards_its_shapes() -> None:
    logits, targets = torch.randn(30, 4), (torch.rand(30, 1) > 0.5).float()
    for name in ("mnist", "bce"):
        for weights in (None, torch.tensor([3.0, 0.5])):
            each = wide_loss(partial(LOSSES[name], weights=weights), logits, targets)
            for place in range(4):
                alone = LOSSES[name](logits[:, [place]], targets, weights=weights)
                torch.testing.assert_close(each[place], alone)
    logits, labels = torch.randn(30, 4, 5), torch.randint(0, 5, (30,))
    each = wide_loss(cross_entropy, logits, labels)
    for place in range(4):
        alone = torch.nn.functional.cross_entropy(logits[:, place], labels)
        torch.testing.assert_close(each[place], alone)
    weights = torch.tensor([0.5, 3.0, 1.0, 2.0, 0.1])
    each = wide_loss(partial(cross_entropy, weights=weights), logits, labels)
    for place in range(4):
        alone = torch.nn.functional.cross_entropy(
            logits[:, place], labels, weights, reduction="sum"
        )
        torch.testing.assert_close(each[place], alone / 30)
    with pytest.raises(ValueError, match="cross_entropy needs"):
        wide_loss(cross_entropy, logits, labels.unsqueeze(1))
    with pytest.raises(ValueError, match="targets must both be"):
        wide_loss(LOSSES["bce"], torch.randn(30, 4), targets.squeeze(1))
