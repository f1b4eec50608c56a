"""Start, stop, resume, diverge: the same weights to the bit, and nothing lost."""

import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mnistlab import experiment as module
from mnistlab.config import SETTINGS, TrainConfig
from mnistlab.errors import (
    ConfigError,
    DamagedFileError,
    DataError,
    DivergedError,
    RunError,
)
from mnistlab.experiment import Experiment, prepare, start
from mnistlab.losses import LOSSES, mnist_loss
from mnistlab.records import Best
from mnistlab.resolving import Resolved, read_toml, resolve
from mnistlab.resuming import resume
from mnistlab.runs import Run
from mnistlab.storage import RunState, load_model, load_state, save_state, weights_sha256
from tests.command import run_in_process
from tests.conftest import Examples, make_tree


def begun(folder: Path, **settings: Any) -> Experiment:
    fixed = {"batch_size": 5, "seed": 3, "epochs": 4, "lr": 0.3}
    return start(prepare(resolve(fixed | settings)), folder, ["mnistlab", "train"])


def run_of(experiment: Experiment) -> Run:
    assert experiment.run is not None
    return experiment.run


def without_times(experiment: Experiment) -> list[dict[str, Any]]:
    return [row.model_dump(exclude={"seconds"}) for row in experiment.now.history]


def stop_after(experiment: Experiment, batches: int) -> None:
    for _ in experiment.train(after(batches)):
        pass


def with_record(state: RunState, **changes: Any) -> RunState:
    return replace(state, record=state.record.model_copy(update=changes))


def with_config(state: RunState, **changes: Any) -> RunState:
    return with_record(state, config={**state.record.config, **changes})


def after(batches: int) -> Callable[[], bool]:
    """True from the call after `batches` batches on."""
    calls = itertools.count()
    return lambda: next(calls) >= batches


def finished(experiment: Experiment) -> str:
    for _ in experiment.train():
        pass
    return weights_sha256(experiment.now.model.state_dict())


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """A tree of two classes and one of three, by the number of classes."""
    root = tmp_path_factory.mktemp("trees")
    return {
        2: str(make_tree(root / "two")),
        3: str(make_tree(root / "three", ("a", "b", "c"))),
    }


GRID = [
    (model, loss, shuffle)
    for (model, losses), shuffle in itertools.product(
        [
            ({"model": "linear", "init": "uniform"}, ("mnist", "bce", "cross-entropy")),
            ({"model": "linear", "init": "normal"}, ("mnist",)),
            ({"model": "two-layer", "hidden": 4}, ("mnist", "bce", "cross-entropy")),
        ],
        (True, False),
    )
    for loss in losses
]
# A small cnn with everything that carries a state: two optimizers' tensors, a running batch norm,
# a rate and a momentum that depend on the step, images that are moved about.
SMALL = {"model": "cnn", "channels": [4], "hidden": 4, "padding": True}
GRID += [
    ({"model": "linear", "optimizer": "momentum"}, "mnist", True),
    ({"model": "linear", "optimizer": "nesterov", "schedule": "one-cycle"}, "bce", True),
    ({"model": "two-layer", "hidden": 4, "optimizer": "adam", "augment": True}, "mnist", True),
    ({**SMALL, "batch_norm": True}, "bce", True),
    ({**SMALL, "optimizer": "adamw", "augment": True}, "cross-entropy", True),
    ({**SMALL, "precision": "bf16", "order_seed": 5}, "bce", True),
    ({"model": "linear", "keep": "best"}, "mnist", True),
]


@pytest.mark.parametrize(("model", "loss", "shuffle"), GRID)
def test_resume_equals_uninterrupted_run(
    model: dict[str, Any],
    loss: str,
    shuffle: bool,
    trees: dict[int, str],
    tmp_path: Path,
    examples: Examples,
) -> None:
    # 24 (or 36) images by 5 are 5 (or 8) batches an epoch: in the middle of an epoch and at its end
    data = trees[3 if loss == "cross-entropy" else 2]
    settings = {**model, "loss": loss, "shuffle": shuffle, "data": data}
    whole = begun(tmp_path / "whole", **settings)
    expected = finished(whole)
    for batches in (5, 16, 0, 1, 7, 8, 13, 19)[: examples(2, 8)]:
        broken = begun(tmp_path / f"broken{batches}", **settings)
        stop_after(broken, batches)
        assert run_of(broken).record().status == "stopped"
        again = resume(run_of(broken), ["mnistlab", "train", "--resume"])
        assert again.now.place.epoch * 8 + again.now.place.batch > 0 or batches == 0
        assert finished(again) == expected
        assert not again.notices
        assert without_times(again) == without_times(whole)
        assert again.now.best == whole.now.best


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_finished_run_can_be_extended_exactly(
    shuffle: bool, trees: dict[int, str], tmp_path: Path
) -> None:
    long = finished(begun(tmp_path, epochs=7, shuffle=shuffle, data=trees[2]))
    short = begun(tmp_path, epochs=3, shuffle=shuffle, data=trees[2])
    finished(short)
    extended = resume(run_of(short), [], epochs=7)
    assert finished(extended) == long
    assert [row.epoch for row in extended.now.history] == list(range(7))


def reduced(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Spoil a state file on purpose."""

    def spoil(run: Any) -> None:
        save_state(run.state_file, change(load_state(run.state_file)))

    return spoil


# Leave one field out, and the resumed run must come out differently: the grid above sees it all.
ADAM = {"model": "linear", "optimizer": "adam", "lr": 0.1, "schedule": "one-cycle"}
DEEP_CONTROLS = {
    "optimizer mean": lambda s: replace(
        s,
        optimizer={k: v * 0 if k.startswith("mean") else v for k, v in s.optimizer.items()},
    ),
    "optimizer square": lambda s: replace(
        s,
        optimizer={k: v * 2 if k.startswith("square") else v for k, v in s.optimizer.items()},
    ),
    "optimizer steps": lambda s: replace(s, optimizer={**s.optimizer, "steps": torch.tensor(1)}),
    "momentum": lambda s: with_config(s, momentum=0.8),
    "beta2": lambda s: with_config(s, beta2=0.9),
    "schedule": lambda s: with_config(s, schedule="constant"),
    "warmup": lambda s: with_config(s, warmup=0.5),
    "augment": lambda s: with_config(s, augment=True),
    "order_seed": lambda s: with_config(s, order_seed=9),
}
NEGATIVE_CONTROLS = {
    "weights": lambda s: replace(s, weights={k: v * 0 for k, v in s.weights.items()}),
    "epoch": lambda s: with_record(s, epoch=0),
    "batch": lambda s: with_record(replace(s, losses=torch.empty(0)), batch=0),
    "seed": lambda s: with_config(s, seed=4),
    "lr": lambda s: with_config(s, lr=0.2),
    "batch_size": lambda s: with_config(s, batch_size=4),
    "shuffle": lambda s: with_config(s, shuffle=False),
    "loss": lambda s: with_config(replace(s, card=replace(s.card, loss="bce")), loss="bce"),
}


@pytest.mark.parametrize("field", NEGATIVE_CONTROLS)
def test_a_field_left_out_of_the_state_changes_the_result(
    field: str, trees: dict[int, str], tmp_path: Path
) -> None:
    expected = finished(begun(tmp_path, data=trees[2]))
    broken = begun(tmp_path, data=trees[2])
    stop_after(broken, 7)
    reduced(NEGATIVE_CONTROLS[field])(run_of(broken))
    assert finished(resume(run_of(broken), [])) != expected


@pytest.mark.parametrize("field", DEEP_CONTROLS)
def test_a_field_of_a_deep_training_left_out_changes_the_result(
    field: str, trees: dict[int, str], tmp_path: Path
) -> None:
    expected = finished(begun(tmp_path, data=trees[2], **ADAM))
    broken = begun(tmp_path, data=trees[2], **ADAM)
    stop_after(broken, 7)
    assert finished(resume(run_of(broken), [])) == expected
    broken = begun(tmp_path, data=trees[2], **ADAM)
    stop_after(broken, 7)
    reduced(DEEP_CONTROLS[field])(run_of(broken))
    assert finished(resume(run_of(broken), [])) != expected


def test_the_state_of_another_optimizer_is_told_as_damage(
    trees: dict[int, str], tmp_path: Path
) -> None:
    broken = begun(tmp_path, data=trees[2], **ADAM)
    stop_after(broken, 7)
    reduced(lambda s: replace(s, optimizer={}))(run_of(broken))
    with pytest.raises(DamagedFileError, match="optimizer's state"):
        resume(run_of(broken), [])


def test_a_one_cycle_run_cannot_be_extended(trees: dict[int, str], tmp_path: Path) -> None:
    whole = begun(tmp_path, data=trees[2], **ADAM)
    finished(whole)
    with pytest.raises(ConfigError, match="was laid out over 4 epochs"):
        resume(run_of(whole), [], epochs=9)
    assert resume(run_of(whole), [], epochs=4).finished


def test_patience_ends_a_run_and_a_resumed_one_stays_ended(
    trees: dict[int, str], tmp_path: Path
) -> None:
    run = begun(tmp_path, data=trees[2], epochs=500, patience=3)
    finished(run)
    assert run.now.best is not None
    assert len(run.now.history) == run.now.best.epoch + 1 + 3 < 500
    accuracies = [row.accuracy for row in run.now.history]
    assert accuracies.index(max(accuracies)) == run.now.best.epoch
    assert run_of(run).record().status == "done"
    again = resume(run_of(run), [])
    assert again.finished
    assert again.out_of_patience


def test_keep_best_makes_the_best_epoch_the_runs_model(
    trees: dict[int, str], tmp_path: Path
) -> None:
    settings = {"data": trees[2], "lr": 3.0, "epochs": 6}
    last, best = begun(tmp_path, **settings), begun(tmp_path, keep="best", **settings)
    finished(last)
    finished(best)
    assert best.now.best is not None
    assert best.now.best == last.now.best
    assert best.now.best.epoch < 5, "choose settings in which the last epoch is not the best"
    assert run_of(best).model_file.read_bytes() == run_of(best).best_file.read_bytes()
    result = run_of(best).record().result
    assert result is not None
    assert result.accuracy == best.now.best.accuracy
    model, _ = load_model(run_of(best).model_file)
    assert result.weights_sha256 == weights_sha256(model.state_dict())
    assert run_of(last).model_file.read_bytes() != run_of(last).best_file.read_bytes()


def test_the_losses_of_the_unfinished_epoch_decide_its_train_loss(
    trees: dict[int, str], tmp_path: Path
) -> None:
    whole = begun(tmp_path, data=trees[2])
    finished(whole)
    broken = begun(tmp_path, data=trees[2])
    stop_after(broken, 7)
    reduced(lambda s: replace(s, losses=s.losses + 1))(run_of(broken))
    again = resume(run_of(broken), [])
    finished(again)
    assert again.now.history[1].train_loss != whole.now.history[1].train_loss


def test_a_run_killed_before_its_first_save_begins_again(
    trees: dict[int, str], tmp_path: Path
) -> None:
    expected = finished(begun(tmp_path, data=trees[2]))
    killed = begun(tmp_path, data=trees[2])
    assert not run_of(killed).state_file.exists()
    assert finished(resume(run_of(killed), [])) == expected


def test_resume_refuses_other_data(trees: dict[int, str], tmp_path: Path) -> None:
    own = shutil.copytree(trees[2], tmp_path / "own")
    broken = begun(tmp_path, data=str(own))
    stop_after(broken, 3)
    next((own / "train" / "dark").iterdir()).unlink()
    with pytest.raises(DataError, match="not the data that"):
        resume(run_of(broken), [])


def test_resume_names_what_differs_from_the_first_machine(
    trees: dict[int, str], tmp_path: Path
) -> None:
    broken = begun(tmp_path, data=trees[2])
    stop_after(broken, 3)
    other = {**load_state(run_of(broken).state_file).record.environment, "torch": "2.12.0"}
    reduced(lambda s: with_record(s, environment=other))(run_of(broken))
    threads = broken.config.threads + 1
    before = {path: path.read_bytes() for path in run_of(broken).path.iterdir()}
    with pytest.raises(ConfigError, match=r"--strict: torch was 2\.12\.0, now .*; threads was"):
        resume(run_of(broken), [], threads=threads, strict=True)
    assert {path: path.read_bytes() for path in run_of(broken).path.iterdir()} == before
    notices = resume(run_of(broken), [], threads=threads).notices
    assert any("torch was 2.12.0" in text for text in notices)
    assert any("threads was" in text for text in notices)


def test_strict_takes_up_a_run_where_nothing_differs(trees: dict[int, str], tmp_path: Path) -> None:
    broken = begun(tmp_path, data=trees[2])
    stop_after(broken, 3)
    again = resume(run_of(broken), [], strict=True)
    assert (again.notices, again.mixed) == ((), False)


def test_resume_keeps_the_thread_count_of_the_first_part(
    trees: dict[int, str], tmp_path: Path
) -> None:
    broken = begun(tmp_path, data=trees[2], threads=1)
    stop_after(broken, 3)
    torch.set_num_threads(2)
    assert resume(run_of(broken), []).config.threads == torch.get_num_threads() == 1


def test_fewer_epochs_than_are_done_are_refused(trees: dict[int, str], tmp_path: Path) -> None:
    done = begun(tmp_path, data=trees[2])
    finished(done)
    with pytest.raises(ConfigError, match="has done 4 epochs already"):
        resume(run_of(done), [], epochs=2)


def test_a_damaged_state_is_refused_and_left_as_it_is(
    trees: dict[int, str], tmp_path: Path
) -> None:
    done = begun(tmp_path, data=trees[2])
    finished(done)
    damaged = bytearray(run_of(done).state_file.read_bytes())
    damaged[-3] ^= 4
    run_of(done).state_file.write_bytes(damaged)
    with pytest.raises(DamagedFileError, match="checksum"):
        resume(run_of(done), [], epochs=9)
    assert run_of(done).state_file.read_bytes() == damaged


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: with_config(s, hidden="x"), "settings cannot be right"),
        (lambda s: with_config(s, init="normal"), "do not agree"),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(
    change: Callable[[Any], Any], words: str, trees: dict[int, str], tmp_path: Path
) -> None:
    broken = begun(tmp_path, data=trees[2])
    stop_after(broken, 3)
    reduced(change)(run_of(broken))
    with pytest.raises(DamagedFileError, match=words):
        resume(run_of(broken), [])


def test_divergence_keeps_the_last_good_weights(
    trees: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = itertools.count()

    def turning_bad(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = mnist_loss(logits, targets)
        return loss * float("nan") if next(batches) == 14 else loss  # in the third epoch

    monkeypatch.setitem(LOSSES, "mnist", turning_bad)
    wild = begun(tmp_path, data=trees[2])
    weights = [weights_sha256(wild.now.model.state_dict())]

    def watched() -> None:
        for _ in wild.train():
            weights.append(weights_sha256(wild.now.model.state_dict()))

    with pytest.raises(
        DivergedError, match=r"epoch 2, batch 2, .*last good weights \(after 2 epochs\)"
    ):
        watched()
    model, _ = load_model(run_of(wild).model_file)
    assert weights_sha256(model.state_dict()) == weights[-1]
    assert run_of(wild).record().status == "diverged"


def test_a_failed_save_says_so_and_leaves_the_files_of_the_last_one(
    trees: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = begun(tmp_path, data=trees[2])
    finished(done)
    before = run_of(done).state_file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_state", full)
    again = resume(run_of(done), [], epochs=6)
    with pytest.raises(RunError, match=r"cannot be saved: No space left.*were not touched"):
        finished(again)
    assert run_of(done).state_file.read_bytes() == before


def test_slow_runs_are_saved_on_the_way(
    trees: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_EVERY", -1.0)
    running = begun(tmp_path, data=trees[2])
    rows = running.train()
    next(rows)
    next(rows)  # the first epoch is saved before the second one begins
    assert load_state(run_of(running).state_file).record.epoch == 1
    assert run_of(running).record().status == "running"
    rows.close()


def test_best_weights_are_those_of_the_best_epoch(trees: dict[int, str], tmp_path: Path) -> None:
    running = begun(tmp_path, data=trees[2], epochs=8, lr=5.0)
    hashes = [weights_sha256(running.now.model.state_dict()) for _ in running.train()]
    assert running.now.best is not None
    top = max(row.accuracy for row in running.now.history)
    first = next(row.epoch for row in running.now.history if row.accuracy == top)
    assert running.now.best == Best(epoch=first, accuracy=top)
    best, _ = load_model(run_of(running).best_file)
    assert weights_sha256(best.state_dict()) == hashes[first]


def test_preparing_decides_every_open_setting(trees: dict[int, str]) -> None:
    prepared = prepare(resolve({"data": trees[3], "device": "cpu"}))
    assert prepared.config.loss == "cross-entropy"
    assert prepared.origins["loss"] == "default for 3 classes"
    assert prepared.config.threads == torch.get_num_threads()
    assert Path(prepared.config.data).is_absolute()
    assert prepared.parameters == 16 * 3 + 3


def test_a_loss_that_does_not_fit_the_classes_is_refused(trees: dict[int, str]) -> None:
    with pytest.raises(ConfigError, match="does not fit 3 classes; use cross-entropy"):
        prepare(resolve({"data": trees[3], "loss": "mnist"}))
    with pytest.raises(ConfigError, match="does not fit 2 classes; use mnist or bce"):
        prepare(resolve({"data": trees[2], "loss": "cross-entropy"}))


def test_auto_is_decided_before_the_first_step_and_noted_with_the_reason(
    trees: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for instructions, used in (("made_up", "bf16"), ("", "fp32")):
        monkeypatch.setattr("mnistlab.devices._bf16_instructions", lambda _, i=instructions: i)
        experiment = begun(tmp_path / used, data=trees[2], **(SMALL | {"epochs": 1}))
        assert experiment.config.precision == used
        assert experiment.origins["precision"].startswith("auto: ")
        assert (instructions or "no instructions") in experiment.origins["precision"]
        assert read_toml(run_of(experiment).config_file)["precision"] == used
        # what another machine has does not matter any more
        monkeypatch.setattr("mnistlab.devices._bf16_instructions", lambda _: "")
        finished(experiment)
        assert resume(run_of(experiment), ["mnistlab"]).config.precision == used


def test_an_experiment_without_a_run_folder_writes_nothing(
    trees: dict[int, str], tmp_path: Path
) -> None:
    config = TrainConfig(data=trees[2], epochs=1)
    experiment = prepare(Resolved(config, dict.fromkeys(SETTINGS, "default")))
    finished(experiment)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_run_folder_is_found_before_training(
    trees: dict[int, str], tmp_path: Path
) -> None:
    experiment = prepare(resolve({"data": trees[2]}))
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        start(experiment, tmp_path / "file" / "runs", [])
    run = run_of(start(experiment, tmp_path, []))
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match="cannot be saved"):
        replace(experiment, run=run).save(experiment.capture(), "running")


def test_a_finished_run_whose_save_was_cut_short_is_repaired(
    trees: dict[int, str], tmp_path: Path
) -> None:
    done = begun(tmp_path, data=trees[2])
    finished(done)
    whole = {path.name: path.read_bytes() for path in run_of(done).path.glob("*.safetensors")}
    run_of(done).model_file.unlink()
    run_of(done).best_file.unlink()
    (run_of(done).path / "metrics.csv").unlink()
    # the state was written, the rest was not
    again = run_in_process("train", "--resume", run_of(done).path).ok()
    assert "all 4 epochs are done already" in again.err
    assert (run_of(done).path / "metrics.csv").read_text().count("\n") == 5
    for path in run_of(done).path.glob("*.safetensors"):
        assert path.name == "resume.safetensors" or path.read_bytes() == whole[path.name]
    assert len(list(run_of(done).path.glob("*.safetensors"))) == 3


def test_a_total_within_the_epoch_under_way_is_refused(
    trees: dict[int, str], tmp_path: Path
) -> None:
    broken = begun(tmp_path, data=trees[2])
    stop_after(broken, 7)
    with pytest.raises(ConfigError, match="has done 1 epochs already and begun epoch 1"):
        resume(run_of(broken), [], epochs=1)
    assert resume(run_of(broken), [], epochs=2).now.place.batch == 2


def test_an_extension_killed_before_its_first_save_is_not_forgotten(
    trees: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = begun(tmp_path, data=trees[2], epochs=2)
    finished(done)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mnistlab.cli.train._train", killed)
    assert run_in_process("train", "--resume", run_of(done).path, "--epochs", "5").code == 130
    assert resume(run_of(done), []).config.epochs == 5


def test_parts_trained_under_different_conditions_are_marked_for_good(
    trees: dict[int, str], tmp_path: Path
) -> None:
    broken = begun(tmp_path, data=trees[2], threads=1)
    stop_after(broken, 3)
    mixed = resume(run_of(broken), [], threads=2)
    assert mixed.origins["threads"] == "--threads"
    finished(mixed)
    assert run_of(broken).record().mixed is True
    later = resume(run_of(broken), [], epochs=6)
    assert later.mixed
    assert not later.notices


def test_asking_to_resume_a_whole_run_changes_nothing_in_it(
    trees: dict[int, str], tmp_path: Path
) -> None:
    done = begun(tmp_path, data=trees[2], threads=1)
    finished(done)
    before = {path.name: path.read_bytes() for path in run_of(done).path.iterdir()}
    run_in_process("train", "--resume", run_of(done).path, "--threads", "2").ok()
    after_it = {path.name: path.read_bytes() for path in run_of(done).path.iterdir()}
    assert {name: after_it[name] for name in before} == before
    run_of(done).record_file.write_text("{}")  # a record that does not say "done" is not trusted
    run_in_process("train", "--resume", run_of(done).path).ok()
    assert run_of(done).record().status == "done"
