"""`--data NAME|DIR`: names, folders, datasets as they are kept, and `data download`."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from mnistlab.data import download
from mnistlab.data.datasets import DATASETS
from mnistlab.data.download import obtain
from mnistlab.data.folders import ImageData, load_folders
from mnistlab.data.named import load_data, load_split
from mnistlab.errors import DamagedFileError, DataError, LockedError, RunError
from tests.originals import Made, publish, tell_checksums
from tests.webserver import Server, send, serving

KNOWN = (
    "; known: mnist_sample, mnist, fashion-mnist, kmnist, qmnist, emnist-digits, emnist-letters, "
    "usps"
)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TIMEOUT", 5), ("ATTEMPTS", 1), ("PAUSE", 0)):
        monkeypatch.setattr(download, name, value)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path) -> Callable[..., Made]:
    def make(name: str, n: int = 3) -> Made:
        return publish(monkeypatch, name, tmp_path / f"{name} originals", n)

    return make


@pytest.fixture
def usps(making: Callable[..., Made]) -> Made:
    return making("usps")


def serve(server: Server, made: Made) -> str:
    """The address of a mirror with the files of `made`."""
    for path in made.folder.iterdir():
        server.answers[f"/mirror/{path.name}"] = path.read_bytes()
    return f"{server.url}/mirror/"


# names and folders


def test_a_folder_is_itself_and_a_known_name_wins_over_a_folder_of_that_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, sample: ImageData
) -> None:
    monkeypatch.chdir(tiny.parent)
    assert load_data("tiny").classes == load_data("./tiny").classes == ("dark", "light")
    tiny.rename(tiny.parent / "mnist_sample")
    assert load_data("mnist_sample").root == sample.root
    assert load_data("./mnist_sample").classes == ("dark", "light")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mnist_smaple", "; did you mean mnist_sample?"),
        ("fashon-mnist", "; did you mean fashion-mnist?"),
        ("imagenet", KNOWN),
        ("x" * 300, KNOWN),
        ("a\0b", KNOWN),
        ("", KNOWN),
    ],
)
def test_an_unknown_name_is_told_with_what_is_known(name: str, hint: str) -> None:
    with pytest.raises(DataError, match="no such folder or dataset") as fault:
        load_data(name)
    assert str(fault.value).endswith(hint)
    assert str(fault.value).isprintable()


def test_a_path_that_is_not_there_is_told_as_a_folder(tmp_path: Path) -> None:
    for name in ("./none", str(tmp_path / "none"), "a/b", str(tmp_path / ("x" * 300)), "a/\0"):
        with pytest.raises(DataError, match="expected train/<class>"):
            load_data(name)
        with pytest.raises(DataError, match="expected train/<class>"):
            load_split(name, "valid")
    with pytest.raises(DataError, match=r"--data d.*: the path is not UTF-8"):
        load_data("d\udcff")


def test_one_split_of_a_folder_needs_no_other(tiny: Path) -> None:
    (tiny / "train").rename(tiny / "elsewhere")
    (tiny / "valid" / "dark" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        load_split(str(tiny), "valid")
    split = load_split(str(tiny), "valid", skip_bad=True)
    assert split.counts == {"dark": 3, "light": 4}
    assert [*split.skipped] == ["valid/dark/0.png"]


@pytest.mark.parametrize(
    ("split", "hint"), [("vaild", "; did you mean valid?"), ("test", "; known: train, valid")]
)
def test_an_unknown_split_is_told(split: str, hint: str) -> None:
    with pytest.raises(DataError) as fault:
        load_split("mnist_sample", split)
    assert str(fault.value) == f"--split {split}: unknown{hint}"


# datasets as they are kept


@pytest.mark.parametrize("name", DATASETS)
def test_a_download_is_what_folders_of_the_same_images_give(
    making: Callable[..., Made], name: str, server: Server
) -> None:
    made = making(name, 5 if name == "qmnist" else 3)  # 50 images: 10.png comes before 2.png
    arriving: list[str] = []
    counts, originals = obtain(
        made.dataset, serve(server, made), downloading=lambda file, *_: arriving.append(file)
    )
    assert list(dict.fromkeys(arriving)) == list(made.dataset.published)
    assert {original.checked for original in originals} == {"md5"}
    steps: list[tuple[str, int, int]] = []
    same, _ = obtain(
        made.dataset, str(made.folder), to=Path("tree"), writing=lambda *step: steps.append(step)
    )
    assert same == counts
    assert ("train", 0, sum(counts["train"].values())) in steps
    kept, folders = load_data(name), load_folders("tree")
    assert kept.fingerprint == folders.fingerprint
    assert kept.classes == folders.classes == made.dataset.classes
    for split in ("train", "valid"):
        ours, theirs, expected = (
            load_split(name, split),
            getattr(folders, split),
            made.expected(split),
        )
        assert ours.files == theirs.files == [file for file, _ in expected]
        assert ours.counts == theirs.counts == counts[split]
        assert (ours.skipped, ours.hidden, ours.fingerprint) == ({}, 0, theirs.fingerprint)
        images, labels = ours.ds.tensors
        assert images.tolist() == [pixels.tolist() for _, pixels in expected]
        assert labels.tolist() == theirs.ds.tensors[1].tolist()


def test_what_is_not_here_is_told_with_what_to_do(own_cache: Path) -> None:
    for load in (load_data, lambda name: load_split(name, "valid")):
        with pytest.raises(DataError) as fault:
            load("emnist-letters")
        assert str(fault.value).splitlines() == [
            "--data emnist-letters: not here yet; get it (562 MB, once) with: mnistlab data "
            "download emnist-letters",
            "without a network: bring this file (see "
            "https://www.nist.gov/itl/products-and-services/emnist-dataset) in a folder DIR,",
            "then: mnistlab data download emnist-letters --from DIR",
            "  gzip.zip",
        ]
    Path("mnist").mkdir()
    with pytest.raises(DataError, match=r"the folder of that name is --data \./mnist"):
        load_data("mnist")


def test_stores_that_are_damaged_or_gone_are_made_again_from_the_published_files(
    usps: Made, server: Server
) -> None:
    obtain(usps.dataset, serve(server, usps))
    before = load_data("usps").fingerprint
    path = usps.dataset.folder / "train.store"
    content = path.read_bytes()
    for place in (3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert load_data("usps").fingerprint == before
        assert path.read_bytes() == content
    shutil.rmtree(usps.dataset.folder)
    assert usps.dataset.here
    assert load_data("usps").fingerprint == before
    assert len(server.asked) == 2  # as it was downloaded
    assert [path.name for path in usps.dataset.folder.iterdir()] == ["train.store", "valid.store"]


def test_damage_is_told_where_the_published_files_are_not_here(usps: Made) -> None:
    obtain(usps.dataset, str(usps.folder))
    path = usps.dataset.folder / "valid.store"
    content = path.read_bytes()
    path.write_bytes(content[:9] + bytes([content[9] ^ 4]) + content[10:])
    with pytest.raises(DamagedFileError, match="again with: mnistlab data download usps"):
        load_data("usps")
    obtain(usps.dataset, str(usps.folder))  # without being forced
    assert path.read_bytes() == content


def test_the_store_of_another_dataset_is_refused(usps: Made, making: Callable[..., Made]) -> None:
    obtain(usps.dataset, str(usps.folder))
    other = making("mnist")
    obtain(other.dataset, str(other.folder))
    for name in ("train.store", "valid.store"):
        shutil.copy(other.dataset.folder / name, usps.dataset.folder / name)
    with pytest.raises(DamagedFileError, match="the stores of another dataset"):
        load_data("usps")


# downloads


def test_what_is_here_is_not_asked_for_again(usps: Made, server: Server) -> None:
    mirror = serve(server, usps)
    obtain(usps.dataset, mirror)
    store = usps.dataset.folder / "train.store"
    before = store.stat().st_ino
    assert obtain(usps.dataset, mirror)[1] == obtain(usps.dataset)[1] == []
    assert store.stat().st_ino == before
    # nor are the published files, where it is made again
    assert len(obtain(usps.dataset, mirror, force=True)[1]) == 2
    assert store.stat().st_ino != before
    assert len(server.asked) == 2
    usps.dataset.originals["usps.bz2"].write_bytes(b"other")
    obtain(usps.dataset, mirror, force=True)
    assert [path for path, _ in server.asked].count("/mirror/usps.bz2") == 2


def test_a_download_goes_on_where_it_stopped(usps: Made, server: Server) -> None:
    mirror = serve(server, usps)
    content = (usps.folder / "usps.t.bz2").read_bytes()
    server.answers["/mirror/usps.t.bz2"] = [
        lambda handler: send(handler, 200, content[:99], Content_Length=str(len(content))),
        lambda handler: send(handler, 404, b""),
    ]
    with pytest.raises(RunError, match=r"usps\.t\.bz2: cannot be downloaded"):
        obtain(usps.dataset, mirror)
    assert not usps.dataset.here
    serve(server, usps)
    obtain(usps.dataset, mirror)
    assert [asked for asked in server.asked if asked[1]][-1] == ("/mirror/usps.t.bz2", "bytes=99-")
    assert [path for path, _ in server.asked].count("/mirror/usps.bz2") == 1


def test_both_datasets_of_one_archive_need_one_download(
    making: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    digits, letters = making("emnist-digits"), making("emnist-letters")
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
        obtain(made.dataset, mirror)
        assert load_data(made.dataset.name).classes == made.dataset.classes
    assert len(server.asked) == 1


def test_a_wrong_file_of_a_mirror_is_not_kept_and_bringing_the_files_is_explained(
    usps: Made, server: Server
) -> None:
    mirror = serve(server, usps)
    server.answers["/mirror/usps.bz2"] = b"BZh9 of something else"
    with pytest.raises(RunError) as fault:
        obtain(usps.dataset, mirror)
    for text in (
        "usps.bz2: cannot be downloaded",
        "not the published file: its MD5 is ",
        "mnistlab data download usps --from DIR\n  usps.bz2\n  usps.t.bz2",
    ):
        assert text in str(fault.value)
    assert list(usps.dataset.originals["usps.bz2"].parent.iterdir()) == []
    with pytest.raises(RunError, match="not a web address"):
        obtain(usps.dataset, "ftp://host/files")


def test_files_of_ones_own_are_read_where_they_lie(usps: Made, own_cache: Path) -> None:
    before = {path: path.stat() for path in usps.folder.iterdir()}
    _, originals = obtain(usps.dataset, str(usps.folder))
    assert {path: path.stat() for path in usps.folder.iterdir()} == before
    assert [original.path.parent for original in originals] == [usps.folder] * 2
    assert [path.name for path in own_cache.rglob("*") if path.is_file()] == [
        "train.store",
        "valid.store",
    ]


def test_files_packed_differently_are_taken_if_they_fit(
    making: Callable[..., Made], tmp_path: Path, server: Server
) -> None:
    made = making("emnist-letters")
    shutil.unpack_archive(made.folder / "gzip.zip", tmp_path / "mine")
    with pytest.raises(DataError, match="--unchecked takes files that are packed differently"):
        obtain(made.dataset, str(tmp_path / "mine"))
    _, originals = obtain(made.dataset, str(tmp_path / "mine"), unchecked=True)
    assert {original.checked for original in originals} == {"no"}
    assert load_data("emnist-letters").classes == made.dataset.classes
    more = replace(made.dataset, images=(79, 52))
    with pytest.raises(DataError, match="are 78 x 28 x 28 values of uint8, and emnist-letters has"):
        obtain(more, str(tmp_path / "mine"), unchecked=True, force=True)
    for source in (None, server.url):
        with pytest.raises(DataError, match="--unchecked: only for files of one's own: --from DIR"):
            obtain(made.dataset, source, unchecked=True)


def test_a_cache_that_cannot_be_written_is_told_but_not_needed_for_folders(
    usps: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MNISTLAB_CACHE", str(tmp_path / "file" / "cache"))
    obtain(usps.dataset, str(usps.folder), to=Path("tree"))
    assert load_folders("tree").image_size == (16, 16)
    for source in (None, str(usps.folder)):
        with pytest.raises(RunError, match="Not a directory; MNISTLAB_CACHE may name another"):
            obtain(usps.dataset, source)


def test_two_downloads_do_not_clash(usps: Made, server: Server) -> None:
    mirror = serve(server, usps)
    folder = usps.dataset.folder.parent
    folder.mkdir(parents=True)
    with (
        FileLock(folder / ".usps.lock", timeout=0),
        pytest.raises(LockedError, match="usps: another process is downloading it"),
    ):
        obtain(usps.dataset, mirror)
    obtain(usps.dataset, mirror)


# MNIST itself

FINGERPRINT = "7557ce182104a4324f16a0da26613dbfa255a256913f849c66b851597c24c63d"


def test_mnist_is_what_it_always_was(mnist: Path, own_cache: Path) -> None:
    counts, originals = obtain(DATASETS["mnist"], str(mnist))
    assert load_data("mnist").fingerprint == FINGERPRINT
    assert counts["train"]["0"] == 5923
    assert sum(counts["train"].values()) == 60_000
    assert {original.checked for original in originals} <= {"md5", "content"}
