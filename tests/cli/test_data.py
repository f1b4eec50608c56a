"""`mnistlab data …`: audit, import, download and list, as commands."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mnistlab.data import download
from mnistlab.data.datasets import DATASETS, NAMED
from mnistlab.data.store import ImageData
from tests import needs
from tests.command import Result
from tests.originals import Made, publish
from tests.webserver import serving

Mnistlab = Callable[..., Result]


def test_a_sound_folder_is_fit_to_train_on(mnistlab: Mnistlab, tiny: Path) -> None:
    result = mnistlab("data", "check", tiny).ok()
    lines = result.out.splitlines()
    assert lines[0].split() == ["class", "train", "valid"]
    assert lines[4].split() == ["all", "24", "8"]
    assert "sizes       32 x 4 x 4" in lines
    assert lines[-1] == f"{tiny}: fit to train on"
    assert "layout  train/, valid/" in lines
    assert result.err == f"next   mnistlab train --data {tiny}\n"
    assert result.out.isascii()
    quiet = mnistlab("data", "check", tiny, "-q").ok()
    assert (quiet.out, quiet.err) == (f"{tiny}: fit to train on\n", "")


def test_a_faulty_folder_is_exit_2_with_all_its_faults(mnistlab: Mnistlab, tiny: Path) -> None:
    assert mnistlab("data", "check", tiny, "--json").ok().json["usable"] is True
    for i in range(25):
        (tiny / "train" / "dark" / f"bad{i}.png").write_bytes(b"")
    name = os.fsdecode(b"\xff\x1b[2J.png") if needs.LINUX else "a\u2028b.png"
    (tiny / "train" / "dark" / name).write_bytes(b"")
    result = mnistlab("data", "check", tiny)
    assert result.code == 2
    assert result.err.startswith(f"error: {tiny}: 26 faults\n")
    assert "... and 6 more" in result.err
    assert "sizes       32 x 4 x 4" in result.out
    assert "fit to train on" not in result.out
    assert "\x1b" not in result.out + result.err
    document = mnistlab("data", "check", tiny, "--json")
    assert document.code == 2
    assert (document.json["schema_version"], document.json["usable"]) == (1, False)
    assert document.json["counts"]["valid"] == {"dark": 4, "light": 4}
    assert len(document.json["faults"]) == 26


def test_a_folder_that_is_not_there_is_exit_2(mnistlab: Mnistlab, tiny: Path) -> None:
    (tiny / "file").write_text("x")
    too_long = "no such folder" if needs.WINDOWS else "long"
    faults = (("none", "no such folder"), ("file", "not a table"), ("x" * 300, too_long))
    for name, fault in faults:
        missing = mnistlab("data", "check", tiny / name, "--json")
        assert (missing.code, missing.out) == (2, "")
        assert missing.err.startswith(f"error: {tiny}/{name}: ")
        assert fault in missing.err


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


def test_a_folder_named_like_a_dataset_is_pointed_to_as_a_folder(
    mnistlab: Mnistlab, tmp_path: Path
) -> None:
    result = mnistlab("data", "import-idx", idx(tmp_path / "idx"), "mnist").ok()
    assert result.err == "next   mnistlab train --data ./mnist\n"


# datasets by name


@pytest.fixture
def usps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path) -> Made:
    return publish(monkeypatch, "usps", tmp_path / "from")


COUNTED = "train  " + ", ".join(f"3 of {digit}" for digit in range(10)) + "\n"
COUNTED += COUNTED.replace("train", "valid").replace("3 of", "2 of")


def test_a_download_says_what_there_is_and_what_comes_next(mnistlab: Mnistlab, usps: Made) -> None:
    result = mnistlab("data", "download", "usps", "--from", usps.folder).ok()
    assert result.out == COUNTED
    assert result.err == "next   mnistlab train --data usps\n"
    again = mnistlab("data", "download", "usps").ok()
    assert again.out == COUNTED
    assert again.err.startswith("usps is here already; --force makes it again\n")
    quiet = mnistlab("data", "download", "usps", "--from", usps.folder, "--force", "-q").ok()
    assert (quiet.out, quiet.err) == (COUNTED, "")


def test_a_download_from_a_mirror_tells_each_file_once(mnistlab: Mnistlab, usps: Made) -> None:
    with serving() as server:
        for path in usps.folder.iterdir():
            server.answers[f"/{path.name}"] = path.read_bytes()
        result = mnistlab("data", "download", "usps", "--from", server.url).ok()
    assert result.out == COUNTED
    assert result.err == (
        "downloading usps.bz2, 0.0 MB\ndownloading usps.t.bz2, 0.0 MB\n"
        "next   mnistlab train --data usps\n"
    )


def test_a_download_as_json(mnistlab: Mnistlab, usps: Made) -> None:
    done = mnistlab("data", "download", "usps", "--from", usps.folder, "--json").ok().json
    assert done["schema_version"] == 1
    assert (done["name"], done["data"], done["image_size"]) == ("usps", "usps", [16, 16])
    assert done["classes"] == list("0123456789")
    assert done["counts"]["valid"]["9"] == 2
    assert [file["checked"] for file in done["files"]] == ["md5", "md5"]


def test_a_download_into_folders(mnistlab: Mnistlab, usps: Made) -> None:
    flags = ("--from", usps.folder, "--to", "usps")
    result = mnistlab("data", "download", "usps", *flags).ok()
    assert result.err == "next   mnistlab train --data ./usps\n"
    assert mnistlab("data", "check", "usps").ok().out.endswith("usps: fit to train on\n")
    again = mnistlab("data", "download", "usps", *flags)
    assert (again.code, again.out) == (2, "")
    assert "exists already" in again.err


def test_files_that_were_not_checked_are_named(mnistlab: Mnistlab, usps: Made) -> None:
    from bz2 import decompress

    (usps.folder / "usps.t").write_bytes(decompress((usps.folder / "usps.t.bz2").read_bytes()))
    (usps.folder / "usps.t.bz2").unlink()
    refused = mnistlab("data", "download", "usps", "--from", usps.folder)
    assert refused.code == 2
    assert "usps.t: not the published file" in refused.err
    taken = mnistlab("data", "download", "usps", "--from", usps.folder, "--unchecked").ok()
    assert "not checked, as they are not the published files: usps.t.bz2\n" in taken.err


def test_a_download_that_fails_is_exit_1_and_says_how_to_bring_the_files(
    mnistlab: Mnistlab, usps: Made
) -> None:
    result = mnistlab("data", "download", "usps", "--json")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: usps.bz2: cannot be downloaded\n  http://127.0.0.1:9/")
    assert result.err.endswith(
        "in a folder DIR,\nthen: mnistlab data download usps --from DIR\n  usps.bz2\n  usps.t.bz2\n"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mnits", "no such dataset; did you mean mnist?"),
        ("mnist_sample", "comes with mnistlab; there is nothing to download"),
    ],
)
def test_an_unknown_dataset_is_exit_2(mnistlab: Mnistlab, name: str, why: str) -> None:
    result = mnistlab("data", "download", name)
    assert (result.code, result.out, result.err) == (2, "", f"error: {name}: {why}\n")


def test_an_interrupted_download_says_how_to_go_on(
    mnistlab: Mnistlab, usps: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "obtain", stop)
    result = mnistlab("data", "download", "usps")
    assert (result.code, result.out) == (130, "")
    assert result.err.startswith("stopped; what has arrived is kept: the same command goes on")


def test_the_list_says_which_datasets_are_here(mnistlab: Mnistlab, usps: Made) -> None:
    before = mnistlab("data", "list").ok()
    lines = before.out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(NAMED)
    assert lines[2].split()[-1] == "here"
    assert lines[-1].split()[-2:] == ["8", "MB"]
    assert before.err == "get one with: mnistlab data download NAME\n"
    assert max(map(len, lines)) <= 80
    mnistlab("data", "download", "usps", "--from", usps.folder).ok()
    assert mnistlab("data", "list", "-q").ok().out.splitlines()[-1].split()[-1] == "here"
    listed = {row["name"]: row for row in mnistlab("data", "list", "--json").ok().json["datasets"]}
    assert listed["usps"]["here"]
    assert not listed["kmnist"]["here"]
    assert listed["kmnist"]["classes"] == list(DATASETS["kmnist"].classes)
    assert listed["mnist"]["train"] == 60_000


def test_the_list_of_the_bundled_data_is_true(mnistlab: Mnistlab, sample: ImageData) -> None:
    row = mnistlab("data", "list", "--json").ok().json["datasets"][0]
    assert (row["train"], row["valid"]) == (len(sample.train_ds), len(sample.valid_ds))
    assert tuple(row["classes"]) == sample.classes
    assert sample.image_size == (row["side"], row["side"])


def test_a_dataset_by_name_goes_through_every_command(mnistlab: Mnistlab, usps: Made) -> None:
    absent = mnistlab("train", "--data", "usps", "--epochs", "1")
    assert absent.code == 2
    assert "--data usps: not here yet; get it (8 MB) with: mnistlab data download" in absent.err
    assert not Path("runs").exists()
    mnistlab("data", "download", "usps", "--from", usps.folder).ok()
    trained = mnistlab("train", "--data", "usps", "--epochs", "2", "--json").ok().json
    assert trained["classes"] == list("0123456789")
    scored = mnistlab("eval", "--csv", "all.csv", "--json").ok().json
    assert scored["n"] == 20
    files = [
        line.split(",")[0] for line in Path("all.csv").read_text(encoding="utf-8").splitlines()[1:]
    ]
    assert files == [f"valid/{file}" for file, _ in usps.expected("valid")]
    mnistlab("eval", "latest", "--data", "usps", "--split", "train").ok()
    mnistlab("runs", "verify", "latest").ok()
    mnistlab("train", "--resume", "latest", "--epochs", "3").ok()
    mnistlab("baseline", "pixel-similarity", "--data", "usps").ok()
