"""The listing of a split: names, stamps and the signature over both."""

import os
from array import array
from pathlib import Path

import pytest

from mnistlab.data.tree import STAMPS, SplitTree, name_faults, scan_split


def signature(names: dict[str, list[str]], stamps: list[int] | None = None) -> str:
    tree = SplitTree(Path("r"), "train", list(names), names)
    count = sum(len(files) for files in names.values())
    tree.stamps = array("q", stamps if stamps is not None else range(STAMPS * count))
    return tree.signature()


def test_the_stamps_are_those_of_stat(tiny: Path) -> None:
    tree = scan_split(tiny, "train")
    assert tree.listed
    for position, file in enumerate(tree.files()):
        s = (tiny / "train" / file).stat()
        expected = [s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino]
        assert tree.stamps[position * STAMPS : (position + 1) * STAMPS].tolist() == expected
    assert len(tree.files()) == 24


def test_the_signature_sees_every_stamp_and_every_name() -> None:
    names = {"a": ["1", "2"], "b": ["3"]}
    plain = signature(names)
    assert plain == signature(names)
    for place in range(3 * STAMPS):
        stamps = list(range(3 * STAMPS))
        stamps[place] += 1
        assert signature(names, stamps) != plain
    assert signature({"a": ["1", "2"], "b": ["4"]}) != plain


def test_the_signature_sees_where_a_class_ends() -> None:
    found = {
        signature({"a": ["b", "c"], "d": []}),
        signature({"a": ["b"], "c": ["d"]}),
        signature({"a": [], "b": ["c", "d"]}),
        signature({"a": ["b", "d"], "c": []}),
    }
    assert len(found) == 4


def test_a_file_that_vanished_since_is_told(tiny: Path) -> None:
    tree = scan_split(tiny, "train")
    files = tree.files()
    for position in (0, 1):
        for k in range(STAMPS):
            tree.stamps[position * STAMPS + k] = 0
    (tiny / "train" / files[0]).unlink()
    assert name_faults(tree) == {files[0]: "vanished", files[1]: "changed while it was read"}


def test_nothing_is_wrong_with_a_good_tree(tiny: Path) -> None:
    tree = scan_split(tiny, "valid")
    assert name_faults(tree) == {}
    assert tree.faults == []
    assert tree.loose == []


def test_what_is_no_folder_is_loose(tiny: Path) -> None:
    (tiny / "train" / "b.txt").write_text("x")
    os.mkfifo(tiny / "train" / "a.fifo")
    assert sorted(scan_split(tiny, "train").loose) == ["a.fifo", "b.txt"]


def test_a_class_folder_lost_between_two_looks_is_told(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def opening(path: Path, flags: int) -> int:
        if path.name == "dark":
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, flags)

    monkeypatch.setattr(os, "open", opening)
    tree = scan_split(tiny, "train")
    assert tree.faults == [f"{tiny}/train/dark: cannot be listed: No such file or directory"]
    assert tree.names["dark"] == []
