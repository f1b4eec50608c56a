"""`data check`: how `train` reads what it is given, and the command that trains on it."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mnistlab import load_data, train_run
from tests import needs
from tests.command import Result
from tests.conftest import make_tree

Mnistlab = Callable[..., Result]


def commands(result: Result) -> list[list[str]]:
    """The commands that a check ends with, each in words, without `mnistlab`."""
    lines = [line for line in result.err.splitlines() if line.startswith("next   ")]
    assert result.err.splitlines()[-len(lines) :] == lines
    return [shlex.split(line.removeprefix("next   mnistlab ")) for line in lines]


def with_bad(root: Path) -> None:
    make_tree(root)
    (root / "train" / "dark" / "bad.png").write_bytes(b"x")


def uneven(root: Path) -> None:
    make_tree(root, train=30)
    for i in range(3, 30):
        (root / "train" / "light" / f"{i}.png").unlink()


def bad_test(root: Path) -> None:
    """Its faults do not matter until it is used."""
    make_tree(root)
    shutil.copytree(root / "valid", root / "test")
    (root / "test" / "dark" / "0.png").write_bytes(b"x")


def no_split(root: Path) -> None:
    make_tree(root)
    shutil.rmtree(root / "valid")


def many_sizes(root: Path) -> None:
    make_tree(root)
    Image.new("L", (9, 5), 7).save(root / "valid" / "dark" / "x.png")


@pytest.mark.parametrize(
    ("make", "flags", "code", "lines", "words"),
    [
        (make_tree, [], 0, ["layout  train/, valid/"], []),
        (with_bad, [], 2, ["layout  train/, valid/"], ["--skip-bad"]),
        (uneven, [], 0, [], ["--class-weights", "balanced"]),
        (bad_test, [], 0, ["layout  train/, valid/, test/"], []),
        (
            no_split,
            [],
            0,
            ["layout  train/; 20 % are for validation, chosen by their pixels (--valid-fraction)"],
            [],
        ),
        (
            no_split,
            ["--valid-fraction", "0.4"],
            0,
            ["layout  train/; 40 % are for validation, chosen by their pixels (--valid-fraction)"],
            ["--valid-fraction", "0.4"],
        ),
        (
            many_sizes,
            ["--fit", "crop", "--image-size", "8x6"],
            0,
            ["sizes   train: 4 x 4 brought to 6 x 8 (--fit crop; --image-size for another size)"],
            ["--image-size", "8x6", "--fit", "crop"],
        ),
    ],
)
def test_it_says_how_train_reads_it_and_ends_with_the_command_that_works(
    mnistlab: Mnistlab,
    make: Callable[[Path], None],
    flags: list[str],
    code: int,
    lines: list[str],
    words: list[str],
) -> None:
    make(Path("own"))
    checked = mnistlab("data", "check", "own", *flags)
    assert checked.code == code
    for line in lines:
        assert line in checked.out.splitlines()
    assert commands(checked) == [["train", "--data", "own", *words]]
    trained = mnistlab(*commands(checked)[0], "--epochs", "1", "--json").ok()
    document = mnistlab("data", "check", "own", *flags, "--json")
    assert document.code == code
    assert shlex.split(document.json["command"])[1:] == commands(checked)[0]
    # what it says of the layout and the sizes is what train says
    said = [line for line in trained.err.splitlines() if line.startswith(("layout", "sizes"))]
    assert said in (document.json["reads"], [])
    table = {line.split()[0]: line.split()[1:3] for line in checked.out.splitlines() if line}
    share = 0.4 if "--valid-fraction" in flags else 0.2
    loaded = load_data("own", skip_bad=True, valid_fraction=share)
    counts = loaded.train.counts, loaded.valid.counts
    assert [int(text) for text in table["dark"]] == [each["dark"] for each in counts]


@pytest.mark.parametrize("kind", ["zip", pytest.param("gztar", marks=needs.tar)])
def test_an_archive_is_checked_as_what_is_in_it(mnistlab: Mnistlab, tiny: Path, kind: str) -> None:
    file = Path(shutil.make_archive("own", kind, tiny)).name
    checked = mnistlab("data", "check", file).ok()
    assert commands(checked) == [["train", "--data", file]]
    mnistlab(*commands(checked)[0], "--epochs", "1").ok()


def test_a_table_is_checked_too(mnistlab: Mnistlab) -> None:
    make_tree(Path("own"))
    shutil.rmtree("own/valid")
    names = [f"train/{name}/{i}.png,{name}" for name in ("dark", "light") for i in range(12)]
    Path("own/labels.csv").write_text("\n".join(["file,label", *names]), encoding="utf-8")
    # which can be read in two ways: a command for each, which works
    checked = mnistlab("data", "check", "own")
    assert (checked.code, checked.out) == (2, "")
    assert "can be read in 2 ways" in checked.err
    found = commands(checked)
    assert found == [
        ["train", "--data", "own", "--layout", layout] for layout in ("splits", "table")
    ]
    for words in found:
        mnistlab(*words, "--epochs", "1").ok()
    assert mnistlab("data", "check", "own", "--layout", "table").ok().out.count("labels.csv") == 1


def test_where_nothing_helps_there_is_no_command(mnistlab: Mnistlab, tiny: Path) -> None:
    for path in (tiny / "valid" / "dark").iterdir():
        path.write_bytes(b"x")
    checked = mnistlab("data", "check", tiny)
    assert checked.code == 2
    assert "next" not in checked.err
    assert mnistlab("data", "check", tiny, "--json").json["command"] is None


def test_what_train_refuses_is_no_fit_folder(mnistlab: Mnistlab) -> None:
    make_tree(Path("own"), train=1)
    checked = mnistlab("data", "check", "own/train")
    assert checked.code == 2
    assert "the class dark has fewer than two different images" in checked.err


def test_a_dataset_is_checked_by_its_name(mnistlab: Mnistlab) -> None:
    checked = mnistlab("data", "check", "mnist_sample").ok()
    assert "sizes       14,434 x 28 x 28" in checked.out
    assert commands(checked) == [["train", "--data", "mnist_sample"]]
    make_tree(Path("mnist"))  # a folder goes before a name, and train is told which is meant
    checked = mnistlab("data", "check", "mnist").ok()
    assert commands(checked) == [["train", "--data", "./mnist"]]


def test_other_images_are_read_as_the_flags_say(mnistlab: Mnistlab, tiny: Path) -> None:
    train_run({"data": str(tiny), "epochs": 1})
    make_tree(Path("one"), train=40)
    shutil.rmtree("one/valid")
    make_tree(Path("two"), train=5)
    shutil.rmtree("two/valid")
    few = mnistlab("eval", "--data", "one", "--json").ok().json["n"]
    many = mnistlab("eval", "--data", "one", "--valid-fraction", "0.6", "--json").ok().json["n"]
    assert 0 < few < many < 80
    assert mnistlab("eval", "--data", "one", "--valid", "two", "--json").ok().json["n"] == 10
    compared = mnistlab(
        "runs", "compare", "latest", "latest", "--data", "one", "--valid", "two", "--json"
    ).ok()
    assert compared.json["n"] == 10
    mnistlab("report", "--data", "one", "--valid", "two").ok()
    mnistlab("show", "one", "--valid-fraction", "0.6", "--split", "valid").ok()
    for words in (["eval"], ["runs", "compare", "latest", "latest"]):
        refused = mnistlab(*words, "--valid-fraction", "0.6")
        assert refused.code == 2
        assert "--valid-fraction: of other images, with --data" in refused.err
