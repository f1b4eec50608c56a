"""`mnistlab plot`: one picture of a run into a file."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.command import Result

Mnistlab = Callable[..., Result]


@pytest.fixture
def run(mnistlab: Mnistlab, tiny: Path) -> Path:
    mnistlab("train", "--data", tiny, "--epochs", "2", "-q").ok()
    [path] = Path("runs").iterdir()
    return path


@pytest.mark.parametrize("what", ["curves", "confusion", "mistakes", "weights", "samples"])
def test_every_picture_is_drawn(mnistlab: Mnistlab, run: Path, what: str) -> None:
    told = mnistlab("plot", "--what", what, "-o", "p.png", "--json").ok().json
    size = Path("p.png").stat().st_size
    assert told == {
        "schema_version": 1, "run": str(run), "what": what, "file": "p.png", "bytes": size,
    }  # fmt: skip
    with Image.open("p.png") as image:
        assert len(image.convert("RGB").getcolors(10**6) or []) > 20
    assert mnistlab("plot", run.name, "--what", what, "-o", "p.svg").ok().out == "p.svg\n"
    assert "<svg" in Path("p.svg").read_text(encoding="utf-8")


def test_curves_and_weights_need_no_data(mnistlab: Mnistlab, run: Path, tiny: Path) -> None:
    shutil.rmtree(tiny)
    mnistlab("plot", "-o", "c.png").ok()
    mnistlab("plot", "--what", "weights", "--best", "-o", "w.png").ok()
    told = mnistlab("plot", "--what", "samples", "-o", "s.png")
    assert (told.code, Path("s.png").exists()) == (2, False)
    (run / "model.safetensors").unlink()
    mnistlab("plot", "-o", "c.png").ok()
    told = mnistlab("plot", "--what", "weights", "-o", "m.png")
    assert (told.code, Path("m.png").exists()) == (1, False)
    assert "no model yet" in told.err
    (run / "run.json").unlink()
    (run / "model.safetensors").write_bytes(b"")
    told = mnistlab("plot", "-o", "n.png")
    assert (told.code, told.err) == (1, f"error: {run}/run.json: no such file\n")


def test_nothing_to_draw_is_said(mnistlab: Mnistlab, tiny: Path) -> None:
    mnistlab("baseline", "pixel-similarity", "--data", tiny, "-q").ok()
    told = mnistlab("plot", "-o", "p.png")
    assert told.code == 2
    assert told.err.endswith(": no curves; it has fewer than two epochs\n")
    mnistlab("train", "--data", tiny, "--epochs", "300", "-q").ok()
    told = mnistlab("plot", "--what", "mistakes", "-o", "p.png")
    assert told.err.endswith(": no mistakes; every image is right\n")
    assert not Path("p.png").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-o", "p.gif"), "-o p.gif: the name must end in .png or .svg or .pdf"),
        (("-o", "no/p.png"), "not a file name in an existing folder"),
        (("-o", "p.png", "--what", "sampels"), "Invalid value for '--what'"),
        ((), "Missing option '--output'"),
        (("nope", "-o", "p.png"), "nope: no such run"),
    ],
)
def test_what_cannot_be_drawn_is_exit_2(
    mnistlab: Mnistlab, run: Path, arguments: tuple[str, ...], told: str
) -> None:
    result = mnistlab("plot", *arguments)
    assert (result.code, result.out) == (2, "")
    assert told in result.err


def test_a_missing_matplotlib_is_one_plain_sentence(
    mnistlab: Mnistlab, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = mnistlab("plot", "-o", "p.png")
    assert told.code == 2
    assert told.err == "error: -o needs matplotlib; install it with: pip install matplotlib\n"
