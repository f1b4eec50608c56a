"""Published files: from servers that break off, lie or stall, and from folders of one's own."""

import gzip
import hashlib
import os
import shutil
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from mnistlab.data import download
from mnistlab.data.download import fetch, find_originals
from mnistlab.errors import DataError, RunError
from tests.originals import Made, publish
from tests.webserver import Answer, Server, send, serving, whole

CONTENT = bytes(range(256)) * 1200  # several pieces


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TIMEOUT", 5), ("ATTEMPTS", 3), ("PAUSE", 0)):
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


def test_what_has_arrived_is_not_fetched_again(server: Server, target: Path) -> None:
    part_of(target).write_bytes(CONTENT[:1000])
    server.answers["/file.gz"] = CONTENT
    assert get(server, target) == CONTENT
    assert server.asked == [("/file.gz", "bytes=1000-")]


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
def mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    """MNIST's files, of which the content is known as well."""
    made = publish(monkeypatch, "mnist", tmp_path / "from")
    known = tuple(
        hashlib.sha256(gzip.decompress((made.folder / name).read_bytes())).hexdigest()
        for name in made.dataset.published
    )
    made.dataset = replace(made.dataset, contents=known)
    return made


@pytest.mark.parametrize("place", ["", "MNIST/raw"])
@pytest.mark.parametrize("form", ["unpacked", "dotted", "dotted and packed", "packed again"])
def test_mnist_is_known_however_it_is_packed(
    mnist: Made, tmp_path: Path, form: str, place: str
) -> None:
    folder = tmp_path / "mine" / place
    folder.mkdir(parents=True)
    for path in mnist.folder.iterdir():
        content = gzip.decompress(path.read_bytes())
        name = path.name
        if form == "unpacked":
            name = path.stem
        elif form.startswith("dotted"):
            name = path.stem.replace("-idx", ".idx") + (".gz" if "packed" in form else "")
        if "packed" in form and form != "unpacked":
            content = gzip.compress(content, 1, mtime=7)
        (folder / name).write_bytes(content)
    originals = find_originals(mnist.dataset, tmp_path / "mine")
    assert [one.name for one in originals] == list(mnist.dataset.published)
    assert {one.checked for one in originals} == {"content"}
    assert all(one.path.parent == folder for one in originals)


def test_other_content_and_damage_are_refused_together(mnist: Made) -> None:
    path, other = mnist.folder / FIRST, mnist.folder / "t10k-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    other.write_bytes(other.read_bytes()[:-1])
    with pytest.raises(DataError) as fault:
        find_originals(mnist.dataset, mnist.folder)
    assert f"{path}: not the published file: its MD5 is " in fault.value.faults[0]
    assert f"{other}: not the published file: its MD5 is " in fault.value.faults[1]
    assert "--unchecked takes files" in str(fault.value)
    originals = find_originals(mnist.dataset, mnist.folder, unchecked=True)
    assert [one.checked for one in originals] == ["no", "md5", "no", "md5"]


def test_all_files_that_are_missing_or_cannot_be_read_are_named(mnist: Made) -> None:
    (mnist.folder / FIRST).unlink()
    labels = mnist.folder / "t10k-labels-idx1-ubyte.gz"
    labels.unlink()
    labels.mkdir()
    with pytest.raises(DataError) as fault:
        find_originals(mnist.dataset, mnist.folder)
    names = (FIRST, labels.name)
    assert fault.value.faults == [
        f"{mnist.folder}: no {name} in it that can be read" for name in names
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
