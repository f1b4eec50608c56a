"""docs/formats.md: all that is written is named there, and what it says of it is true."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from safetensors.numpy import load_file

from mnistlab import runs
from mnistlab.calibration import Calibration
from mnistlab.cli import grade
from mnistlab.cli.app import app
from mnistlab.data import store
from mnistlab.errors import DamagedFileError
from mnistlab.exercises import running
from mnistlab.models import ModelCard
from mnistlab.records import Best, DataRecord, EpochRow, Result, RunRecord, SeedRow
from mnistlab.storage import FORMAT, StateRecord, load_model, read_tensors, write_tensors
from mnistlab.studies.doubt import Doubt
from tests.pages import ROOT, Page

PAGE = Page("docs/formats.md")
GOLDEN = ROOT / "tests/golden"
RUNS = sorted((GOLDEN / "runs").iterdir())
NAMED = {word for code in PAGE.inline for word in re.findall(r"[\w.]+", code)}


def section(heading: str) -> str:
    """The text below a heading of the second level."""
    return PAGE.prose.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str) -> dict[str, str]:
    """The tables of a text: the first cell of each row → the others."""
    cells = [line.strip("| ").split(" | ", 1) for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row[1] for row in cells if len(row) == 2}


def documents() -> dict[str, set[str]]:
    """The keys that the page promises of each command's document."""
    table = rows(section("Documents of --json"))
    listed = {
        name.strip("`"): set(re.findall(r"`([a-z_0-9]+)`", re.sub(r"\([^)]*\)", "", keys)))
        for name, keys in table.items()
        if name.startswith("`")
    }
    record = {"schema_version", *RunRecord.model_fields} - {"sources"}
    listed["runs show"] |= record
    listed["train"] = (listed["train"] - {"result", "predictions"}) | {*Result.model_fields}
    scores = "n correct accuracy loss per_class balanced_accuracy precision recall f1 macro_f1"
    listed["baseline pixel-similarity"] |= {*scores.split(), "confusion", "interval"}
    listed["baseline pixel-similarity"] -= {"eval"}
    return listed


def frozen() -> list[tuple[str, dict[str, Any]]]:
    """The documents that tests/golden holds, each with the words after `mnistlab`."""
    groups = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))["groups"]
    steps = [step for cases in groups.values() for case in cases.values() for step in case]
    return [(step["line"], step["document"]) for step in steps if step.get("document")]


def commands(command: Any, words: str = "") -> list[str]:
    """All commands that can print a document."""
    below = getattr(command, "commands", {})
    own = [words.strip()] if any("--json" in param.opts for param in command.params) else []
    return own + [name for key, one in below.items() for name in commands(one, f"{words} {key}")]


def test_every_file_of_a_run_folder_is_named() -> None:
    table = section("A run folder")
    assert {name for name in runs.OWN_FILES if f"`{name}`" not in table} == set()


def test_every_key_of_records_cards_and_states_is_named() -> None:
    models = (RunRecord, Result, EpochRow, Best, SeedRow, DataRecord, StateRecord)
    keys = {key for model in models for key in model.model_fields}
    card = {one.name for one in fields(ModelCard)}
    own = {one.name for one in fields(Calibration)} - {"guard", "card"}
    assert (keys | card | own) - NAMED == set()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_page_has_every_key_of_the_run_folders_of_earlier_versions(run: Path) -> None:
    record = json.loads((run / "run.json").read_bytes())
    result, data = record["result"], record["data"]
    keys = {*record, *result, *data, *record["environment"], *(result.get("summary") or {})}
    keys |= {key for part in ("seeds", "band") for row in result.get(part) or [] for key in row}
    for file in run.glob("*.safetensors"):
        _, content = read_tensors(file)
        keys |= {*content, *content["card"]}
    assert keys - NAMED == set()


def test_the_columns_of_csv_files_are_those_of_the_page() -> None:
    epoch = ",".join(EpochRow.model_fields)
    assert f"`{epoch}`" in section("metrics.csv and folds.csv")
    assert (RUNS[0] / "metrics.csv").read_text(encoding="utf-8").startswith(f"{epoch}\n")
    table = rows(section("Other CSV files"))
    doubt = ",".join(one.name for one in fields(Doubt)[1:])
    assert table["`data doubt --csv`"].startswith(f"`{doubt}`")
    assert table["`grade --csv`"].startswith(f"`{','.join(grade.COLUMNS)}`")


def test_every_command_with_a_document_is_in_the_table() -> None:
    assert {*commands(typer.main.get_command(app))} == {*documents()} - {"train --dry-run"}


def test_documents_have_the_keys_of_the_table() -> None:
    promised, seen = documents(), set()
    for line, document in frozen():
        words = [word for word in line.split() if word != "--json"]
        name = " ".join(words[:2]) if " ".join(words[:2]) in promised else words[0]
        keys = {*document} - {"schema_version"}
        assert keys <= promised[name], (line, keys - promised[name])
        seen |= {(name, key) for key in keys}
    shown = {name for name, _ in seen}
    assert len(shown) > 15
    missing = {(n, key) for n in shown for key in promised[n] if (n, key) not in seen}
    # of a run on folds, of a calibrated run, of a run with code of its own
    missing -= {("train", "folds"), ("eval", "calibration"), ("runs show", "schema_version")}
    missing -= {("runs show", "launch")}  # of several processes
    assert missing == set()


def test_the_versions_of_the_page_are_those_of_the_code() -> None:
    table = rows(section("What is promised"))
    assert f'`"format": {FORMAT}`' in table["`*.safetensors`"]
    assert f"version {running.VERSION}" in table["files of exercises"]
    assert store._MARK.decode() in table["stores in the cache"]
    written = {json.loads((run / "run.json").read_bytes())["schema_version"] for run in RUNS}
    assert written == {document["schema_version"] for _, document in frozen()} == {1}
    assert '"schema_version": 1' in table["`run.json`"]


def test_the_hash_of_the_page_is_that_of_the_run() -> None:
    [(_, code)] = [block for block in PAGE.blocks if block[0] == "python"]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/formats.md", "exec"), names)
    for run in RUNS:
        result = json.loads((run / "run.json").read_bytes())["result"]
        assert (
            names["weights_sha256"](load_file(run / "model.safetensors"))
            == (result["weights_sha256"])
        )


def test_a_sealed_file_of_a_newer_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    tensors, content = read_tensors(RUNS[0] / "model.safetensors")
    write_tensors(tmp_path / "newer", tensors, content | {"format": FORMAT + 1})
    with pytest.raises(DamagedFileError, match=f"format {FORMAT + 1}; .* reads format {FORMAT}"):
        load_model(tmp_path / "newer")
    write_tensors(tmp_path / "known", tensors, content | {"newer": 1})
    load_model(tmp_path / "known")


def test_a_newer_setting_is_refused_and_another_newer_key_is_kept(tmp_path: Path) -> None:
    record = json.loads((RUNS[0] / "run.json").read_bytes())
    run = runs.Run(tmp_path)
    run.record_file.write_text(json.dumps(record | {"newer": 1}), encoding="utf-8")
    assert run.record().as_dict()["newer"] == 1
    run.record_file.write_text(json.dumps(record | {"schema_version": 2}), encoding="utf-8")
    with pytest.raises(DamagedFileError, match="another schema_version than 1"):
        run.record()
    changed = record | {"config": record["config"] | {"newer": 1}}
    run.record_file.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(DamagedFileError, match=r"config\.newer cannot be right"):
        run.record()
