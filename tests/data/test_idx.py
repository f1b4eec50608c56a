"""Published files, read: every format against torchvision's own reading; and folders of PNG."""

import bz2
import gzip
import os
import re
import runpy
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnistlab.data.datasets import DATASETS
from mnistlab.data.folders import load_folders
from mnistlab.data.published import read_dataset
from mnistlab.data.store import ImageData
from mnistlab.data.trees import import_idx
from mnistlab.devices import torchvision
from mnistlab.errors import DataError, RunError
from tests import needs
from tests.conftest import CHECKOUT
from tests.originals import Made, idx_bytes, publish, usps_bytes

Making = Callable[[str], Made]


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Making:
    return lambda name: publish(monkeypatch, name, tmp_path / "from")


def paths_of(made: Made) -> dict[str, Path]:
    return {name: made.folder / name for name in made.dataset.published}


def unpack_for_torchvision(made: Made, root: Path) -> None:
    """Lay the files as torchvision's class unpacks them."""
    raw = root if made.dataset.source == "USPS" else root / made.dataset.source / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if made.dataset.archive:
        shutil.unpack_archive(made.folder / made.dataset.archive, made.folder)
    for path in made.folder.rglob("*"):
        if path.suffix == ".gz":
            (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        elif path.suffix == ".bz2":
            shutil.copy(path, raw / path.name)


@pytest.mark.parametrize("name", DATASETS)
def test_it_reads_what_torchvision_reads(making: Making, name: str, tmp_path: Path) -> None:
    made = making(name)
    unpack_for_torchvision(made, tmp_path / "root")
    source = getattr(torchvision().datasets, made.dataset.source)
    for split in ("train", "valid"):
        images, labels = read_dataset(made.dataset, split, paths_of(made))
        options: dict[str, Any] = {"train": split == "train"}
        if made.dataset.source == "EMNIST":
            options["split"] = name.removeprefix("emnist-")
        theirs = source(tmp_path / "root", **options)
        pixels = np.asarray(theirs.data)
        if made.dataset.source == "EMNIST":
            pixels = pixels.transpose(0, 2, 1)  # it leaves them lying on their side
        offset = 1 if name == "usps" else 0  # whose labels it counts from 0
        assert images.dtype == np.uint8
        assert np.array_equal(images, pixels)
        assert np.array_equal(images, made.images[split])
        assert (labels - offset).tolist() == [int(theirs[i][1]) for i in range(len(theirs))]
        assert labels.tolist() == [made.dataset.labels[name] for name in made.names[split]]


# what does not fit


def refusal(made: Made, file: str, content: bytes) -> str:
    """The message for `content` in the place of a published file."""
    (made.folder / file).write_bytes(content)
    with pytest.raises(DataError) as fault:
        read_dataset(made.dataset, "train", paths_of(made))
    assert str(fault.value).isprintable()
    assert len(str(fault.value)) < 500
    return str(fault.value)


TRAIN = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"
DIGITS = np.arange(30, dtype=np.uint8) % 10
ZEROS = np.zeros((30, 28, 28), np.uint8)
BYTES = "and mnist has 30 x 28 x 28 bytes"
NOT_THOSE = "the labels of train are not those of mnist: 30 in all, from 0 to 9"


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        (TRAIN, idx_bytes(ZEROS[:, :, 1:]), f"are 30 x 28 x 27 values of uint8, {BYTES}"),
        (TRAIN, idx_bytes(ZEROS[1:]), f"are 29 x 28 x 28 values of uint8, {BYTES}"),
        (TRAIN, idx_bytes(DIGITS), f"are 30 values of uint8, {BYTES}"),
        (TRAIN, idx_bytes(np.concatenate([ZEROS, ZEROS])), "claims 47,040 values; at most 23,520"),
        (TRAIN, gzip.compress(idx_bytes(ZEROS))[:-9], "cannot be read: damaged"),
        (LABELS, idx_bytes(DIGITS + 1), NOT_THOSE),
        (LABELS, idx_bytes(DIGITS % 8), NOT_THOSE),
        (LABELS, idx_bytes(DIGITS[1:]), NOT_THOSE),
        (LABELS, idx_bytes(ZEROS[:, 0, :0]), NOT_THOSE),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_named(
    making: Making, file: str, content: bytes, why: str
) -> None:
    told = refusal(making("mnist"), file, content)
    assert file in told
    assert why in told


GOOD = usps_bytes(np.zeros((1, 16, 16), np.uint8), [1]).rstrip()
CUT = GOOD.rpartition(b":")[0]
NO_LINE = "not at most 30 lines, each a label and values from -1 to 1"
DAMAGED = "usps.bz2: cannot be read: damaged: "


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bz2.compress(GOOD)[:-5], "usps.bz2: cannot be read: "),
        (b"BZh9 nothing", "usps.bz2: cannot be read: "),
        (b"\n", "the images of train are 0 x 16 x 16 values"),
        (b"1 2:4\n", DAMAGED),
        (b"x 1:1\n", DAMAGED),
        (b"1 1:one\n", DAMAGED),
        (GOOD + b" 257:0\n", DAMAGED),
        (GOOD + b"\n" + CUT + b":1.5\n", NO_LINE),
        (CUT + b":nan\n", NO_LINE),
        (CUT + b":1e999\n", NO_LINE),
        (b"1 " + b"1:0 " * 9999 + b"\n", DAMAGED),
        ((GOOD + b"\n") * 31, NO_LINE),
        ((GOOD + b"\n") * 30, "the labels of train are not those of usps"),
        (b"", "the images of train are 0 x 16 x 16 values"),
        (GOOD.replace(b"1", b"9" * 999, 1) + b"\n", "the images of train are 1 x 16 x 16"),
    ],
)
def test_odd_text_is_refused(making: Making, content: bytes, why: str) -> None:
    assert why in refusal(making("usps"), "usps.bz2", content)


# archives

IMAGES = "gzip/emnist-letters-train-images-idx3-ubyte.gz"


def test_a_damaged_or_locked_archive_is_told(making: Making) -> None:
    made = making("emnist-letters")
    content = (made.folder / "gzip.zip").read_bytes()
    place = content.index(IMAGES.encode()) + 80
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    locked = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(mark, content):
            locked[match.start() + offset] |= 1  # the flag of encryption
    for bad in (b"", b"PK", content[:-30], content[500:], flipped, bytes(locked)):
        assert "gzip.zip" in refusal(made, "gzip.zip", bad)


# folders of PNG

FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
FILES += ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


class Source:
    """A small dataset in MNIST's format: 40 + 20 images of 5 x 3 pixels, labels 0, 2 and 10."""

    def __init__(self, folder: Path, names: tuple[int, int, int] = (0, 2, 10)) -> None:
        self.folder = folder
        folder.mkdir()
        random = np.random.default_rng(5)
        self.images: dict[str, np.ndarray] = {}
        self.labels: dict[str, np.ndarray] = {}
        a, b, c = names
        for split, stem, n in (("train", "train", 40), ("valid", "t10k", 20)):
            self.images[split] = random.integers(0, 256, (n, 5, 3), dtype=np.uint8)
            self.labels[split] = np.array([[a, b, c, b][i % 4] for i in range(n)], dtype=np.uint8)
            for content, name in ((self.images, "images-idx3"), (self.labels, "labels-idx1")):
                (folder / f"{stem}-{name}-ubyte").write_bytes(idx_bytes(content[split]))

    def check(self, root: Path, names: list[str]) -> None:
        """Whether `root` holds exactly the images with these labels."""
        expected = {"labels.csv"}
        rows = ["name,label"]
        for split in ("train", "valid"):
            for name in names:
                for i in np.flatnonzero(self.labels[split] == int(name)):
                    file = f"{split}/{name}/{i}.png"
                    expected.add(file)
                    rows.append(f"{file},{names.index(name)}")
                    with Image.open(root / file) as image:
                        assert image.mode == "L"
                        assert np.array_equal(np.asarray(image), self.images[split][i]), file
        assert {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()} == expected
        assert (root / "labels.csv").read_text().splitlines() == rows


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "source")


def test_every_image_comes_out_under_its_class_and_index(source: Source, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    counts = import_idx(source.folder, tmp_path / "out", None, lambda *step: steps.append(step))
    assert counts == {"train": {"0": 10, "2": 20, "10": 10}, "valid": {"0": 5, "2": 10, "10": 5}}
    source.check(tmp_path / "out", ["0", "2", "10"])
    loaded = load_folders(tmp_path / "out")
    assert loaded.classes == ("0", "2", "10")
    assert loaded.image_size == (5, 3)
    assert steps == [("train", 0, 40), ("valid", 0, 20)]
    import_idx(source.folder, tmp_path / "again")
    for path in (tmp_path / "out").rglob("*.*"):
        other = tmp_path / "again" / path.relative_to(tmp_path / "out")
        assert path.read_bytes() == other.read_bytes()


def test_only_the_classes_that_were_asked_for(source: Source, tmp_path: Path) -> None:
    counts = import_idx(source.folder, tmp_path / "out", ["10", "2", "2"])
    assert counts["train"] == {"2": 20, "10": 10}
    source.check(tmp_path / "out", ["2", "10"])
    with pytest.raises(DataError) as fault:
        import_idx(source.folder, tmp_path / "o", ["2", "7", "02", "\x1b", "9" * 5000])
    assert len(fault.value.faults) == 4
    assert any("no images of class 7; known: 0, 2, 10" in line for line in fault.value.faults)
    assert all(line.isprintable() for line in fault.value.faults)


@pytest.mark.parametrize("packed", [False, True])
def test_files_with_a_dot_or_gzipped_under_a_plain_name_are_read(
    source: Source, tmp_path: Path, packed: bool
) -> None:
    for name in FILES:
        path = source.folder / name
        content = path.read_bytes()
        path.unlink()
        content = gzip.compress(content, mtime=0) if packed else content
        (source.folder / name.replace("-idx", ".idx")).write_bytes(content)
    import_idx(source.folder, tmp_path / "out")
    source.check(tmp_path / "out", ["0", "2", "10"])


VALUES = 40 * 15


def _head(*sizes: int, code: int = 8, zeros: int = 0, dimensions: int | None = None) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", zeros, code, dimensions or len(sizes), *sizes)


WHOLE = _head(40, 5, 3) + bytes(VALUES)
ZIPPED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (_head(40, 5, 3)[:15], "cannot be read: damaged"),
        (_head(40, 5, 3, zeros=256) + bytes(VALUES), "not an IDX file"),
        (_head(40, 5, 3, code=9) + bytes(VALUES), "not an IDX file"),
        (
            _head(40, 5, 3, code=12) + bytes(4 * VALUES),
            "no images with labels, but 40 x 5 x 3 values of int32",
        ),
        (_head(40, 5, 3, dimensions=4) + bytes(VALUES), "not an IDX file"),
        (_head(600) + bytes(VALUES), "holds no images with labels, but 600 values of uint8"),
        (WHOLE[:-1], "its header promises 600 values, but 599 bytes follow"),
        (WHOLE + b"\0", "its header promises 600 values, but more follow"),
        (_head(2**32 - 1, 5, 3) + bytes(9), "claims 64,424,509,425 values; at most"),
        (_head(2**20, 2**6, 2**6) + bytes(9), "4,294,967,296 values, but 9 bytes follow"),
        (_head(39, 5, 3) + bytes(39 * 15), "39 x 5 x 3 values of uint8 with 40 values of uint8"),
        (_head(40, 0, 3), "holds no images with labels, but 40 x 0 x 3 values"),
        (ZIPPED[:-9], "cannot be read: damaged"),
        (ZIPPED + b"more", "cannot be read: damaged"),
        (gzip.compress(_head(40, 5, 3) + bytes(2**24), mtime=0), "but more follow"),
    ],
)
def test_a_broken_file_is_named_and_nothing_is_made(
    source: Source, tmp_path: Path, content: bytes, why: str
) -> None:
    (source.folder / FILES[0]).write_bytes(content)
    with pytest.raises(DataError) as fault:
        import_idx(source.folder, tmp_path / "out")
    assert why in str(fault.value)
    assert f"{source.folder}/train-" in str(fault.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def test_missing_files_are_named_together(source: Source, tmp_path: Path) -> None:
    for name in FILES[1:3]:
        (source.folder / name).unlink()
    with pytest.raises(DataError) as fault:
        import_idx(source.folder, tmp_path / "out")
    assert [line.split()[2] for line in fault.value.faults] == [f"{name}.gz" for name in FILES[1:3]]
    too_long = "no such folder" if needs.WINDOWS else "too long"
    for name, why in (("none", "no such folder"), ("x" * 300, too_long)):
        with pytest.raises(DataError, match=why):
            import_idx(tmp_path / name, tmp_path / "out")


def test_an_existing_target_is_never_touched(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    if needs.SYMLINKS:
        (tmp_path / "link").symlink_to("nowhere")
    there = sorted(path.name for path in tmp_path.iterdir())
    for name in there:
        before = (tmp_path / name).lstat().st_mtime_ns
        with pytest.raises(DataError, match="exists already; name a new folder, or remove it"):
            import_idx(source.folder, tmp_path / name)
        assert (tmp_path / name).lstat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_an_import_that_is_interrupted_or_finds_no_space_leaves_nothing(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(split: str, done: int, total: int) -> None:
        if split == "valid":
            raise KeyboardInterrupt

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with pytest.raises(KeyboardInterrupt):
        import_idx(source.folder, tmp_path / "out", progress=stop)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="out: cannot be written: No space left on device"):
        import_idx(source.folder, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


# MNIST itself


def test_the_bundled_images_are_mnists_threes_and_sevens(mnist: Path, sample: ImageData) -> None:
    for stem, loaded in (("train", sample.train), ("t10k", sample.valid)):
        paths = [mnist / f"{stem}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
        images, labels = (
            np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8) for path in paths
        )
        pixels, labels = images[16:].reshape(-1, 28, 28), labels[8:]
        expected = [
            f"{label}/{name}"
            for label in (3, 7)
            for name in sorted(f"{i}.png" for i in np.flatnonzero(labels == label))
        ]
        assert loaded.files == expected
        order = [int(file[2:-4]) for file in expected]
        assert np.array_equal(loaded.ds.tensors[0].numpy(), pixels[order])


def test_packing_a_tree_is_reproducible_and_unpacks_to_it(tmp_path: Path) -> None:
    pack = runpy.run_path(str(CHECKOUT / "data" / "pack.py"))["pack"]
    source = Source(tmp_path / "source", (3, 3, 7))
    import_idx(source.folder, tmp_path / "out")
    one = pack(tmp_path / "out", tmp_path / "one.tgz")
    for path in (tmp_path / "out").rglob("*.png"):
        os.utime(path, (5, 5))
        path.chmod(0o600)
    assert pack(tmp_path / "out", tmp_path / "two.tgz") == one
    content = (tmp_path / "one.tgz").read_bytes()
    assert content == (tmp_path / "two.tgz").read_bytes()
    assert (tmp_path / "one.tgz.sha256").read_text() == f"{one}  one.tgz\n"
    with tarfile.open(tmp_path / "one.tgz") as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(tmp_path / "back")
    source.check(tmp_path / "back" / "mnist_sample", ["3", "7"])
