"""The ejected script, run: no mnistlab in it, the same weights to the bit out of it."""

import ast
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.command import Result, run_in_process
from tests.conftest import make_tree


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("trees")
    odd = make_tree(root / "odd", size=(5, 3))
    for number, path in enumerate(sorted((odd / "train" / "dark").iterdir())):
        image = Image.open(path).copy()
        if number % 4 == 0:
            image.convert("RGBA").putalpha(60)
            dark = Image.new("RGBA", (5, 3), (0, 0, 0, 0))
            dark.putpixel((2, 1), (20, 20, 20, 200))
            dark.save(path)
        elif number % 4 == 1:
            light = Image.new("RGBA", (5, 3), (250, 250, 250, 0))
            light.putpixel((1, 1), (250, 240, 250, 255))
            light.save(path)
        elif number % 4 == 2:
            wide = Image.new("I;16", (5, 3), 1000 * number)
            wide.putpixel((0, 0), 65535)
            wide.save(path)
        else:
            turned = image.transpose(Image.Transpose.ROTATE_90)
            exif = Image.Exif()
            exif[0x0112] = 6
            turned.save(path, exif=exif)
    (odd / "valid" / "dark" / ".hidden.png").write_bytes(b"nothing")
    return {
        "two": make_tree(root / "two"),
        "three": make_tree(root / "three", ("a", "b10", "b9")),
        "odd": odd,
    }


def train(*flags: Any) -> dict[str, Any]:
    found: dict[str, Any] = run_in_process("train", *map(str, flags), "--json").ok().json
    return found


def ejected(tmp_path: Path) -> Path:
    """The script of the latest run; checked for what it must not have."""
    script = tmp_path / f"script{len(list(tmp_path.glob('script*')))}.py"
    run_in_process("eject", "latest", "-o", script).ok()
    text = script.read_text()
    modules = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert modules <= {"hashlib", "sys", "pathlib", "torch", "PIL"}
    assert len(text.splitlines()) <= (90 if "ImageOps" in text else 80)
    assert not re.search("@[A-Z_]+@", text.replace("user @LR@", ""))
    return script


def output_of(script: Path) -> list[str]:
    """What the script prints, run here with its own globals (a process each would cost seconds)."""
    driver = Path(__file__).parent / "run_scripts.py"
    done = subprocess.run(
        [sys.executable, str(driver), str(script)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_script_of_the_default_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    found = train("--epochs", 3)
    script = ejected(tmp_path)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *rows, last = done.stdout.splitlines()
    assert last == found["weights_sha256"]
    assert [float(row.split()[-1]) for row in rows] == [
        round(epoch["accuracy"], 6) for epoch in found["epochs"]
    ]
    assert last in script.read_text()


GRID = [
    (*model, *loss, shuffle)
    for model, loss, shuffle in itertools.product(
        [
            ("--model", "linear", "--init", "uniform"),
            ("--model", "linear", "--init", "normal"),
            ("--model", "two-layer", "--hidden", "4"),
        ],
        [("--data", "two", "--loss", "mnist"), ("--data", "two", "--loss", "bce"),
         ("--data", "three"), ("--data", "odd")],
        ["--shuffle", "--no-shuffle"],
    )
]  # fmt: skip


def test_every_setting_a_run_can_have_is_in_the_script(
    tmp_path: Path, trees: dict[str, Path]
) -> None:
    # All scripts run in one process, each with its own globals: 24 imports of torch are spared.
    expected, scripts = [], []
    for number, flags in enumerate(GRID):
        words = [str(trees.get(word, word)) for word in flags]
        more = ["--epochs", 2, "--batch-size", 5, "--seed", 11 + number, "--lr", 0.37]
        more += ["--threads", 1 + number % 2]
        expected.append(train(*words, *more)["weights_sha256"])
        scripts.append(ejected(tmp_path))
    driver = Path(__file__).parent / "run_scripts.py"
    done = subprocess.run(
        [sys.executable, str(driver), *map(str, scripts)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hashes = [line for line in done.stdout.splitlines() if len(line) == 64]
    assert hashes == expected
    assert len(set(hashes)) == len(GRID)


def test_files_that_training_skipped_are_skipped(tmp_path: Path, trees: dict[str, Path]) -> None:
    tree = make_tree(tmp_path / "bad")
    (tree / "train" / "light" / "3.png").write_bytes(b"not an image")
    found = train("--data", tree, "--skip-bad", "--epochs", 1)
    assert output_of(ejected(tmp_path))[-1] == found["weights_sha256"]


def test_a_run_that_trains_nothing_cannot_be_ejected(tiny: Path) -> None:
    run_in_process("baseline", "pixel-similarity", "--data", tiny).ok()
    refused = run_in_process("eject")
    assert refused.code == 2
    assert "trains nothing" in refused.err


def test_changed_data_and_existing_files_are_refused(tiny: Path, tmp_path: Path) -> None:
    train("--data", tiny, "--epochs", 1)
    (tmp_path / "there.py").write_text("mine")
    refused = run_in_process("eject", "latest", "-o", tmp_path / "there.py")
    assert (refused.code, (tmp_path / "there.py").read_text()) == (2, "mine")
    refused = run_in_process("eject", "latest", "-o", tmp_path / "no" / "such.py")
    assert refused.code == 1
    assert "cannot be written" in refused.err
    next((tiny / "valid" / "dark").iterdir()).unlink()
    refused = run_in_process("eject")
    assert refused.code == 2
    assert "has changed since" in refused.err


def test_a_run_without_its_record_is_refused(tiny: Path, tmp_path: Path) -> None:
    run = Path(train("--data", tiny, "--epochs", 1)["run"])
    (run / "run.json").write_text("{}")
    assert run_in_process("eject", run).code == 1
    (run / "run.json").unlink()
    gone: Result = run_in_process("eject", run)
    assert gone.code == 1
    assert "not known" in gone.err


def test_without_a_file_the_script_goes_to_stdout(tiny: Path) -> None:
    train("--data", tiny, "--epochs", 1)
    printed = run_in_process("eject").ok()
    ast.parse(printed.out)
    assert run_in_process("eject", "--json").ok().json["script"].strip() == printed.out.strip()


def test_odd_folder_names_and_images_give_a_right_script_or_none(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / 'we"""ird \\user @LR@')
    found = train("--data", tree, "--epochs", 1)
    assert output_of(ejected(tmp_path))[-1] == found["weights_sha256"]
    path = next((tree / "train" / "dark").iterdir())
    # four bits of grey with a transparent level: decoded right, but not by so short a script
    grey = Image.new("L", (4, 4), 17 * 3)
    grey.save(path, bits=4, transparency=3)
    train("--data", tree, "--epochs", 1)
    again = run_in_process("eject", "latest", "-o", tmp_path / "odd.py")
    assert again.code in (0, 2)
    if again.code == 2:
        assert path.name in again.err
        assert not (tmp_path / "odd.py").exists()


def test_a_run_of_mixed_parts_promises_no_hash(tiny: Path) -> None:
    run = Path(train("--data", tiny, "--epochs", 1, "--threads", 1)["run"])
    found = train("--resume", run, "--epochs", 2, "--threads", 2)
    script = run_in_process("eject", run).ok().out
    assert found["weights_sha256"] not in script
    assert "not one finished run on one machine" in script
