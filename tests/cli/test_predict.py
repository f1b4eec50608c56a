"""`mnistlab predict`: image files in, class and probability out."""

import csv
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from mnistlab.data.named import load_data
from mnistlab.runs import Run
from mnistlab.system import quoted
from tests import needs
from tests.command import Result

Mnistlab = Callable[..., Result]


@pytest.fixture(scope="session")
def trained(book_two_layer: Run) -> Path:
    return book_two_layer.path


def three(name: str, *, dark: bool = True, size: int = 200) -> str:
    """A hand-drawn three of two arcs."""
    paper, ink = (250, 20) if dark else (10, 240)
    image = Image.new("L", (size, size), paper)
    draw = ImageDraw.Draw(image)
    for top, start, end in ((0.2, 200, 90), (0.48, 270, 160)):
        box = [size * 0.3, size * top, size * 0.65, size * (top + 0.3)]
        draw.arc(box, start, end, fill=ink, width=size // 14)
    image.save(name)
    return name


def rows(name: str) -> list[dict[str, str]]:
    with open(name, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file, strict=True))


def test_every_valid_image_is_called_what_eval_calls_it(mnistlab: Mnistlab, trained: Path) -> None:
    mnistlab("eval", trained, "--csv", "eval.csv").ok()
    folder = load_data("mnist_sample").root / "valid" / "3"
    document = mnistlab("predict", trained, folder, "--csv", "predict.csv", "--json").ok().json
    expected = {Path(row["file"]).name: row for row in rows("eval.csv")}
    predicted = {Path(one["file"]).name: one for one in document["predictions"]}
    assert len(predicted) == 1010
    for name, one in predicted.items():
        assert one["class"] == expected[name]["predicted"]
        assert one["prepared"] == []
        # another batch around an image can move its last bits
        assert one["probability"] == pytest.approx(float(expected[name]["probability"]), abs=1e-6)
    written = rows("predict.csv")
    assert [row["class"] for row in written] == [one["class"] for one in document["predictions"]]
    assert all(abs(float(row["p_3"]) + float(row["p_7"]) - 1) < 1e-12 for row in written)


@pytest.mark.parametrize("dark", [True, False])
def test_a_drawing_is_inverted_only_if_it_is_dark_on_light(
    mnistlab: Mnistlab, trained: Path, dark: bool
) -> None:
    document = mnistlab("predict", trained, three("three.png", dark=dark), "--json").ok().json
    assert document["schema_version"] == 1
    assert (document["run"], document["model"]) == (str(trained), "two-layer")
    assert (document["weights"], document["skipped"], document["left_out"]) == ("last", {}, [])
    [one] = document["predictions"]
    assert (one["file"], one["class"], one["inverted"]) == ("three.png", "3", dark)
    assert ("inverted" in one["prepared"]) is dark
    assert set(one["probabilities"]) == {"3", "7"}
    assert one["probabilities"]["3"] == one["probability"] > 0.9
    assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-12)


def test_flags_decide_about_inverting_and_weights(mnistlab: Mnistlab, trained: Path) -> None:
    path = three("three.png")
    for flag, inverted in (("--no-invert", False), ("--invert", True)):
        [one] = mnistlab("predict", trained, path, flag, "--json").ok().json["predictions"]
        assert one["inverted"] is inverted
    assert mnistlab("predict", trained, path, "--best", "--json").ok().json["weights"] == "best"


def test_the_images_that_the_model_saw_are_written(mnistlab: Mnistlab, trained: Path) -> None:
    path = three("three.png")
    Path("seen").mkdir()  # an empty folder may exist
    mnistlab("predict", trained, path, "--save-prepared", "seen").ok()
    with Image.open("seen/1-three.png") as image:
        assert (image.mode, image.size) == ("L", (28, 28))
        assert image.getpixel((0, 0)) == 0
    # an image that is prepared already passes: the same answer, to the bit
    first = mnistlab("predict", trained, path, "--json").json["predictions"][0]
    again = mnistlab("predict", trained, "seen/1-three.png", "--json").json["predictions"][0]
    assert again["prepared"] == []
    assert again["probability"] == pytest.approx(first["probability"], abs=1e-12)


def test_results_go_to_stdout_and_notices_to_stderr(mnistlab: Mnistlab, trained: Path) -> None:
    Path("in").mkdir()
    file = three(f"in{os.sep}three.png")
    Path("in/notes.txt").write_text("no image", encoding="utf-8")
    result = mnistlab("predict", trained, "in").ok()
    header, rule, row = result.out.splitlines()
    assert header.split() == ["file", "class", "probability", "prepared"]
    assert set(rule) == {"-"}
    assert row.split()[:2] == [file, "3"]
    assert " inverted, ink " in row
    assert result.err.splitlines() == [
        f"left out, not images: {Path('in/notes.txt')}",
        f"{trained} (two-layer, last weights) takes every image for one of 3, 7",
    ]
    quiet = mnistlab("predict", trained, "in", "-q").ok()
    assert quiet.err == ""
    name, label, probability = quiet.out.rstrip("\n").split("\t")
    assert (name, label) == (file, "3")
    assert 0.9 < float(probability) <= 1


def test_on_a_terminal_the_steps_are_folded_into_its_width(
    mnistlab: Mnistlab, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(io, "StringIO", Terminal)
    monkeypatch.setenv("TERM", "dumb")  # no bar
    lines = mnistlab("predict", trained, three("three.png", size=300)).ok().out.splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 60
    column = lines[0].index("prepared")
    folded = " ".join(line[column:].strip() for line in lines[2:])
    assert folded.startswith("inverted, ink ")
    assert " framed" in folded


@needs.any_name
def test_odd_names_are_printed_safely_and_complete_in_the_csv(
    mnistlab: Mnistlab, trained: Path
) -> None:
    names = ['comma, and "quote".png', "line\nbreak.png", "escape\x1b[31m.png"]
    names.append(os.fsdecode(b"latin-\xe9.png"))
    for name in names:
        three(name)
    result = mnistlab("predict", trained, *names, "--csv", "p.csv", "--save-prepared", "seen").ok()
    assert all(line.isprintable() for line in result.out.splitlines())
    assert "line\\nbreak.png" in result.out
    assert [row["file"] for row in rows("p.csv")] == names
    assert list(rows("p.csv")[0]) == ["file", "class", "probability", "p_3", "p_7"]
    assert len(list(Path("seen").iterdir())) == len(names)


def test_stdin_is_an_image_like_any_other(
    mnistlab: Mnistlab, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predicted(content: bytes) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
        return mnistlab("predict", trained, "-", "-q")

    assert predicted(Path(three("three.png")).read_bytes()).ok().out.startswith("-\t3\t")
    bad = predicted(b"nonsense")
    assert bad.code == 2
    assert "-: not an image" in bad.err


def test_all_bad_images_are_named_with_advice_that_helps(mnistlab: Mnistlab, trained: Path) -> None:
    good = three("three.png")
    Image.new("L", (28, 28), 0).save("blank.png")
    Path("empty").mkdir()
    for names in (("gone.png",), ("gone.png", "--skip-bad")):
        alone = mnistlab("predict", trained, *names, "--json")
        assert (alone.code, alone.out) == (2, "")
        assert alone.err == "error: gone.png: cannot be read: No such file or directory\n"
    several = mnistlab("predict", trained, "gone.png", good, "blank.png", "empty")
    assert several.code == 2
    assert several.err.splitlines() == [
        "error: images: 3 faults",
        "  empty: no images in it",
        "  gone.png: cannot be read: No such file or directory",
        "  blank.png: no ink found: all pixels are alike",
        "go on without them with --skip-bad; take an image as it is with --prepare never",
    ]
    mnistlab("predict", trained, "blank.png", "--prepare", "never").ok()
    skipped = mnistlab("predict", trained, "gone.png", good, "--skip-bad", "--json").ok()
    assert skipped.err.startswith("skipped gone.png: cannot be read")
    assert [one["file"] for one in skipped.json["predictions"]] == [good]
    assert list(skipped.json["skipped"]) == ["gone.png"]


def test_an_image_where_the_run_should_be_gets_the_right_command(
    mnistlab: Mnistlab, trained: Path
) -> None:
    image = three("my three.png")
    for arguments in ((image,), (image, image)):
        result = mnistlab("predict", *arguments)
        assert (result.code, result.out) == (2, "")
        assert result.err == (
            "error: my three.png: not a run; name the run first, as in: "
            f"mnistlab predict latest {quoted('my three.png')}\n"
        )
    assert "Missing argument 'IMAGE" in mnistlab("predict", trained).err
    assert "no such run" in mnistlab("predict", "nope", image).err


def test_outputs_are_refused_before_the_work_and_nothing_is_lost(
    mnistlab: Mnistlab, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = three("three.png")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine", encoding="utf-8")
    for flag, value, fault in (
        ("--csv", "three.png", "the name must end in .csv"),
        ("--csv", "no/p.csv", "not a file name in an existing folder"),
        ("--save-prepared", "full", "exists already; name a new or an"),
        ("--save-prepared", "three.png", "exists already"),
        ("--save-prepared", "no/seen", "not a name in an existing"),
    ):
        # refused before the image is looked for
        result = mnistlab("predict", trained, "nothing.png", flag, value, "--json")
        assert (result.code, result.out) == (2, ""), value
        assert f"{flag} {value}: {fault}" in result.err

    Path("old.csv").write_text("old", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = mnistlab("predict", trained, image, "--csv", "old.csv", "--json")
    assert (result.code, result.out) == (1, "")
    assert result.err.endswith("old.csv: cannot be written: No space left on device\n")
    assert Path("old.csv").read_text(encoding="utf-8") == "old"
