"""`mnistlab train`: what it prints, writes, refuses and repeats."""

import csv
import json
import re
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mnistlab import experiment
from mnistlab.config import TrainConfig, checked
from mnistlab.errors import DivergedError
from mnistlab.report import rows
from mnistlab.report.rows import HEADER
from mnistlab.storage import load_model, weights_sha256
from mnistlab.system import quoted
from tests import needs
from tests.command import Result
from tests.conftest import make_tree

Mnistlab = Callable[..., Result]


def the_run(folder: str = "runs") -> Path:
    [run] = Path(folder).iterdir()
    return run


# output


def test_classes_of_uneven_size_are_told_with_what_to_do(mnistlab: Mnistlab, tiny: Path) -> None:
    def told(*more: str) -> str:
        flags = [*more, "--data", tiny, "--epochs", "1"]
        return mnistlab("train", *flags).ok().err

    light = sorted((tiny / "train" / "light").iterdir())
    for path in light[3:]:
        path.unlink()
    assert "note" not in told()  # 12 and 3
    light[2].unlink()
    for more in ([], ["--dry-run"], ["--seeds", "2"]):
        [note] = re.findall("note .*\n.*", told(*more))
        assert "dark has 12 training images, light 2: --class-weights balanced lets" in note
        assert "balanced_accuracy (mnistlab eval)" in note
    assert "note" not in told("--class-weights", "balanced")
    assert "note" not in told("--model", "pixel-similarity")
    config = tomllib.loads((max(Path("runs").glob("*linear*")) / "config.toml").read_text())
    assert config["class_weights"] == "balanced"


def test_a_run_prints_one_line_an_epoch_and_says_what_comes_next(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    torch.set_num_threads(1)
    result = mnistlab("train", "--data", tiny, "--epochs", "3").ok()
    run = the_run()
    header, *lines = result.out.splitlines()
    assert header == HEADER
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [line.split() for line in lines] == [
        [
            row["epoch"],
            f"{float(row['train_loss']):.6f}",
            f"{float(row['valid_loss']):.6f}",
            f"{float(row['accuracy']):.6f}",
            f"{float(row['seconds']):.2f}s",
        ]
        for row in rows
    ]
    info = json.loads((run / "run.json").read_text())
    best = max(info["result"]["epochs"], key=lambda row: row["accuracy"])
    assert result.err.splitlines() == [
        f"data    {tiny}: dark vs light, 24 + 8 images of 4 x 4",
        "model   linear, 17 parameters; seed 0, cpu, 1 thread",
        f"run     runs/{run.name}",
        f"best    {best['accuracy']:.6f} in epoch {best['epoch']}; "
        f"weights sha256 {info['result']['weights_sha256'][:16]}",
        f"next    mnistlab eval {run.name}",
    ]


def test_the_next_command_names_a_run_elsewhere_by_its_path(mnistlab: Mnistlab, tiny: Path) -> None:
    result = mnistlab("train", "--data", tiny, "--epochs", "1", "--run-dir", "my runs").ok()
    assert result.err.splitlines()[-1] == f"next    mnistlab eval {quoted(the_run('my runs'))}"
    mnistlab("eval", the_run("my runs")).ok()


def test_quiet_prints_only_the_result(mnistlab: Mnistlab, tiny: Path) -> None:
    result = mnistlab("train", "--data", tiny, "--epochs", "3", "-q").ok()
    accuracy = json.loads((the_run() / "run.json").read_text())["result"]["accuracy"]
    assert result.out == f"accuracy {accuracy:.6f}  run {the_run()}\n"
    assert result.err == ""


def test_json_is_one_document_with_the_fields_of_the_contract(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    result = mnistlab("train", "--data", tiny, "--epochs", "3", "--seed", "5", "--json").ok()
    document = result.json
    assert set(document) >= {
        "schema_version", "run", "model", "classes", "seed", "epochs", "accuracy", "best",
        "weights_sha256",
    }  # fmt: skip
    assert document["schema_version"] == 1
    assert document["run"] == str(the_run())
    assert document["model"] == "linear"
    assert document["classes"] == ["dark", "light"]
    assert document["seed"] == 5
    epochs = document["epochs"]
    assert [set(row) for row in epochs] == [
        {"epoch", "train_loss", "valid_loss", "accuracy", "seconds"}
    ] * 3
    assert [row["epoch"] for row in epochs] == [0, 1, 2]
    assert document["accuracy"] == epochs[-1]["accuracy"]
    best = max(epochs, key=lambda row: row["accuracy"])  # max: the first of equals
    assert document["best"] == {"epoch": best["epoch"], "accuracy": best["accuracy"]}
    model, _ = load_model(the_run() / "model.safetensors")
    assert document["weights_sha256"] == weights_sha256(model.state_dict())
    assert result.err.splitlines()[2] == HEADER  # the rows are progress now
    quiet = mnistlab("train", "--data", tiny, "--epochs", "3", "--seed", "5", "--json", "-q").ok()
    assert quiet.err == ""
    assert quiet.json["weights_sha256"] == document["weights_sha256"]


@pytest.mark.parametrize(("asked", "code"), [("0", 0), ("1", 3)])
def test_min_accuracy_is_checked_after_the_result(
    mnistlab: Mnistlab, tiny: Path, asked: str, code: int
) -> None:
    result = mnistlab("train", "--data", tiny, "--epochs", "1", "--min-accuracy", asked, "--json")
    assert result.code == code
    told = f"error: accuracy {result.json['accuracy']:.6f} is below --min-accuracy 1\n"
    assert result.err.endswith(told) is (code == 3)


def test_skipped_files_are_named(mnistlab: Mnistlab, tiny: Path) -> None:
    (tiny / "train/dark/0.png").write_bytes(b"")
    refused = mnistlab("train", "--data", tiny)
    assert (refused.code, refused.out) == (2, "")
    assert not Path("runs").exists()
    result = mnistlab("train", "--data", tiny, "--epochs", "1", "--skip-bad").ok()
    skipped = [line for line in result.err.splitlines() if line.startswith("skipped ")]
    assert len(skipped) == 1
    assert "0.png: " in skipped[0]
    assert "23 + 8 images" in result.err
    mnistlab("eval", "--split", "train").ok()  # the run's own data, skipped alike


# the run folder


def test_a_run_folder_holds_what_the_contract_says(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("train", "--data", tiny, "--epochs", "2", "--lr", "0.5").ok()
    run = the_run()
    assert {path.name for path in run.iterdir()} - {".lock"} == {
        "config.toml", "metrics.csv", "model.safetensors", "best.safetensors",
        "resume.safetensors", "run.json",
    }  # fmt: skip
    metrics = (run / "metrics.csv").read_text().splitlines()
    assert metrics[0] == "epoch,train_loss,valid_loss,accuracy,seconds"
    assert len(metrics) == 3
    info = json.loads((run / "run.json").read_text())
    assert info["schema_version"] == 1
    assert info["status"] == "done"
    assert info["command"][1:] == ["train", "--data", str(tiny), "--epochs", "2", "--lr", "0.5"]
    assert set(info["environment"]) >= {"mnistlab", "torch", "python", "platform", "device"}
    assert info["environment"]["threads"] == torch.get_num_threads()
    assert len(info["data"]["fingerprint"]) == 64
    assert info["data"]["valid"] == {"dark": 4, "light": 4}
    assert info["origins"]["lr"] == "--lr"
    config = tomllib.loads((run / "config.toml").read_text())
    assert set(config) == set(checked(config).applicable())
    assert {"lr", "init"} <= set(config)
    assert not {"hidden", "channels", "momentum"} & set(config)
    assert config["data"] == str(tiny)
    assert config["loss"] == "mnist"  # what auto came to


@pytest.mark.parametrize("model", ["linear", "two-layer"])
def test_the_written_config_repeats_the_run_to_the_bit(
    mnistlab: Mnistlab, tiny: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("--data", "tiny", "--model", model, "--epochs", "2", "--lr", "0.3", "--seed", "9")
    first = mnistlab("train", *settings, "--batch-size", "5", "--json").ok().json
    config = (tmp_path / the_run() / "config.toml").absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = mnistlab("train", "--config", config, "--json").ok().json
    assert again["weights_sha256"] == first["weights_sha256"]
    other = mnistlab("train", "--config", config, "--seed", "8", "--json").ok().json
    assert other["weights_sha256"] != first["weights_sha256"]


def test_a_file_in_place_of_the_run_folder_is_told_before_training(
    mnistlab: Mnistlab, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("runs").write_text("", encoding="utf-8")
    monkeypatch.setattr(experiment, "run_epochs", None)  # would fail if it came to training
    result = mnistlab("train", "--data", tiny, "--json")
    assert (result.code, result.out) == (1, "")
    assert re.match(r"error: runs: cannot be written: .*; name another .*--run-dir", result.err)
    assert mnistlab("runs", "list", "--json").ok().json["runs"] == []


def test_a_run_that_diverges_exits_1_with_nothing_on_stdout(
    mnistlab: Mnistlab, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: Any, **__: Any) -> Any:
        raise DivergedError("training diverged in epoch 0, batch 0, at lr 9")

    monkeypatch.setattr(experiment, "run_epochs", diverges)
    result = mnistlab("train", "--data", tiny, "--json")
    assert (result.code, result.out) == (1, "")
    told = result.err.splitlines()[-1]
    assert told.startswith("error: training diverged in epoch 0, batch 0, at lr 9; the last good")


# settings


def test_a_dry_run_shows_every_setting_with_its_origin_and_writes_nothing(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    before = sorted(Path.cwd().rglob("*"))
    result = mnistlab(
        "train", "-n", "--data", tiny, "--config", "two-layer", "--lr", "0.3", "--threads", "1"
    ).ok()
    assert sorted(Path.cwd().rglob("*")) == before
    settings, layers, counts = result.out.split("\n\n")
    lines = [line.split(None, 2) for line in settings.splitlines()[2:]]
    shown = {key: (value, origin) for key, value, origin in lines}
    assert list(shown) == list(TrainConfig(model="two-layer").applicable())
    assert shown["model"] == ("two-layer", "config two-layer")
    assert shown["lr"] == ("0.3", "--lr")
    assert shown["epochs"] == ("40", "config two-layer")
    assert shown["seed"] == ("0", "default")
    assert shown["loss"] == ("mnist", "default for 2 classes")
    assert shown["threads"] == ("1", "--threads")
    assert [line.split() for line in layers.splitlines()[2:]] == [
        ["hidden", "NarrowLinear", "30", "30x16", "+", "30", "510"],
        ["out", "Linear", "1", "1x30", "+", "1", "31"],
        ["all", "541"],
    ]
    assert [line.split() for line in counts.splitlines()[2:]] == [
        ["dark", "12", "4"],
        ["light", "12", "4"],
    ]
    assert result.err.endswith("dry run: nothing was trained or written\n")


def test_a_dry_run_in_json_has_the_same(mnistlab: Mnistlab, tiny: Path) -> None:
    document = mnistlab("train", "--dry-run", "--data", tiny, "--json").ok().json
    assert document["schema_version"] == 1
    assert set(document["settings"]) == set(TrainConfig().applicable())
    assert document["settings"]["lr"] == {"value": 1.0, "from": "default of linear"}
    assert document["settings"]["data"] == {"value": str(tiny), "from": "--data"}
    assert document["model"]["name"] == "linear"
    assert document["model"]["parameters"] == 17
    [layer] = document["model"]["layers"]
    assert (layer["kind"], layer["output"]) == ("LinearModel", [1])
    assert layer["parameters"] == {"weights": [16, 1], "bias": [1]}
    assert document["data"]["classes"] == ["dark", "light"]
    assert document["data"]["train"] == {"dark": 12, "light": 12}
    assert not Path("runs").exists()


def test_flags_reach_the_run(mnistlab: Mnistlab, tiny: Path) -> None:
    flags = {
        "data": str(tiny), "model": "two-layer", "epochs": 1, "lr": 0.25, "batch_size": 3,
        "hidden": 2, "optimizer": "basic", "loss": "bce", "shuffle": False, "seed": 4,
        "device": "cpu", "threads": 1, "skip_bad": True, "order_seed": 9,
    }  # fmt: skip
    arguments = [
        part
        for key, value in flags.items()
        for part in (f"--{key.replace('_', '-')}", str(value))
        if not isinstance(value, bool)
    ]
    mnistlab("train", *arguments, "--no-shuffle", "--skip-bad").ok()
    info = json.loads((the_run() / "run.json").read_text())
    others = TrainConfig(model="two-layer").applicable().items()
    assert info["config"] == {**flags, **{k: v for k, v in others if k not in flags}}
    assert {key for key, value in info["origins"].items() if value.startswith("--")} == set(flags)


def test_flags_of_a_deep_net_reach_the_run(mnistlab: Mnistlab, tiny: Path) -> None:
    arguments = [
        "--model=cnn", "--channels=4,6", "--depth=2", "--padding", "--batch-norm", "--hidden=3",
        "--epochs=1", "--optimizer=adamw", "--momentum=0.8", "--beta2=0.95", "--weight-decay=0.2",
        "--schedule=one-cycle", "--warmup=0.5", "--label-smoothing=0.2", "--augment",
        "--precision=bf16", "--keep=best", "--patience=5",
    ]  # fmt: skip
    mnistlab("train", "--data", tiny, *arguments).ok()
    config = json.loads((the_run() / "run.json").read_text())["config"]
    expected = {
        "model": "cnn", "channels": [4, 6], "depth": 2, "padding": True, "batch_norm": True,
        "hidden": 3, "optimizer": "adamw", "momentum": 0.8, "beta2": 0.95, "weight_decay": 0.2,
        "schedule": "one-cycle", "warmup": 0.5, "label_smoothing": 0.2, "augment": True,
        "precision": "bf16", "keep": "best", "patience": 5, "loss": "bce",
    }  # fmt: skip
    assert {key: config[key] for key in expected} == expected
    mnistlab("train", "--config", the_run() / "config.toml", "--run-dir", "again").ok()
    mnistlab("runs", "verify").ok()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--model cnn --channels 4,x", "--channels: "),
        ("--model cnn --channels", "requires an argument"),
        ("--model cnn --loss mnist", "does not fit 2 classes with label smoothing 0.1; use bce"),
        ("--model cnn --channels 4,4,4,4", "4 stages leave nothing of images of 4 x 4"),
        ("--model linear --label-smoothing 0.1 --loss mnist", "use bce"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    mnistlab: Mnistlab, tiny: Path, arguments: str, told: str
) -> None:
    result = mnistlab("train", "--data", tiny, *arguments.split())
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert not Path("runs").exists()


def test_all_wrong_settings_are_told_at_once_before_any_work(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "prepare", None)
    wrong = ("--epochs", "ten", "--lr", "nan", "--threads", "1.5", "--seed", "9" * 5000)
    result = mnistlab("train", *wrong, "--model", "linaer", "--hidden", "0", "--json")
    assert (result.code, result.out) == (2, "")
    told = result.err.removeprefix("error: ").splitlines()
    assert [line.split(": ")[0] for line in told] == [
        "--model", "--epochs", "--lr", "--hidden", "--seed", "--threads",
    ]  # fmt: skip
    assert told[:3] == [
        "--model: not a known name; did you mean linear? (got 'linaer')",
        "--epochs: input should be a valid integer (got 'ten')",
        "--lr: input should be a finite number (got nan)",
    ]


def test_a_loss_that_does_not_fit_the_classes_is_refused(
    mnistlab: Mnistlab, tmp_path: Path
) -> None:
    tree = make_tree(tmp_path / "three", ("a", "b", "c"))
    result = mnistlab("train", "--data", tree, "--loss", "mnist")
    assert result.code == 2
    assert "--loss mnist does not fit 3 classes" in result.err
    three = mnistlab("train", "--data", tree, "--epochs", "1").ok()
    assert ": 3 classes, 36 + 12 images" in three.err


@pytest.mark.parametrize("name", ["mnist_sampel", "./absent", "\x1b[2J"])
def test_data_that_is_not_there_is_refused(mnistlab: Mnistlab, name: str) -> None:
    result = mnistlab("train", "--data", name, "--json")
    assert (result.code, result.out) == (2, "")
    assert result.err.replace("\n", "").isprintable()


# resume


def test_a_finished_run_is_extended_to_what_it_would_have_been(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    settings = ("--data", tiny, "--batch-size", "5", "--json")
    whole = mnistlab("train", *settings, "--epochs", "4", "--run-dir", "whole").ok().json
    mnistlab("train", *settings, "--epochs", "2").ok()
    resumed = mnistlab("train", "--resume", "latest", "--epochs", "4", "--json").ok().json
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed["run"] == str(the_run())
    assert len((the_run() / "metrics.csv").read_text().splitlines()) == 5


def test_a_finished_run_says_that_it_is_finished(mnistlab: Mnistlab, tiny: Path) -> None:
    first = mnistlab("train", "--data", tiny, "--epochs", "2", "--json").ok().json
    result = mnistlab("train", "--resume", the_run(), "--json", "--min-accuracy", "1")
    assert result.json == first
    assert result.code == (0 if first["accuracy"] == 1 else 3)
    assert (
        f"{the_run().name}: all 2 epochs are done already; --epochs TOTAL extends it" in result.err
    )


def test_another_thread_count_is_noted(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("train", "--data", tiny, "--epochs", "1", "--threads", "1").ok()
    result = mnistlab("train", "--resume", "latest", "--epochs", "2", "--threads", "2").ok()
    assert "note: threads was 1, now 2: the weights can differ in their last bits" in result.err


def test_a_resumed_run_keeps_its_settings(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("train", "--data", tiny, "--epochs", "1").ok()
    result = mnistlab(
        "train", "--resume", "latest", "--lr", "3", "--no-shuffle", "--config", "linear", "--json"
    )
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "error: --lr, --shuffle, --config: a resumed run keeps its settings; only --epochs, "
        "--threads and --data (where its data are now) go with --resume\n"
    )
    dry = mnistlab("train", "--resume", "latest", "-n")
    assert dry.code == 2
    assert "--dry-run" in dry.err


def test_only_a_training_run_can_be_resumed(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("baseline", "pixel-similarity", "--data", tiny).ok()
    result = mnistlab("train", "--resume", "latest")
    assert result.code == 2
    assert result.err.endswith("not a training run; nothing to resume\n")
    missing = mnistlab("train", "--resume", "lates")
    assert missing.code == 2
    assert missing.err == "error: lates: no such run in runs; did you mean latest?\n"


@needs.linux
def test_one_command_line_starts_goes_on_and_is_done(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    Path("job.toml").write_text("lr = 0.5\nepochs = 4\ndevice = 'auto'\n", encoding="utf-8")
    words = ["train", "--resume", "latest", "--or-start", "--data", "tiny", "--config", "job.toml"]
    original = rows.epoch_line

    def line(row: Any) -> str:
        if row["epoch"] == 1:
            signal.raise_signal(signal.SIGUSR1)
        return original(row)

    with monkeypatch.context() as patch:
        patch.setattr("mnistlab.cli.train.epoch_line", line)
        assert mnistlab(*words).code == 128 + signal.SIGUSR1
    ended = mnistlab(*words, "--json").ok().json
    assert [row["epoch"] for row in ended["epochs"]] == [0, 1, 2, 3]
    again = mnistlab(*words, "--json").ok()
    assert again.json["weights_sha256"] == ended["weights_sha256"]
    assert "all 4 epochs are done already" in again.err
    plain = mnistlab("train", "--data", tiny, "--config", "job.toml", "--run-dir", "p", "--json")
    assert plain.ok().json["weights_sha256"] == ended["weights_sha256"]
    assert len(list(Path("runs").iterdir())) == 1


def test_other_settings_than_those_of_the_run_are_contradictions(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    words = ["train", "--resume", "latest", "--or-start", "--data", tiny]
    mnistlab(*words, "--epochs", "1", "--lr", "0.5").ok()
    run = the_run().name
    refused = mnistlab(*words, "--model", "two-layer", "--lr", "0.25", "--batch-size", "256")
    assert (refused.code, refused.out) == (2, "")
    has = f"{run}, the latest run, has"
    own = "give other work a --run-dir of its own"
    assert refused.err == (
        f"error: --model two-layer: {has} linear; {own}\n--lr 0.25: {has} 0.5; {own}\n"
    )
    for wrong, why in (
        (("--or-start",), "--or-start: goes with --resume latest"),
        (("--or-start", "--resume", run), "--or-start: goes with --resume latest"),
        ((*words[1:], "--seeds", "2"), f"--seeds 2: {has} 1"),
        ((*words[1:], "--dry-run"), "--dry-run: shows a new run"),
    ):
        refused = mnistlab("train", *wrong)
        assert (refused.code, refused.out) == (2, "")
        assert why in refused.err
