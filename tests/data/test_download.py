"""Published files: from servers that break off, lie or stall, and from folders of one's own;
and the datasets that are made of them."""

import gzip
import hashlib
import os
import shutil
import socket
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from filelock import FileLock

from mnistlab.data import download
from mnistlab.data.datasets import DATASETS
from mnistlab.data.download import fetch, find_originals, obtain
from mnistlab.data.folders import load_folders
from mnistlab.data.named import load_data, load_split
from mnistlab.errors import DamagedFileError, DataError, LockedError, RunError
from tests.originals import Made, publish, tell_checksums
from tests.webserver import Answer, Server, send, serving, whole

CONTENT = bytes(range(256)) * 1200  # several pieces


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TIMEOUT": 5, "ATTEMPTS": 3, "PAUSE": 0}.items():
        monkeypatch.setattr(download, name, value)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.gz"


def right(path: Path) -> str:
    return "" if path.read_bytes() == CONTENT else "not the file"


def get(server: Server, target: Path, *paths: str) -> bytes:
    fetch([server.url + path for path in paths or ("/file.gz",)], target, right)
    return target.read_bytes()


def refusal(server: Server, target: Path, *paths: str) -> str:
    with pytest.raises(RunError) as fault:
        get(server, target, *paths)
    assert not target.exists()
    assert all(line.isprintable() for line in str(fault.value).splitlines())
    return str(fault.value)


def cut(content: bytes, at: int) -> Answer:
    """Promise all of it, send `at` bytes, hang up."""
    length = str(len(content))
    return lambda handler: send(handler, 200, content[:at], Content_Length=length)


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


# as it should be


def test_a_file_arrives_with_its_progress_and_nothing_else_is_left(
    server: Server, target: Path
) -> None:
    server.answers["/file.gz"] = CONTENT
    steps: list[tuple[str, int, int]] = []
    fetch([server.url + "/file.gz"], target, right, lambda *step: steps.append(step))
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.gz"]
    assert {(name, total) for name, _, total in steps} == {("file.gz", len(CONTENT))}
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert steps[-1][1] == len(CONTENT)


def test_a_file_without_a_length_arrives(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = lambda handler: send(handler, 200, CONTENT, Content_Length="")
    totals: set[int] = set()
    fetch([server.url + "/file.gz"], target, right, lambda *step: totals.add(step[2]))
    assert target.read_bytes() == CONTENT
    assert totals == {0}  # nobody knows


# breaks


def test_a_connection_that_ends_early_is_taken_up_again(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = [cut(CONTENT, 70_000), cut(CONTENT, 10), whole(CONTENT)]
    # the second answer is the file from its beginning again, as its status says
    assert get(server, target) == CONTENT
    assert [asked for _, asked in server.asked] == ["", "bytes=70000-", "bytes=10-"]


def test_a_connection_that_is_reset_or_stalls_is_taken_up_again(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reset(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, CONTENT[:1000], Content_Length=str(len(CONTENT)))
        time.sleep(0.05)  # a reset overtakes what was sent just before it
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.shutdown(socket.SHUT_RD)
        handler.connection.close()

    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    server.answers["/file.gz"] = [reset, lambda _: time.sleep(0.6), whole(CONTENT)]
    assert get(server, target) == CONTENT
    assert len(server.asked) == 3
    target.unlink()
    server.answers["/silent"] = lambda _: time.sleep(0.6)
    assert "no answer: timed out; tried 3 times" in refusal(server, target, "/silent")


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again(server: Server, target: Path, status: int) -> None:
    server.answers["/file.gz"] = [lambda handler: send(handler, status, b"busy"), whole(CONTENT)]
    assert get(server, target) == CONTENT


def test_a_server_that_repeats_the_beginning_is_given_up_on_and_the_next_command_goes_on(
    server: Server, target: Path
) -> None:
    server.answers["/file.gz"] = cut(CONTENT, 63)
    told = refusal(server, target)
    assert "the connection ended after 63 of 307,200 bytes; tried 3 times" in told
    assert told.endswith("what has arrived is kept; the same command goes on from there")
    server.answers["/file.gz"] = CONTENT
    assert get(server, target) == CONTENT
    assert server.asked[-1] == ("/file.gz", "bytes=63-")


def test_an_interrupt_keeps_what_has_arrived(server: Server, target: Path) -> None:
    def stop(_: str, done: int, total: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    server.answers["/file.gz"] = CONTENT
    with pytest.raises(KeyboardInterrupt):
        fetch([server.url + "/file.gz"], target, right, stop)
    assert not target.exists()
    arrived = part_of(target).read_bytes()
    assert len(arrived) > 100_000
    assert CONTENT.startswith(arrived)
    assert get(server, target) == CONTENT


# what lies there already


@pytest.mark.parametrize(
    ("part", "requests"),
    [
        (CONTENT, 1),
        (CONTENT + b"more", 2),
        (b"a page of another server", 2),
        (CONTENT[: ord("<")], 1),
    ],
    ids=["all of it", "too long", "another file", "a rest that begins with <"],
)
def test_any_part_ends_as_the_file(
    server: Server, target: Path, part: bytes, requests: int
) -> None:
    part_of(target).write_bytes(part)
    server.answers["/file.gz"] = CONTENT
    assert get(server, target) == CONTENT
    assert len(server.asked) == requests


# lies


def test_a_wrong_file_is_deleted_and_named(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = CONTENT[:-1] + b"\0"
    told = refusal(server, target)
    assert told == f"file.gz: cannot be downloaded\n  {server.url}/file.gz: not the file; deleted"
    assert list(target.parent.iterdir()) == []
    assert len(server.asked) == 1


def test_a_web_page_is_recognised_and_harms_nothing(server: Server, target: Path) -> None:
    part_of(target).write_bytes(CONTENT[:1000])
    server.answers["/file.gz"] = lambda handler: send(
        handler, 200, b"<!DOCTYPE html>please log in", Content_Type="text/html; charset=utf-8"
    )
    assert "a web page, not the file (a login or an error page?)" in refusal(server, target)
    assert part_of(target).read_bytes() == CONTENT[:1000]


def test_a_file_without_an_end_is_given_up_on(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    server.answers["/file.gz"] = lambda handler: send(handler, 200, CONTENT, Content_Length="")
    assert "not the file; deleted" in refusal(server, target)
    assert list(target.parent.iterdir()) == []


# addresses


def test_every_address_is_asked_and_named_with_its_reason(server: Server, target: Path) -> None:
    server.answers["/wrong"] = b"other"
    server.answers["/secret"] = lambda handler: send(handler, 403, b"")
    assert refusal(server, target, "/gone", "/secret", "/wrong").splitlines() == [
        "file.gz: cannot be downloaded",
        f"  {server.url}/gone: the server answered 404 Not Found",
        f"  {server.url}/secret: the server answered 403 Forbidden",
        f"  {server.url}/wrong: not the file; deleted",
    ]
    server.answers |= {"/a": cut(CONTENT, 5000), "/b": CONTENT}
    assert get(server, target, "/gone", "/a", "/b") == CONTENT
    assert server.asked[-1] == ("/b", "bytes=5000-")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/file.gz", "not a web address (http or https)"),
        ("file:///etc/passwd", "not a web address"),
        ("http:///x", "cannot be reached: no host given"),
        ("http://127.0.0.1:port/x", "cannot be reached: nonnumeric port"),
        ("http://127.0.0.1/a b\n", "cannot be reached: URL can't contain control characters"),
        ("http://[::1/x", "cannot be reached: Invalid IPv6 URL"),
        ("http://127.0.0.1:9/x", "Connection refused"),
    ],
)
def test_odd_addresses_are_refused(target: Path, url: str, why: str) -> None:
    with pytest.raises(RunError) as fault:
        fetch([url], target, right)
    assert why in str(fault.value)
    assert all(line.isprintable() for line in str(fault.value).splitlines())


def test_redirects_are_followed_on_the_web_only(server: Server, target: Path) -> None:
    def to(place: str) -> Answer:
        return lambda handler: send(handler, 302, b"", Location=place)

    server.answers |= {"/file.gz": CONTENT, "/old": to("/file.gz"), "/circle": to("/circle")}
    assert get(server, target, "/old") == CONTENT
    target.unlink()
    server.answers["/away"] = to("file:///etc/passwd")
    told = refusal(server, target, "/away", "/circle").splitlines()
    assert "is not allowed" in told[1]
    assert "the server answered 302" in told[2]


def test_a_full_disk_keeps_what_has_arrived(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    server.answers["/file.gz"] = CONTENT
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        get(server, target)
    assert part_of(target).read_bytes() == CONTENT
    assert len(server.asked) == 1


# folders

FIRST = "train-images-idx3-ubyte.gz"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    """MNIST's files, of which the content is known as well."""
    made = publish(monkeypatch, "mnist", tmp_path / "from")
    known = tuple(
        hashlib.sha256(gzip.decompress((made.folder / name).read_bytes())).hexdigest()
        for name in made.dataset.published
    )
    made.dataset = replace(made.dataset, contents=known)
    return made


@pytest.mark.parametrize("place", ["", "MNIST/raw"])
@pytest.mark.parametrize("dot", ["-idx", ".idx"])
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_mnist_is_known_however_it_is_packed(
    published: Made, tmp_path: Path, place: str, dot: str, packing: str
) -> None:
    folder = tmp_path / "mine" / place
    folder.mkdir(parents=True)
    for path in published.folder.iterdir():
        content = gzip.decompress(path.read_bytes())
        name = path.stem.replace("-idx", dot) + packing
        (folder / name).write_bytes(gzip.compress(content, 1, mtime=7) if packing else content)
    originals = find_originals(published.dataset, tmp_path / "mine")
    assert [one.name for one in originals] == list(published.dataset.published)
    assert {one.checked for one in originals} == {"content"}
    assert all(one.path.parent == folder for one in originals)


def test_other_content_and_damage_are_refused_together(published: Made) -> None:
    path, other = published.folder / FIRST, published.folder / "t10k-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    other.write_bytes(other.read_bytes()[:-1])
    with pytest.raises(DataError) as fault:
        find_originals(published.dataset, published.folder)
    assert f"{path}: not the published file: its MD5 is " in fault.value.faults[0]
    assert f"{other}: not the published file: its MD5 is " in fault.value.faults[1]
    assert "--unchecked takes files" in str(fault.value)
    originals = find_originals(published.dataset, published.folder, unchecked=True)
    assert [one.checked for one in originals] == ["no", "md5", "no", "md5"]


def test_all_files_that_are_missing_or_cannot_be_read_are_named(published: Made) -> None:
    labels = "t10k-labels-idx1-ubyte.gz"
    (published.folder / FIRST).unlink()
    (published.folder / labels).unlink()
    (published.folder / labels).mkdir()
    with pytest.raises(DataError) as fault:
        find_originals(published.dataset, published.folder)
    assert fault.value.faults == [
        f"{published.folder}: no {name} in it that can be read" for name in (FIRST, labels)
    ]
    assert "mnistlab data download mnist --from DIR" in str(fault.value)


def test_files_taken_out_of_an_archive_cannot_be_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = publish(monkeypatch, "emnist-digits", tmp_path / "from")
    shutil.unpack_archive(made.folder / "gzip.zip", tmp_path / "out")
    with pytest.raises(DataError, match="no checksum is known of emnist-digits-train-images"):
        find_originals(made.dataset, tmp_path / "out")
    for folder in (tmp_path / "out", tmp_path / "out" / "gzip"):
        originals = find_originals(made.dataset, folder, unchecked=True)
        assert [one.checked for one in originals] == ["no"] * 4
    with pytest.raises(DataError, match="no such folder; expected gzip"):
        find_originals(made.dataset, tmp_path / "none")


# datasets, downloaded and loaded


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
        assert (ours.skipped, ours.fingerprint) == ({}, theirs.fingerprint)
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
    Path("kmnist").mkdir()
    with pytest.raises(DataError, match=r"the folder of that name is --data \./kmnist"):
        load_data("kmnist")


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
    assert not usps.dataset.originals["usps.bz2"].exists()  # read where it lies, not copied
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
