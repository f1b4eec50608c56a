"""A named dataset as it is kept: the very dataset that folders of its images give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mnistlab.data import store
from mnistlab.data.datasets import DATASETS
from mnistlab.data.folders import load_folders
from mnistlab.data.idx import write_folders
from mnistlab.data.named import find_data, load_data, load_split
from mnistlab.data.originals import read_originals
from mnistlab.data.published import find_originals
from mnistlab.data.store import load_dataset, store_dataset
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.storage import read_tensors, write_tensors
from tests.originals import Made, publish

Making = Callable[..., Made]


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path) -> Making:
    def make(name: str, n: int = 3) -> Made:
        return publish(monkeypatch, name, tmp_path / f"{name} originals", n)

    return make


def keep(made: Made) -> dict[str, dict[str, int]]:
    found = find_originals(made.dataset, made.folder)
    return store_dataset(made.dataset, read_originals(made.dataset, found), found)


@pytest.mark.parametrize("name", ["fashion-mnist", "emnist-letters", "qmnist", "usps"])
def test_it_is_what_folders_of_the_same_images_give(
    making: Making, name: str, tmp_path: Path
) -> None:
    made = making(name, 5 if name == "qmnist" else 3)  # 50 images: 10.png comes before 2.png
    counts = keep(made)
    splits = read_originals(made.dataset, find_originals(made.dataset, made.folder))
    labels = {label: made.dataset.labels[label] for label in made.dataset.classes}
    assert write_folders(splits, labels, tmp_path / "tree") == counts
    kept, folders = load_data(name), load_folders(tmp_path / "tree")
    assert kept.fingerprint == folders.fingerprint
    assert kept.classes == folders.classes == made.dataset.classes
    assert kept.image_size == folders.image_size == (made.dataset.side,) * 2
    for ours, theirs in ((kept.train, folders.train), (kept.valid, folders.valid)):
        assert ours.files == theirs.files
        assert ours.counts == theirs.counts
        assert (ours.skipped, ours.hidden) == ({}, 0)
        for one, other in zip(ours.ds.tensors, theirs.ds.tensors, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
    assert counts == {"train": kept.train.counts, "valid": kept.valid.counts}


def test_every_image_stands_under_its_name(making: Making) -> None:
    made = making("kmnist", 4)
    keep(made)
    data = load_dataset(made.dataset)
    for split, name in ((data.train, "train"), (data.valid, "valid")):
        expected = made.expected(name)
        assert split.files == [file for file, _ in expected]
        for image, label, (file, pixels) in zip(*split.ds.tensors, expected, strict=True):
            assert image.tolist() == pixels.tolist()
            assert data.classes[int(label)] == file.split("/")[0]
    assert data.describe()["path"] == str(made.dataset.path)


def test_the_name_loads_it_whole_or_one_split(making: Making) -> None:
    made = making("usps")
    keep(made)
    assert find_data("usps") == made.dataset.path
    assert load_split("usps", "valid").files == load_data("usps").valid.files
    assert load_split("usps", "train").fingerprint == load_data("usps").train.fingerprint


def test_where_it_came_from_is_recorded_and_the_same_source_gives_the_same_bytes(
    making: Making,
) -> None:
    made = making("usps")
    keep(made)
    content = made.dataset.path.read_bytes()
    meta = read_tensors(made.dataset.path)[1]
    found = find_originals(made.dataset, made.folder)
    assert meta["files"] == [one.as_dict() for one in found]
    keep(made)
    assert made.dataset.path.read_bytes() == content
    assert [path.name for path in made.dataset.path.parent.iterdir()] == ["usps.safetensors"]


# not here, or not whole


def test_what_is_not_here_is_told_with_what_to_do(own_cache: Path) -> None:
    for load in (load_data, find_data, lambda name: load_split(name, "valid")):
        with pytest.raises(DataError) as fault:
            load("emnist-letters")
        told = str(fault.value).splitlines()
        assert told[0] == (
            "--data emnist-letters: not here yet; get it (562 MB, once) with: mnistlab data "
            "download emnist-letters"
        )
        assert told[-1] == "  gzip.zip"
        assert "bring this file (see https://www.nist.gov/" in told[1]
        assert told[2] == "then: mnistlab data download emnist-letters --from DIR"


def test_a_folder_of_that_name_is_pointed_out(own_cache: Path) -> None:
    Path("mnist").mkdir()
    with pytest.raises(DataError, match=r"the folder of that name is --data \./mnist"):
        load_data("mnist")


def test_every_flipped_byte_is_noticed(making: Making) -> None:
    made = making("usps")
    keep(made)
    path = made.dataset.path
    content = path.read_bytes()
    for place in (3, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DamagedFileError, match="mnistlab data download usps --force"):
            load_data("usps")
    path.write_bytes(content)
    assert load_data("usps").classes == made.dataset.classes


def moved(counts: dict[str, int], n: int, to: str | None = None) -> None:
    counts["0"] -= n
    if to:
        counts[to] += n


ALTERED: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], object]] = {
    "another dataset": lambda meta, _: meta.update(name="mnist"),
    "another arrangement": lambda meta, _: meta.update(kind="dataset 99"),
    "no counts": lambda meta, _: meta["valid"].pop("counts"),
    "counts of nothing": lambda meta, _: meta["valid"].update(counts=[1]),
    "counts of words": lambda meta, _: meta["valid"]["counts"].update({"0": "many"}),
    "another class": lambda meta, _: meta["valid"]["counts"].update(x=0),
    "a count too low": lambda meta, _: moved(meta["train"]["counts"], 1),
    "a count below zero": lambda meta, _: moved(meta["train"]["counts"], 9, "1"),
    "a tensor less": lambda _, tensors: tensors.pop("valid_index"),
    "an index less": lambda _, tensors: tensors.update(train_index=tensors["train_index"][1:]),
    "no bytes": lambda _, tensors: tensors.update(train_images=tensors["train_images"].float()),
    "flat": lambda _, tensors: tensors.update(train_images=tensors["train_images"].flatten(1)),
}


@pytest.mark.parametrize("how", ALTERED)
def test_a_sealed_file_of_something_else_is_refused(making: Making, how: str) -> None:
    made = making("usps")
    keep(made)
    tensors, meta = read_tensors(made.dataset.path)
    ALTERED[how](meta, tensors)
    write_tensors(made.dataset.path, tensors, meta)
    with pytest.raises(DamagedFileError, match="make it again with: mnistlab data download usps"):
        load_data("usps")


def test_a_disk_that_cannot_be_written_is_told_and_the_old_file_stays(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = making("usps")
    keep(made)
    before = made.dataset.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_tensors", full)
    with pytest.raises(
        RunError, match="No space left on device; set MNISTLAB_CACHE to another folder"
    ):
        keep(made)
    assert made.dataset.path.read_bytes() == before


def test_all_names_are_kept_apart(making: Making) -> None:
    for name in ("mnist", "fashion-mnist"):
        keep(making(name))
    assert load_data("mnist").classes[0] == "0"
    assert load_data("fashion-mnist").classes[0] == "ankle-boot"
    assert len({DATASETS[name].path for name in DATASETS}) == 7
