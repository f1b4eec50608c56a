"""The table of named datasets: what it says agrees with torchvision, and reads well."""

import re
from pathlib import Path

import pytest

from mnistlab.data.datasets import DATASETS, find_dataset
from mnistlab.data.published import published_files
from mnistlab.errors import DataError
from mnistlab.names import is_clean
from mnistlab.vision import torchvision
from tests.conftest import CHECKOUT


@pytest.fixture(params=DATASETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_torchvision_publishes_the_files_of_the_table(name: str) -> None:
    dataset = DATASETS[name]
    files = published_files(dataset)
    assert tuple(file.name for file in files) == dataset.published
    for file in files:
        assert re.fullmatch("[0-9a-f]{32}", file.md5)
        assert file.urls
        assert all(re.fullmatch(rf"https?://.*/{file.name}", url) for url in file.urls)
    assert set(dataset.contents) <= set(dataset.published)


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
    assert sorted(dataset.classes) == sorted(dataset.labels)
    assert all(is_clean(label) and "/" not in label for label in dataset.classes)
    assert len(set(dataset.labels.values())) == len(dataset.labels)
    assert list(dataset.files) == ["train", "valid"]


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
    assert dataset.licence.partition(";")[0] in page
    for file in dataset.published:
        assert f"`{file}`" in page


def test_what_to_bring_is_named(name: str) -> None:
    told = DATASETS[name].how_to_bring()
    assert f"mnistlab data download {name} --from DIR" in told
    assert all(f"\n  {file}" in told for file in DATASETS[name].published)
    assert DATASETS[name].home in told


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mnits", "mnits: no such dataset; did you mean mnist?"),
        ("imagenet", "known: mnist, fashion-mnist"),
        ("mnist_sample", "comes with mnistlab; there is nothing to download"),
        ("\x1b[2J", "known: mnist"),
    ],
)
def test_an_unknown_dataset_is_told(name: str, hint: str) -> None:
    with pytest.raises(DataError) as fault:
        find_dataset(name)
    assert hint in str(fault.value)
    assert str(fault.value).isprintable()


def test_all_datasets_have_a_place_of_their_own(own_cache: Path) -> None:
    assert len({dataset.path for dataset in DATASETS.values()}) == len(DATASETS)
    assert DATASETS["emnist-digits"].originals == DATASETS["emnist-letters"].originals
    assert DATASETS["kmnist"].originals != DATASETS["mnist"].originals
    assert DATASETS["mnist"].path == own_cache / "datasets" / "mnist.safetensors"
