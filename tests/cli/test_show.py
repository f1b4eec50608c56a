"""`mnistlab show`: pictures in the terminal, off it, and in colour."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mnistlab.report.terminal import RAMP
from tests.command import Result
from tests.command import run as run_alone

Mnistlab = Callable[..., Result]


@pytest.fixture
def run(mnistlab: Mnistlab, tiny: Path) -> Path:
    mnistlab("train", "--data", tiny, "--epochs", "2", "-q").ok()
    [path] = Path("runs").iterdir()
    return path


@pytest.fixture
def stairs(tmp_path: Path) -> Path:
    """20 x 20 pixels, black on the left, white on the right."""
    path = tmp_path / "stairs.png"
    image = Image.new("L", (20, 20))
    image.putdata([255 * (x // 10) for _ in range(20) for x in range(20)])
    image.save(path)
    return path


def test_an_image_is_drawn_line_by_line(mnistlab: Mnistlab, stairs: Path) -> None:
    told = mnistlab("show", stairs).ok()
    assert told.err == ""
    assert told.out.splitlines()[0] == "Image, 20 x 20"
    assert told.out.splitlines()[2:] == [" " * 10 + RAMP[-1] * 10] * 10


def test_it_is_as_wide_as_the_terminal_and_no_wider(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Image.effect_noise((300, 200), 90).save(tmp_path / "noise.png")
    for columns in (10, 33, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", "500")
        picture = mnistlab("show", tmp_path / "noise.png").ok().out.splitlines()[2:]
        assert max(map(len, picture)) in (columns, columns - 1)  # a blank at the end is cut
        assert abs(len(picture) - columns / 3) <= 1  # 2/3 as high, two rows of pixels a line
    monkeypatch.setenv("LINES", "20")
    assert len(mnistlab("show", tmp_path / "noise.png").out.splitlines()) == 18


def test_tiny_images_are_drawn_larger(mnistlab: Mnistlab, tmp_path: Path) -> None:
    Image.new("L", (2, 2), 255).save(tmp_path / "dot.png")
    assert mnistlab("show", tmp_path / "dot.png").ok().out.splitlines()[2:] == ["@" * 12] * 6


def test_colour_and_blocks_where_both_can_be_shown(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, stairs: Path
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    drawn = run_alone("show", stairs, "--color", "always", env=environment, encoding="utf-8").ok()
    line = drawn.out.splitlines()[2]
    assert re.sub(r"\x1b\[[0-9;]*m", "", line) == "▀" * 20
    assert "\x1b[38;2;255;255;255;48;2;255;255;255m▀" in line
    assert "\x1b[38;2;0;0;0;48;2;0;0;0m▀" in line
    environment["PYTHONIOENCODING"] = "cp1252"
    plain = run_alone("show", stairs, "--color", "always", env=environment).ok()
    assert plain.out.splitlines()[2] == " " * 10 + "@" * 10
    assert "\x1b" not in plain.out


@pytest.mark.parametrize("what", ["curves", "confusion", "mistakes", "weights", "samples"])
def test_every_picture_of_a_run_is_shown(mnistlab: Mnistlab, run: Path, what: str) -> None:
    told = mnistlab("show", run, "--what", what).ok()
    assert told.out.isascii()
    assert max(map(len, told.out.splitlines())) <= 80
    document = mnistlab("show", "latest", "--what", what, "--json").ok().json
    kinds = {"curves": "curves", "confusion": "matrix"}
    assert {picture["kind"] for picture in document["pictures"]} == {kinds.get(what, "images")}
    assert document["pictures"][0]["title"] in told.out


def test_without_a_name_it_is_the_latest_run(mnistlab: Mnistlab, run: Path) -> None:
    assert mnistlab("show").ok().out == mnistlab("show", run.name).ok().out
    assert mnistlab("show").out.startswith("Weights\ndark against light\n")


def test_json_names_what_is_drawn(mnistlab: Mnistlab, run: Path, tiny: Path) -> None:
    confusion = mnistlab("eval", "--json").ok().json["confusion"]
    [shown] = mnistlab("show", "--what", "confusion", "--json").ok().json["pictures"]
    assert shown["classes"] == ["dark", "light"]
    assert shown["counts"] == [list(row.values()) for row in confusion.values()]
    _, accuracy = mnistlab("show", "--what", "curves", "--json").ok().json["pictures"]
    assert accuracy["lines"]["validation"][0] == [0, 1]
    means, samples = mnistlab("show", tiny, "--json", "--count", "4").ok().json["pictures"]
    assert means["images"] == [
        {"name": name, "width": 4, "height": 4} for name in ("dark", "light")
    ]
    assert [i["name"].split("\n")[0] for i in samples["images"]] == ["dark"] * 2 + ["light"] * 2


def test_a_dataset_shows_its_means_and_samples(mnistlab: Mnistlab, tiny: Path) -> None:
    told = mnistlab("show", "mnist_sample", "--count", "4", "--split", "valid").ok().out
    assert told.startswith("Mean images of valid\n3                             7\n")
    assert "\n\nSamples of valid\n" in told
    assert "valid/7/" in told
    assert "Mean images of train" in mnistlab("show", tiny).ok().out


def test_a_folder_of_images_shows_the_first_and_names_the_rest(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    folder = tiny / "train/dark"
    (folder / "0.txt").write_text("no image")
    told = mnistlab("show", folder, "--count", "3").ok()
    assert told.out.startswith("dark, 3 of 13 files\n0.png         1.png         2.png\n")
    assert told.err == f"skipped {folder}/0.txt: not an image in a known format\n"


def test_more_than_asked_for_is_counted(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("train", "--model", "two-layer", "--data", tiny, "--epochs", "1", "-q").ok()
    told = mnistlab("show", "--count", "5").ok()
    assert told.out.count("unit ") == 5
    assert told.err == "25 more with --count 30\n"
    files = [tiny / f"train/dark/{k}.png" for k in range(7)]
    assert mnistlab("show", *files, "--count", "1").ok().out.count(".png") == 7
    files.append(tiny / "train/light/0.png")  # now the name alone is not enough
    [shown] = mnistlab("show", *files, "--json").ok().json["pictures"]
    assert [image["name"] for image in shown["images"]] == list(map(str, files))


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("mnist_sampel",), 2, "no such image, run or folder; did you mean mnist_sample?"),
        (("no/such.png",), 2, "no/such.png: no such image, run or folder\n"),
        (("",), 2, "an empty name"),
        (("x" * 5000,), 2, "no such image"),
        (("notes.txt", "empty.png"), 2, "images: 2 faults\n  notes.txt: not an image in a known"),
        (("bare",), 2, "bare: no images in it; expected image files, or train/<class>"),
        (("notes.txt", "--what", "weights"), 2, "--what weights: is for runs; notes.txt is none"),
        (("half",), 1, "has saved no model yet"),
        (("--count", "0"), 2, "--count"),
        (("--split", "vlaid", "--what", "samples"), 2, "did you mean valid?"),
    ],
)
def test_what_cannot_be_shown_is_said(
    mnistlab: Mnistlab, run: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    Path("notes.txt").write_text("no image")
    Path("empty.png").touch()
    Path("bare").mkdir()
    Path("half").mkdir()
    Path("half/run.json").write_text("{}")
    result = mnistlab("show", *arguments)
    assert (result.code, result.out) == (code, "")
    assert told in result.err


def test_augmented_images_are_shown_beside_the_plain_ones(
    mnistlab: Callable[..., Result],
) -> None:
    plain = mnistlab("show", "mnist_sample", "--count", "2").ok().out
    both = mnistlab("show", "mnist_sample", "--count", "2", "--augment").ok().out
    assert both.startswith(plain.rstrip("\n"))
    assert "The same, augmented" in both
    titles = [p["title"] for p in mnistlab("show", "mnist_sample", "--augment", "--json").json[
        "pictures"
    ]]  # fmt: skip
    assert titles == ["Mean images of train", "Samples of train", "The same, augmented"]
    refused = mnistlab("show", "no.png", "--augment")
    assert refused.code == 2
