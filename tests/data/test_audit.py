"""`data check`: everything that is worth knowing of a tree."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mnistlab.data.audit import Audit, audit
from mnistlab.data.folders import load_folders
from mnistlab.data.store import Progress
from mnistlab.errors import DataError
from tests import needs
from tests.command import Result
from tests.conftest import make_tree


def grey(path: Path, level: int, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two classes, no two images equal: levels 0, 9, 18, ..."""
    level = 0
    for split, count in (("train", 3), ("valid", 2)):
        for name in "ab":
            for i in range(count):
                grey(tmp_path / "small" / split / name / f"{i}.png", level)
                level += 9
    return tmp_path / "small"


def audited(root: Path, progress: Progress | None = None) -> Audit:
    return audit(str(root), progress=progress)[0]


def below(root: Path, faults: list[str]) -> list[str]:
    """`faults` with the path of `root` cut off."""
    return [fault.replace(f"{root}{os.sep}", "").replace(os.sep, "/") for fault in faults]


def test_a_good_tree_has_counts_sizes_modes_and_nothing_else(small: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    found = audited(small, lambda *step: steps.append(step))
    assert found.as_dict() == {
        "data": str(small),
        "layout": "train/, valid/",
        "split_here": False,
        "counts": {"train": {"a": 3, "b": 3}, "valid": {"a": 2, "b": 2}},
        "sizes": {"4 x 4": 10},
        "modes": {"PNG L": 10},
        "hidden": 0,
        "foreign": [],
        "duplicates_within": [],
        "duplicates_across": [],
        "reads": ["layout  train/, valid/"],
        "notes": [],
        "faults": [],
        "usable": True,
    }
    assert steps == [("train", 0, 6), ("train", 6, 6), ("valid", 0, 4), ("valid", 4, 4)]


def test_everything_is_counted_and_listed(small: Path) -> None:
    train, valid = small / "train", small / "valid"
    # hidden and foreign
    (train / ".DS_Store").write_bytes(b"x")
    (train / ".cache").mkdir()
    (valid / "a" / ".x.png").write_bytes(b"x")
    (train / "z.txt").write_text("x")
    (valid / "a.txt").write_text("x")
    # modes and sizes
    Image.new("RGB", (4, 4), (1, 2, 3)).save(train / "a" / "c.png")
    Image.new("1", (4, 4)).save(train / "a" / "d.tif")
    grey(train / "a" / "e.bmp", 201)
    grey(train / "b" / "wide.png", 200, (2, 8))
    grey(train / "b" / "high.png", 200, (8, 2))  # the same bytes in another shape: no duplicate
    # equal images: within train, across the splits, and in two classes
    grey(train / "a" / "f.bmp", 0)  # as train/a/0.png, in another format
    grey(valid / "b" / "g.png", 27)  # as train/b/0.png
    grey(valid / "b" / "h.png", 9)  # as train/a/1.png
    # unreadable
    (train / "b" / "bad.png").write_bytes(b"")
    (train / "b" / "sub").mkdir()
    found = audited(small)
    assert found.counts == {"train": {"a": 7, "b": 5}, "valid": {"a": 2, "b": 4}}
    assert found.sizes == {"4 x 4": 16, "2 x 8": 1, "8 x 2": 1}
    assert found.modes == {"PNG L": 14, "PNG RGB": 1, "TIFF 1": 1, "BMP L": 2}
    assert found.hidden == 3
    assert found.foreign == ["train/z.txt", "valid/a.txt"]
    assert found.duplicates_within == [["train/a/0.png", "train/a/d.tif", "train/a/f.bmp"]]
    assert found.duplicates_across == [
        ["train/a/1.png", "valid/b/h.png"],
        ["train/b/0.png", "valid/b/g.png"],
    ]
    assert found.notes == ["the same image in two classes: train/a/1.png, valid/b/h.png"]
    assert below(small, found.faults) == [
        "train/b/bad.png: empty file (zero bytes)",
    ]
    assert not found.as_dict()["usable"]


@needs.pipes
def test_a_pipe_and_an_odd_name_are_listed(small: Path) -> None:
    os.mkfifo(small / "valid" / "a" / "pipe")
    (small / "valid" / "a\x1b.txt").write_text("x")
    found = audited(small)
    assert found.foreign == ["valid/a\\x1b.txt"]
    assert below(small, found.faults) == ["valid/a/pipe: not a regular file"]


def test_imbalance_is_noted_from_three_to_one(tmp_path: Path) -> None:
    make_tree(tmp_path, train=4, valid=1)
    for i in range(4, 11):
        grey(tmp_path / "train" / "dark" / f"{i}.png", i)
    assert audited(tmp_path).notes == []  # 11 to 4
    grey(tmp_path / "train" / "dark" / "11.png", 11)
    assert audited(tmp_path).notes == [
        "train is imbalanced: 12 images of the largest class, 4 of the smallest; "
        "read balanced_accuracy beside accuracy"
    ]


def test_classes_that_are_missing_or_empty_are_faults(tmp_path: Path) -> None:
    make_tree(tmp_path, ("a", "b"), train=1, valid=1)
    (tmp_path / "valid" / "b").rename(tmp_path / "valid" / "c")
    (tmp_path / "train" / "d").mkdir()
    assert sorted(below(tmp_path, audited(tmp_path).faults)) == [
        "train/c: missing; the class c is only in the other split",
        "train/d: no images; expected train/d/*.png",
        "valid/b: missing; the class b is only in the other split",
        "valid/d: missing; the class d is only in the other split",
    ]


def test_the_faults_are_those_of_loading(small: Path) -> None:
    (small / "train" / "a" / "0.png").write_bytes(b"")
    (small / "train" / "b" / "0.png").write_bytes(b"x")
    with pytest.raises(DataError) as error:
        load_folders(small)
    assert sorted(error.value.faults) == sorted(audited(small).faults)


def test_of_many_sizes_the_most_common_are_listed(
    small: Path, mnistlab: Callable[..., Result]
) -> None:
    for side in range(10, 35):
        grey(small / "train" / "a" / f"{side}.png", 200, (side, 64))
    result = mnistlab("data", "check", small)
    [line] = [line for line in result.out.splitlines() if line.startswith("sizes    ")]
    assert (
        line
        == "sizes       10 x 4 x 4, "
        + ", ".join(f"1 x {side} x 64" for side in range(10, 15))
        + ", and 20 more"
    )
