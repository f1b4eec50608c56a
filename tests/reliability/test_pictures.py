"""An image file shows what it holds or is refused by name; none is shown wrongly in silence.

What each must show is known beforehand: the files are written byte by byte from levels in hand,
the lossy ones from flat squares. A file that is cut or has a bit flipped may show what it showed
before, or be refused.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistlab import load_folders
from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.reliability.odd_pictures import PICTURE, Odd, bombs, odd_pictures
from tests.reliability.processes import Server
from tests.reliability.runs import environment, fault_of_message

MEGABYTES = 250.0
SECONDS = 20.0


def size_of(one: Odd) -> tuple[int, int]:
    rows = one.rows or PICTURE
    return len(rows[0]), len(rows)


REFUSED = [one for one in odd_pictures() if one.rows is None]
SHOWN = sorted((one for one in odd_pictures() if one.rows), key=size_of)


def write(folder: Path, odd: Iterable[Odd], size: tuple[int, int], plain: int) -> Path:
    """A tree with `odd` as one class, and so many plain images of `size` as the other."""
    for split, name in (("train", "odd"), ("train", "plain"), ("valid", "odd"), ("valid", "plain")):
        (folder / split / name).mkdir(parents=True)
    for split in ("train", "valid"):
        for number in range(plain if split == "train" else 2):
            Image.new("L", size, number % 256).save(folder / split / "plain" / f"{number}.png")
    Image.new("L", size).save(folder / "valid" / "odd" / "0.png")
    Image.new("L", size).save(folder / "train" / "odd" / "last.png")
    for number, one in enumerate(odd):
        (folder / "train" / "odd" / f"{number}.png").write_bytes(one.content)
    return folder


def check(folder: Path, odd: list[Odd], size: tuple[int, int], tally: Tally, damaged: bool) -> None:
    """Load all of `odd` at once: each must show its rows or, where it may, be skipped by name."""
    loaded = load_folders(write(folder, odd, size, len(odd) + 2), skip_bad=True).train
    images = dict(zip(loaded.files, loaded.ds.tensors[0].numpy(), strict=True))
    for number, one in enumerate(odd):
        name = f"odd/{number}.png"
        fault = ""
        if (reason := loaded.skipped.get(f"train/{name}")) is not None:
            if "where most images" in reason:
                fault = f"shown in another size: {reason}"
            elif one.rows is not None and not damaged:
                fault = f"refused: {reason}"
            elif not reason.isprintable():
                fault = f"no message: {reason!r}"
        elif name not in images:
            fault = "neither shown nor named"
        elif one.rows is None:
            fault = f"shown as {images[name].tolist()}"
        else:
            off = np.abs(images[name].astype(int) - np.asarray(one.rows)).max()
            fault = f"off by {off} levels" if off > one.slack else ""
        tally.check(one.name, fault)


@pytest.mark.usefixtures("own_cache")
def test_an_odd_image_is_shown_as_what_it_holds_or_refused_by_name(
    tally: Tally, tmp_path: Path
) -> None:
    check(tmp_path / "refused", REFUSED, size_of(REFUSED[0]), tally, damaged=False)
    for size, group in groupby(SHOWN, key=size_of):
        check(tmp_path / "{}x{}".format(*size), list(group), size, tally, damaged=False)


def damages(one: Odd, cuts: int, flips: int) -> Iterator[Odd]:
    """The file cut at so many places, and a PNG with so many bits of every byte flipped."""
    content = one.content
    for length in range(0, len(content), max(1, len(content) // cuts)):
        yield Odd(f"{one.name}, cut to {length}", content[:length], one.rows, one.slack)
    if content.startswith(b"\x89PNG"):  # the others have no checksum: a bit makes another picture
        for place in range(0, len(content), 1 if flips > 1 else 9):
            for bit in range(flips):
                flipped = bytearray(content)
                flipped[place] ^= 1 << bit
                name = f"{one.name}, bit {bit} of byte {place} flipped"
                yield Odd(name, bytes(flipped), one.rows, one.slack)


@pytest.mark.usefixtures("own_cache")
def test_a_damaged_image_shows_what_it_showed_or_is_refused(
    tally: Tally, examples: Examples, tmp_path: Path
) -> None:
    for size, group in groupby(SHOWN, key=size_of):
        small = (one for one in group if len(one.content) < 3000)
        odd = [each for one in small for each in damages(one, examples(4, 3000), examples(1, 8))]
        check(tmp_path / "{}x{}".format(*size), odd, size, tally, damaged=True)


def test_a_bomb_takes_little_memory(server: Server, tally: Tally, tmp_path: Path) -> None:
    odd = list(bombs())
    data = write(tmp_path / "data", odd, size_of(REFUSED[0]), 12)
    check_data = ("data", "check", data)
    ended = server.run(*check_data, cwd=tmp_path, env=environment(tmp_path))
    for number, one in enumerate(odd):
        named = f"odd/{number}.png" in ended.out + ended.err
        tally.check(one.name, "" if named else "not named")
    fault = fault_of_message(ended, 2)
    if ended.megabytes > MEGABYTES or ended.seconds > SECONDS:
        fault = f"{ended.megabytes:.0f} MB and {ended.seconds:.0f} s"
    tally.check("all bombs", fault)
    tally.notes.append(f"the bombs took {ended.megabytes:.0f} MB at most")
