"""Which images a command line names."""

import os
from pathlib import Path

import pytest

from mnistlab.data.inputs import find_inputs, looks_like_image


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def test_files_keep_the_order_they_were_named_in() -> None:
    touch("b.png", "a.png", "notes.txt", "a[1].png", "a1.png")
    names = ["b.png", "notes.txt", "a.png", "b.png", "a[1].png", "none.png", "-"]
    inputs = find_inputs(names)
    assert inputs.names == names  # a name that exists is no glob
    assert (inputs.faults, inputs.left_out) == ({}, [])


def test_a_folder_includes_all_below_it_in_natural_order() -> None:
    touch("d/img10.png", "d/img9.PNG", "d/2/a.jpg", "d/10/a.jpg", "d/x.txt", "d/.hid.png")
    touch("d/.hidden/a.png", "d/Thumbs.db")
    inputs = find_inputs(["d"])
    assert inputs.names == ["d/2/a.jpg", "d/10/a.jpg", "d/img9.PNG", "d/img10.png"]
    assert inputs.left_out == ["d/Thumbs.db", "d/x.txt"]
    assert find_inputs(["d/"]).names == inputs.names


def test_a_glob_names_files_as_in_the_shell_and_each_once() -> None:
    touch("d/a1.png", "d/a10.png", "d/a2.png", "d/e/a3.png", "d/n.txt")
    assert find_inputs(["d/a?.png"]).names == ["d/a1.png", "d/a2.png"]
    for pattern in ("d/*", "**", "./**"):
        inputs = find_inputs([pattern])
        assert inputs.names == ["d/a1.png", "d/a2.png", "d/a10.png", "d/e/a3.png"]
        assert inputs.left_out == ["d/n.txt"]


def test_every_name_that_cannot_be_used_is_reported_at_once() -> None:
    Path("empty").mkdir()
    touch("d/x.txt")
    inputs = find_inputs(["empty", "*.jpg", "d", "d/*", "-"])
    assert inputs.names == ["-"]
    assert inputs.faults == {
        "empty": "no images in it",
        "*.jpg": "matches no image",
        "d": "no images in it",
        "d/*": "matches no image",
    }


def test_a_folder_that_cannot_be_listed_does_not_hide_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    touch("d/a.png", "d/e/b.png")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("e"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    inputs = find_inputs(["d"])
    assert inputs.names == ["d/a.png"]
    assert inputs.faults == {"d/e": "cannot be listed: Permission denied"}


def test_an_image_is_recognised_by_its_ending() -> None:
    assert all(map(looks_like_image, ("a.png", "b.JPG", "c/d.tiff", "-", "x.y.webp", "a.heic")))
    assert not any(map(looks_like_image, ("a", "runs/x", "a.txt", "latest", ".png/x")))
