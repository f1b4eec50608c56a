"""The store: what was written comes back mapped, checked, and out of every caller's reach."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mnistlab.data import store
from mnistlab.data.batches import batches
from mnistlab.data.store import (
    Split,
    finish_store,
    new_store,
    open_store,
    read_description,
)
from mnistlab.errors import DamagedFileError
from tests import needs

IMAGES = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
NAMES = ["dark/1.png", "dark/2.png", "light/1.png", "light/2.png", "light/3.png"]
COUNTS = {"dark": 2, "light": 3}
BY_HAND = hashlib.sha256(b"([('dark', 2), ('light', 3)], (5, 3, 4))" + bytes(range(60))).hexdigest()


def write(path: Path | None, images: np.ndarray = IMAGES, *, keep: bool = True) -> Split:
    names = NAMES if len(images) == len(NAMES) else [f"a/{i}" for i in range(len(images))]
    counts = COUNTS if len(images) == len(NAMES) else {"a": len(images)}
    with new_store(path) as file:
        for image in images:
            file.write(image.tobytes())
        size = (images.shape[1], images.shape[2])
        return finish_store(
            file, path if keep else None, size, counts, names, signature="of files",
            about="a test", skipped={"train/dark/0.png": "empty"},
        )  # fmt: skip


@pytest.mark.parametrize("place", ["a file", "a file that is not kept", "memory"])
def test_a_split_is_what_was_written_wherever_it_is(tmp_path: Path, place: str) -> None:
    path = None if place == "memory" else tmp_path / "new" / "a.store"
    splits = [write(path, keep=place == "a file")]
    if place == "a file":
        splits.append(open_store(tmp_path / "new" / "a.store"))
    else:
        assert not path or not list(path.parent.iterdir())
    for split in splits:
        images, labels = split.ds.tensors
        assert images.dtype == torch.uint8
        assert np.array_equal(images.numpy(), IMAGES)
        assert labels.tolist() == [0, 0, 1, 1, 1]
        assert labels.dtype == torch.int64
        assert (split.classes, split.counts) == (("dark", "light"), COUNTS)
        assert (split.image_size, split.files) == ((3, 4), NAMES)
        assert split.fingerprint == BY_HAND
        assert split.skipped == {"train/dark/0.png": "empty"}
        assert split.signature == "of files"


def test_the_file_begins_with_the_plain_pixels_and_describes_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.store"
    write(path)
    assert path.read_bytes()[: IMAGES.size] == IMAGES.tobytes()
    with path.open("rb") as file:
        described = read_description(file)
    assert (described["shape"], described["about"]) == ([5, 3, 4], "a test")


@needs.deleting
def test_a_split_and_its_file_do_not_change_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.store"
    first = write(path)
    content = path.read_bytes()
    open_store(path).ds.tensors[0].fill_(9)
    assert path.read_bytes() == content
    write(path, IMAGES[::-1])  # replaced
    assert np.array_equal(first.ds.tensors[0].numpy(), IMAGES)
    path.unlink()
    assert np.array_equal(first.ds.tensors[0].numpy(), IMAGES)
    first.ds.tensors[0].fill_(9)


def test_a_split_without_images_is_stored_too(tmp_path: Path) -> None:
    write(tmp_path / "a.store", np.empty((0, 3, 4), np.uint8))
    assert open_store(tmp_path / "a.store").ds.tensors[0].shape == (0, 3, 4)


def test_every_damaged_byte_and_every_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.store"
    write(path)
    content = path.read_bytes()
    changed = [bytearray(content) for _ in content]
    for position, copy in enumerate(changed):
        copy[position] ^= 1
    cut = [content[:length] for length in range(0, len(content), 7)]
    for wrong in [*map(bytes, changed), *cut, content + b"\0"]:
        path.write_bytes(wrong)
        with pytest.raises(DamagedFileError, match=r"a\.store"):
            open_store(path)
    with pytest.raises(FileNotFoundError):
        open_store(tmp_path / "none")


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_store(tmp_path / "a.store") as file:
            file.write(b"1234")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store beyond the limit: 64 images of 12 bytes in blocks of 100, one of them damaged."""
    monkeypatch.setattr(store, "BLOCK", 100)
    monkeypatch.setattr(store, "CHECKED_AT_ONCE", 500)
    path = tmp_path / "large.store"
    write(path, np.arange(64 * 12, dtype=np.uint8).reshape(64, 3, 4))
    with path.open("r+b") as file:
        file.seek(450)  # of image 37, in block 4: images 33 to 41
        file.write(b"\xff")
    return path


READS = {
    "a slice": lambda images: images[30:35],
    "one image": lambda images: images[37],
    "chosen images": lambda images: images.index_select(0, torch.tensor([0, 41])),
    "chosen by a list": lambda images: images[[0, 41]],
    "all in pieces": lambda images: images.split(8),
    "all as floats": lambda images: images.float(),
    "all as an array": lambda images: images.numpy(),
    "all joined to others": lambda images: torch.cat([torch.zeros_like(images[:1]), images]),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_large_store_checks_each_block_when_it_is_first_read(large: Path, read) -> None:  # type: ignore[no-untyped-def]
    split = open_store(large)  # nothing is read yet
    images = split.ds.tensors[0]
    assert images.shape == (64, 3, 4)
    assert len(split.ds) == 64
    assert images[:32].sum()
    assert split.ds[20][0].sum()
    assert images.index_select(0, torch.arange(9)).sum()
    with pytest.raises(DamagedFileError, match="bytes from 400 on are not what was written"):
        read(images)


def test_a_large_store_gives_ordinary_tensors_and_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 3, 4), np.uint8)
    write(tmp_path / "a.store", pixels)
    small = open_store(tmp_path / "a.store").ds
    monkeypatch.setattr(store, "CHECKED_AT_ONCE", 500)
    large = open_store(tmp_path / "a.store").ds
    order = torch.randperm(64)
    for one, other in zip(batches(small, 10, order), batches(large, 10, order), strict=True):
        assert type(other[0]) is torch.Tensor
        assert torch.equal(one[0], other[0])


def test_the_same_pixels_in_another_shape_or_class_have_another_fingerprint() -> None:
    def fingerprint(size: tuple[int, int], counts: dict[str, int]) -> str:
        with new_store(None) as file:
            file.write(bytes(range(12)))
            names = ["a/0.png"] * sum(counts.values())
            made = finish_store(file, None, size, counts, names, signature="", about="")
        return made.fingerprint

    prints = {
        fingerprint((2, 3), {"a": 1, "b": 1}),
        fingerprint((3, 2), {"a": 1, "b": 1}),
        fingerprint((2, 3), {"a": 2, "b": 0}),
        fingerprint((2, 3), {"a": 1, "c": 1}),
        fingerprint((4, 3), {"a": 1, "b": 0}),
    }
    assert len(prints) == 5


@needs.linux
def test_a_store_larger_than_memory_is_mapped_and_read_where_it_is_needed(tmp_path: Path) -> None:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 2 // 2**20 * 2**20
    n = size // 2**20  # images of 1024 x 1024, one a block
    black = hashlib.sha256(bytes(2**20)).hexdigest()
    description = {
        "shape": [n, 1024, 1024], "counts": {"a": n}, "names": ["a/1.png"] * n, "skipped": {},
        "fingerprint": "", "blocks": [black] * (n - 1) + ["wrong"], "signature": "s", "about": "",
    }  # fmt: skip
    text = json.dumps(description).encode()
    with (tmp_path / "a.store").open("wb") as file:
        file.truncate(size)  # a file with a hole in it, which takes no space
        file.seek(size)
        digest = hashlib.sha256(text).digest()
        file.write(text + store._TAIL.pack(digest, len(text), store._OLD_MARK))
    images = open_store(tmp_path / "a.store").ds.tensors[0]
    assert images[n // 2].sum() == 0
    assert images.index_select(0, torch.tensor([7, n - 2])).shape == (2, 1024, 1024)
    with pytest.raises(DamagedFileError):
        images[-1]
