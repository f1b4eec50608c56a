"""Trees that `data split` writes: the images of `train --data` on the sides of `train --data`."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnistlab import load_data
from mnistlab.data.layouts import LoadOptions
from mnistlab.data.splitting import folds_of, split_into_folds
from mnistlab.data.trees import split_data
from mnistlab.errors import DataError
from tests.command import Result
from tests.conftest import make_tree
from tests.data.test_layouts import LAYOUTS, classes_alone, inside, nested

Mnistlab = Callable[..., Result]


def digest(share: float) -> bytes:
    return int(share * 2**64).to_bytes(8, "big")


def of_many_sizes(root: Path) -> None:
    """Class folders, images of noise, in three sizes."""
    random = np.random.default_rng(0)
    for label in ("dark", "light"):
        (root / label).mkdir(parents=True)
        for i in range(30):
            levels = random.integers(0, 255, (20 + i % 3, 20), dtype=np.uint8)
            Image.fromarray(levels).save(root / label / f"{i}.png")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_tree_has_the_same_images_on_the_same_sides(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "own", tmp_path / "new" / "tree"
    inside(LAYOUTS[name])(source)
    counts, data = split_data(str(source), target)
    tree = load_data(target)
    assert tree.fingerprint == data.fingerprint == load_data(source).fingerprint
    assert (counts["train"], counts["valid"]) == (tree.train.counts, tree.valid.counts)
    if {"train", "valid", "test"} <= counts.keys():
        assert sum(counts["test"].values()) == 8
        assert len([*(target / "test").rglob("*.png")]) == 8


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_tree_of_a_fold_has_the_images_of_the_fold(tmp_path: Path, name: str) -> None:
    inside(LAYOUTS[name])(tmp_path / "own")
    counts, data = split_data(str(tmp_path / "own"), tmp_path / "tree", folds=3)
    folds = folds_of(data, 3)
    for number in range(3):
        tree, fold = load_data(tmp_path / "tree" / f"fold-{number}"), folds.data_of(number)
        assert tree.fingerprint == fold.fingerprint
        assert counts[f"fold-{number}/valid"] == tree.valid.counts == fold.valid.counts
        assert all(tree.valid.counts.values())
    assert sum(sum(counts[f"fold-{k}/valid"].values()) for k in range(3)) == len(folds.images.ds)


def test_files_are_linked_or_copied(tmp_path: Path, mnistlab: Mnistlab) -> None:
    classes_alone(tmp_path / "own")
    mnistlab("data", "split", "own", "links").ok()
    mnistlab("data", "split", "own", "copies", "--copy").ok()
    linked = {path.name for path in Path("links").rglob("*.png") if path.stat().st_nlink == 2}
    assert len(linked) == 12
    assert not [path for path in Path("copies").rglob("*.png") if path.stat().st_nlink > 1]
    assert load_data("links").fingerprint == load_data("copies").fingerprint


def test_where_links_are_not_possible_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    classes_alone(tmp_path / "own")
    split_data("own", Path("tree"))
    assert load_data("tree").fingerprint == load_data("own").fingerprint


def test_nothing_links_into_the_cache(mnistlab: Mnistlab, tmp_path: Path) -> None:
    classes_alone(tmp_path / "own")
    shutil.make_archive("own", "zip", "own")
    mnistlab("data", "split", "own.zip", "tree").ok()
    assert not [path for path in Path("tree").rglob("*.png") if path.stat().st_nlink > 1]
    assert load_data("tree").fingerprint == load_data("own").fingerprint


def test_files_of_one_name_get_different_ones(tmp_path: Path) -> None:
    nested(tmp_path / "own")
    for path in [*(tmp_path / "own").rglob("*.png")]:
        path.rename(path.parent / f"a{int(path.stem) // 3}.png")
    split_data("own", Path("tree"))
    assert len(os.listdir("tree/train/dark")) == 12
    assert sorted(os.listdir("tree/train/dark"))[:2] == ["01-a0.png", "02-a1.png"]
    assert load_data("tree").fingerprint == load_data("own").fingerprint


def test_the_sides_of_images_are_their_own_whatever_they_are_brought_to(
    tmp_path: Path, mnistlab: Mnistlab
) -> None:
    of_many_sizes(tmp_path / "own")
    result = mnistlab("data", "split", "own", "tree").ok()
    assert "mnistlab train --data tree --image-size 28x28\n" in result.err
    assert load_data("tree").fingerprint == load_data("own").fingerprint
    mnistlab("data", "split", "own", "folds", "--folds", "3").ok()
    wishes: list[dict[str, Any]] = [{}, {"image_size": (9, 9), "fit": "crop"}]
    for options in wishes:  # decoded and from the store
        for _ in range(2):
            data = load_data("own", **options)
            fold = folds_of(data, 3).data_of(1)
            size = {**options, "image_size": data.image_size}
            assert load_data("folds/fold-1", **size).fingerprint == fold.fingerprint


def test_a_share_is_set_apart_for_test_and_valid_stays(tmp_path: Path, mnistlab: Mnistlab) -> None:
    of_many_sizes(tmp_path / "own")
    mnistlab("data", "split", "own", "tree").ok()
    result = mnistlab("data", "split", "own", "three", "--test-fraction", "0.3", "--json").ok()
    counts = result.json["counts"]
    assert sum(sum(each.values()) for each in counts.values()) == 60
    assert 6 <= sum(counts["test"].values()) <= 30
    for label in ("dark", "light"):
        assert os.listdir(f"tree/valid/{label}") == os.listdir(f"three/valid/{label}")
    mnistlab("train", "--data", "three", "--epochs", "1", "--image-size", "28").ok()
    again = mnistlab("data", "split", "three", "x", "--test-fraction", "0.1")
    assert (again.code, "has a test split already" in again.err) == (2, True)


def test_folds_are_told_by_digests() -> None:
    digests = [digest(share) for share in (0.1, 0.4, 0.9, 0.39, 0.1)]
    assert split_into_folds([*"aaaaa"], digests, 3) == [0, 1, 2, 1, 0]
    # a class that would have an empty fold is dealt out by rank; equal images stay together
    crowded = [digest(share) for share in (0.03, 0.01, 0.02, 0.01)]
    assert split_into_folds([*"aaaa"], crowded, 3) == [2, 0, 1, 0]
    with pytest.raises(DataError, match=r"class a has 2 different(.|\n)*class b has 2 different"):
        split_into_folds([*"aabb"], crowded, 3)


def test_bad_wishes_are_refused_and_leave_nothing(tmp_path: Path, mnistlab: Mnistlab) -> None:
    make_tree(tmp_path / "own", train=2, valid=1)
    (tmp_path / "old").mkdir()
    cases = {
        ("own", "old"): "old: exists already; name a new folder, or remove it",
        ("own", "new", "--folds", "1"): "folds: 1 leaves nothing to train on",
        ("own", "new", "--test-fraction", "0.8"): "--test-fraction 0.8: from 0 on, and with",
        ("own", "new", "--test-fraction", "0.1", "--folds", "2"): "does not go with --folds",
        ("own", "new", "--folds", "4"): "the class dark has 2 different images; 4 folds need 4",
        ("none", "new"): "no such folder",
    }
    for words, fault in cases.items():
        result = mnistlab("data", "split", *words)
        assert result.code == 2, words
        assert fault in result.err
    shutil.rmtree(tmp_path / "own" / "train" / "dark")
    (tmp_path / "own" / "train" / "dark").mkdir()
    shutil.copy("own/valid/dark/0.png", "own/train/dark/0.png")
    result = mnistlab("data", "split", "own", "new", "--test-fraction", "0.1")
    assert "the class dark has 1 images in train, or the same one again" in result.err
    assert sorted(os.listdir()) == ["old", "own"]


def test_a_folder_that_cannot_be_written_is_plain(mnistlab: Mnistlab, tiny: Path) -> None:
    Path("file").write_text("", encoding="utf-8")
    result = mnistlab("data", "split", tiny, "file/tree")
    assert result.code == 1
    assert "cannot be written" in result.err


def test_a_class_that_cannot_be_a_folder_is_refused(mnistlab: Mnistlab) -> None:
    rows = []
    for i in range(8):
        Image.fromarray(np.full((4, 4), 20 * i, np.uint8)).save(f"{i}.png")
        rows.append(f"{i}.png,{'a/b' if i % 2 else 'c'}")
    Path("labels.csv").write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    result = mnistlab("data", "split", ".", "tree")
    assert (result.code, "the class 'a/b' cannot be the name of a folder" in result.err) == (
        2,
        True,
    )
    assert not Path("tree").exists()


# --exclude


def test_listed_images_are_left_out_and_come_back(mnistlab: Mnistlab, tiny: Path) -> None:
    before = load_data(tiny)
    Path("list.csv").write_text(
        "rank,file\n1,train/dark/3.png\n2,valid/light/0.png\n", encoding="utf-8"
    )
    Path("list.txt").write_text("train/dark/3.png\n\nvalid/light/0.png\n", encoding="utf-8")
    for name in ("list.csv", "list.txt"):
        data = load_data(tiny, exclude=name)
        assert (data.train.counts, data.valid.counts) == (
            {"dark": 11, "light": 12},
            {"dark": 4, "light": 3},
        )
    assert load_data(tiny).fingerprint == before.fingerprint
    for file in ("train/dark/3.png", "valid/light/0.png"):
        (tiny / file).unlink()
    gone = load_data(tiny)
    assert gone.fingerprint == data.fingerprint
    assert gone.train.files == data.train.files


def test_a_run_remembers_what_was_left_out(mnistlab: Mnistlab, tiny: Path) -> None:
    Path("list.txt").write_text("train/dark/3.png\nvalid/light/0.png\n", encoding="utf-8")
    mnistlab("train", "--data", tiny, "--exclude", "list.txt", "--epochs", "2").ok()
    assert mnistlab("eval", "--json").ok().json["n"] == 7
    assert mnistlab("eject", "latest").code == 2  # a script leaves nothing out
    mnistlab("runs", "verify", "latest").ok()
    Path("list.txt").write_text("valid/light/0.png\n", encoding="utf-8")
    again = mnistlab("runs", "verify", "latest")
    assert (again.code, "data fingerprint" in again.out) == (3, True)


def test_bad_files_that_are_listed_do_not_matter(tiny: Path) -> None:
    (tiny / "train" / "dark" / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        load_data(tiny)
    Path("list.txt").write_text("train/dark/bad.png\n", encoding="utf-8")
    assert len(load_data(tiny, exclude="list.txt").train.ds) == 24


def test_images_of_tables_and_of_named_datasets_are_left_out(tmp_path: Path) -> None:
    LAYOUTS["npz"](tmp_path)
    data = load_data(tmp_path)
    file = data.train.path_of(5)
    Path("list.txt").write_text(f"{file}\n", encoding="utf-8")
    assert load_data(tmp_path, exclude="list.txt").train.paths() == [
        path for path in data.train.paths() if path != file
    ]
    Path("list.txt").write_text("train/3/8729.png\n", encoding="utf-8")
    assert len(load_data("mnist_sample", exclude="list.txt").train.ds) == 12395


def test_a_list_that_does_not_fit_is_refused(mnistlab: Mnistlab, tiny: Path) -> None:
    cases = {
        "train/dark/3.png\ndark/9.png\nx\n": "2 of 3 names; they are written as train/dark/0.png",
        "".join(
            f"valid/dark/{i}.png\n" for i in range(4)
        ): "leaves no image of the class dark in v",
        "\xff": "not UTF-8",
    }
    for text, fault in cases.items():
        Path("list.txt").write_text(text, encoding="latin-1")
        result = mnistlab("train", "--data", tiny, "--exclude", "list.txt")
        assert result.code == 2
        assert fault in result.err
    assert mnistlab("train", "--data", tiny, "--exclude", "none").code == 2
    assert not Path("runs").exists()


def test_excluded_images_move_no_other(tmp_path: Path) -> None:
    of_many_sizes(tmp_path / "own")
    data = load_data("own")
    Path("list.txt").write_text(f"{data.train.path_of(0)}\n", encoding="utf-8")
    less = load_data("own", LoadOptions(exclude="list.txt"))
    assert less.valid.fingerprint == data.valid.fingerprint
    assert less.train.digests() == data.train.digests()[1:]
