"""Hostile archives put nothing outside their folder, take little memory and are told plainly.

Those that come from outside: the zip archive of EMNIST, gzipped IDX files, the bzip2 text of USPS.
The bundled archive is unpacked only where its checksum is right.
"""

import bz2
import gzip
import io
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.conftest import Examples
from tests.originals import idx_bytes
from tests.reliability.conftest import Tally
from tests.reliability.processes import CHECKOUT, Server, start_real
from tests.reliability.runs import environment, fault_of_message

MEBI = 2**20
SECONDS = 30.0
MEGABYTES = 400.0
IMAGES = idx_bytes(np.zeros((10, 28, 28), np.uint8))
LABELS = idx_bytes(np.arange(10, dtype=np.uint8))


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


EMNIST = {
    f"gzip/emnist-digits-{split}-{kind}-ubyte.gz": packed(content)
    for split in ("train", "test")
    for kind, content in (("images-idx3", IMAGES), ("labels-idx1", LABELS))
}
FIRST = next(iter(EMNIST))


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(stream, "w", method) as made:
        for name, content in members.items():
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.compress_type = name, method
            made.writestr(info, content)
    return stream.getvalue()


METHODS = (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def hostile_zips() -> Iterator[tuple[str, bytes]]:
    """(what it is, a zip file) that has EMNIST's files and something hostile beside or in it."""
    rest = {name: content for name, content in EMNIST.items() if name != FIRST}
    for name in ("/tmp/x", "C:\\x", "../../../x", "gzip", "gzip/\x1b[2J", "x" * 4000):
        yield f"beside {name[:60]!a}", zipped({**EMNIST, name: b"x"})
        yield f"instead {name[:60]!a}", zipped({name: EMNIST[FIRST], **rest})
    sound = zipped(EMNIST)
    for at, value, width, what in (
        *((8, 1, 2, "locked"), (10, 99, 2, "another method"), (16, 1, 4, "a checksum")),
        *((20, 2**32 - 2, 4, "claims its packed size"), (24, 2**32 - 2, 4, "claims its size")),
        *((28, 65535, 2, "a long name"), (30, 65535, 2, "a long extra")),
        (42, 2**31, 4, "an offset beyond"),
    ):
        content = bytearray(sound)
        place = content.index(b"PK\1\2") + at
        content[place : place + width] = value.to_bytes(width, "little")
        yield what, bytes(content)
    for method in METHODS:
        damaged = bytearray(zipped({**EMNIST, FIRST: EMNIST[FIRST] * 20}, method))
        damaged[120:300] = b"\xff" * 180
        yield f"damaged, method {method}", bytes(damaged)
    yield "many members", zipped({**EMNIST, **{f"{i}": b"" for i in range(3000)}})
    for size in (0, 1, 22, len(sound) // 2, len(sound) - 1):
        yield f"cut at {size}", sound[:size]


def bombs(reader: str) -> Iterator[tuple[str, bytes]]:
    """(what it is, a file that takes far more memory when it is unpacked)."""
    many = bytes(600 * MEBI)
    if reader == "gzip":
        yield "600 MiB behind it", packed(IMAGES + many)
    elif reader == "bzip2":
        yield "600 MiB of zeros", bz2.compress(many)
    else:
        for method in METHODS:
            yield f"a bomb, method {method}", zipped({**EMNIST, FIRST: many}, method)
        yield "a bomb in a bomb", zipped({**EMNIST, FIRST: packed(many)})


def hostile_gzips() -> Iterator[tuple[str, bytes]]:
    """(what it is, a gzip file) in place of ten images."""
    good = packed(IMAGES)
    for sizes in ((2**32 - 1,) * 3, (2**31, 1, 1), (0, 0, 0), (10, 2**16, 2**16), (11, 28, 28)):
        claim = b"".join(size.to_bytes(4, "big") for size in sizes)
        yield f"claims {sizes}", packed(IMAGES[:4] + claim + IMAGES[16:])
    for magic in (b"\0\0\x08\xff", b"\0\0\x0e\x03", b"\xff" * 4, b"\0" * 4):
        yield f"begins with {magic!a}", packed(magic + IMAGES[4:])
    yield "another member", good + packed(b"more")
    yield "another checksum", good[:-8] + b"\0\0\0\0" + good[-4:]
    yield "another length", good[:-4] + b"\xff\xff\xff\xff"
    yield "packed twice", packed(good)
    for size in (0, 1, 9, 10, len(good) // 2, len(good) - 1):
        yield f"cut at {size}", good[:size]


def hostile_texts() -> Iterator[tuple[str, bytes]]:
    """(what it is, a bzip2 file) in place of the text of USPS."""
    for what, text in {
        "no line ends": b"1" * MEBI,
        "lines without end": b"1 1:0.5 256:-1\n" * 40_000,
        "a number without end": b"1 1:" + b"9" * 9000 + b"\n",
        "an index beyond": b"1 99999999999999999999:1\n",
        "control characters": b"\x1b[2J 1:1\n",
    }.items():
        yield what, bz2.compress(text)
        yield f"{what}, cut", bz2.compress(text)[:-5]


DOWNLOAD = ("data", "download", "--from", "files", "--unchecked")
# The command that reads a file, the file's name, and what is in its place.
READERS: dict[str, tuple[tuple[str, ...], str, Callable[[], Iterator[tuple[str, bytes]]]]] = {
    "zip": ((*DOWNLOAD, "emnist-digits"), "gzip.zip", hostile_zips),
    "gzip": (
        ("data", "import-idx", "files", "made"),
        "train-images-idx3-ubyte.gz",
        hostile_gzips,
    ),
    "bzip2": ((*DOWNLOAD, "usps"), "usps.bz2", hostile_texts),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_hostile_archive_is_refused_plainly(
    reader: str, server: Server, tally: Tally, examples: Examples, tmp_path: Path
) -> None:
    command, name, archives = READERS[reader]
    files = tmp_path / "a" / "files"
    files.mkdir(parents=True)
    (files / "usps.t.bz2").write_bytes(bz2.compress(b"1 1:0.5\n"))
    for split in ("train", "t10k"):
        (files / f"{split}-images-idx3-ubyte.gz").write_bytes(packed(IMAGES))
        (files / f"{split}-labels-idx1-ubyte.gz").write_bytes(packed(LABELS))
    env, most = environment(tmp_path), 0.0
    cases = [*list(archives())[:: examples(15, 1)], *islice(bombs(reader), examples(0, 9))]
    for what, content in cases:
        (files / name).write_bytes(content)
        before = everything_in(tmp_path)
        ended = server.run(*command, cwd=files.parent, env=env)
        fault = "accepted" if ended.code == 0 else fault_of_message(ended, 2, name)
        if not ended.err.replace("\n", "").isprintable():
            fault = f"an unprintable message: {ended.err!a}"
        if ended.seconds > SECONDS or ended.megabytes > MEGABYTES:
            fault = f"{ended.seconds:.0f} s and {ended.megabytes:.0f} MB"
        if everything_in(tmp_path) != before:
            fault = f"left behind: {sorted(everything_in(tmp_path) - before)}"
        most = max(most, ended.megabytes)
        tally.check(f"{name}, {what}", fault)
    tally.notes.append(f"{reader}: at most {most:.0f} MB of memory")


def everything_in(folder: Path) -> set[Path]:
    """All files; folders and locks that a command makes for its own use are left out."""
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.trials(0, 9)
def test_a_bundled_archive_that_is_not_the_one_that_was_shipped_is_not_unpacked(
    trial: int, tmp_path: Path
) -> None:
    for part in ("src", "data", "configs"):
        shutil.copytree(CHECKOUT / part, tmp_path / part)
    archive = next((tmp_path / "data").glob("*.tgz"))
    content, chance = bytearray(archive.read_bytes()), Random(trial)
    if trial % 3 == 0:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif trial % 3 == 1:
        del content[chance.randrange(len(content)) :]
    else:
        content = bytearray(packed(bytes(99)))
    archive.write_bytes(content)
    env = {**environment(tmp_path), "PYTHONPATH": str(tmp_path / "src")}
    ended = start_real("train", "--dry-run", cwd=tmp_path, env=env).finish()
    assert fault_of_message(ended, 1, f"{archive.name}.*SHA-256") == ""
    assert list(tmp_path.rglob("*.png")) == []
