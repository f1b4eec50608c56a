"""Pictures drawn into files."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from mnistlab.errors import ConfigError, RunError
from mnistlab.files import require_file
from mnistlab.report.files import draw
from mnistlab.report.pictures import Curves, Images, Matrix, Picture

CURVES = Curves(
    "falling",
    {"ours": ([0, 1, 2, 3], [8, 4, 2, 1]), "theirs": ([0, 3], [8, 0])},
    "epoch",
    "loss",
    dots={"points": ([1.5], [7.0])},
    bands={"range": ([0, 3], [7, 0], [9, 2])},
)
CROSS = torch.eye(8) + torch.eye(8).flip(1)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_is_drawn_the_same_each_time_under_any_names(ending: str, tmp_path: Path) -> None:
    odd = ("$x_$", "n" * 200, "日本 🙂", "a\u202eb")
    pictures: list[Picture] = [
        CURVES,
        Images("i", {f"{name}\nline": CROSS - 0.5 for name in odd}, signed=True, note="$why_$"),
        Matrix("m", odd, [(1, 0, 2, 3)] * 4),
    ]
    if ending == "png":
        pictures.append(Matrix("large", [str(k) for k in range(40)], [[1] * 40] * 40))
    for name in ("one", "two"):
        draw(pictures, tmp_path / f"{name}.{ending}")
    content = (tmp_path / f"one.{ending}").read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    assert content == (tmp_path / f"two.{ending}").read_bytes()


def test_a_logarithmic_axis_has_plain_numbers_at_its_ticks(tmp_path: Path) -> None:
    rates = [10 ** (power / 10) for power in range(-40, 21)]
    draw([Curves("t", {"loss": (rates, rates)}, log_x=True)], tmp_path / "p.svg")
    comments = (tmp_path / "p.svg").read_text(encoding="utf-8").split("<!-- ")[1:]
    texts = [comment.partition(" -->")[0] for comment in comments]
    assert texts[:7] == ["0.0001", "0.001", "0.01", "0.1", "1", "10", "100"]


def test_mistakes_stand_out_beside_thousands_that_are_right(tmp_path: Path) -> None:
    def colors(few: int, more: int) -> set[tuple[int, int, int]]:
        draw([Matrix("m", "ab", ((995, few), (more, 1007)))], tmp_path / "p.png")
        with Image.open(tmp_path / "p.png") as image:
            counts = image.convert("RGB").getcolors(10**6)
        assert counts is not None
        return {color for n, color in counts if n > 20_000}  # type: ignore[misc]

    no_mistake, some = colors(0, 0), colors(15, 21)
    oranges = [(red, blue) for red, _, blue in some - no_mistake if red > blue + 60]
    assert len(oranges) == 2


def test_a_picture_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnistlab.files.write_whole", full)
    with pytest.raises(RunError, match="No space left"):
        draw([CURVES], tmp_path / "p.png")
    assert list(tmp_path.glob("p*")) == []


def test_a_file_that_cannot_be_made_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_file(tmp_path / "a.HTML", ("html",), "-o")
    (tmp_path / "folder.html").mkdir()
    if pipes := hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.html")
    for name, why in (
        ("model.safetensors", r"-o .*model.safetensors: the name must end in .html$"),
        ("folder.html", "not a file name"),
        ("no/a.html", "not a file name"),
        *([("pipe.html", "no regular file")] if pipes else []),
    ):
        with pytest.raises(ConfigError, match=why):
            require_file(tmp_path / name, ("html",), "-o")
    with pytest.raises(ConfigError, match=r"end in .png or .svg$"):
        require_file(tmp_path / "a.svgz", ("png", "svg"), "-o")
    monkeypatch.setattr("mnistlab.files.is_writable", lambda _: False)
    with pytest.raises(RunError, match="cannot be written"):
        require_file(tmp_path / "a.html", ("html",), "-o")
