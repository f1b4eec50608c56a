"""`mnistlab data …`: the audit and the import, as commands."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.command import Result

Mnistlab = Callable[..., Result]


def test_a_sound_folder_is_fit_to_train_on(mnistlab: Mnistlab, tiny: Path) -> None:
    result = mnistlab("data", "check", tiny).ok()
    lines = result.out.splitlines()
    assert lines[0].split() == ["class", "train", "valid"]
    assert lines[4].split() == ["all", "24", "8"]
    assert "sizes       32 x 4 x 4" in lines
    assert lines[-1] == f"{tiny}: fit to train on"
    assert result.err == ""
    assert result.out.isascii()
    quiet = mnistlab("data", "check", tiny, "-q").ok()
    assert (quiet.out, quiet.err) == (f"{tiny}: fit to train on\n", "")


def test_the_audit_as_json(mnistlab: Mnistlab, tiny: Path) -> None:
    document = mnistlab("data", "check", tiny, "--json").ok().json
    assert document["schema_version"] == 1
    assert document["usable"] is True
    assert document["counts"]["valid"] == {"dark": 4, "light": 4}


def test_a_faulty_folder_is_exit_2_with_all_its_faults(mnistlab: Mnistlab, tiny: Path) -> None:
    (tiny / "train/dark/0.png").write_bytes(b"")
    (tiny / "valid/light/1.png").write_bytes(b"text")
    result = mnistlab("data", "check", tiny)
    assert result.code == 2
    assert result.err.startswith(f"error: {tiny}: 2 faults\n")
    assert "0.png" in result.err
    assert "1.png" in result.err
    assert "sizes       30 x 4 x 4" in result.out
    assert "fit to train on" not in result.out
    document = mnistlab("data", "check", tiny, "--json")
    assert document.code == 2
    assert document.json["usable"] is False
    assert len(document.json["faults"]) == 2


def test_a_folder_that_is_not_there_is_exit_2(mnistlab: Mnistlab) -> None:
    result = mnistlab("data", "check", "absent", "--json")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: absent: no such folder")


def idx(folder: Path) -> Path:
    """Two train images and one test image of 2 x 2, as the format's own page lays them out."""
    folder.mkdir()
    for name, labels in (("train", [3, 7]), ("t10k", [7])):
        pixels = bytes(range(4 * len(labels)))
        header = struct.pack(">4B3I", 0, 0, 8, 3, len(labels), 2, 2)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + pixels)
        header = struct.pack(">4BI", 0, 0, 8, 1, len(labels))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(header + bytes(labels))
    return folder


def test_an_import_says_what_it_made(mnistlab: Mnistlab, tmp_path: Path) -> None:
    source = idx(tmp_path / "idx")
    result = mnistlab("data", "import-idx", source, "made").ok()
    assert result.out == "train  1 of 3, 1 of 7\nvalid  0 of 3, 1 of 7\n"
    assert result.err == "next   mnistlab train --data made\n"
    with Image.open("made/train/7/1.png") as image:
        assert image.tobytes() == bytes([4, 5, 6, 7])
    again = mnistlab("data", "import-idx", source, "made")
    assert (again.code, again.out) == (2, "")


def test_an_import_as_json_and_of_some_classes(mnistlab: Mnistlab, tmp_path: Path) -> None:
    source = idx(tmp_path / "idx")
    document = mnistlab("data", "import-idx", source, "m", "--classes", " 7,", "--json").ok().json
    assert document["schema_version"] == 1
    assert document["data"] == "m"
    assert document["counts"]["train"] == {"7": 1}
    assert not Path("m/train/3").exists()


@pytest.mark.parametrize("classes", ["", " , "])
def test_an_import_of_no_class_is_refused(mnistlab: Mnistlab, tmp_path: Path, classes: str) -> None:
    result = mnistlab("data", "import-idx", idx(tmp_path / "idx"), "made", "--classes", classes)
    assert result.code == 2
    assert result.err == "error: --classes: names no class; write it as in 3,7\n"
