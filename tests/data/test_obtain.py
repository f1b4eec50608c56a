"""Named datasets, from a mirror or a folder to where they are kept."""

import json
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from mnistlab.data import obtain as module
from mnistlab.data.datasets import DATASETS
from mnistlab.data.download import Patience
from mnistlab.data.folders import load_folders
from mnistlab.data.named import load_data
from mnistlab.data.obtain import obtain
from mnistlab.errors import DataError, LockedError, RunError
from tests.originals import MIRROR, Made, publish, tell_checksums
from tests.webserver import Server, send, serving

QUICK = Patience(timeout=5, attempts=2, pause=0)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def usps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path) -> Made:
    return publish(monkeypatch, "usps", tmp_path / "from")


def serve(server: Server, made: Made) -> str:
    """The address of a mirror with the files of `made`."""
    for path in made.folder.iterdir():
        server.answers[f"/mirror/{path.name}"] = path.read_bytes()
    return f"{server.url}/mirror/"


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_is_got_from_a_mirror_and_trains(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    made = publish(monkeypatch, name, tmp_path / "from")
    told: list[str] = []
    done = obtain(
        made.dataset, serve(server, made), downloading=lambda file, *_: told.append(file),
        patience=QUICK,
    )  # fmt: skip
    assert done.data == name
    assert sorted(set(told)) == sorted(made.dataset.published)
    assert {file.checked for file in done.files} == {"md5"}
    data = load_data(name)
    assert data.train.files == [file for file, _ in made.expected("train")]
    for image, (_, pixels) in zip(data.valid_ds.tensors[0], made.expected("valid"), strict=True):
        assert image.tolist() == pixels.tolist()
    assert done.counts == {"train": data.train.counts, "valid": data.valid.counts}


def test_what_is_here_is_not_asked_for_again(usps: Made, server: Server) -> None:
    mirror = serve(server, usps)
    obtain(usps.dataset, mirror, patience=QUICK)
    asked = len(server.asked)
    before = usps.dataset.path.stat()
    assert obtain(usps.dataset, mirror).files == ()
    assert obtain(usps.dataset).counts["train"]["0"] == 3
    assert usps.dataset.path.stat() == before
    # nor are the published files, where it is made again
    assert len(obtain(usps.dataset, mirror, force=True).files) == 2
    usps.dataset.path.unlink()
    obtain(usps.dataset, mirror)
    assert len(server.asked) == asked == 2


def test_a_damaged_dataset_is_made_again_without_being_forced(usps: Made) -> None:
    obtain(usps.dataset, str(usps.folder))
    content = usps.dataset.path.read_bytes()
    usps.dataset.path.write_bytes(content[:-1])
    obtain(usps.dataset, str(usps.folder))
    assert usps.dataset.path.read_bytes() == content


def test_a_damaged_published_file_is_got_again(usps: Made, server: Server) -> None:
    mirror = serve(server, usps)
    obtain(usps.dataset, mirror, patience=QUICK)
    kept = usps.dataset.originals / "usps.bz2"
    kept.write_bytes(b"other")
    obtain(usps.dataset, mirror, force=True, patience=QUICK)
    assert kept.read_bytes() == (usps.folder / "usps.bz2").read_bytes()
    assert [path for path, _ in server.asked].count("/mirror/usps.bz2") == 2


def test_a_download_goes_on_where_it_stopped(usps: Made, server: Server) -> None:
    mirror = serve(server, usps)
    content = (usps.folder / "usps.t.bz2").read_bytes()
    server.answers["/mirror/usps.t.bz2"] = lambda handler: send(
        handler, 200, content[:99], Content_Length=str(len(content))
    )
    with pytest.raises(RunError, match=r"usps\.t\.bz2: cannot be downloaded"):
        obtain(usps.dataset, mirror, patience=Patience(timeout=5, attempts=1, pause=0, in_all=1))
    assert not usps.dataset.path.exists()
    serve(server, usps)
    obtain(usps.dataset, mirror, patience=QUICK)
    assert server.asked == [
        ("/mirror/usps.bz2", ""),
        ("/mirror/usps.t.bz2", ""),
        ("/mirror/usps.t.bz2", "bytes=99-"),
    ]


def test_both_datasets_of_one_archive_need_one_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path, server: Server
) -> None:
    digits = publish(monkeypatch, "emnist-digits", tmp_path / "digits")
    letters = publish(monkeypatch, "emnist-letters", tmp_path / "letters")
    with (
        zipfile.ZipFile(digits.folder / "gzip.zip") as one,
        zipfile.ZipFile(letters.folder / "gzip.zip", "a") as both,
    ):
        for name in one.namelist():
            if name.endswith(".gz"):
                both.writestr(name, one.read(name))
    tell_checksums(monkeypatch, letters.dataset, letters.folder)
    mirror = serve(server, letters)
    for made in (digits, letters):
        obtain(made.dataset, mirror, patience=QUICK)
        assert load_data(made.dataset.name).classes == made.dataset.classes
    assert len(server.asked) == 1


def test_a_wrong_file_of_a_mirror_is_not_kept(usps: Made, server: Server) -> None:
    mirror = serve(server, usps)
    server.answers["/mirror/usps.bz2"] = b"BZh9 of something else"
    with pytest.raises(RunError) as fault:
        obtain(usps.dataset, mirror, patience=QUICK)
    told = str(fault.value)
    assert "usps.bz2: cannot be downloaded" in told
    assert "not the published file: its MD5 is " in told
    assert "mnistlab data download usps --from DIR\n  usps.bz2\n  usps.t.bz2" in told
    assert list(usps.dataset.originals.iterdir()) == []


def test_without_a_network_it_says_how_to_bring_the_files(usps: Made) -> None:
    with pytest.raises(RunError) as fault:
        obtain(usps.dataset, patience=QUICK)
    told = str(fault.value)
    assert f"{MIRROR}usps.bz2: cannot be reached: " in told
    assert "without a network: bring these files" in told


@pytest.mark.parametrize("source", ["ftp://host/files", "file:///files", "x://"])
def test_a_mirror_that_is_none_is_told(usps: Made, source: str) -> None:
    with pytest.raises(RunError, match="not a web address"):
        obtain(usps.dataset, source, patience=QUICK)


# folders


def test_files_of_ones_own_are_read_where_they_lie(usps: Made) -> None:
    before = {path: path.stat() for path in usps.folder.iterdir()}
    done = obtain(usps.dataset, str(usps.folder))
    assert {path: path.stat() for path in usps.folder.iterdir()} == before
    assert not usps.dataset.originals.exists()
    assert [file.path.parent for file in done.files] == [usps.folder] * 2


@pytest.mark.parametrize("name", ["usps", "fashion-mnist"])
def test_folders_are_written_instead_and_are_the_same_dataset(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    made = publish(monkeypatch, name, tmp_path / "from")
    steps: list[tuple[str, int, int]] = []
    done = obtain(
        made.dataset, str(made.folder), to=Path("tree"), writing=lambda *step: steps.append(step)
    )
    assert done.data == "tree"
    assert not own_cache.exists()
    assert ("train", 0, 30) in steps
    folders = load_folders("tree")
    obtain(made.dataset, str(made.folder))
    assert folders.fingerprint == load_data(name).fingerprint
    assert folders.train.files == load_data(name).train.files
    assert torch.equal(folders.valid_ds.tensors[1], load_data(name).valid_ds.tensors[1])


def test_an_existing_folder_is_never_touched(usps: Made, server: Server, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(DataError, match="tree: exists already; name a new folder, or remove it"):
        obtain(usps.dataset, serve(server, usps), to=tmp_path / "tree")
    assert server.asked == []


def test_folders_are_made_without_a_place_for_datasets(
    usps: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MNISTLAB_CACHE", str(tmp_path / "file" / "cache"))
    obtain(usps.dataset, str(usps.folder), to=Path("tree"))
    assert load_folders("tree").image_size == (16, 16)
    for to in (None, Path("tree2")):
        with pytest.raises(RunError, match="set MNISTLAB_CACHE to another folder"):
            obtain(usps.dataset, None if to else str(usps.folder), to=to)


def test_files_packed_differently_are_taken_if_they_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    made = publish(monkeypatch, "emnist-letters", tmp_path / "from")
    shutil.unpack_archive(made.folder / "gzip.zip", tmp_path / "mine")
    with pytest.raises(DataError, match="--unchecked takes files that are packed differently"):
        obtain(made.dataset, str(tmp_path / "mine"))
    done = obtain(made.dataset, str(tmp_path / "mine"), unchecked=True)
    assert {file.checked for file in done.files} == {"no"}
    assert load_data("emnist-letters").classes == made.dataset.classes
    more = replace(made.dataset, images=(79, 52))
    with pytest.raises(DataError, match="78 images; emnist-letters has 79"):
        obtain(more, str(tmp_path / "mine"), unchecked=True, force=True)


@pytest.mark.parametrize("source", [None, "http://127.0.0.1:9/"])
def test_what_comes_from_the_network_is_always_checked(usps: Made, source: str | None) -> None:
    with pytest.raises(DataError, match="--unchecked: only for files of one's own: --from DIR"):
        obtain(usps.dataset, source, unchecked=True)


def test_a_place_that_cannot_be_written_is_told(usps: Made, server: Server) -> None:
    originals = usps.dataset.originals
    originals.parent.mkdir(parents=True)
    originals.write_bytes(b"")
    with pytest.raises(RunError, match=r"usps\.bz2: cannot be written: .*; set MNISTLAB_CACHE"):
        obtain(usps.dataset, serve(server, usps), patience=QUICK)
    assert server.asked == []


# two at once, and interrupts


def test_two_downloads_do_not_clash(usps: Made) -> None:
    folder = usps.dataset.path.parent
    folder.mkdir(parents=True)
    with (
        FileLock(folder / ".usps.lock", timeout=0),
        pytest.raises(LockedError, match="usps: another process is downloading it"),
    ):
        obtain(usps.dataset, str(usps.folder))
    obtain(usps.dataset, str(usps.folder))


def test_an_interrupt_leaves_nothing_but_what_has_arrived(
    usps: Made, server: Server, own_cache: Path
) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if name == "usps.t.bz2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(usps.dataset, serve(server, usps), downloading=stop, patience=QUICK)
    names = {path.name for path in own_cache.rglob("*") if path.is_file()}
    assert names == {"usps.bz2", "usps.t.bz2.part", ".usps.lock"}
    obtain(usps.dataset, serve(server, usps), patience=QUICK)


def test_an_interrupt_while_it_is_written_leaves_the_old_one(
    usps: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    obtain(usps.dataset, str(usps.folder))
    before = usps.dataset.path.read_bytes()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "store_dataset", stop)
    with pytest.raises(KeyboardInterrupt):
        obtain(usps.dataset, str(usps.folder), force=True)
    assert usps.dataset.path.read_bytes() == before


# MNIST itself

FINGERPRINT = "7557ce182104a4324f16a0da26613dbfa255a256913f849c66b851597c24c63d"


def test_mnist_is_imported_whole_in_little_memory(mnist: Path, own_cache: Path) -> None:
    program = """
        import json, resource, sys
        import torch
        from mnistlab.data.datasets import DATASETS
        from mnistlab.data.named import load_data
        from mnistlab.data.obtain import obtain
        from mnistlab.vision import torchvision

        def peak():
            unit = 1 if sys.platform == "darwin" else 1024
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

        torch.set_num_threads(1)
        torchvision()
        start = peak()
        done = obtain(DATASETS["mnist"], sys.argv[1])
        made = peak() - start
        data = load_data("mnist")
        images = sum(ds.tensors[0].nbytes for ds in (data.train_ds, data.valid_ds))
        print(json.dumps([made / images, (peak() - start) / images, data.fingerprint,
                          data.describe()["train"], [f.checked for f in done.files]]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(mnist)],
        capture_output=True,
        text=True,
        check=True,
    )
    importing, loading, fingerprint, counts, checked = json.loads(done.stdout)
    assert importing < 3
    assert loading < 3
    assert fingerprint == FINGERPRINT
    assert counts["0"] == 5923
    assert sum(counts.values()) == 60_000
    assert set(checked) <= {"md5", "content"}
