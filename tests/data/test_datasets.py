"""The table of named datasets: what it says agrees with torchvision, and reads well."""

import hashlib
import os
import re
import struct
from pathlib import Path

import pytest

from mnistlab.data.datasets import DATASETS, find_dataset
from mnistlab.data.download import _published, find_originals
from mnistlab.devices import torchvision
from mnistlab.errors import DataError
from mnistlab.names import is_clean
from tests.conftest import CHECKOUT


@pytest.fixture(params=DATASETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_torchvision_publishes_the_files_of_the_table(name: str) -> None:
    dataset = DATASETS[name]
    published = _published(dataset)
    assert tuple(published) == dataset.published
    for file, (md5, urls) in published.items():
        assert re.fullmatch("[0-9a-f]{32}", md5)
        assert urls
        assert all(re.fullmatch(rf"https?://.*/{file}", url) for url in urls)
    assert len(dataset.contents) in (0, len(dataset.published))


def test_torchvision_has_as_many_classes_in_the_same_order(name: str) -> None:
    dataset = DATASETS[name]
    if dataset.source == "USPS":
        return
    source = getattr(torchvision().datasets, dataset.source)
    theirs = source.classes
    if dataset.source == "EMNIST":
        theirs = source.classes_split_dict[name.removeprefix("emnist-")]
    for label, written in enumerate(theirs):
        ours = {v: k for k, v in dataset.labels.items()}.get(label, "N/A")
        plain = written.lower().replace(" ", "-").removesuffix("/top").split("---")[0]
        assert ours.lower() == (plain if plain != "n/a" else ours.lower())
    assert set(dataset.labels.values()) <= set(range(len(theirs)))
    assert len(dataset.labels) == len([written for written in theirs if written != "N/A"])


def test_classes_are_folder_names_in_natural_order(name: str) -> None:
    dataset = DATASETS[name]
    assert all(is_clean(label) and "/" not in label for label in dataset.classes)
    assert sorted(dataset.labels.values()) == [
        *range(dataset.first_label, dataset.first_label + len(dataset.names))
    ]
    assert tuple(dataset.labels) == dataset.classes


def test_the_order_of_clothes_is_that_of_their_names() -> None:
    assert DATASETS["fashion-mnist"].classes[:3] == ("ankle-boot", "bag", "coat")
    assert DATASETS["mnist"].classes == tuple("0123456789")
    assert DATASETS["emnist-letters"].labels["a"] == 1
    assert DATASETS["usps"].labels["9"] == 10


def test_the_page_of_datasets_says_what_the_table_says(name: str) -> None:
    dataset = DATASETS[name]
    page = (CHECKOUT / "docs" / "datasets.md").read_text(encoding="utf-8")
    [row] = re.findall(rf"^\| `{name}` .*$", page, re.MULTILINE)
    train, valid = dataset.images
    for told in (f"{train:,}", f"{valid:,}", f"{dataset.packed} MB", str(len(dataset.labels))):
        assert told in row
    assert dataset.home in page
    for file in dataset.published:
        assert f"`{file}`" in page


def test_an_unknown_dataset_is_refused_with_what_is_known() -> None:
    for name in ("imagenet", "\x1b[2J"):
        with pytest.raises(DataError, match="known: mnist, fashion-mnist") as fault:
            find_dataset(name)
        assert str(fault.value).isprintable()


def test_all_datasets_have_a_place_of_their_own(own_cache: Path) -> None:
    assert len({dataset.folder for dataset in DATASETS.values()}) == len(DATASETS)
    assert DATASETS["emnist-digits"].originals == DATASETS["emnist-letters"].originals
    assert DATASETS["kmnist"].originals != DATASETS["mnist"].originals
    assert DATASETS["mnist"].folder == own_cache / "datasets" / "mnist"


def test_debians_fashion_mnist_is_the_published_one() -> None:
    """Its files were packed without name and time; with these they have the published MD5."""
    named = os.environ.get("MNISTLAB_FASHION_MNIST", "/usr/share/datasets/fashion-mnist")
    if not Path(named).is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not here; name it in MNISTLAB_FASHION_MNIST")
    dataset, times = DATASETS["fashion-mnist"], {"train": 1504176606, "t10k": 1504176627}
    for name, (md5, _) in _published(dataset).items():
        packed, time = (Path(named) / name).read_bytes(), times[name.split("-")[0]]
        head = b"\x1f\x8b\x08\x08" + struct.pack("<I", time) + packed[8:10]
        again = head + name.removesuffix(".gz").encode() + b"\0" + packed[10:]
        assert hashlib.md5(again, usedforsecurity=False).hexdigest() == md5
    assert [one.checked for one in find_originals(dataset, Path(named))] == ["content"] * 4
