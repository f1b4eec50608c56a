"""`mnistlab predict`: image files in, class and probability out."""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from mnistlab.data.named import find_data
from tests.command import Result

Mnistlab = Callable[..., Result]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """A two-layer run with its defaults."""
    import mnistlab

    before = os.environ.get("MNISTLAB_CACHE")
    os.environ["MNISTLAB_CACHE"] = str(shared_cache)
    try:
        run = mnistlab.train_run({"epochs": 20}, "two-layer", tmp_path_factory.mktemp("two-layer"))
    finally:
        if before is not None:
            os.environ["MNISTLAB_CACHE"] = before
    return run.path


def three(path: Path, *, dark: bool = True, size: int = 200) -> Path:
    """A hand-drawn three of two arcs."""
    paper, ink = (250, 20) if dark else (10, 240)
    image = Image.new("L", (size, size), paper)
    draw = ImageDraw.Draw(image)
    width = size // 14
    for top in (0.2, 0.48):
        box = [size * 0.3, size * top, size * 0.65, size * (top + 0.3)]
        draw.arc(box, 200 if top < 0.3 else 270, 90 if top < 0.3 else 160, fill=ink, width=width)
    image.save(path)
    return path


def test_every_valid_image_is_called_what_eval_calls_it(mnistlab: Mnistlab, trained: Path) -> None:
    mnistlab("eval", trained, "--csv", "eval.csv").ok()
    folder = find_data("mnist_sample") / "valid"
    document = mnistlab("predict", trained, folder, "--csv", "predict.csv", "--json").ok().json
    with open("eval.csv", newline="", encoding="utf-8") as file:
        expected = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    found = {Path(one["file"]).name: one for one in document["predictions"]}
    assert found.keys() == expected.keys()
    assert len(found) == 2038
    for name, one in found.items():
        assert one["class"] == expected[name]["predicted"]
        assert one["prepared"] == []
        # another batch around an image can move its last bits
        assert one["probability"] == pytest.approx(float(expected[name]["probability"]), abs=1e-6)
    with open("predict.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [row["class"] for row in rows] == [one["class"] for one in document["predictions"]]
    assert all(abs(float(row["p_3"]) + float(row["p_7"]) - 1) < 1e-12 for row in rows)


def test_training_images_go_through_unchanged_as_well(mnistlab: Mnistlab, trained: Path) -> None:
    folder = find_data("mnist_sample") / "train" / "7"
    document = mnistlab("predict", trained, folder, "--json").ok().json
    assert len(document["predictions"]) == 6265
    assert all(one["prepared"] == [] for one in document["predictions"])


@pytest.mark.parametrize("dark", [True, False])
def test_a_drawing_is_inverted_only_if_it_is_dark_on_light(
    mnistlab: Mnistlab, trained: Path, dark: bool
) -> None:
    path = three(Path("three.png"), dark=dark)
    [one] = mnistlab("predict", trained, path, "--json").ok().json["predictions"]
    assert (one["class"], one["inverted"]) == ("3", dark)
    assert one["probabilities"]["3"] == one["probability"] > 0.9
    text = mnistlab("predict", trained, path).ok()
    assert text.out.splitlines()[0].split() == ["file", "class", "probability", "prepared"]
    assert (" inverted, ink " in text.out) is dark
    assert text.out.isascii()


def test_the_user_decides_about_inverting(mnistlab: Mnistlab, trained: Path) -> None:
    path = three(Path("three.png"))
    kept = mnistlab("predict", trained, path, "--no-invert", "--json").ok().json["predictions"][0]
    assert kept["inverted"] is False
    forced = mnistlab("predict", trained, path, "--invert", "--json").ok().json["predictions"][0]
    assert forced["inverted"] is True
    assert forced["class"] == "3"


def test_what_the_model_saw_is_written(mnistlab: Mnistlab, trained: Path) -> None:
    path = three(Path("three.png"))
    mnistlab("predict", trained, path, "--save-prepared", "seen").ok()
    [file] = Path("seen").iterdir()
    with Image.open(file) as image:
        assert (image.mode, image.size) == ("L", (28, 28))
        assert image.getpixel((0, 0)) == 0
        box = image.point(lambda level: 255 * (level > 60)).getbbox()
    assert box is not None
    left, top, right, bottom = box
    assert max(right - left, bottom - top) in (19, 20, 21)
    # an image that is prepared already goes through: the same answer, to the bit
    first = mnistlab("predict", trained, path, "--json").json["predictions"][0]
    again = mnistlab("predict", trained, file, "--json").json["predictions"][0]
    assert again["prepared"] == []
    assert again["probability"] == pytest.approx(first["probability"], abs=1e-12)


def test_globs_folders_and_stdin_name_images(mnistlab: Mnistlab, trained: Path) -> None:
    Path("in/deep").mkdir(parents=True)
    three(Path("in/b.png"))
    three(Path("in/a10.png"))
    three(Path("in/a9.png"), dark=False)
    Path("in/notes.txt").write_text("no image")

    def files(*names: str) -> list[str]:
        document = mnistlab("predict", trained, *names, "--json").ok().json
        return [one["file"] for one in document["predictions"]]

    assert files("in") == [f"in{os.sep}a9.png", f"in{os.sep}a10.png", f"in{os.sep}b.png"]
    assert files("in/a*.png") == ["in/a9.png", "in/a10.png"]
    assert files("in/b.png", "in/a9.png") == ["in/b.png", "in/a9.png"]
    command = [sys.executable, "-m", "mnistlab", "predict", str(trained), "-", "-q"]
    with open("in/b.png", "rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("-\t3\t")


def test_every_kind_of_bad_input_is_told_with_its_exit_code(
    mnistlab: Mnistlab, trained: Path
) -> None:
    good = three(Path("good.png"))
    Path("words.png").write_text("not an image")
    Image.new("L", (300, 200), 240).save("blank.png")
    Image.new("L", (28, 28), 0).save("dark.png")
    Path("empty").mkdir()
    for names, told in (
        (("words.png",), "words.png: not an image in a known format"),
        (("blank.png",), "blank.png: no ink found"),
        (("dark.png",), "dark.png: no ink found"),
        (("nothing.png",), "nothing.png"),
        (("empty",), "empty"),
        (("none*.png",), "none*.png"),
    ):
        result = mnistlab("predict", trained, *names, "--json")
        assert (result.code, result.out) == (2, ""), names
        assert told in result.err
        assert "Traceback" not in result.err
    both = mnistlab("predict", trained, good, "words.png", "blank.png")
    assert both.code == 2
    assert "words.png" in both.err
    assert "blank.png" in both.err
    skipped = mnistlab("predict", trained, good, "words.png", "--skip-bad", "--json").ok()
    assert [one["file"] for one in skipped.json["predictions"]] == ["good.png"]
    assert "words.png" in skipped.json["skipped"]
    assert mnistlab("predict", "good.png", "good.png").code == 2
    assert "name the run first" in mnistlab("predict", "good.png", "good.png").err
    for flags in (("--csv", "nowhere/p.csv"), ("--save-prepared", "empty/x/y")):
        result = mnistlab("predict", trained, good, *flags)
        assert (result.code, result.out) == (2, ""), flags
    Path("runs/one").mkdir(parents=True)
    Path("runs/one/run.json").write_text("{}")
    without = mnistlab("predict", "one", good)
    assert without.code == 1
    assert "saved no model yet" in without.err


def test_a_model_of_photographs_gets_images_scaled_not_framed(
    mnistlab: Mnistlab, tmp_path: Path
) -> None:
    import numpy as np

    random = np.random.default_rng(0)
    for split in ("train", "valid"):
        for k, label in enumerate(("dark", "light")):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for i in range(6):
                pixels = random.integers(100 * k, 100 * k + 150, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    run = mnistlab("train", "--data", tmp_path / "photos", "--epochs", "20", "--json").ok().json
    Image.new("L", (80, 80), 230).save("bright.png")
    [one] = mnistlab("predict", run["run"], "bright.png", "--json").ok().json["predictions"]
    assert one["class"] == "light"
    assert one["prepared"] == ["80 x 80 scaled"]


def test_stdin_that_is_no_image_is_named(trained: Path) -> None:
    command = [sys.executable, "-m", "mnistlab", "predict", str(trained), "-"]
    done = subprocess.run(command, input=b"nonsense", capture_output=True, check=False)
    assert done.returncode == 2
    assert b"-: not an image" in done.stderr
    content = io.BytesIO()
    Image.new("L", (9, 9), 3).save(content, "PNG")
    blank = subprocess.run(command, input=content.getvalue(), capture_output=True, check=False)
    assert blank.returncode == 2
    assert b"no ink found" in blank.stderr


def test_json_has_the_fields_of_the_contract(mnistlab: Mnistlab, trained: Path) -> None:
    three(Path("three.png"))
    document = mnistlab("predict", trained, "three.png", "--json").ok().json
    assert document["schema_version"] == 1
    assert (document["run"], document["model"]) == (str(trained), "two-layer")
    assert (document["weights"], document["skipped"], document["left_out"]) == ("last", {}, [])
    [one] = document["predictions"]
    assert (one["file"], one["class"], one["inverted"]) == ("three.png", "3", True)
    assert one["prepared"][0] == "inverted"
    assert set(one["probabilities"]) == {"3", "7"}
    assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-12)
    best = mnistlab("predict", trained, "three.png", "--best", "--json").ok().json
    assert best["weights"] == "best"


def test_results_go_to_stdout_and_notices_to_stderr(mnistlab: Mnistlab, trained: Path) -> None:
    Path("in").mkdir()
    three(Path("in/three.png"))
    Path("in/notes.txt").write_text("no image")
    told = mnistlab("predict", trained, "in").ok()
    header, rule, row = told.out.splitlines()
    assert header.split() == ["file", "class", "probability", "prepared"]
    assert set(rule) == {"-"}
    assert row.split()[:2] == [str(Path("in/three.png")), "3"]
    assert told.err.splitlines() == [
        f"left out, not images: {Path('in/notes.txt')}",
        f"{trained} (two-layer, last weights) takes every image for one of 3, 7",
    ]
    quiet = mnistlab("predict", trained, "in", "-q").ok()
    assert quiet.err == ""
    file, label, probability = quiet.out.rstrip("\n").split("\t")
    assert (file, label) == (str(Path("in/three.png")), "3")
    assert 0.9 < float(probability) <= 1


def test_on_a_terminal_what_was_done_is_folded_into_its_width(
    mnistlab: Mnistlab, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(io, "StringIO", Terminal)
    monkeypatch.setenv("TERM", "dumb")  # no bar
    three(Path("three.png"), size=300)
    told = mnistlab("predict", trained, "three.png").ok().out.splitlines()
    assert len(told) > 3
    assert max(map(len, told)) <= 60
    column = told[0].index("prepared")
    folded = " ".join(line[column:].strip() for line in told[2:])
    assert folded.startswith("inverted, ink ")
    assert " framed" in folded


def test_odd_names_are_shown_safely_and_kept_in_the_csv(mnistlab: Mnistlab, trained: Path) -> None:
    three(Path("plain.png"))
    names = ['comma, and "quote".png', "line\nbreak.png", "escape\x1b[31m.png"]
    if sys.platform.startswith("linux"):
        names.append(os.fsdecode(b"latin-\xe9.png"))
    for name in names:
        Path(name).write_bytes(Path("plain.png").read_bytes())
    told = mnistlab("predict", trained, *names, "--csv", "p.csv", "--save-prepared", "seen").ok()
    assert told.out.isprintable() or all(line.isprintable() for line in told.out.splitlines())
    assert "line\\nbreak.png" in told.out
    with open("p.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [row["file"] for row in rows] == names
    assert list(rows[0]) == ["file", "class", "probability", "p_3", "p_7"]
    assert len(list(Path("seen").iterdir())) == len(names)


def test_outputs_are_refused_before_the_work_and_nothing_is_lost(
    mnistlab: Mnistlab, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = three(Path("three.png"))
    before = path.read_bytes()
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    for flags, told in (
        (("--csv", "three.png"), "--csv three.png: the name must end in .csv"),
        (("--csv", "full"), "--csv full: "),
        (("--csv", "no/p.csv"), "--csv no/p.csv: not a file name in an existing folder"),
        (("--save-prepared", "full"), "--save-prepared full: exists already; name a new or an"),
        (("--save-prepared", "three.png"), "--save-prepared three.png: exists already"),
        (("--save-prepared", "no/seen"), "--save-prepared no/seen: not a name in an existing"),
        (("--prepare", "maybe"), "'auto', 'always', 'never'"),
        (("--device", "gpu"), "--device gpu: unknown"),
    ):
        # refused before the image is looked for
        result = mnistlab("predict", trained, "nothing.png", *flags, "--json")
        assert (result.code, result.out) == (2, ""), flags
        assert told in result.err
    assert path.read_bytes() == before
    assert Path("full/mine.txt").read_text() == "mine"

    Path("old.csv").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = mnistlab("predict", trained, "three.png", "--csv", "old.csv", "--json")
    assert (result.code, result.out) == (1, "")
    assert result.err.endswith("old.csv: cannot be written: No space left on device\n")
    assert Path("old.csv").read_text() == "old"


def test_an_image_where_the_run_should_be_gets_the_right_command(
    mnistlab: Mnistlab, trained: Path
) -> None:
    three(Path("my three.png"))
    for arguments in (("my three.png",), ("my three.png", "my three.png")):
        told = mnistlab("predict", *arguments)
        assert (told.code, told.out) == (2, "")
        assert told.err == (
            "error: my three.png: not a run; name the run first, as in: "
            "mnistlab predict latest 'my three.png'\n"
        )
    assert "Missing argument 'IMAGE" in mnistlab("predict", trained).err
    assert "no such run" in mnistlab("predict", "nope", "my three.png").err


def test_advice_is_given_only_where_it_helps(mnistlab: Mnistlab, trained: Path) -> None:
    three(Path("three.png"))
    Image.new("L", (28, 28), 0).save("blank.png")
    alone = mnistlab("predict", trained, "gone.png", "--skip-bad")
    assert (alone.code, alone.err) == (2, "error: gone.png: no such file or folder\n")
    both = mnistlab("predict", trained, "gone.png", "three.png", "blank.png")
    assert both.err.splitlines() == [
        "error: images: 2 faults",
        "  gone.png: no such file or folder",
        "  blank.png: no ink found: all pixels are alike",
        "go on without them with --skip-bad; take an image as it is with --prepare never",
    ]
    assert mnistlab("predict", trained, "blank.png", "--prepare", "never", "--json").ok().json
    skipped = mnistlab("predict", trained, "gone.png", "three.png", "--skip-bad").ok()
    assert skipped.err.startswith("skipped gone.png: no such file or folder\n")
