"""`mnistlab runs …`: list, show, compare, verify, rm."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.cells import cell_len

from mnistlab.report.tables import runs_lines
from mnistlab.runs import Run, find_run
from mnistlab.summaries import RunSummary
from tests import needs
from tests.command import Result

Mnistlab = Callable[..., Result]


@pytest.fixture
def runs(mnistlab: Mnistlab, tiny: Path) -> list[Path]:
    """A linear run, a two-layer run and a baseline on `tiny`, oldest first."""
    made = [
        mnistlab("train", "--data", tiny, "--epochs", "2", "--json"),
        mnistlab("train", "--data", tiny, "--model", "two-layer", "--epochs", "3", "--json"),
        mnistlab("baseline", "pixel-similarity", "--data", tiny, "--json"),
    ]
    return [Path(result.ok().json["run"]) for result in made]


def test_the_list_has_every_run_the_latest_last(
    mnistlab: Mnistlab, runs: list[Path], tiny: Path
) -> None:
    document = mnistlab("runs", "list", "--json").ok().json
    assert [one["path"] for one in document["runs"]] == list(map(str, runs))
    result = mnistlab("runs", "list").ok()
    lines = result.out.splitlines()
    assert " ".join(lines[:2]).split() == [
        "run",
        "status",
        "data",
        "lr",
        "seed",
        "epochs",
        "accuracy",
    ]
    for name, figures, one in zip(lines[2::2], lines[3::2], document["runs"], strict=True):
        status, data, *rates, seed, epochs, accuracy = figures.split()
        assert (name, status, int(seed), int(epochs)) == (one["name"], "done", 0, one["epochs"])
        assert data.startswith("...")
        assert str(tiny).endswith(data.removeprefix("..."))
        assert list(map(float, rates)) == ([] if one["lr"] is None else [one["lr"]])
        assert accuracy == f"{one['accuracy']:.6f}"
    assert max(map(len, lines)) <= 80
    assert mnistlab("runs", "list", "-q").ok().out.split() == [path.name for path in runs]


@pytest.mark.parametrize(("width", "lines"), [(100, 4), (80, 8), (60, 8)])
def test_the_list_fits_its_width_and_keeps_scores_on_other_data_apart(
    width: int, lines: int
) -> None:
    runs = [
        RunSummary("20261122-120000-linear-s0", "", status="done", data="mnist_sample", lr=1.0,
                   seed=0, epochs=10, accuracy=0.97, best=0.975, seconds=1.25),
        RunSummary("20261122-130000-resnet18-s3", "", status="stopped", data="fashion-mnist",
                   lr=0.05, seed=3, seeds=8, epochs=2, accuracy=0.90),
        RunSummary("20261122-140000-pixel-similarity-s0", "", data="/home/me/日本/a/long/way/off"),
    ]  # fmt: skip
    text = [str(line) for line in runs_lines(runs, width)]
    shown = "\n".join(text).splitlines()
    assert len(shown) == lines
    assert max(map(cell_len, shown)) <= width
    assert text[1].split()[1:] == ["done", "mnist_sample", "1", "0", "10", "0.970000"]
    assert text[2].split()[1:] == ["stopped", "fashion-mnist", "0.05", "3-10", "2", "0.900000"]
    assert text[3].split()[-1].endswith("/way/off")
    assert str(runs_lines(runs, width, "best")[1]).endswith("0.975000")
    assert str(runs_lines(runs, width, "seconds")[1]).endswith(" 1.2s")


def test_the_list_is_sorted_and_cut(mnistlab: Mnistlab, runs: list[Path]) -> None:
    def names(*flags: str) -> list[str]:
        return mnistlab("runs", "list", "-q", *flags).ok().out.split()

    by_epochs = [runs[2].name, runs[0].name, runs[1].name]
    assert names("--sort", "epochs") == by_epochs
    assert names("--sort", "epochs", "-r") == by_epochs[::-1]
    assert names("--limit", "1") == [runs[2].name]
    assert names("--sort", "epochs", "-r", "--limit", "2") == by_epochs[:0:-1]
    assert mnistlab("runs", "list", "--limit", "1").err == "1 of 3 runs\n"
    assert "time" in mnistlab("runs", "list", "--sort", "seconds").ok().out
    wrong = mnistlab("runs", "list", "--sort", "speed", "--json")
    assert (wrong.code, wrong.out) == (2, "")


def test_no_runs_are_no_error(mnistlab: Mnistlab) -> None:
    result = mnistlab("runs", "list", "--json").ok()
    assert result.json["runs"] == []
    assert "no runs yet" in result.err


def test_show_tells_everything_a_run_knows(mnistlab: Mnistlab, runs: list[Path]) -> None:
    for path in runs:
        document = mnistlab("runs", "show", path, "--json").ok().json
        assert document["summary"]["path"] == str(path)
        assert set(document["files"]) >= {"config.toml", "metrics.csv", "model.safetensors"}
        text = mnistlab("runs", "show", path).ok().out
        assert document["result"]["weights_sha256"] in text
        assert document["data"]["fingerprint"] in text
        for key, value in document["config"].items():
            assert f"{key} " in text
            assert str(value) in text
    assert "runs rm" not in text


def test_show_survives_a_run_that_has_only_begun(mnistlab: Mnistlab, runs: list[Path]) -> None:
    run = Run(runs[0])
    run.write_record(run.record().model_copy(update={"result": None, "status": "running"}))
    text = mnistlab("runs", "show", run.path).ok().out
    assert "status    killed\naccuracy  none yet\n" in text
    run.record_file.unlink()
    assert "damaged" in mnistlab("runs", "show", run.path).ok().out


def test_compare_pairs_image_by_image(mnistlab: Mnistlab) -> None:
    base = mnistlab("baseline", "pixel-similarity", "--json").ok().json
    line = mnistlab("train", "--epochs", "2", "--json").ok().json
    mnistlab("eval", base["run"], "--csv", "a.csv").ok()
    mnistlab("eval", line["run"], "--csv", "b.csv").ok()
    right = [
        [
            row.split(",")[3] == "1"
            for row in Path(name).read_text(encoding="utf-8").splitlines()[1:]
        ]
        for name in ("a.csv", "b.csv")
    ]
    document = mnistlab("runs", "compare", base["run"], line["run"], "--json").ok().json
    pairs = list(zip(*right, strict=True))
    assert document["both"] == pairs.count((True, True))
    assert document["only_a"] == pairs.count((True, False))
    assert document["only_b"] == pairs.count((False, True))
    assert document["neither"] == pairs.count((False, False))
    assert document["difference"] == pytest.approx(
        line["epochs"][-1]["accuracy"] - base["accuracy"], abs=1e-12
    )
    low, high = document["interval"]
    assert low < document["difference"] < high
    assert document["p_value"] < 0.001
    assert document["settings"]["model"] == ["pixel-similarity", "linear"]
    assert document["settings"]["lr"] == [None, 1.0]
    shown = mnistlab("runs", "compare", base["run"], line["run"]).ok().out
    assert f"{document['difference']:+.6f}" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_run_that_repeats_is_exit_0_and_one_that_does_not_exit_3(
    mnistlab: Mnistlab, runs: list[Path]
) -> None:
    for path in runs:
        document = mnistlab("runs", "verify", path, "--json").ok().json
        assert document["repeats"] is True
        assert document["changed"] == {}
    assert "repeats   weights equal to the last bit" in mnistlab("runs", "verify").ok().out
    config = Run(runs[0]).config_file
    config.write_text(config.read_text().replace("lr = 1.0", "lr = 0.25"))
    result = mnistlab("runs", "verify", runs[0])
    assert result.code == 3
    assert result.err.endswith("does not repeat; changed since: lr\n")
    assert "lr        1.0    0.25" in result.out
    document = mnistlab("runs", "verify", runs[0], "--json").json
    assert document["repeats"] is False
    assert document["changed"] == {"lr": [1.0, 0.25]}
    assert document["first_difference"] == 0


def test_what_differs_from_then_is_named_and_strict_refuses_it(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    mnistlab("train", "--data", tiny, "--epochs", "1", "--threads", "1").ok()
    run = find_run("latest", Path("runs"))
    record = run.record()
    record.environment |= {"torch": "2.12.0"}
    run.write_record(record)
    named = mnistlab("runs", "verify").ok()
    assert re.search(r"torch +2\.12\.0 +" + re.escape(torch.__version__), named.out)
    files = {path: path.read_bytes() for path in run.path.iterdir()}
    for line, differing in (
        (("runs", "verify", "--strict"), f"torch was 2.12.0, now {torch.__version__}"),
        (("train", "--resume", "latest", "--threads", "2", "--strict"), "threads was 1, now 2"),
    ):
        refused = mnistlab(*line, "--json")
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == (
            f"error: --strict: {differing}; the last bits of the weights can differ: "
            "use those of then, or leave --strict out\n"
        )
    assert {path: path.read_bytes() for path in run.path.iterdir()} == files
    alone = mnistlab("train", "--strict")
    assert alone.code == 2
    assert alone.err == (
        "error: --strict: compares with an earlier run; give it with --resume RUN\n"
    )


def test_rm_deletes_with_force_and_only_what_is_named(mnistlab: Mnistlab, runs: list[Path]) -> None:
    result = mnistlab("runs", "rm", runs[0], runs[1].name, runs[0], "--force", "--json").ok()
    assert result.json["deleted"] == [str(runs[0]), str(runs[1])]
    assert [path.name for path in Path("runs").iterdir()] == [runs[2].name]


def test_rm_without_a_terminal_or_force_deletes_nothing(
    mnistlab: Mnistlab, runs: list[Path]
) -> None:
    result = mnistlab("runs", "rm", "latest")
    assert result.code == 2
    assert "give --force" in result.err
    wrong = mnistlab("runs", "rm", runs[0], "nothing-like-it", "-f")
    assert wrong.code == 2  # found before anything is deleted
    assert all(path.is_dir() for path in runs)


def test_rm_leaves_a_run_that_is_being_trained(mnistlab: Mnistlab, runs: list[Path]) -> None:
    with Run(runs[0]).locked():
        result = mnistlab("runs", "rm", runs[0], "-f")
    assert result.code == 1
    assert "is being trained; nothing was deleted" in result.err
    assert (runs[0] / "model.safetensors").exists()


def test_rm_leaves_a_folder_that_holds_anything_else(mnistlab: Mnistlab, runs: list[Path]) -> None:
    (runs[0] / "thesis.txt").write_text("precious")
    result = mnistlab("runs", "rm", runs[1], runs[0], "-f", "--json")
    assert (result.code, result.out) == (2, "")
    assert "holds what no run wrote: thesis.txt" in result.err
    assert all(path.is_dir() for path in runs)  # nothing goes before all is looked at
    (runs[0] / "thesis.txt").unlink()
    mnistlab("report", runs[0]).ok()  # its page is its own
    mnistlab("runs", "rm", runs[0], runs[0].absolute(), "-f").ok()
    assert not runs[0].exists()


@needs.deleting
def test_rm_takes_the_folder_that_one_is_in(
    mnistlab: Mnistlab, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = runs[0].absolute()
    monkeypatch.chdir(whole)
    mnistlab("runs", "rm", ".", "-f").ok()
    assert not whole.exists()


def test_a_damaged_record_is_named_and_hides_no_other_run(
    mnistlab: Mnistlab, runs: list[Path]
) -> None:
    Run(runs[1]).record_file.write_text('{"config": [], "result": {"epochs": [{"epoch": 1}]}}')
    listed = mnistlab("runs", "list", "--json").ok().json["runs"]
    assert {one["name"]: one["status"] for one in listed} == {
        runs[0].name: "done", runs[1].name: "damaged", runs[2].name: "done",
    }  # fmt: skip
    shown = mnistlab("runs", "show", runs[1])
    assert (shown.code, shown.out) == (1, "")
    assert "run.json" in shown.err
    assert "fault of mnistlab" not in mnistlab("report", runs[1]).err


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_rm_asks_on_a_terminal(runs: list[Path], answer: str, code: int) -> None:
    ours, theirs = pytest.importorskip("pty").openpty()
    command = [sys.executable, "-m", "mnistlab", "runs", "rm", runs[0].name]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        said = b""
        with contextlib.suppress(OSError):  # the terminal closes when the process ends
            while chunk := os.read(ours, 1024):
                said += chunk
    os.close(ours)
    assert process.returncode == code
    assert b"delete this run for good?" in said
    assert runs[0].exists() is (answer == "n")
