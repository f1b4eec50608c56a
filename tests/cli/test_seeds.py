"""`mnistlab train --seeds`: rows, summary, the run folder, stops and refusals."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.command import Result

if TYPE_CHECKING:
    from tests.reliability.processes import Server

Mnistlab = Callable[..., Result]


def test_json_has_every_seed_and_the_kept_models_figures(mnistlab: Mnistlab, tiny: Path) -> None:
    arguments = ("train", "--data", tiny, "--epochs", "3", "--seeds", "4", "--seed", "7", "--json")
    document = mnistlab(*arguments).ok().json
    assert [row["seed"] for row in document["seeds"]] == [7, 8, 9, 10]
    assert len({row["weights_sha256"] for row in document["seeds"]}) == 4
    assert [row["epoch"] for row in document["band"]] == [0, 1, 2]
    kept = next(row for row in document["seeds"] if row["seed"] == document["seed"])
    assert document["weights_sha256"] == kept["weights_sha256"]
    assert document["accuracy"] == kept["accuracy"]
    assert mnistlab("eval", document["run"], "--json").json["accuracy"] == kept["accuracy"]
    best = mnistlab("eval", document["run"], "--best", "--json").ok().json
    assert best["accuracy"] == document["best"]["accuracy"] == document["summary"]["max"]


@pytest.mark.parametrize(
    ("arguments", "rows", "order"),
    [
        ((), 3, "at once, as one wide matrix, all in the order of seed 0"),
        (("--no-shuffle",), 3, "at once, as one wide matrix, in the order of the files"),
        (("--order-seed", "own"), 4, "one after the other, each in an order of its own"),
        (("--model", "two-layer"), 4, "one after the other, each in an order of its own"),
        (
            ("--model", "two-layer", "--order-seed", "9"),
            3,
            "at once, as one wide matrix, all in the order of seed 9",
        ),
        (
            ("--model", "two-layer", "--order-seed", "9", "--augment"),
            4,
            "one after the other, all in the order of seed 9",
        ),
    ],
)
def test_text_says_how_the_seeds_were_trained(
    mnistlab: Mnistlab, tiny: Path, arguments: tuple[str, ...], rows: int, order: str
) -> None:
    flags = ("--data", tiny, "--epochs", "3", "--seeds", "4", *arguments)
    result = mnistlab("train", *flags).ok()
    assert f"seeds   0 to 3, {order}\n" in result.err
    lines = result.out.splitlines()
    assert len(lines) == 1 + rows + 3
    assert len({len(line) for line in lines[: 1 + rows]}) == 1  # the columns line up
    assert lines[-3].startswith("accuracy  mean ")
    assert lines[-2].endswith("saved as model.safetensors")
    assert lines[-1].endswith("saved as best.safetensors")
    assert max(map(len, lines)) <= 80


def test_the_mean_is_what_min_accuracy_looks_at(mnistlab: Mnistlab, tiny: Path) -> None:
    flags = ("train", "--data", tiny, "--epochs", "2", "--seeds", "3", "--json")
    mean = mnistlab(*flags).ok().json["summary"]["mean"]
    assert 0 < mean < 1
    assert mnistlab(*flags, "--min-accuracy", f"{mean + 0.001:.4f}").code == 3
    assert mnistlab(*flags, "--min-accuracy", f"{mean - 0.001:.4f}").code == 0


def test_a_config_of_such_a_run_trains_the_same_seeds(mnistlab: Mnistlab, tiny: Path) -> None:
    flags = ("--data", tiny, "--epochs", "2", "--seeds", "3")
    first = mnistlab("train", *flags, "--json").ok().json
    again = mnistlab("train", "--config", Path(first["run"]) / "config.toml", "--json").ok().json
    assert again["seeds"] == first["seeds"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--seeds", "0"), "--seeds: input should be greater than or equal to 1"),
        (("--order-seed", "mine"), "--order-seed: must be an integer from 0 on, or own"),
        (("--order-seed", "-3"), "--order-seed: must be an integer from 0 on, or own"),
        (("--seed", str(2**63 - 2), "--seeds", "5"), "5 seeds from there pass 2^63"),
    ],
)
def test_seeds_that_make_no_sense_are_refused(
    mnistlab: Mnistlab, arguments: tuple[str, ...], told: str
) -> None:
    result = mnistlab("train", *arguments)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert len(result.err.splitlines()) == 1
    assert not Path("runs").exists()


def test_a_run_with_all_its_seeds_is_not_resumed(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("train", "--data", tiny, "--epochs", "1", "--seeds", "2").ok()
    result = mnistlab("train", "--resume", "latest")
    assert result.code == 2
    assert "all its seeds are trained; nothing to resume" in result.err


def test_ctrl_c_keeps_the_finished_seeds(server: "Server", tiny: Path, mnistlab: Mnistlab) -> None:
    stopped = interrupted(server, 4, "--data", tiny, "--epochs", "40")  # the header, three seeds
    assert stopped.code == 130
    assert " of 5000 seeds, which are saved" in stopped.err
    found = mnistlab("runs", "show", "--json").ok().json
    assert found["status"] == "stopped"
    assert len(found["result"]["seeds"]) >= 3
    mnistlab("eval").ok()
    mnistlab("runs", "verify").ok()


def test_interrupted_seeds_go_on(server: "Server", tiny: Path, mnistlab: Mnistlab) -> None:
    words = ("--model", "two-layer", "--data", tiny, "--epochs", "150")
    whole = mnistlab("train", *words, "--seeds", "4", "--run-dir", "whole", "--json").ok().json
    stopped = interrupted(server, 3, *words, "--seeds", "4")  # the header, two seeds
    assert stopped.code == 130
    longer = mnistlab("train", "--resume", "latest", "--epochs", "151")
    assert (longer.code, "train as long as the first" in longer.err) == (2, True)
    resumed = mnistlab("train", "--resume", "latest", "--json").ok()
    keys = ("weights_sha256", "seeds", "summary", "accuracy")
    assert {key: resumed.json[key] for key in keys} == {key: whole[key] for key in keys}
    assert len(resumed.err.splitlines()) > 4  # the rows of the first seeds are shown again
    mnistlab("runs", "verify").ok()


def test_a_full_disk_is_told_and_nothing_of_it_is_lost(
    server: "Server", tiny: Path, mnistlab: Mnistlab
) -> None:
    words = ("--model", "two-layer", "--data", tiny, "--epochs", "2", "--seeds", "2")
    whole = mnistlab("train", *words, "--run-dir", "whole", "--json").ok().json
    full = server.run("train", *words, cwd=Path.cwd(), env=os.environ, file_bytes=3000)
    assert (full.code, full.err.count("error:")) == (1, 1)
    assert "the run cannot be saved: File too large; each seed that is done is kept" in full.err
    resumed = mnistlab("train", "--resume", "latest", "--json").ok().json
    assert resumed["seeds"] == whole["seeds"]


def test_ctrl_c_before_the_first_seed_is_done_is_told(server: "Server", tiny: Path) -> None:
    stopped = interrupted(server, 1, "--data", tiny, "--epochs", "100000")
    assert stopped.code == 130
    assert "stopped before anything was finished; nothing of it is saved" in stopped.err


def interrupted(server: "Server", lines: int, *flags: str | Path) -> Result:
    """What a training of 5000 seeds says to a Ctrl-C after so many lines on stdout."""
    reader, writer = os.pipe()
    flags = ("--seeds", "5000", "--order-seed", "own", *flags)
    process = server.start("train", *flags, cwd=Path.cwd(), env=os.environ, out=writer)
    os.close(writer)
    with open(reader, encoding="utf-8") as stream:
        for _ in range(lines):
            assert stream.readline()
        process.send(signal.SIGINT)
        stream.read()
    return process.finish()
