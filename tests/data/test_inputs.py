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
    touch("b.png", "a.png", "notes.txt")
    found = find_inputs(["b.png", "notes.txt", "a.png", "b.png"])
    assert found.names == ["b.png", "notes.txt", "a.png", "b.png"]
    assert (found.faults, found.left_out) == ({}, [])


def test_a_folder_is_taken_with_all_below_it_in_natural_order() -> None:
    touch("d/img10.png", "d/img9.PNG", "d/2/a.jpg", "d/10/a.jpg", "d/x.txt", "d/.hid.png")
    touch("d/.hidden/a.png", "d/Thumbs.db")
    found = find_inputs(["d"])
    assert found.names == ["d/2/a.jpg", "d/10/a.jpg", "d/img9.PNG", "d/img10.png"]
    assert found.left_out == ["d/Thumbs.db", "d/x.txt"]
    assert find_inputs(["d/"]).names == found.names


def test_a_glob_is_taken_as_the_shell_would_and_once() -> None:
    touch("d/a1.png", "d/a10.png", "d/a2.png", "d/e/a3.png", "d/n.txt")
    assert find_inputs(["d/a?.png"]).names == ["d/a1.png", "d/a2.png"]
    assert find_inputs(["d/*"]).names == ["d/a1.png", "d/a2.png", "d/a10.png", "d/e/a3.png"]
    everything = find_inputs(["**"])
    assert everything.names == ["d/a1.png", "d/a2.png", "d/a10.png", "d/e/a3.png"]
    assert everything.left_out == ["d/n.txt"]


def test_a_name_that_is_there_is_no_glob() -> None:
    touch("a[1].png", "a1.png")
    assert find_inputs(["a[1].png"]).names == ["a[1].png"]


def test_every_name_that_cannot_be_used_is_told_at_once() -> None:
    Path("empty").mkdir()
    os.symlink("nowhere", "broken.png")
    touch("d/x.txt")
    found = find_inputs(["none.png", "empty", "broken.png", "*.jpg", "d", "d/*", "/dev/null", "-"])
    assert found.names == ["-"]
    assert found.faults == {
        "none.png": "no such file or folder",
        "empty": "no images in it",
        "broken.png": "a link to what is not there",
        "*.jpg": "matches no file",
        "d": "no images in it",
        "d/*": "matches no image",
        "/dev/null": "not a file",
    }
    long = "a" * 5000
    assert find_inputs([long]).faults == {long: "file name too long"}
    assert find_inputs(["a\0b"]).faults == {"a\0b": "embedded null byte"}
    assert find_inputs(["a\0*"]).faults == {"a\0*": "matches no file"}


def test_stdin_holds_one_image() -> None:
    found = find_inputs(["-", "-"])
    assert found.names == ["-"]
    assert found.faults == {"-": "stdin holds one image; name it once"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_told() -> None:  # pragma: no cover
    touch("d/e/a.png")
    Path("d/e").chmod(0)
    try:
        assert find_inputs(["d"]).faults == {"d/e": "cannot be listed: Permission denied"}
    finally:
        Path("d/e").chmod(0o755)


def test_a_folder_that_cannot_be_listed_does_not_hide_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    touch("d/a.png", "d/e/b.png")
    real = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("e"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = find_inputs(["d"])
    assert found.names == ["d/a.png"]
    assert found.faults == {"d/e": "cannot be listed: Permission denied"}


def test_what_looks_like_an_image() -> None:
    assert all(map(looks_like_image, ("a.png", "b.JPG", "c/d.tiff", "-", "x.y.webp")))
    assert not any(map(looks_like_image, ("a", "runs/x", "a.txt", "latest", ".png/x", "a.heic")))
