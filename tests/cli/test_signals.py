"""Signals: finish the batch, save, say how to go on; a second one ends at once."""

import json
import os
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mnistlab import __main__ as main
from mnistlab import experiment
from mnistlab.cli.signals import SIGNALS, WARNINGS, StopSignals, end_on_signals, exit_code_of
from mnistlab.report import rows
from mnistlab.storage import load_state, save_model
from tests import needs
from tests.command import Result, spawn

Mnistlab = Callable[..., Result]


def signal_in_epoch(
    monkeypatch: pytest.MonkeyPatch, epoch: int, number: int = signal.SIGINT
) -> None:
    """Send a signal to this process when the line of `epoch` is about to be shown."""
    original = rows.epoch_line

    def line(row: Any) -> str:
        if row["epoch"] == epoch:
            signal.raise_signal(number)
        return original(row)

    monkeypatch.setattr("mnistlab.cli.train.epoch_line", line)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_the_second_ends_at_once(number: int) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert not stop()
        assert stop.exit_code == 0
        signal.raise_signal(number)
        assert stop()
        assert stop.exit_code == exit_code_of(number)
        with pytest.raises(SystemExit) as leaving:
            signal.raise_signal(signal.SIGINT)
        assert leaving.value.code == 130
    assert signal.getsignal(number) == before


def test_a_signal_that_the_parent_has_us_ignore_stays_ignored() -> None:
    number = SIGNALS[-1]  # SIGHUP, which nohup sets so, or SIGBREAK
    signal.signal(number, signal.SIG_IGN)
    end_on_signals()
    with StopSignals() as stop:
        signal.raise_signal(number)
        assert not stop()
    assert signal.getsignal(number) is signal.SIG_IGN


def test_termination_is_an_orderly_exit() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_on_signals()
    with pytest.raises(SystemExit) as leaving:
        signal.raise_signal(signal.SIGTERM)
    assert leaving.value.code == 143


def test_a_signal_while_a_module_is_imported_ends_at_once_whatever_catches_exceptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swallowing.py").write_text(
        "import signal\ntry: signal.raise_signal(signal.SIGINT)\nexcept BaseException: pass"
    )
    monkeypatch.syspath_prepend(tmp_path)
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_on_signals()
    import_module("swallowing")
    assert codes == [130]


def test_who_asks_twice_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(code: int) -> None:
        raise RuntimeError(code)

    monkeypatch.setattr(os, "_exit", ended)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    end_on_signals()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="143"):
        signal.raise_signal(signal.SIGTERM)


def test_no_signal_changes_how_a_command_ends_that_is_done(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = main._tell_failures

    def tell(code: int) -> int:
        for number in SIGNALS:
            signal.raise_signal(number)
        return real(code)

    monkeypatch.setattr(main, "_tell_failures", tell)
    mnistlab("--version").ok()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_training_leaves_nothing(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, number: int, code: int, tiny: Path
) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr(experiment, "load_data", lambda *_, **__: signal.raise_signal(number))
    result = mnistlab("train", "--data", tiny, "--json")
    assert (result.code, result.out, result.err) == (code, "", "")
    assert not Path("runs").exists()


def test_a_stopped_run_says_how_to_go_on_and_ends_as_one_never_stopped(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    settings = ("--data", tiny, "--batch-size", "7", "--epochs", "5")
    whole = mnistlab("train", *settings, "--json").ok().json
    signal_in_epoch(monkeypatch, 2)
    stopped = mnistlab("train", *settings, "--json")
    monkeypatch.undo()
    monkeypatch.chdir(tiny.parent)
    assert (stopped.code, stopped.out) == (130, "")
    told, command = stopped.err.splitlines()[-2:]
    assert told == "stopped in epoch 3 after 0 batches; all is saved"
    assert command.startswith("go on with: mnistlab train --resume ")
    run = command.split()[-1]
    info = json.loads((Path("runs") / run / "run.json").read_text())
    assert info["status"] == "stopped"
    assert [row["epoch"] for row in info["result"]["epochs"]] == [0, 1, 2]
    resumed = mnistlab(*command.split()[4:], "--json").ok().json
    assert resumed["run"] == str(Path("runs", run))
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert [row["train_loss"] for row in resumed["epochs"]] == [
        row["train_loss"] for row in whole["epochs"]
    ]


def test_a_stop_in_the_last_epoch_is_a_finished_run(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    signal_in_epoch(monkeypatch, 1)
    result = mnistlab("train", "--data", tiny, "--epochs", "2").ok()
    assert "go on with" not in result.err


def test_a_second_signal_while_saving_leaves_the_last_save_intact(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    settings = ("--data", tiny, "--epochs", "5")
    whole = mnistlab("train", *settings, "--json").ok().json
    monkeypatch.setattr(experiment, "SAVE_EVERY", 0.0)  # a save after every epoch
    signal_in_epoch(monkeypatch, 2)

    def interrupted(path: Path, *arguments: Any) -> None:
        if json.loads((path.parent / "run.json").read_text())["result"]["epochs"][1:]:
            signal.raise_signal(signal.SIGINT)
        save_model(path, *arguments)

    monkeypatch.setattr(experiment, "save_model", interrupted)
    result = mnistlab("train", *settings, "--run-dir", "other")
    monkeypatch.undo()
    monkeypatch.chdir(tiny.parent)
    assert result.code == 130
    assert "Traceback" not in result.err
    [run] = Path("other").iterdir()
    assert load_state(run / "resume.safetensors").record.epoch == 3
    assert not [path for path in run.iterdir() if path.name.endswith("-tmp")]
    resumed = mnistlab("train", "--resume", run, "--json").ok().json
    assert resumed["weights_sha256"] == whole["weights_sha256"]


@needs.signals
def test_a_real_process_stops_saves_and_can_be_resumed(mnistlab: Mnistlab, tiny: Path) -> None:
    # of termination, and of other moments: tests/reliability/test_signals.py
    with spawn("train", "--data", tiny, "--epochs", "100000", "--seed", "3") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch ")
        assert process.stdout.readline().startswith("    0 ")  # so it is in the loop
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after this batch; once more to stop at once\n" in err
    assert "Traceback" not in err
    command = err.splitlines()[-1]
    assert command.startswith("go on with: mnistlab train --resume ")
    [run] = Path("runs").iterdir()
    done = load_state(run / "resume.safetensors").record.epoch
    total = str(done + 2)
    resumed = mnistlab(*command.split()[4:], "--epochs", total, "--json").ok().json
    whole = mnistlab("train", "--data", tiny, "--epochs", total, "--seed", "3", "--json").ok().json
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert len(resumed["epochs"]) == done + 2


@pytest.mark.parametrize("number", WARNINGS)
def test_a_warning_saves_and_coming_again_it_does_not_hurry(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, tiny: Path, number: int
) -> None:
    """SIGXCPU comes every second from the limit on."""
    original = rows.epoch_line

    def line(row: Any) -> str:
        if row["epoch"] == 2:
            signal.raise_signal(number)
            signal.raise_signal(number)
        return original(row)

    monkeypatch.setattr("mnistlab.cli.train.epoch_line", line)
    result = mnistlab("train", "--data", tiny, "--epochs", "5")
    assert result.code == 128 + number
    assert "go on with: mnistlab train --resume" in result.err
    [run] = Path("runs").iterdir()
    assert load_state(run / "resume.safetensors").record.epoch == 3


def test_the_orderly_end_is_not_cut_short_by_warnings() -> None:
    number = WARNINGS[0]
    signal.signal(number, signal.SIG_DFL)
    end_on_signals()
    with pytest.raises(SystemExit) as leaving:
        signal.raise_signal(number)
    assert leaving.value.code == 128 + number
    signal.raise_signal(number)  # and we are still here
