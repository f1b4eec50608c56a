"""The ejected script, run: no mnistlab in it, the same weights to the bit out of it."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mnistlab.config import DATA_SETTINGS, SETTINGS, Setting, TrainConfig, checked, choices_of
from mnistlab.data.named import load_data
from mnistlab.eject import require_known, script
from mnistlab.errors import ConfigError
from tests import needs
from tests.command import run_in_process, run_script
from tests.conftest import make_tree
from tests.originals import publish


@pytest.fixture
def trees(tmp_path: Path) -> None:
    """Folders of images below the current one; `odd` has kinds of images that few have."""
    for tree in (make_tree(tmp_path / "two"), make_tree(tmp_path / "three", ("a", "b10", "b9"))):
        for path in sorted((tree / "train").glob("*/?.png"))[:5]:  # of the first class
            path.unlink()
    make_tree(tmp_path / "photos", ("a", "b", "c"), size=(20, 20), train=8)
    make_tree(tmp_path / "nine", ("a", "b", "c"), size=(8, 8), train=3)
    make_tree(tmp_path / "large", size=(15, 14))
    make_tree(tmp_path / "large-three", ("a", "b10", "b9"), size=(14, 15))
    odd = make_tree(tmp_path / "odd", size=(5, 3))
    (odd / "valid" / "dark" / ".hidden.png").write_bytes(b"nothing")
    kinds: list[tuple[str, Any, Any]] = [  # mode, paper, ink
        ("RGBA", (0, 0, 0, 0), (20, 20, 20, 200)),
        ("RGBA", (250, 250, 250, 0), (250, 240, 250, 255)),
        ("I;16", 2000, 65535),
    ]
    for number, path in enumerate(sorted((odd / "train" / "dark").iterdir())):
        exif = Image.Exif()
        if number % 4 == 3:
            image = Image.open(path).transpose(Image.Transpose.ROTATE_90)
            exif[0x0112] = 6
        else:
            mode, paper, ink = kinds[number % 4]
            image = Image.new(mode, (5, 3), paper)
            image.putpixel((2, 1), ink)
        image.save(path, exif=exif)


def train(*flags: Any) -> dict[str, Any]:
    document: dict[str, Any] = run_in_process("train", *map(str, flags), "--json").ok().json
    return document


def ejected(limit: int = 260) -> Path:
    """The script of the latest run; checked for what it must not have, and for its length."""
    script = Path(f"script{len(list(Path().glob('script*')))}.py")
    run_in_process("eject", "latest", "-o", script).ok()
    text = script.read_text(encoding="utf-8")
    ast.parse(text)
    modules = set(re.findall(r"^ *(?:from|import) (\w+)", text, re.MULTILINE))
    assert modules <= sys.stdlib_module_names | {"PIL", "torch", "torchvision"}
    assert len(text.splitlines()) <= limit
    assert not re.search(r"\{[{%#]|[#%}]\}(?!\")", text.replace("{{ lr }}", ""))
    for folder in (Path.cwd(), Path.home(), os.environ["MNISTLAB_CACHE"]):
        assert str(folder) not in text
    return script


def hash_of(script: Path) -> str:
    """The last line of a script: the SHA-256 of the weights that it trained."""
    return run_script(script)[-1]


def test_the_default_run_gives_a_short_script_with_the_same_accuracies_and_weights(
    tiny: Path,
) -> None:
    # as a user runs it; tests/golden has the script of a run on the bundled data
    document = train("--data", tiny, "--epochs", 3)
    file = ejected(limit=150)
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, check=True)
    *rows, last = done.stdout.splitlines()
    assert last == document["weights_sha256"]
    assert last in file.read_text()
    assert [float(row.split()[-1]) for row in rows] == [
        round(epoch["accuracy"], 6) for epoch in document["epochs"]
    ]


@pytest.mark.parametrize(
    ("place", "named", "advice"), [("home", "~/digits", ""), ("other", "digits", "other/digits")]
)
def test_a_script_does_not_name_the_folders_of_this_machine(
    place: str, named: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree(tmp_path / place / "digits")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    document = train("--data", tree, "--epochs", 1)
    done = run_in_process("eject", "latest", "-o", "plain.py").ok()
    text = Path("plain.py").read_text(encoding="utf-8")
    assert (repr(named) in text, str(tmp_path) in text) == (True, False)
    # a folder that the script cannot name is named where it is run
    words = shlex.split(done.err.partition("run it with: python ")[2])
    assert words == ["plain.py", *([str(tmp_path / advice)] if advice else [])]
    assert run_script(*words)[-1] == document["weights_sha256"]
    if advice:
        with pytest.raises(SystemExit, match="name the folder of the images"):
            run_script("plain.py")


ADAM = "--optimizer adam --momentum 0.8 --beta2 0.95 --lr 0.02"
ADAMW = "--optimizer adamw --weight-decay 0.3 --lr 0.01"
SMALL = "--model cnn --channels 4,6 --hidden 8"
TRAININGS = [
    # the chapter's models, with each loss
    "--data two --init uniform --loss mnist",
    "--data two --init normal --loss bce --no-shuffle",
    "--data three --init normal --class-weights balanced",
    "--data odd --model two-layer --hidden 4",
    "--data three --model two-layer --hidden 4 --no-shuffle",
    # the optimizers, with and without a schedule; a momentum that a cycle takes down to nothing
    "--data two --optimizer momentum --momentum 0.7 --loss bce",
    "--data two --optimizer momentum --momentum 0.1 --schedule one-cycle --precision bf16",
    "--data two --model two-layer --hidden 5 --optimizer nesterov --order-seed 3",
    "--data two --optimizer nesterov --momentum 0 --augment",
    "--data two --optimizer nesterov --momentum 0.05 --schedule one-cycle --warmup 0.6",
    f"--data two {ADAM} --loss bce --label-smoothing 0.2 --class-weights balanced",
    f"--data three --model two-layer {ADAMW} --label-smoothing 0.3",
    "--data two --schedule one-cycle --augment --order-seed 5",
    # the cnn: its defaults (Adam, one cycle, smoothing), then everything else that it can have
    "--data large --model cnn",
    "--data large --model cnn --no-shuffle --augment --order-seed 9",
    f"--data large-three {SMALL} --optimizer basic --schedule constant --label-smoothing 0 "
    "--lr 0.1 --batch-norm",
    f"--data large-three {SMALL} --channels 4,8,6 --depth 4 --padding --batch-norm {ADAMW} "
    "--augment --precision bf16 --order-seed 5 --keep best --patience 2",
    f"--data large {SMALL} --padding --depth 2 --loss mnist --label-smoothing 0 "
    "--optimizer momentum",
    f"--data large {SMALL} --kernel 7 --stride 2 --cosines",
    # torchvision's; on smaller images torch's bfloat16 convolutions do not repeat
    "--data photos --model resnet18 --batch-size 12 --precision bf16 --threads 1 --epochs 1",
    # the ninth image is left alone, and joins the batch before it
    "--data nine --model resnet18 --batch-size 4 --threads 1",
]


@pytest.mark.usefixtures("trees")
def test_every_way_to_train_gives_the_same_weights() -> None:
    expected, hashes = [], []
    for number, flags in enumerate(TRAININGS):
        more = ["--epochs", 2, "--batch-size", 7, "--seed", 5 + number, "--threads", 1 + number % 2]
        expected.append(train(*more, *flags.split())["weights_sha256"])
        hashes.append(hash_of(ejected()))
    pairs = zip(TRAININGS, hashes, expected, strict=True)
    assert [flags for flags, ours, theirs in pairs if ours != theirs] == []
    assert len(set(hashes)) == len(TRAININGS)


def test_the_best_epoch_is_kept_and_patience_ends_it(tiny: Path) -> None:
    # Far too high a rate: a good epoch, then worse ones.
    flags = ["--data", tiny, "--lr", 40, "--batch-size", 5, "--epochs", 9, "--seed", 4]
    expected, hashes, lengths = [], [], []
    for more in ([], ["--keep", "best"], ["--patience", 2], ["--keep", "best", "--patience", 1]):
        document = train(*flags, *more)
        lengths.append((document["best"]["epoch"], len(document["epochs"])))
        expected.append(document["weights_sha256"])
        hashes.append(hash_of(ejected()))
    assert hashes == expected
    best = lengths[0][0]
    assert lengths == [(best, 9), (best, 9), (best, best + 3), (best, best + 2)]
    assert best + 3 < 9
    assert len(set(expected)) == 3  # the last, the best, and where patience ended


# Each differs from the settings below in one setting, or from another one here.
VARIANTS: list[dict[str, Any]] = [
    {}, {"model": "two-layer"}, {"model": "linear"}, {"model": "linear", "init": "normal"},
    {"data": "large-three"}, {"epochs": 7}, {"lr": 0.2}, {"batch_size": 3}, {"hidden": 4},
    {"channels": [4, 5]}, {"kernel": 3}, {"stride": 2}, {"cosines": True}, {"depth": 2},
    {"padding": False}, {"batch_norm": True},
    {"optimizer": "adam"}, {"momentum": 0.6}, {"beta2": 0.6}, {"weight_decay": 0.6},
    {"schedule": "constant"}, {"warmup": 0.6}, {"loss": "mnist"}, {"label_smoothing": 0.2},
    {"augment": True}, {"class_weights": "balanced"}, {"precision": "bf16"}, {"keep": "best"},
    {"patience": 1}, {"shuffle": False}, {"seed": 4}, {"order_seed": 4}, {"order_seed": "own"},
    {"device": "cuda"}, {"threads": 2},
]  # fmt: skip


@pytest.mark.usefixtures("trees")
def test_every_setting_changes_the_script() -> None:
    # Those of the baseline, of several seeds or folds, of skipped files, of a run to begin with and
    # of own models have tests of their own; how images are read that are not laid out as a script
    # reads them, is
    # refused.
    others = {"distance", "seeds", "folds", "from_run", "model_set", *DATA_SETTINGS} - {"data"}
    others |= {"micro_batches"}  # refused
    assert set().union(*VARIANTS) == SETTINGS.keys() - others
    settings = {
        "data": "large", "model": "cnn", "padding": True, "optimizer": "adamw", "loss": "bce",
        "schedule": "one-cycle", "label_smoothing": 0.1, "order_seed": 3, "device": "cpu",
    }  # fmt: skip
    texts = []
    for variant in VARIANTS:
        config = checked(settings | variant)
        require_known(config)
        texts.append(script(config, load_data(config.data), "run", "sha"))
    assert [v for v, text in zip(VARIANTS, texts, strict=True) if texts.count(text) > 1] == []


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--image-size", "8"), "image-size 8x8: a script cannot do this"),
        (("--fit", "crop"), "fit crop: a script cannot do this"),
        (("--micro-batches", "2"), "micro-batches 2: a script cannot do this"),
        (("--data", "tiny/train"), "a script reads train/<class>/ and valid/<class>/ alone"),
    ],
)
def test_images_that_are_read_in_another_way_are_refused(
    tiny: Path, flags: tuple[str, str], why: str
) -> None:
    run_in_process("train", "--data", tiny, "--epochs", "1", *flags).ok()
    refused = run_in_process("eject")
    assert refused.code == 2
    assert why in refused.err


@pytest.mark.usefixtures("trees")
@pytest.mark.parametrize("key", ["optimizer", "schedule", "class_weights", "precision", "keep"])
def test_every_name_of_a_setting_has_a_script_of_its_own(key: str) -> None:
    names = [*{*choices_of(key)} - {"auto"}]  # a run has decided for one or the other
    data = load_data("two")
    assert len(
        {script(checked({"loss": "mnist", key: name}), data, "run", "sha") for name in names}
    ) == len(names)


def test_a_setting_that_the_script_does_not_have_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Later(TrainConfig):
        clip: float = 0.0

    monkeypatch.setitem(SETTINGS, "clip", Setting("The largest gradient."))
    require_known(Later(lr=3.0))
    with pytest.raises(ConfigError, match=r"^clip 1.0: a script cannot do this$"):
        require_known(Later(clip=1.0))


def test_several_seeds_are_refused_and_one_of_them_alone_is_not(tiny: Path) -> None:
    train("--data", tiny, "--epochs", 1, "--seeds", 3, "--seed", 7)
    refused = run_in_process("eject")
    assert refused.code == 2
    [advice] = re.findall("mnistlab (train .* --seed) N", refused.err)
    document = train(*advice.split()[1:], 8)
    assert (document["seed"], "best" in document) == (8, True)
    assert hash_of(ejected()) == document["weights_sha256"]


def test_a_dataset_by_name_is_trained_from_the_folder_that_the_script_names(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = publish(monkeypatch, "usps", tmp_path / "from")
    run_in_process("data", "download", "usps", "--from", made.folder).ok()
    document = train("--data", "usps", "--epochs", 2)
    script = ejected()
    [line] = re.findall("made by: mnistlab (.*)", script.read_text())
    assert line == "data download usps --to usps"
    run_in_process(*line.split(), "--from", made.folder).ok()
    assert hash_of(script) == document["weights_sha256"]


@needs.any_name
def test_odd_names_and_files_that_were_skipped_give_the_same_weights(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / 'we"""ird \\user {{ lr }}')
    (tree / "train" / "light" / "3.png").write_bytes(b"not an image")
    document = train("--data", tree, "--skip-bad", "--epochs", 1)
    assert hash_of(ejected()) == document["weights_sha256"]


def test_what_cannot_be_ejected_is_refused_in_plain_words(tiny: Path, tmp_path: Path) -> None:
    def refusal(*arguments: Any, code: int = 2) -> str:
        refused = run_in_process("eject", *arguments)
        assert (refused.code, refused.out) == (code, "")
        return refused.err

    run_in_process("baseline", "pixel-similarity", "--data", tiny).ok()
    assert "trains nothing" in refusal()
    shutil.copytree(tiny, tmp_path / "four-bits")
    path = next((tmp_path / "four-bits" / "train" / "dark").iterdir())
    # a transparent level of 4-bit grey: decoded right, but not by so short a script
    Image.new("L", (4, 4), 17 * 3).save(path, bits=4, transparency=3)
    train("--data", "four-bits", "--epochs", 1)
    assert path.name in refusal()
    run = Path(train("--data", tiny, "--epochs", 1)["run"])
    (tmp_path / "there.py").write_text("mine")
    assert "exists already" in refusal("latest", "-o", tmp_path / "there.py")
    assert (tmp_path / "there.py").read_text() == "mine"
    assert "not a file name in an existing folder" in refusal("latest", "-o", "no/such.py")
    next((tiny / "valid" / "dark").iterdir()).unlink()
    assert "have changed" in refusal()
    (run / "run.json").write_text("{}")
    assert "cannot be right" in refusal(run, code=1)


def test_without_a_file_the_script_goes_to_stdout_and_mixed_parts_promise_no_hash(
    tiny: Path,
) -> None:
    run = Path(train("--data", tiny, "--epochs", 1, "--threads", 1)["run"])
    document = train("--resume", run, "--epochs", 2, "--threads", 2)
    printed = run_in_process("eject").ok().out
    ast.parse(printed)
    assert document["weights_sha256"] not in printed
    assert "not one finished run on one machine" in printed
    assert run_in_process("eject", "--json").ok().json["script"].strip() == printed.strip()
