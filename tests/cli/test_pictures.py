"""`mnistlab show` and `mnistlab plot`: the same pictures, on the terminal and in a file."""

import io
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mnistlab.report.terminal import RAMP
from tests.command import Result

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


# both


@pytest.mark.parametrize("what", ["curves", "confusion", "mistakes", "weights", "samples"])
def test_every_picture_of_a_run_is_drawn(mnistlab: Mnistlab, run: Path, what: str) -> None:
    text = mnistlab("show", run, "--what", what).ok().out
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    pictures = mnistlab("show", "latest", "--what", what, "--json").ok().json["pictures"]
    kinds = {"curves": "curves", "confusion": "matrix"}
    assert {picture["kind"] for picture in pictures} == {kinds.get(what, "images")}
    assert pictures[0]["title"] in text
    document = mnistlab("plot", "--what", what, "-o", "p.png", "--json").ok().json
    assert document == {
        "schema_version": 1,
        "run": str(run),
        "sources": ["latest"],
        "what": what,
        "file": "p.png",
        "bytes": Path("p.png").stat().st_size,
    }
    with Image.open("p.png") as image:
        assert len(image.convert("RGB").getcolors(10**6) or []) > 20
    assert mnistlab("plot", run.name, "--what", what, "-o", "p.svg").ok().out == "p.svg\n"
    assert "<svg" in Path("p.svg").read_text(encoding="utf-8")


def test_both_take_images_folders_datasets_and_runs(
    mnistlab: Mnistlab, run: Path, stairs: Path, tiny: Path
) -> None:
    names = (stairs, tiny / "valid/dark", tiny, run.name)
    titles = [p["title"] for p in mnistlab("show", *names, "--json").ok().json["pictures"]]
    shared = ["Image, 20 x 20", "dark, 4 of 4 files", "Mean images of train", "Samples of train"]
    assert titles == [*shared, "Weights"]
    mnistlab("plot", *names, "-o", "p.svg").ok()
    drawn = Path("p.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {title} -->" in drawn for title in (*shared, "Loss", "Accuracy"))


def test_without_a_name_it_is_the_latest_run(mnistlab: Mnistlab, run: Path) -> None:
    text = mnistlab("show").ok().out
    assert text == mnistlab("show", run.name).ok().out
    assert [line.split()[0] for line in text.splitlines()[:4]] == [
        "Weights",
        "Ink",
        "scale",
        "dark",
    ]


def test_curves_and_weights_need_no_data(mnistlab: Mnistlab, run: Path, tiny: Path) -> None:
    shutil.rmtree(tiny)
    mnistlab("plot", "-o", "c.png").ok()
    mnistlab("plot", "--what", "weights", "--best", "-o", "w.png").ok()
    assert mnistlab("plot", "--what", "samples", "-o", "s.png").code == 2
    (run / "model.safetensors").unlink()
    mnistlab("show", "--what", "curves").ok()
    result = mnistlab("plot", "--what", "weights", "-o", "m.png")
    assert result.code == 1
    assert "no model yet" in result.err
    (run / "run.json").unlink()
    (run / "model.safetensors").write_bytes(b"")
    result = mnistlab("plot", "-o", "n.png")
    assert result.code == 1
    assert result.err.startswith(f"error: {run}/run.json: cannot be read")
    assert not [name for name in ("s.png", "m.png", "n.png") if Path(name).exists()]


def test_nothing_to_draw_is_said(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("baseline", "pixel-similarity", "--data", tiny, "-q").ok()
    result = mnistlab("plot", "-o", "p.png")
    assert result.code == 2
    assert result.err.endswith(": no curves; it has fewer than two epochs\n")
    mnistlab("train", "--data", tiny, "--epochs", "300", "-q").ok()
    result = mnistlab("show", "--what", "mistakes")
    assert result.err.endswith(": no mistakes; every image is right\n")
    assert not Path("p.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("mnist_sampel",), 2, "no such image, run or folder; did you mean mnist_sample?"),
        (("no/such.png",), 2, "no/such.png: no such image, run or folder\n"),
        (("",), 2, "an empty name"),
        (("x" * 5000,), 2, "no such image"),
        (("notes.txt", "empty.png"), 2, "images: 2 faults\n  notes.txt: not an image in a known"),
        (("bare",), 2, "bare: no images in it; expected image files, or train/<class>"),
        (("notes.txt", "--what", "weights"), 2, "--what weights: is for runs; notes.txt is none"),
        (("--what", "sampels"), 2, "Invalid value for '--what'"),
        (("half", "--what", "weights"), 1, "has saved no model yet"),
        (("--split", "vlaid", "--what", "samples"), 2, "did you mean valid?"),
    ],
)
@pytest.mark.parametrize("command", [("show",), ("plot", "-o", "p.png")])
def test_what_cannot_be_drawn_is_said(
    mnistlab: Mnistlab,
    run: Path,
    command: tuple[str, ...],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    Path("notes.txt").write_text("no image", encoding="utf-8")
    Path("empty.png").touch()
    Path("bare").mkdir()
    Path("half").mkdir()
    Path("half/run.json").write_text("{}", encoding="utf-8")
    result = mnistlab(*command, *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert not Path("p.png").exists()


# show


def test_an_image_is_drawn_line_by_line(mnistlab: Mnistlab, stairs: Path, tmp_path: Path) -> None:
    result = mnistlab("show", stairs).ok()
    assert result.err == ""
    title, name, *lines = result.out.splitlines()
    assert (title, name.strip()) == ("Image, 20 x 20", "stairs.png")
    assert lines == [" " * 10 + RAMP[-1] * 10] * 10
    Image.new("L", (2, 2), 255).save(tmp_path / "dot.png")  # a tiny one is drawn larger
    assert mnistlab("show", tmp_path / "dot.png").ok().out.splitlines()[2:] == ["@" * 12] * 6


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


def test_colour_and_blocks_where_the_terminal_has_both(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, stairs: Path
) -> None:
    def third_line(encoding: str) -> str:
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        mnistlab("show", stairs, "--color", "always", out=stream).ok()
        stream.seek(0)
        return stream.read().splitlines()[2]

    monkeypatch.setenv("COLORTERM", "truecolor")
    line = third_line("utf-8")
    assert re.sub(r"\x1b\[[0-9;]*m", "", line) == "▀" * 20
    assert "\x1b[38;2;255;255;255;48;2;255;255;255m▀" in line
    assert "\x1b[38;2;0;0;0;48;2;0;0;0m▀" in line
    assert third_line("cp1252") == " " * 10 + "@" * 10


def test_json_has_the_figures_and_names_of_what_is_drawn(
    mnistlab: Mnistlab, run: Path, tiny: Path
) -> None:
    def pictures(*arguments: str | Path) -> list[dict[str, object]]:
        document = mnistlab("show", *arguments, "--json").ok().json
        drawn: list[dict[str, object]] = document["pictures"]
        return drawn

    confusion = mnistlab("eval", "--json").ok().json["confusion"]
    [matrix] = pictures("--what", "confusion")
    assert matrix["classes"] == ["dark", "light"]
    assert matrix["counts"] == [list(row.values()) for row in confusion.values()]
    _, accuracy = pictures("--what", "curves")
    assert accuracy["lines"]["validation"][0] == [0, 1]  # type: ignore[index]
    means, _ = pictures(tiny, "--count", "4")
    images: dict[str, dict[str, object]] = means["images"]  # type: ignore[assignment]
    assert {name: image["shape"] for name, image in images.items()} == {
        "dark": [4, 4],
        "light": [4, 4],
    }


def test_a_dataset_has_its_means_and_samples_and_these_augmented(mnistlab: Mnistlab) -> None:
    plain = mnistlab("show", "mnist_sample", "--count", "4", "--split", "valid").ok().out
    assert plain.startswith("Mean images of valid\n3                             7\n")
    assert "\n\nSamples of valid\n" in plain
    assert "valid/7/" in plain
    arguments = ("mnist_sample", "--count", "4", "--split", "valid", "--augment")
    both = mnistlab("show", *arguments).ok().out
    assert both.startswith(plain.rstrip("\n"))
    assert "The same, augmented" in both
    assert mnistlab("show", "latest", "--augment").code == 2


def test_a_folder_of_images_has_the_first_and_names_what_is_no_image(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    folder = tiny / "train/dark"
    (folder / "0.txt").write_text("no image")
    (folder / "1.png").write_text("no image")
    result = mnistlab("show", folder, "--count", "3").ok()
    assert result.out.startswith("dark, 2 of 12 files\n0.png         2.png\n")
    assert result.err == f"skipped {folder}/1.png: not an image in a known format\n"


def test_more_than_asked_for_is_counted(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("train", "--model", "two-layer", "--data", tiny, "--epochs", "1", "-q").ok()
    result = mnistlab("show", "--count", "5").ok()
    assert len(re.findall(r"unit \d", result.out)) == 5
    assert result.err == "25 more with --count 30\n"
    files = [tiny / f"train/dark/{k}.png" for k in range(7)]
    assert mnistlab("show", *files, "--count", "1").ok().out.count(".png") == 7
    files.append(tiny / "train/light/0.png")  # now the name alone is not enough
    [picture] = mnistlab("show", *files, "--json").ok().json["pictures"]
    assert list(picture["images"]) == list(map(str, files))
    assert mnistlab("show", "--count", "0").code == 2


# plot


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "p.gif"), "-o p.gif: the name must end in .png or .svg or .pdf"),
        (("-o", "no/p.png"), "not a file name in an existing folder"),
        ((), "Missing option '--output'"),
    ],
)
def test_a_file_that_cannot_be_drawn_is_exit_2(
    mnistlab: Mnistlab, run: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = mnistlab("plot", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_a_missing_matplotlib_is_one_plain_sentence(
    mnistlab: Mnistlab, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = mnistlab("plot", "-o", "p.png")
    assert result.code == 2
    assert result.err == "error: -o needs matplotlib; install it with: pip install matplotlib\n"
