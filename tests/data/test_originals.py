"""The published files, read: every format against torchvision's own reading, and hostile ones."""

import bz2
import gzip
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistlab.data import originals
from mnistlab.data.datasets import DATASETS
from mnistlab.data.originals import read_originals
from mnistlab.data.published import Found, find_originals
from mnistlab.errors import DataError
from mnistlab.vision import torchvision
from tests.originals import Made, idx_bytes, publish, usps_bytes

KINDS = ["mnist", "fashion-mnist", "kmnist", "qmnist", "emnist-digits", "emnist-letters", "usps"]


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Made]:
    return lambda name: publish(monkeypatch, name, tmp_path / "from")


def read(made: Made) -> Any:
    return read_originals(made.dataset, find_originals(made.dataset, made.folder))


def pixels_of(split: Any) -> np.ndarray:
    flat = np.frombuffer(split.pixels, np.uint8)
    return flat.reshape(-1, split.height, split.width)


def unpacked(made: Made, root: Path) -> None:
    """Lay the files as torchvision unpacks them."""
    raw = root if made.dataset.source == "USPS" else root / made.dataset.source / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if made.dataset.archive:
        with zipfile.ZipFile(made.folder / made.dataset.archive) as zipped:
            for member in zipped.namelist():
                if member.endswith(".gz"):
                    (raw / Path(member).stem).write_bytes(gzip.decompress(zipped.read(member)))
        return
    for path in made.folder.iterdir():
        if path.suffix == ".gz":
            (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copy(path, raw / path.name)


@pytest.mark.parametrize("name", KINDS)
def test_it_reads_what_torchvision_reads(
    making: Callable[[str], Made], name: str, tmp_path: Path
) -> None:
    made = making(name)
    unpacked(made, tmp_path / "root")
    source = getattr(torchvision().datasets, made.dataset.source)
    for split, loaded in read(made).items():
        options: dict[str, Any] = {"train": split == "train"}
        if made.dataset.source == "EMNIST":
            options["split"] = name.removeprefix("emnist-")
        theirs = source(tmp_path / "root", **options)
        images, labels = np.asarray(theirs.data), [int(theirs[i][1]) for i in range(len(theirs))]
        if made.dataset.source == "EMNIST":
            images = images.transpose(0, 2, 1)  # it leaves them lying on their side
        offset = 1 if name == "usps" else 0  # whose labels it counts from 0
        assert np.array_equal(pixels_of(loaded), images)
        assert [label - offset for label in loaded.labels] == labels
        assert np.array_equal(images, made.images[split])
        assert [made.dataset.labels[name] for name in made.names[split]] == list(loaded.labels)


def test_emnist_is_turned_upright_in_place(
    making: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(originals, "_TURNED_AT_ONCE", 7)
    made = making("emnist-letters")
    assert np.array_equal(pixels_of(read(made)["train"]), made.images["train"])


def test_images_of_emnist_that_are_not_square_are_refused(making: Callable[[str], Made]) -> None:
    made = making("emnist-digits")
    (made.folder / "gzip").mkdir()
    with zipfile.ZipFile(made.folder / "gzip.zip") as zipped:
        zipped.extractall(made.folder)
    (made.folder / "gzip.zip").unlink()
    name = "emnist-digits-train-images-idx3-ubyte.gz"
    (made.folder / "gzip" / name).write_bytes(idx_bytes(np.zeros((30, 28, 27), np.uint8)))
    found = find_originals(made.dataset, made.folder, unchecked=True)
    with pytest.raises(DataError, match="images of 27 x 28 pixels; emnist-digits has 28 x 28"):
        read_originals(made.dataset, found)


def test_what_usps_does_not_list_is_mid_grey(making: Callable[[str], Made]) -> None:
    made = making("usps")
    lines = bz2.decompress((made.folder / "usps.bz2").read_bytes()).splitlines(keepends=True)
    lines[0] = lines[0].split()[0] + b" 2:1 17:-1\n"
    (made.folder / "usps").write_bytes(b"".join(lines))
    (made.folder / "usps.bz2").unlink()
    found = find_originals(made.dataset, made.folder, unchecked=True)
    first = pixels_of(read_originals(made.dataset, found)["train"])[0]
    assert first[0, :3].tolist() == [127, 255, 127]
    assert first[1, 0] == 0


# What does not fit


def refused(made: Made, file: str, content: bytes) -> str:
    """What is said of `content` in the place of a published file, whatever its checksum."""
    found = find_originals(made.dataset, made.folder)
    path = made.folder.parent / "other" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    changed = [replace(one, path=path, checked="no") if one.name == file else one for one in found]
    with pytest.raises(DataError) as fault:
        read_originals(made.dataset, changed)
    assert str(fault.value).isprintable()
    return str(fault.value)


TRAIN = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"
DIGITS = np.arange(30, dtype=np.uint8) % 10


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        (TRAIN, idx_bytes(np.zeros((30, 28, 27), np.uint8)), "images of 27 x 28 pixels; mnist has"),
        (TRAIN, idx_bytes(np.zeros((29, 28, 28), np.uint8)), "30 labels for the 29 images of"),
        (TRAIN, b"", "not an IDX file"),
        (TRAIN, gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 2**20, 2**6, 2**6)), "claims 4"),
        (TRAIN, gzip.compress(idx_bytes(np.zeros((30, 28, 28), np.uint8)))[:-9], "damaged gzip"),
        (LABELS, idx_bytes(DIGITS + 1), "label 10; mnist has 0 to 9"),
        (LABELS, idx_bytes(DIGITS % 8), "no images of 8, 9"),
        (LABELS, idx_bytes(DIGITS.astype(np.int32)), "not an IDX file of unsigned bytes"),
    ],
)
def test_files_that_do_not_fit_are_named(
    making: Callable[[str], Made], file: str, content: bytes, why: str
) -> None:
    told = refused(making("mnist"), file, content)
    assert why in told
    assert file.split("-")[0] in told


def test_the_number_of_images_counts_where_nothing_else_was_checked(
    making: Callable[[str], Made],
) -> None:
    made = making("mnist")
    made.dataset = replace(made.dataset, images=(31, 20))
    assert len(read(made)["train"].labels) == 30
    same = (made.folder / LABELS).read_bytes()
    assert "30 images; mnist has 31" in refused(made, LABELS, same)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (np.zeros((30, 0), np.int32), "holds no labels"),
        (np.full((30, 8), 256, np.int32), "its first column are no labels"),
        (np.full((30, 8), -1, np.int32), "its first column are no labels"),
        (np.zeros((30, 8), np.uint8), "not an IDX file of 32-bit integers in 2 dimension(s)"),
    ],
)
def test_odd_tables_of_qmnist_are_refused(
    making: Callable[[str], Made], table: np.ndarray, why: str
) -> None:
    assert why in refused(making("qmnist"), "qmnist-train-labels-idx2-int.gz", idx_bytes(table))


GOOD = usps_bytes(np.zeros((1, 16, 16), np.uint8), [1]).rstrip()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bz2.compress(GOOD)[:-5], "cannot be read: "),
        (b"BZh9 nothing", "cannot be read: Invalid data stream"),
        (b"\n", "line 1: not a label and pairs"),
        (b"1 2\n", "line 1: not a label and pairs"),
        (b"1 2 3:4\n", "line 1: not a label and pairs"),
        (b"x 1:1\n", "line 1: invalid literal"),
        (b"300 1:1\n", "line 1: not a label"),
        (b"-1 1:1\n", "line 1: not a label"),
        (GOOD + b" 257:0\n", "line 1: its indices are not 1 to 256 in order"),
        (b"1 0:0\n", "line 1: its indices"),
        (b"1 2:0 2:0\n", "line 1: its indices"),
        (b"1 2:0 1:0\n", "line 1: its indices"),
        (b"1 1.5:0\n", "line 1: invalid literal"),
        (b"1 99999999999999999999:0\n", "line 1: "),
        (GOOD + b"\n1 1:1.5\n", "line 2: a value that is not from -1 to 1"),
        (b"1 1:nan\n", "line 1: a value that"),
        (b"1 1:1e999\n", "line 1: a value that"),
        (b"1 1:one\n", "line 1: could not convert"),
        (b"1 " + b"1:0 " * 9999 + b"\n", "line 1: more than usps has"),
        (b"1 1:0\n" * 61, "line 61: more than usps has"),
        (b"1 1:0\n" * 30, "no images of 1, 2"),
        (b"", "0 images; usps has 30"),
        (b"11 1:0\n" * 30, "label 11; usps has 1 to 10"),
    ],
)
def test_odd_text_is_refused_with_its_line(
    making: Callable[[str], Made], content: bytes, why: str
) -> None:
    assert why in refused(making("usps"), "usps.bz2", content)


@settings(max_examples=60, deadline=None)
@given(line=st.binary(max_size=40) | st.from_regex(r"[0-9:. e-]{1,40}", fullmatch=True))
def test_any_line_of_usps_is_read_or_refused(line: bytes | str) -> None:
    try:
        label, image = originals._parse_line(line if isinstance(line, bytes) else line.encode(), 4)
    except (ValueError, OverflowError):
        return
    assert 0 <= label <= 255
    assert len(image) == 4


# Archives

IMAGES = "emnist-letters-train-images-idx3-ubyte.gz"


def zip_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> list[Found]:
    with zipfile.ZipFile(path, "w", method) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return [Found("gzip.zip", path, 0, "", "md5")]


def test_members_are_found_by_their_exact_name_and_nothing_else_is_touched(
    making: Callable[[str], Made], tmp_path: Path
) -> None:
    made = making("emnist-digits")
    with zipfile.ZipFile(made.folder / "gzip.zip") as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    members |= {"../../escaped": b"x", "/etc/escaped": b"x", "gzip/../x": b"x", "gzip/a\\b": b"x"}
    found = zip_of(tmp_path / "gzip.zip", members)
    before = sorted(tmp_path.rglob("*"))
    assert np.array_equal(
        pixels_of(read_originals(made.dataset, found)["train"]), made.images["train"]
    )
    assert sorted(tmp_path.rglob("*")) == before
    renamed = {name.replace("gzip/", "gzip/../gzip/"): content for name, content in members.items()}
    with pytest.raises(DataError, match=r"gzip.zip: no emnist-digits-train-images-.*\.gz in it"):
        read_originals(made.dataset, zip_of(tmp_path / "gzip.zip", renamed))


def test_a_member_that_unpacks_without_end_is_refused_early(
    making: Callable[[str], Made], tmp_path: Path
) -> None:
    made = making("emnist-digits")
    name = "gzip/emnist-digits-train-images-idx3-ubyte.gz"
    bomb = gzip.compress(idx_bytes(np.zeros((1, 1, 1), np.uint8)) + bytes(2**26))
    found = zip_of(tmp_path / "gzip.zip", {name: bomb}, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(DataError, match="its header promises 1 values, but more follow"):
        read_originals(made.dataset, found)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_a_member_that_claims_to_be_huge_is_refused(
    making: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = making("emnist-digits")
    monkeypatch.setattr(originals, "_MAX_MEMBER", 100)
    with pytest.raises(DataError, match="larger than any file of this dataset"):
        read(made)


def test_a_damaged_or_locked_archive_is_told(making: Callable[[str], Made], tmp_path: Path) -> None:
    made = making("emnist-letters")
    content = (made.folder / "gzip.zip").read_bytes()
    place = content.index(b"emnist-letters-train-images-idx3-ubyte.gz") + 60
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    locked = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            locked[at + offset] |= 1  # the flag of encryption
            at = content.find(mark, at + 1)
    packed = zip_of(tmp_path / "lzma.zip", {f"gzip/{IMAGES}": content}, zipfile.ZIP_LZMA)
    lzma = bytearray(packed[0].path.read_bytes())
    lzma[200:300] = b"\xff" * 100
    for bad in (b"", b"PK", content[:-30], content[500:], flipped, bytes(locked), bytes(lzma)):
        (tmp_path / "bad.zip").write_bytes(bad)
        with pytest.raises(DataError, match=r"bad\.zip") as fault:
            read_originals(made.dataset, [Found("gzip.zip", tmp_path / "bad.zip", 0, "", "md5")])
        assert str(fault.value).isprintable()


def test_every_kind_of_dataset_is_looked_at() -> None:
    assert set(KINDS) == set(DATASETS)
