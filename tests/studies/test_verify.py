"""A run trained again: equal to the bit, or what has changed is named."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image

from mnistlab.errors import ConfigError, RunError
from mnistlab.experiment import train_run
from mnistlab.runs import Run
from mnistlab.storage import load_model, save_model
from mnistlab.studies.verify import verify_run
from tests.command import Result

Mnistlab = Callable[..., Result]


@pytest.fixture
def run(mnistlab: Mnistlab, tiny: Path) -> Run:
    arguments = ("train", "--data", tiny, "--epochs", "4", "--batch-size", "5", "--json")
    return Run(Path(mnistlab(*arguments).ok().json["run"]))


def weights_of(run: Run) -> str | None:
    result = run.record().result
    assert result is not None
    return result.weights_sha256


def test_an_untouched_run_repeats_and_nothing_is_written(run: Run) -> None:
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    seen: list[int] = []
    found = verify_run(run, show=seen.append)
    assert found.repeats
    assert found.actual == {"weights": weights_of(run)}
    assert (found.changed, found.first_epoch, found.epochs) == ({}, None, 4)
    assert seen == [4]
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before
    assert len(list(Path("runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("lr = 1.0", "lr = 1.5", "lr"),
        ("batch_size = 5", "batch_size = 6", "batch_size"),
        ("seed = 0", "seed = 1", "seed"),
        ("shuffle = true", "shuffle = false", "shuffle"),
        ('loss = "mnist"', 'loss = "bce"', "loss"),
        ('init = "uniform"', 'init = "normal"', "init"),
    ],
)
def test_a_changed_setting_is_named(run: Run, old: str, new: str, named: str) -> None:
    text = run.config_file.read_text()
    assert old in text
    run.config_file.write_text(text.replace(old, new))
    found = verify_run(run)
    assert not found.repeats
    assert set(found.changed) == {named}
    assert found.first_epoch == 0


def test_another_torch_or_machine_is_named_though_the_weights_agree(run: Run) -> None:
    record = run.record()
    record.environment |= {"torch": "1.0", "processor": "abacus"}
    run.write_record(record)
    found = verify_run(run)
    assert found.repeats
    assert set(found.changed) == {"torch", "processor"}
    assert found.changed["torch"] == ("1.0", torch.__version__)
    seen: list[int] = []
    with pytest.raises(ConfigError, match=r"torch was 1\.0, now .*; processor was abacus"):
        verify_run(run, strict=True, show=seen.append)
    assert not seen  # nothing was trained


def test_the_version_of_torchvision_counts_for_its_model_alone(run: Run, tmp_path: Path) -> None:
    assert "torchvision" not in run.record().environment
    flags = {"model": "resnet18", "data": str(tmp_path / "tiny"), "epochs": 1, "batch_size": 12}
    drawn = train_run(flags, folder=tmp_path / "drawn")
    record = drawn.record()
    assert record.environment["torchvision"] == version("torchvision")
    del record.environment["torchvision"]  # as an earlier mnistlab wrote it
    drawn.write_record(record)
    with pytest.raises(ConfigError, match="--strict: torchvision was not recorded, now"):
        verify_run(drawn, strict=True)


def test_a_swapped_model_file_is_named(run: Run) -> None:
    model, card = load_model(run.model_file)
    model.get_parameter("bias").data += 1
    digest = result.digest() if (result := run.record().result) else ""
    save_model(run.model_file, model.state_dict(), card, digest)
    found = verify_run(run)
    assert found.expected == found.actual
    assert not found.repeats
    assert set(found.changed) == {"model.safetensors"}
    run.model_file.unlink()
    assert verify_run(run).changed["model.safetensors"][1] == "no such file"


def test_a_forged_state_does_not_repeat(run: Run) -> None:
    from mnistlab.storage import load_state, save_state

    state = load_state(run.state_file)
    state.weights["bias"] = state.weights["bias"] + 1e-7
    save_state(run.state_file, state)
    found = verify_run(run)
    assert not found.repeats
    assert found.first_epoch is None  # the figures agree; only the weights tell


def test_a_run_is_known_without_its_state_file(run: Run) -> None:
    run.state_file.unlink()
    assert verify_run(run).repeats


def test_a_run_that_was_stopped_is_repeated_up_to_there(tiny: Path) -> None:
    from mnistlab.experiment import prepare, start
    from mnistlab.resolving import resolve

    flags = {"data": str(tiny), "epochs": 9, "batch_size": 5}
    experiment = prepare(resolve(flags))
    experiment = start(experiment, Path("runs"), [])
    run, place = experiment.run, experiment.now.place
    assert run is not None
    list(experiment.train(lambda: (place.epoch, place.batch) == (3, 2)))
    assert run.record().status == "stopped"
    found = verify_run(run)
    assert found.repeats
    assert found.epochs == 3


@pytest.mark.parametrize("arguments", [(), ("--order-seed", "own")], ids=["at once", "in turn"])
def test_all_seeds_are_trained_again(
    mnistlab: Mnistlab, tiny: Path, arguments: tuple[str, ...]
) -> None:
    flags = ("--data", tiny, "--epochs", "3", "--seeds", "4", *arguments)
    run = Run(Path(mnistlab("train", *flags, "--json").ok().json["run"]))
    found = verify_run(run)
    assert found.repeats
    assert set(found.actual) == {f"seed {seed}" for seed in range(4)}
    run.config_file.write_text(run.config_file.read_text().replace("lr = 1.0", "lr = 0.5"))
    assert set(verify_run(run).changed) == {"lr"}
    assert not verify_run(run).repeats


def test_a_baseline_is_fitted_again(mnistlab: Mnistlab, tiny: Path) -> None:
    arguments = ("baseline", "pixel-similarity", "--data", tiny, "--json")
    run = Run(Path(mnistlab(*arguments).ok().json["run"]))
    found = verify_run(run)
    assert (found.repeats, found.changed) == (True, {})
    Image.new("L", (4, 4), 77).save(tiny / "train/dark/3.png")
    assert set(verify_run(run).changed) == {"data fingerprint"}
    run.config_file.write_text("model = 3")
    with pytest.raises(ConfigError, match="not a known name"):
        verify_run(run)


def test_a_folder_that_says_too_little_is_refused(run: Run) -> None:
    config, record = run.config_file.read_text(), run.record_file.read_text()
    run.config_file.unlink()
    with pytest.raises(RunError, match="has the settings"):
        verify_run(run)
    run.config_file.write_text(config)
    for content in ('{"config": 3}', "{}"):
        run.record_file.write_text(content)
        with pytest.raises(RunError, match="cannot be right"):
            verify_run(run)
    run.record_file.write_text(record.replace('"result": {', '"nothing": {'))
    run.state_file.unlink()
    with pytest.raises(RunError, match="stopped before its first save; nothing to compare with"):
        verify_run(run)
