"""MNIST's own format, read and turned into folders."""

import gzip
import importlib.util
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mnistlab.data import idx
from mnistlab.data.bundled import _MEMBER, extract_checked
from mnistlab.data.folders import ImageData, load_folders
from mnistlab.data.idx import IdxSplit, import_idx, read_idx, read_split
from mnistlab.errors import DataError, RunError
from tests.command import Result
from tests.conftest import CHECKOUT

FILES = {
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX file of an array of bytes, after the description of the format."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


class Made:
    """A small dataset in MNIST's format: 40 + 20 images of 5 x 3 pixels, labels 0, 2 and 10."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        random = np.random.default_rng(5)
        self.images: dict[str, np.ndarray] = {}
        self.labels: dict[str, np.ndarray] = {}
        for stem, n in (("train", 40), ("t10k", 20)):
            self.images[stem] = random.integers(0, 256, (n, 5, 3), dtype=np.uint8)
            self.labels[stem] = np.array([[0, 2, 10, 2][i % 4] for i in range(n)], dtype=np.uint8)
            (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(self.images[stem]))
            (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(self.labels[stem]))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "source")


def check(made: Made, root: Path, names: list[str]) -> None:
    """Whether `root` holds exactly the images of `made` with these labels."""
    expected = {"labels.csv"}
    rows = ["name,label"]
    for split, stem in (("train", "train"), ("valid", "t10k")):
        for name in names:
            for i in np.flatnonzero(made.labels[stem] == int(name)):
                file = f"{split}/{name}/{i}.png"
                expected.add(file)
                rows.append(f"{file},{names.index(name)}")
                with Image.open(root / file) as image:
                    assert image.mode == "L"
                    assert np.array_equal(np.asarray(image), made.images[stem][i]), file
    assert {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()} == expected
    assert (root / "labels.csv").read_text().splitlines() == rows


def test_every_image_comes_out_under_its_class_and_index(made: Made, tmp_path: Path) -> None:
    counts = import_idx(made.folder, tmp_path / "out")
    assert counts == {
        "train": {"0": 10, "2": 20, "10": 10},
        "valid": {"0": 5, "2": 10, "10": 5},
    }
    check(made, tmp_path / "out", ["0", "2", "10"])
    loaded = load_folders(tmp_path / "out")
    assert loaded.classes == ("0", "2", "10")
    assert loaded.image_size == (5, 3)


def test_only_the_classes_that_were_asked_for(made: Made, tmp_path: Path) -> None:
    counts = import_idx(made.folder, tmp_path / "out", ["10", "2", "2"])
    assert counts["train"] == {"2": 20, "10": 10}
    check(made, tmp_path / "out", ["2", "10"])


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("zipped", [False, True])
def test_gzipped_or_not_and_with_a_dot_in_the_name(
    made: Made, tmp_path: Path, dot: str, zipped: bool
) -> None:
    for name in FILES:
        path = made.folder / name
        content = path.read_bytes()
        path.unlink()
        new = made.folder / (name.replace("-idx", f"{dot}idx") + (".gz" if zipped else ""))
        new.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    import_idx(made.folder, tmp_path / "out")
    check(made, tmp_path / "out", ["0", "2", "10"])


def test_what_is_gzipped_is_told_by_its_content_not_its_name(made: Made, tmp_path: Path) -> None:
    for name in FILES:
        path = made.folder / name
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    import_idx(made.folder, tmp_path / "out")
    check(made, tmp_path / "out", ["0", "2", "10"])


def test_the_same_bytes_twice(made: Made, tmp_path: Path) -> None:
    for name in ("a", "b"):
        import_idx(made.folder, tmp_path / name)
    files = sorted((tmp_path / "a").rglob("*.*"))
    assert len(files) == 61
    for path in files:
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()


def test_the_command_tells_the_counts(
    made: Made, tmp_path: Path, mnistlab: Callable[..., Result]
) -> None:
    out = tmp_path / "deep" / "out"
    result = mnistlab("data", "import-idx", made.folder, out, "--classes", "0,10", "--json").ok()
    assert result.json["counts"] == {"train": {"0": 10, "10": 10}, "valid": {"0": 5, "10": 5}}
    check(made, out, ["0", "10"])
    again = mnistlab("data", "import-idx", made.folder, out)
    assert again.code == 2
    assert "exists already; name a new folder, or remove it" in again.err


def test_progress_is_told_by_split(made: Made, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    import_idx(made.folder, tmp_path / "out", progress=lambda *step: told.append(step))
    assert ("train", 0, 40) in told
    assert ("valid", 0, 20) in told


# What is refused

VALUES = 40 * 15


def _head(*sizes: int, kind: int = 8, zeros: int = 0, dimensions: int | None = None) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", zeros, kind, dimensions or len(sizes), *sizes)


BROKEN = [
    (b"", "not an IDX file"),
    (b"\0\0\x08", "not an IDX file"),
    (_head(40, 5, 3)[:15], "not an IDX file"),
    (_head(40, 5, 3, zeros=1) + bytes(VALUES), "not an IDX file"),
    (_head(40, 5, 3, zeros=256) + bytes(VALUES), "not an IDX file"),
    (_head(40, 5, 3, kind=9) + bytes(VALUES), "not an IDX file of unsigned bytes in 3"),
    (_head(40, 5, 3, dimensions=1) + bytes(VALUES), "not an IDX file of unsigned bytes in 3"),
    (_head(40, 5, 3) + bytes(VALUES - 1), "its header promises 600 values, but 599 follow"),
    (_head(40, 5, 3), "its header promises 600 values, but 0 follow"),
    (_head(40, 5, 3) + bytes(VALUES + 1), "its header promises 600 values, but more follow"),
    (_head(2**32 - 1, 5, 3) + bytes(9), "claims 64,424,509,425 values, more than any"),
    (_head(2**20, 2**6, 2**6) + bytes(9), "promises 4,294,967,296 values, but 9 follow"),
    (_head(39, 5, 3) + bytes(39 * 15), "40 labels for the 39 images"),
    (_head(40, 0, 3), "holds no pixels"),
    (_head(40, 5, 0), "holds no pixels"),
    (gzip.compress(_head(40, 5, 3) + bytes(VALUES), mtime=0)[:-9], "damaged gzip data"),
    (gzip.compress(_head(40, 5, 3) + bytes(VALUES), mtime=0) + b"more", "damaged gzip data"),
    (gzip.compress(_head(40, 5, 3) + bytes(VALUES), mtime=0)[:-8] + bytes(8), "damaged gzip data"),
    (b"\x1f\x8b", "damaged gzip data"),
    (b"\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff\xff\xff", "damaged gzip data"),
    (gzip.compress(_head(40, 5, 3) + bytes(2**24), mtime=0), "but more follow"),
]


@pytest.mark.parametrize(("content", "why"), BROKEN)
def test_a_broken_file_is_named_and_nothing_is_made(
    made: Made, tmp_path: Path, content: bytes, why: str
) -> None:
    path = made.folder / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError) as fault:
        import_idx(made.folder, tmp_path / "out")
    assert why in str(fault.value)
    assert "train-" in str(fault.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def test_no_images_at_all_are_refused(made: Made, tmp_path: Path) -> None:
    (made.folder / "t10k-images-idx3-ubyte").write_bytes(_head(0, 5, 3))
    (made.folder / "t10k-labels-idx1-ubyte").write_bytes(_head(0))
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte: holds no pixels"):
        import_idx(made.folder, tmp_path / "out")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(made: Made, tmp_path: Path, name: str) -> None:
    (made.folder / name).unlink()
    with pytest.raises(DataError, match=f"no {name} or {name}.gz in it"):
        import_idx(made.folder, tmp_path / "out")


def test_a_missing_or_wrong_source_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name, why in (
        ("none", "no such folder"),
        ("file", "not a folder"),
        ("x" * 300, "too long"),
    ):
        with pytest.raises(DataError, match=why):
            import_idx(tmp_path / name, tmp_path / "out")


def test_a_file_that_cannot_be_read_is_told(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opening(self: Path, mode: str) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", opening)
    with pytest.raises(DataError, match="train-images-idx3-ubyte: cannot be read: Permission"):
        import_idx(made.folder, tmp_path / "out")


@pytest.mark.parametrize("kind", ["folder", "file", "dangling", "loop"])
def test_an_existing_target_is_never_touched(made: Made, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "folder":
        target.mkdir()
        (target / "mine").write_text("precious")
    elif kind == "file":
        target.write_text("precious")
    else:
        target.symlink_to("nowhere" if kind == "dangling" else "out")
    before = target.lstat()
    with pytest.raises(DataError, match="exists already; name a new folder, or remove it"):
        import_idx(made.folder, target)
    assert target.lstat() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_unknown_classes_are_told_together(made: Made, tmp_path: Path) -> None:
    with pytest.raises(DataError) as fault:
        import_idx(made.folder, tmp_path / "out", ["2", "7", "02", "\x1b", "9" * 5000])
    assert len(fault.value.faults) == 4
    assert any("no images of class 7; known: 0, 2, 10" in line for line in fault.value.faults)
    assert all(line.isprintable() for line in fault.value.faults)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("classes", ["", ",", " , "])
def test_naming_no_class_is_told(
    made: Made, tmp_path: Path, classes: str, mnistlab: Callable[..., Result]
) -> None:
    result = mnistlab("data", "import-idx", made.folder, tmp_path / "out", "--classes", classes)
    assert result.code == 2
    assert "names no class" in result.err


def test_an_interrupted_import_leaves_nothing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(split: str, done: int, total: int) -> None:
        if split == "valid":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_idx(made.folder, tmp_path / "out", progress=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def test_a_full_disk_is_told_and_leaves_nothing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="out: cannot be written: No space left on device"):
        import_idx(made.folder, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def test_a_target_below_a_file_is_told(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be written"):
        import_idx(made.folder, tmp_path / "file" / "out")


def test_a_target_with_the_longest_name_is_made(made: Made, tmp_path: Path) -> None:
    import_idx(made.folder, tmp_path / ("x" * 255))
    check(made, tmp_path / ("x" * 255), ["0", "2", "10"])
    with pytest.raises(RunError, match="cannot be written: File name too long"):
        import_idx(made.folder, tmp_path / ("x" * 256))


@settings(max_examples=150, deadline=None)
@given(
    start=st.sampled_from([b"", b"\0\0\x08\x03", b"\0\0\x08\x01", b"\x1f\x8b\x08\0", b"\x1f\x8b"]),
    rest=st.binary(max_size=60),
    dimensions=st.sampled_from([1, 3]),
)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes, dimensions: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-idx"
    path.write_bytes(start + rest)
    try:
        sizes, values = read_idx(path, dimensions)
    except DataError:
        return
    assert len(sizes) == dimensions
    assert len(values) == np.prod(sizes, dtype=object)


@settings(max_examples=60, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_mangled_gzip_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]
) -> None:
    content = bytearray(gzip.compress(idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))))
    for place, value in edits:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "mangled-idx"
    path.write_bytes(content)
    try:
        sizes, values = read_idx(path, 3)
    except DataError:
        return
    assert (sizes, bytes(values)) == ((2, 3, 4), bytes(range(24)))  # gzip's checksum saw the rest


# MNIST itself


def _pack() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pack", CHECKOUT / "data" / "pack.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bundled_images_are_mnists_threes_and_sevens(mnist: Path, sample: ImageData) -> None:
    for split, loaded in (("train", sample.train), ("valid", sample.valid)):
        stem = {"train": "train", "valid": "t10k"}[split]
        arrays = []
        for name in (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"):
            path = mnist / name
            raw = (
                path.read_bytes()
                if path.exists()
                else gzip.decompress((mnist / f"{name}.gz").read_bytes())
            )
            arrays.append(np.frombuffer(raw, dtype=np.uint8))
        pixels, labels = arrays[0][16:].reshape(-1, 28, 28), arrays[1][8:]
        expected = [
            f"{label}/{name}"
            for label in (3, 7)
            for name in sorted(f"{i}.png" for i in np.flatnonzero(labels == label))
        ]
        assert loaded.files == expected
        order = [int(file[2:-4]) for file in expected]
        assert np.array_equal(loaded.ds.tensors[0].numpy(), pixels[order])


def test_packing_a_tree_is_reproducible_and_unpacks_to_it(made: Made, tmp_path: Path) -> None:
    pack = _pack()
    for label in made.labels.values():
        label[label == 0] = 3
        label[label == 10] = 7
    for stem, label in made.labels.items():
        (made.folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(label))
    import_idx(made.folder, tmp_path / "out", ["3", "7"])
    one = pack.pack(tmp_path / "out", tmp_path / "one.tgz")
    for path in (tmp_path / "out").rglob("*.png"):
        os.utime(path, (5, 5))
        path.chmod(0o600)
    assert pack.pack(tmp_path / "out", tmp_path / "two.tgz") == one
    content = (tmp_path / "one.tgz").read_bytes()
    assert content == (tmp_path / "two.tgz").read_bytes()
    assert (tmp_path / "one.tgz.sha256").read_text() == f"{one}  one.tgz\n"
    extract_checked(content, tmp_path / "back", _MEMBER)
    check(made, tmp_path / "back" / "mnist_sample", ["3", "7"])


def test_importing_and_packing_mnist_gives_the_bundled_images(
    mnist: Path, tmp_path: Path, sample: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    # with the first 3000 images of each split, since all of them take a while
    def beginning(source: Path, split: str) -> IdxSplit:
        whole = read_split(source, split)
        size = whole.height * whole.width
        return replace(whole, pixels=whole.pixels[: 3000 * size], labels=whole.labels[:3000])

    monkeypatch.setattr(idx, "read_split", beginning)
    import_idx(mnist, tmp_path / "tree", ["3", "7"])
    _pack().pack(tmp_path / "tree", tmp_path / "x.tgz")
    extract_checked((tmp_path / "x.tgz").read_bytes(), tmp_path / "back", _MEMBER)
    made = load_folders(tmp_path / "back" / "mnist_sample")
    for ours, bundled in ((made.train, sample.train), (made.valid, sample.valid)):
        places = [i for i, file in enumerate(bundled.files) if int(file[2:-4]) < 3000]
        assert len(places) > 500
        assert ours.files == [bundled.files[i] for i in places]
        assert torch.equal(ours.ds.tensors[0], bundled.ds.tensors[0][places])
