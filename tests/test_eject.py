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

from mnistlab.config import SETTINGS, checked, choices_of, presets
from mnistlab.data.named import load_data
from mnistlab.eject.honoured import HONOURED, require_honoured
from mnistlab.eject.readers import reader_for
from mnistlab.eject.script import script
from tests.command import Result, run_in_process
from tests.conftest import make_tree
from tests.originals import publish


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
        "large": make_tree(root / "large", size=(15, 14)),
        "large three": make_tree(root / "large three", ("a", "b10", "b9"), size=(14, 15)),
    }


def train(*flags: Any) -> dict[str, Any]:
    found: dict[str, Any] = run_in_process("train", *map(str, flags), "--json").ok().json
    return found


MODULES = {"hashlib", "math", "sys", "pathlib", "torch", "torch.nn.functional", "PIL"}


def ejected(tmp_path: Path, limit: int = 80, more: tuple[str, ...] = ()) -> Path:
    """The script of the latest run; checked for what it must not have, and for its length."""
    script = tmp_path / f"script{len(list(tmp_path.glob('script*')))}.py"
    run_in_process("eject", "latest", "-o", script).ok()
    text = script.read_text()
    modules = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert modules <= MODULES | set(more)
    assert len(text.splitlines()) <= limit + (10 if "ImageOps" in text else 0)
    assert not re.search("@[A-Z_]+@", text.replace("user @LR@", ""))
    assert "#?" not in text
    return script


def outputs_of(*scripts: Path) -> list[str]:
    """What the scripts print, each run with its own globals (a process each would cost seconds)."""
    driver = Path(__file__).parent / "run_scripts.py"
    done = subprocess.run(
        [sys.executable, str(driver), *map(str, scripts)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def hashes_of(*scripts: Path) -> list[str]:
    return [line for line in outputs_of(*scripts) if len(line) == 64]


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


def test_the_chapters_models_train_to_the_same_weights(
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
    hashes = hashes_of(*scripts)
    assert hashes == expected
    assert len(set(hashes)) == len(GRID)


ADAM = ("--optimizer", "adam", "--momentum", "0.8", "--beta2", "0.95", "--lr", "0.02")
ADAMW = ("--optimizer", "adamw", "--weight-decay", "0.3", "--lr", "0.01")
CYCLE = ("--schedule", "one-cycle")
SMALL = ("--channels", "4,6", "--hidden", "8")
TRAININGS = [
    # the optimizers, with and without a schedule; a momentum that a cycle takes down to nothing
    ("--optimizer", "momentum", "--momentum", "0.7", "--loss", "bce"),
    ("--optimizer", "momentum", "--momentum", "0.1", *CYCLE, "--precision", "bf16"),
    ("--model", "two-layer", "--hidden", "5", "--optimizer", "nesterov", "--order-seed", "3"),
    ("--optimizer", "nesterov", "--momentum", "0", "--augment"),
    ("--optimizer", "nesterov", "--momentum", "0.05", *CYCLE, "--warmup", "0.6"),
    (*ADAM, "--loss", "bce", "--label-smoothing", "0.2"),
    ("--data", "three", "--model", "two-layer", *ADAMW, "--label-smoothing", "0.3"),
    ("--schedule", "one-cycle", "--augment", "--order-seed", "5"),
    # the cnn: its defaults (Adam, one cycle, smoothing), then everything else that it can have
    ("--data", "large", "--model", "cnn"),
    ("--data", "large", "--model", "cnn", "--no-shuffle", "--augment", "--order-seed", "9"),
    ("--data", "large three", "--model", "cnn", *SMALL, "--optimizer", "basic", "--schedule",
     "constant", "--label-smoothing", "0", "--lr", "0.1", "--batch-norm"),
    ("--data", "large three", "--model", "cnn", "--channels", "4,8,6", "--depth", "4", "--hidden",
     "7", "--padding", "--batch-norm", *ADAMW, "--augment", "--precision", "bf16", "--order-seed",
     "5", "--keep", "best", "--patience", "2"),
    ("--data", "large", "--model", "cnn", *SMALL, "--padding", "--depth", "2", "--loss", "mnist",
     "--label-smoothing", "0", "--optimizer", "momentum"),
]  # fmt: skip


def test_every_way_to_train_gives_the_same_weights(tmp_path: Path, trees: dict[str, Path]) -> None:
    expected, scripts = [], []
    for number, flags in enumerate(TRAININGS):
        words = [str(trees.get(word, word)) for word in ("--data", "two", *flags)]
        more = ["--epochs", 3, "--batch-size", 7, "--seed", 5 + number, "--threads", 1 + number % 2]
        expected.append(train(*words, *more)["weights_sha256"])
        scripts.append(ejected(tmp_path, limit=155 if "--patience" in flags else 140))
    hashes = hashes_of(*scripts)
    wrong = [
        flags for flags, *two in zip(TRAININGS, hashes, expected, strict=True) if len({*two}) > 1
    ]
    assert wrong == []
    assert len(set(hashes)) == len(TRAININGS)


def test_the_best_epoch_is_kept_and_patience_ends_it(tmp_path: Path, tiny: Path) -> None:
    # Far too high a rate: a good epoch, then worse ones.
    flags = ["--data", tiny, "--lr", 40, "--batch-size", 5, "--epochs", 9, "--seed", 4]
    expected, scripts, lengths = [], [], []
    for more in ([], ["--keep", "best"], ["--patience", 2], ["--keep", "best", "--patience", 1]):
        found = train(*flags, *more)
        lengths.append((found["best"]["epoch"], len(found["epochs"])))
        expected.append(found["weights_sha256"])
        scripts.append(ejected(tmp_path, limit=90))
    assert hashes_of(*scripts) == expected
    best = lengths[0][0]
    assert lengths == [(best, 9), (best, 9), (best, best + 3), (best, best + 2)]
    assert best + 3 < 9
    assert len(set(expected)) == 3  # the last, the best, and where patience ended


def test_a_resnet_is_torchvisions(tmp_path: Path) -> None:
    # Smaller images have torch's bfloat16 convolutions read what nobody wrote: nothing repeats.
    tree = make_tree(tmp_path / "tree", ("a", "b", "c"), size=(20, 20), train=8)
    flags = ["--model", "resnet18", "--batch-size", 12, "--precision", "bf16", "--threads", 1]
    found = train("--data", tree, *flags)
    script = ejected(tmp_path, limit=140, more=("torchvision.models",))
    assert outputs_of(script)[-1] == found["weights_sha256"]


def test_the_presets_give_scripts_that_can_be_read(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "digits", tuple("0123456789"), size=(28, 28), train=2, valid=1)
    for name in presets():
        if name != "resnet18" and not name.startswith("book"):
            limit = 140 if name not in ("linear", "two-layer") else 80
            train("--config", name, "--data", tree, "--epochs", 1)
            ejected(tmp_path, limit=limit)


def settings(**others: Any) -> dict[str, Any]:
    """Settings of which each one matters."""
    found = {
        "model": "cnn", "optimizer": "adamw", "schedule": "one-cycle", "loss": "bce",
        "label_smoothing": 0.1, "order_seed": 3, "device": "cpu",
    }  # fmt: skip
    return found | others


# setting → one value of it and another, beside settings that it needs
OTHERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "model": ("two-layer", "cnn", {}),
    "data": ("two", "large", {"model": "linear"}),
    "epochs": (1, 2, {}),
    "lr": (0.1, 0.2, {}),
    "batch_size": (3, 4, {}),
    "init": ("uniform", "normal", {"model": "linear"}),
    "hidden": (3, 4, {}),
    "channels": ([4, 4], [4, 5], {}),
    "depth": (1, 2, {"padding": True}),
    "padding": (False, True, {}),
    "batch_norm": (False, True, {}),
    "optimizer": ("adam", "adamw", {}),
    "momentum": (0.5, 0.6, {}),
    "beta2": (0.5, 0.6, {}),
    "weight_decay": (0.5, 0.6, {}),
    "schedule": ("constant", "one-cycle", {}),
    "warmup": (0.5, 0.6, {}),
    "loss": ("bce", "mnist", {}),
    "label_smoothing": (0.0, 0.1, {}),
    "augment": (False, True, {}),
    "precision": ("fp32", "bf16", {}),
    "keep": ("last", "best", {}),
    "patience": (0, 1, {}),
    "shuffle": (False, True, {}),
    "seed": (3, 4, {}),
    "order_seed": ("own", 4, {}),
    "device": ("cpu", "cuda", {}),
    "threads": (1, 2, {}),
}


@pytest.mark.parametrize("key", [key for key in SETTINGS if key != "distance"])
def test_a_setting_is_in_the_script_or_refused(key: str, trees: dict[str, Path]) -> None:
    assert key in HONOURED
    if key == "seeds":  # of which there is a test below
        assert HONOURED[key] == (1,)
        return
    if key == "skip_bad":  # in the script as the list of files that were skipped
        return
    one, other, needs = OTHERS[key]
    texts = set()
    for value in (one, other):
        given = settings(**{"data": "large"} | needs | {key: value})
        given["data"] = str(trees[given["data"]])
        config = checked(given)
        require_honoured(config)
        data = load_data(config.data)
        texts.add(script(config, data, reader_for(data), name="run", sha="sha"))
    assert len(texts) == 2, f"{key} changes nothing in the script"


@pytest.mark.parametrize(
    "key", [key for key, values in HONOURED.items() if values and key != "seeds"]
)
def test_every_known_value_is_honoured(key: str) -> None:
    known = set(choices_of(key)) - {"auto", "pixel-similarity"}
    assert set(HONOURED[key] or ()) == known


def test_a_setting_that_is_not_in_the_script_yet_is_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("--data", tiny, "--epochs", 1, "--augment", "--optimizer", "adam")
    monkeypatch.delitem(HONOURED, "augment")
    monkeypatch.setitem(HONOURED, "optimizer", ("basic",))
    refused = run_in_process("eject")
    assert refused.code == 2
    assert "augment True: a script cannot do this" in refused.err
    assert "optimizer adam: a script cannot do this" in refused.err
    train("--data", tiny, "--epochs", 1, "--no-augment")  # what it always was
    run_in_process("eject").ok()


def test_several_seeds_are_refused_and_one_of_them_alone_is_not(tiny: Path, tmp_path: Path) -> None:
    train("--data", tiny, "--epochs", 1, "--seeds", 3, "--seed", 7)
    refused = run_in_process("eject")
    assert refused.code == 2
    [told] = re.findall("mnistlab (train .* --seed) N", refused.err)
    found = train(*told.split()[1:], 8)
    assert (found["seed"], "best" in found) == (8, True)
    assert outputs_of(ejected(tmp_path))[-1] == found["weights_sha256"]


def test_files_that_training_skipped_are_skipped(tmp_path: Path, trees: dict[str, Path]) -> None:
    tree = make_tree(tmp_path / "bad")
    (tree / "train" / "light" / "3.png").write_bytes(b"not an image")
    found = train("--data", tree, "--skip-bad", "--epochs", 1)
    assert outputs_of(ejected(tmp_path))[-1] == found["weights_sha256"]


def test_a_dataset_by_name_is_trained_from_the_folder_that_the_script_names(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = publish(monkeypatch, "usps", tmp_path / "from")
    run_in_process("data", "download", "usps", "--from", made.folder).ok()
    found = train("--data", "usps", "--epochs", 2)
    script = ejected(tmp_path)
    [line] = re.findall("made by: mnistlab (.*)", script.read_text())
    assert line == "data download usps --to usps"
    run_in_process(*line.split(), "--from", made.folder).ok()
    assert hashes_of(script)[-1] == found["weights_sha256"]


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
    assert refused.code == 2
    assert "not a file name in an existing folder" in refused.err
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
    assert outputs_of(ejected(tmp_path))[-1] == found["weights_sha256"]
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
