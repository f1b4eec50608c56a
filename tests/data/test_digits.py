"""All ten digits in one file: packed and read back, in a package, loaded without a network."""

import hashlib
import importlib.util
import runpy
import socket
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder

from mnistlab.data import datasets, published
from mnistlab.data.datasets import DATASETS
from mnistlab.data.download import obtain
from mnistlab.data.named import load_data
from mnistlab.data.published import places, read_digits
from mnistlab.errors import DamagedFileError, DataError
from tests import needs
from tests.command import Result
from tests.conftest import CHECKOUT
from tests.originals import Made, idx_bytes, publish

ARCHIVE = CHECKOUT / "data" / "digits" / "mnist.npz"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path) -> Made:
    """A small MNIST, as published and as one file, which is where that of the checkout would be."""
    made = publish(monkeypatch, "mnist", tmp_path / "published")
    folder = tmp_path / "data" / "digits"
    folder.mkdir(parents=True)
    pack = runpy.run_path(str(CHECKOUT / "data" / "pack_digits.py"))["pack"]
    monkeypatch.setattr(published, "DIGITS_SHA256", pack(made.folder, folder / "mnist.npz"))
    monkeypatch.setattr(datasets, "packaged", lambda name: tmp_path / name)
    made.dataset = replace(made.dataset, bundle="mnist.npz")
    monkeypatch.setitem(DATASETS, "mnist", made.dataset)
    return made


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def path_of(made: Made) -> Path:
    return made.dataset.bundled["mnist.npz"]


def test_the_file_of_the_checkout_holds_mnists_own_files() -> None:
    digest, name = ARCHIVE.with_name("mnist.npz.sha256").read_text(encoding="utf-8").split()
    assert (digest, name) == (published.DIGITS_SHA256, "mnist.npz")
    assert ARCHIVE.stat().st_size < 8_000_000
    assert DATASETS["mnist"].bundled == {"mnist.npz": ARCHIVE}
    contents = [
        hashlib.sha256(idx_bytes(array)).hexdigest()
        for split in ("train", "valid")
        for array in read_digits(ARCHIVE, split)
    ]
    assert tuple(contents) == DATASETS["mnist"].contents


def test_like_pixels_stand_side_by_side() -> None:
    ink = np.zeros((2, 3, 4), bool)
    ink[0, 1, 1:3] = ink[1, 0, 0] = ink[1, 2, 1:3] = True
    # alone; a neighbour on the right, twice; a neighbour on the left, twice
    assert places(ink).tolist() == [12, 5, 21, 6, 22]
    assert places(ink[:, ::-1]).tolist() == [20, 5, 13, 6, 14]


def test_it_packs_to_the_same_bytes_each_time(made: Made, tmp_path: Path) -> None:
    pack = runpy.run_path(str(CHECKOUT / "data" / "pack_digits.py"))["pack"]
    assert pack(made.folder, tmp_path / "again.npz") == published.DIGITS_SHA256
    told = (tmp_path / "again.npz.sha256").read_text(encoding="utf-8")
    assert told == f"{published.DIGITS_SHA256}  again.npz\n"


@pytest.mark.usefixtures("no_network")
def test_it_gives_the_same_data_as_the_published_files(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert made.dataset.here
    packed = load_data("mnist")
    monkeypatch.setenv("MNISTLAB_CACHE", str(tmp_path / "other"))
    obtain(made.dataset, str(made.folder), force=True)
    published = load_data("mnist")
    assert packed.train.signature != published.train.signature  # it was read from the other files
    assert packed.fingerprint == published.fingerprint
    for split in ("train", "valid"):
        ours, theirs = getattr(packed, split), getattr(published, split)
        assert ours.files == theirs.files == [file for file, _ in made.expected(split)]
        for one, other in zip(ours.ds.tensors, theirs.ds.tensors, strict=True):
            assert one.equal(other)


@pytest.mark.usefixtures("no_network")
def test_a_store_is_made_of_it_and_made_again(made: Made, own_cache: Path) -> None:
    before = load_data("mnist").fingerprint
    store = own_cache / "datasets" / "mnist" / "train.store"
    content = store.read_bytes()
    store.write_bytes(content[:-1])
    assert load_data("mnist").fingerprint == before
    assert store.read_bytes() == content
    path_of(made).unlink()  # not needed again
    assert load_data("mnist").fingerprint == before


@pytest.mark.usefixtures("made", "no_network")
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_data("mnist").fingerprint
    (tmp_path / "file").write_text("x", encoding="utf-8")
    monkeypatch.setenv("MNISTLAB_CACHE", str(tmp_path / "file" / "cache"))
    assert load_data("mnist").fingerprint == before


@pytest.mark.usefixtures("no_network")
def test_commands_say_that_it_is_here(mnistlab: Callable[..., Result], made: Made) -> None:
    [row] = [
        row
        for row in mnistlab("data", "list", "--json").ok().json["datasets"]
        if row["name"] == "mnist"
    ]
    assert row["here"]
    told = mnistlab("data", "where").ok().out.splitlines()
    assert told[-1] == f"mnist needs no network: it is in {path_of(made)}"
    assert mnistlab("data", "where", "--json").ok().json["bundled"] == {"mnist": str(path_of(made))}
    assert "mnist is here already" in mnistlab("data", "download", "mnist").ok().err
    written = mnistlab("data", "download", "mnist", "--to", "out").ok()
    assert written.err.splitlines()[-1] == "next   mnistlab train --data out"
    assert "already" not in written.err
    assert load_data("out").fingerprint == load_data("mnist").fingerprint


def test_a_damaged_file_is_refused_in_words(made: Made, mnistlab: Callable[..., Result]) -> None:
    path = path_of(made)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError) as fault:
        load_data("mnist")
    assert str(fault.value) == (
        f"{path}: not the file that was made; install mnistlab-digits again, or get MNIST with: "
        "mnistlab data download mnist"
    )
    result = mnistlab("train", "--data", "mnist")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"error: {fault.value}\n"
    obtain(made.dataset, str(made.folder))  # as advised, with a mirror
    assert load_data("mnist").train.counts["3"] == 3


def test_what_is_not_here_can_be_installed(made: Made) -> None:
    path_of(made).unlink()
    assert not made.dataset.here
    with pytest.raises(DataError, match=r"not here yet(.|\n)*with: pip install mnistlab-digits\n"):
        load_data("mnist")
    assert all(not one.bundle for one in DATASETS.values() if one.name != "mnist")


# the package mnistlab-digits


def wheel_of(project: Path, folder: Path) -> zipfile.ZipFile:
    [wheel] = WheelBuilder(str(project)).build(directory=str(folder))
    return zipfile.ZipFile(wheel)


def test_the_package_holds_the_file_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with wheel_of(ARCHIVE.parent, tmp_path) as wheel:
        files = [name for name in wheel.namelist() if ".dist-info/" not in name]
        about = wheel.read("mnistlab_digits-1.0.dist-info/METADATA").decode()
        wheel.extractall(tmp_path / "site")
    assert files == ["mnistlab_digits/mnist.npz"]
    assert "License-Expression: CC-BY-SA-3.0" in about
    monkeypatch.setattr(datasets, "packaged", lambda name: tmp_path / "none")
    assert DATASETS["mnist"].bundled == {}
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert importlib.util.find_spec("mnistlab_digits")
    [path] = DATASETS["mnist"].bundled.values()
    assert path == tmp_path / "site" / "mnistlab_digits" / "mnist.npz"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == published.DIGITS_SHA256
    assert "mnistlab_digits" not in sys.modules  # nothing of it is run


@needs.real_linux
def test_mnistlabs_own_wheel_does_not_hold_it(tmp_path: Path) -> None:
    with wheel_of(CHECKOUT, tmp_path) as wheel:
        names = wheel.namelist()
    assert "mnistlab/_data/mnist_sample.tgz" in names
    assert not [name for name in names if "mnist.npz" in name]
