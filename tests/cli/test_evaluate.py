"""`mnistlab eval`: the score of a run, as text and as JSON."""

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import Result

Mnistlab = Callable[..., Result]


@pytest.fixture
def run(mnistlab: Mnistlab, tiny: Path) -> Path:
    mnistlab("train", "--data", tiny, "--epochs", "30").ok()
    [path] = Path("runs").iterdir()
    return path


def test_json_has_the_fields_of_the_contract(mnistlab: Mnistlab, run: Path, tiny: Path) -> None:
    document = mnistlab("eval", "--json").ok().json
    assert document["schema_version"] == 1
    assert document["run"] == str(run)
    assert document["model"] == "linear"
    assert document["split"] == "valid"
    assert document["n"] == 8
    confusion = document["confusion"]
    assert {name: set(row) for name, row in confusion.items()} == {
        "dark": {"dark", "light"},
        "light": {"dark", "light"},
    }
    right = {name: confusion[name][name] for name in confusion}
    assert document["correct"] == sum(right.values())
    assert document["accuracy"] == document["correct"] / 8
    assert document["per_class"] == {name: count / 4 for name, count in right.items()}
    assert document["balanced_accuracy"] == sum(document["per_class"].values()) / 2
    low, high = document["interval"]
    assert 0 <= low < document["accuracy"] <= high <= 1
    assert document["loss"] > 0


def test_what_eval_finds_is_what_training_found(mnistlab: Mnistlab, tiny: Path) -> None:
    trained = mnistlab("train", "--data", tiny, "--epochs", "3", "--json").ok().json
    scored = mnistlab("eval", trained["run"], "--json").ok().json
    assert scored["accuracy"] == trained["accuracy"]
    assert scored["loss"] == trained["epochs"][-1]["valid_loss"]
    best = mnistlab("eval", trained["run"], "--best", "--json").ok().json
    assert best["accuracy"] == trained["best"]["accuracy"]
    assert (scored["weights"], best["weights"]) == ("last", "best")


def test_text_goes_to_stdout_and_what_it_is_about_to_stderr(
    mnistlab: Mnistlab, run: Path, tiny: Path
) -> None:
    result = mnistlab("eval", run.name, "--split", "train").ok()
    assert result.err == f"{run} (linear, last weights) on train of {tiny}\n"
    lines = result.out.splitlines()
    document = mnistlab("eval", "--split", "train", "--json").ok().json
    assert lines[0].startswith(f"accuracy  {document['accuracy']:.6f}  {document['correct']} of 24")
    assert lines[4].split() == ["class", "images", "precision", "recall", "f1"]
    assert [line.split()[:2] for line in lines[6:8]] == [["dark", "12"], ["light", "12"]]
    assert lines[9].split() == ["actual", "as", "dark", "as", "light"]
    assert [line.split()[0] for line in lines[11:13]] == ["dark", "light"]
    assert result.out.isascii()
    assert not any(line.endswith(" ") for line in lines)


def test_quiet_prints_only_the_accuracy(mnistlab: Mnistlab, run: Path) -> None:
    result = mnistlab("eval", "-q").ok()
    assert result.out == f"accuracy {mnistlab('eval', '--json').json['accuracy']:.6f}\n"
    assert result.err == ""


def test_a_score_that_is_too_low_is_exit_3_after_the_result(
    mnistlab: Mnistlab, run: Path, tiny: Path, tmp_path: Path
) -> None:
    swapped = tmp_path / "swapped"
    shutil.copytree(tiny / "valid/dark", swapped / "valid/light")
    result = mnistlab("eval", "--data", swapped, "--min-accuracy", "1", "--json")
    assert result.code == 3
    assert result.json["n"] == 4
    assert result.json["accuracy"] < 1
    assert result.err.endswith(" is below --min-accuracy 1\n")
    mnistlab("eval", "--min-accuracy", "0").ok()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--split", "vlaid"), "did you mean valid?"),
        (("--data", "mnist_sampel"), "did you mean mnist_sample?"),
        (("--data", "mnist_sample"), "the model knows no class 3"),
        (("--device", "cpus"), "--device: not a known name; did you mean cpu?"),
        (("--threads", "9999"), "--threads: input should be less than or equal to 4096"),
        (("--run-dir", "nowhere"), "nowhere: no runs yet; make one with: mnistlab train"),
    ],
)
def test_what_cannot_be_scored_is_exit_2(
    mnistlab: Mnistlab, run: Path, arguments: tuple[str, ...], told: str
) -> None:
    result = mnistlab("eval", *arguments, "--json")
    assert (result.code, result.out) == (2, "")
    assert told in result.err


def test_bad_files_are_skipped_and_named_when_asked_for(
    mnistlab: Mnistlab, run: Path, tiny: Path
) -> None:
    (tiny / "valid/dark/1.png").write_bytes(b"broken")
    refused = mnistlab("eval")
    assert (refused.code, refused.out) == (2, "")
    result = mnistlab("eval", "--skip-bad", "--json").ok()
    assert result.json["n"] == 7
    assert result.err.splitlines()[0].startswith("skipped ")
    assert "1.png: " in result.err.splitlines()[0]


def test_a_damaged_or_absent_model_is_exit_1(mnistlab: Mnistlab, run: Path) -> None:
    (run / "model.safetensors").write_bytes(b"nothing")
    damaged = mnistlab("eval", "--json")
    assert (damaged.code, damaged.out) == (1, "")
    (run / "model.safetensors").unlink()
    absent = mnistlab("eval", "--json")
    assert (absent.code, absent.out) == (1, "")
    assert absent.err.endswith(f"go on with: mnistlab train --resume {run.name}\n")


def test_the_most_confident_mistakes_are_shown_as_many_as_asked_for(mnistlab: Mnistlab) -> None:
    mnistlab("baseline", "pixel-similarity").ok()
    document = mnistlab("eval", "--top", "200", "--json").ok().json
    assert len(document["mistakes"]) == document["n"] - document["correct"] == 99
    sure = [mistake["probability"] for mistake in document["mistakes"]]
    assert sure == sorted(sure, reverse=True)
    for mistake in document["mistakes"]:
        assert mistake["file"].split("/")[:2] == ["valid", mistake["actual"]]
        assert mistake["predicted"] != mistake["actual"]
    lines = mnistlab("eval", "--top", "3").ok().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("most confident mistakes"))
    shown = [line.split() for line in lines[at + 2 :]]
    assert [row[0] for row in shown] == [m["file"] for m in document["mistakes"][:3]]
    assert [row[3] for row in shown] == [f"{p:.6f}" for p in sure[:3]]
    assert "mistakes" not in mnistlab("eval", "--top", "0").ok().out


def test_csv_has_every_image_and_agrees_with_the_confusion_matrix(mnistlab: Mnistlab) -> None:
    mnistlab("baseline", "pixel-similarity").ok()
    document = mnistlab("eval", "--csv", "p.csv", "--json").ok().json
    with open("p.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert len(rows) == len({row["file"] for row in rows}) == 2038
    counts = Counter((row["actual"], row["predicted"]) for row in rows)
    for actual, row in document["confusion"].items():
        assert {name: counts[actual, name] for name in row} == row
    for row in rows:
        assert row["correct"] == str(int(row["actual"] == row["predicted"]))
        assert float(row["p_3"]) + float(row["p_7"]) == pytest.approx(1, abs=1e-12)
        assert float(row["probability"]) == float(row[f"p_{row['predicted']}"])


@pytest.mark.parametrize("target", ["nowhere/p.csv", "x" * 300 + "/p.csv", "config.toml"])
def test_a_csv_that_cannot_be_written_is_refused_before_the_work(
    mnistlab: Mnistlab, run: Path, target: str
) -> None:
    result = mnistlab("eval", "--csv", target)
    assert (result.code, result.out) == (2, "")
    assert "--csv" in result.err
    own = mnistlab("eval", "--csv", run / "metrics.csv")
    assert own.code == 2
    assert "is a file of the run itself" in own.err
