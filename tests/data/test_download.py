"""Downloads from a server that breaks off, lies, stalls, redirects or sends a web page."""

import http.client
import io
import os
import socket
import ssl
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from mnistlab.data import download
from mnistlab.data.download import Patience, fetch
from mnistlab.errors import RunError
from tests.webserver import Answer, Server, send, serving, whole

CONTENT = bytes(range(256)) * 1200  # several pieces
QUICK = Patience(timeout=5, attempts=3, pause=0)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.gz"


def right(path: Path) -> str:
    return "" if path.read_bytes() == CONTENT else "not the file"


def get(server: Server, target: Path, *paths: str, patience: Patience = QUICK) -> str:
    urls = [server.url + path for path in paths or ("/file.gz",)]
    return fetch(urls, target, right, patience=patience)


def refusal(server: Server, target: Path, *paths: str, patience: Patience = QUICK) -> str:
    with pytest.raises(RunError) as fault:
        get(server, target, *paths, patience=patience)
    assert not target.exists()
    assert all(line.isprintable() for line in str(fault.value).splitlines())
    return str(fault.value)


def cut(content: bytes, at: int, **headers: str) -> Answer:
    """Promise all of it, send `at` bytes, hang up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        fields = {"Content_Length": str(len(content)), **headers}
        send(handler, 200, content[:at], **fields)

    return answer


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


# as it should be


def test_a_file_arrives_and_nothing_else_is_left(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = CONTENT
    told: list[tuple[str, int, int]] = []
    url = fetch([server.url + "/file.gz"], target, right, lambda *step: told.append(step), QUICK)
    assert url == server.url + "/file.gz"
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.gz"]
    assert {name for name, _, _ in told} == {"file.gz"}
    assert told[-1] == ("file.gz", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_file_without_a_length_arrives(server: Server, target: Path) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, b"", Content_Length="", Transfer_Encoding="chunked")
        for start in range(0, len(CONTENT), 50_000):
            piece = CONTENT[start : start + 50_000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    server.answers["/file.gz"] = chunked
    server.answers["/silent"] = lambda handler: send(handler, 200, CONTENT, Content_Length="")
    for path in ("/file.gz", "/silent"):
        totals: list[int] = []

        def step(name: str, done: int, total: int, totals: list[int] = totals) -> None:
            totals.append(total)

        fetch([server.url + path], target, right, step, QUICK)
        assert target.read_bytes() == CONTENT
        assert set(totals[:-1]) == {0}  # nobody knows
        assert totals[-1] == len(CONTENT)
        target.unlink()


def test_a_redirect_is_followed(server: Server, target: Path) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 302, b"", Location="/file.gz")

    server.answers |= {"/old": elsewhere, "/file.gz": CONTENT}
    get(server, target, "/old")
    assert target.read_bytes() == CONTENT


# breaks


def test_what_has_arrived_is_not_fetched_again(server: Server, target: Path) -> None:
    part_of(target).write_bytes(CONTENT[:1000])
    server.answers["/file.gz"] = CONTENT
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [("/file.gz", "bytes=1000-")]


def test_a_connection_that_ends_early_is_taken_up_again(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = [cut(CONTENT, 70_000), cut(CONTENT, 10), whole(CONTENT)]
    # the second answer is the whole file from its beginning again, as its status says
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["", "bytes=70000-", "bytes=10-"]


def test_a_connection_that_is_reset_is_taken_up_again(server: Server, target: Path) -> None:
    def reset(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, CONTENT[:1000], Content_Length=str(len(CONTENT)))
        time.sleep(0.05)  # a reset overtakes what was sent just before it
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.shutdown(socket.SHUT_RD)
        handler.connection.close()

    server.answers["/file.gz"] = [reset, whole(CONTENT)]
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_server_that_stalls_is_asked_again(server: Server, target: Path) -> None:
    def stall(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, CONTENT[:500], Content_Length=str(len(CONTENT)))
        time.sleep(1)

    server.answers["/file.gz"] = [stall, whole(CONTENT)]
    get(server, target, patience=Patience(timeout=0.2, attempts=3, pause=0))
    assert target.read_bytes() == CONTENT
    assert server.asked[1] == ("/file.gz", "bytes=500-")


def test_a_server_that_never_answers_is_given_up_on(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = lambda _: time.sleep(0.5)
    told = refusal(server, target, patience=Patience(timeout=0.1, attempts=2, pause=0))
    assert "the server has stopped answering; tried 2 times" in told


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(server: Server, target: Path, status: int) -> None:
    server.answers["/file.gz"] = [lambda handler: send(handler, status, b"busy"), whole(CONTENT)]
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_the_pauses_grow(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    server.answers["/file.gz"] = lambda handler: send(handler, 503, b"")
    told = refusal(server, target, patience=Patience(timeout=5, attempts=4, pause=1))
    assert "the server answered 503 Service Unavailable; tried 4 times" in told
    assert slept == [1, 2, 4]


def test_progress_renews_the_patience_but_not_for_ever(server: Server, target: Path) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        rest = str(len(CONTENT) - start)
        place = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        send(handler, 206, CONTENT[start : start + 9], Content_Length=rest, Content_Range=place)

    server.answers["/file.gz"] = drip
    told = refusal(server, target, patience=Patience(timeout=5, attempts=2, pause=0, in_all=7))
    assert "the connection ended after 63 of 307,200 bytes; tried 7 times" in told
    assert "what has arrived is kept; the same command goes on from there" in told
    assert part_of(target).read_bytes() == CONTENT[:63]
    server.answers["/file.gz"] = CONTENT
    get(server, target)
    assert server.asked[-1] == ("/file.gz", "bytes=63-")


def test_an_interrupt_keeps_what_has_arrived(server: Server, target: Path) -> None:
    def stop(_: str, done: int, total: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    server.answers["/file.gz"] = CONTENT
    with pytest.raises(KeyboardInterrupt):
        fetch([server.url + "/file.gz"], target, right, stop, QUICK)
    assert not target.exists()
    arrived = part_of(target).read_bytes()
    assert len(arrived) > 100_000
    assert CONTENT.startswith(arrived)
    get(server, target)
    assert target.read_bytes() == CONTENT


# ranges


def test_a_server_that_knows_no_ranges_sends_it_all_again(server: Server, target: Path) -> None:
    part_of(target).write_bytes(b"x" * 1000)
    server.answers["/file.gz"] = lambda handler: send(handler, 200, CONTENT)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize("place", ["bytes 0-99/307200", "bytes 5-9/10", "", "nonsense"])
def test_another_part_than_was_asked_for_is_not_believed(
    server: Server, target: Path, place: str
) -> None:
    def wrong(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 206, CONTENT[:100], Content_Range=place)

    part_of(target).write_bytes(CONTENT[:1000])
    server.answers["/file.gz"] = [wrong, whole(CONTENT)]
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file.gz", "")


def test_a_part_of_something_else_is_thrown_away_once_it_shows(
    server: Server, target: Path
) -> None:
    part_of(target).write_bytes(b"a page of another server")
    server.answers["/file.gz"] = CONTENT
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=24-", ""]


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 50])
def test_a_part_that_is_whole_or_too_long_already(
    server: Server, target: Path, length: int
) -> None:
    part_of(target).write_bytes((CONTENT + bytes(50))[:length])
    server.answers["/file.gz"] = CONTENT
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == (1 if length == len(CONTENT) else 2)


# lies


def test_a_wrong_file_is_deleted_and_named(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = CONTENT[:-1] + b"\0"
    told = refusal(server, target)
    assert f"file.gz: cannot be downloaded\n  {server.url}/file.gz: not the file; deleted" in told
    assert "what has arrived" not in told
    assert list(target.parent.iterdir()) == []
    assert len(server.asked) == 1


def test_a_length_too_long_does_not_matter_if_the_file_is_right(
    server: Server, target: Path
) -> None:
    server.answers["/file.gz"] = cut(CONTENT, len(CONTENT), Content_Length=str(len(CONTENT) + 9))
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_a_length_too_short_gives_a_wrong_file(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = lambda handler: send(
        handler, 200, CONTENT, Content_Length=str(len(CONTENT) - 9)
    )
    assert "not the file; deleted" in refusal(server, target)


@pytest.mark.parametrize("length", ["-5", "many", "1" * 5000, "٣"])
def test_a_length_that_is_none_is_ignored(server: Server, target: Path, length: str) -> None:
    def odd(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", length.encode().decode("latin-1"))
        handler.end_headers()
        handler.wfile.write(CONTENT)

    server.answers["/file.gz"] = odd
    try:
        get(server, target)
    except RunError as error:
        assert "file.gz" in str(error)  # noqa: PT017 - either is right, a crash is not
    else:
        assert target.read_bytes() == CONTENT


def test_nothing_at_all_is_told(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = b""
    assert "nothing arrived; deleted" in refusal(server, target)
    server.answers["/file.gz"] = lambda handler: send(handler, 204, b"")
    assert "nothing arrived; deleted" in refusal(server, target)


@pytest.mark.parametrize("start", [b"<!DOCTYPE html>", b"\r\n  <html>", b"<?xml version='1.0'?>"])
def test_a_web_page_is_recognised_and_harms_nothing(
    server: Server, target: Path, start: bytes
) -> None:
    part_of(target).write_bytes(CONTENT[:1000])
    server.answers["/file.gz"] = lambda handler: send(
        handler, 200, start + b"please log in", Content_Type="text/html"
    )
    assert "a web page, not the file (a login or an error page?)" in refusal(server, target)
    assert part_of(target).read_bytes() == CONTENT[:1000]


def test_the_middle_of_a_file_may_look_like_a_web_page(server: Server, target: Path) -> None:
    part_of(target).write_bytes(CONTENT[: ord("<")])
    server.answers["/file.gz"] = CONTENT
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_what_is_too_large_is_refused_before_and_while_it_comes(
    server: Server, target: Path
) -> None:
    small = Patience(timeout=5, attempts=2, pause=0, max_bytes=100_000)
    server.answers["/file.gz"] = CONTENT
    assert "307,200 bytes; no file of a dataset is that large" in refusal(
        server, target, patience=small
    )
    server.answers["/file.gz"] = lambda handler: send(handler, 200, CONTENT, Content_Length="")
    assert "it does not end; no file" in refusal(server, target, patience=small)
    assert list(target.parent.iterdir()) == []


# other addresses


def test_the_next_address_is_asked_and_goes_on_with_the_part(server: Server, target: Path) -> None:
    server.answers |= {"/a": cut(CONTENT, 5000), "/b": CONTENT}
    assert get(server, target, "/gone", "/a", "/b").endswith("/b")
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("/b", "bytes=5000-")


def test_every_address_is_named_with_its_reason(server: Server, target: Path) -> None:
    server.answers["/wrong"] = b"other"
    server.answers["/secret"] = lambda handler: send(handler, 403, b"")
    told = refusal(server, target, "/gone", "/secret", "/wrong").splitlines()
    assert told == [
        "file.gz: cannot be downloaded",
        f"  {server.url}/gone: the server answered 404 Not Found",
        f"  {server.url}/secret: the server answered 403 Forbidden",
        f"  {server.url}/wrong: not the file; deleted",
    ]
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/file.gz", "not a web address (http or https)"),
        ("file:///etc/passwd", "not a web address"),
        ("data:,x", "not a web address"),
        ("http:///x", "cannot be reached: no host given"),
        ("http://127.0.0.1:port/x", "not a web address: "),
        ("http://127.0.0.1/a b\n", "not a web address: "),
        ("http://[::1/x", "not a web address: "),
    ],
)
def test_odd_addresses_are_refused(target: Path, url: str, why: str) -> None:
    with pytest.raises(RunError) as fault:
        fetch([url], target, right, patience=QUICK)
    assert why in str(fault.value)
    assert all(line.isprintable() for line in str(fault.value).splitlines())


def test_nobody_listening_is_told_at_once(target: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(RunError, match="cannot be reached: Connection refused"):
            fetch([url], target, right, patience=QUICK)


@pytest.mark.parametrize("error", [TimeoutError("timed out"), ConnectionResetError(104, "reset")])
def test_a_connection_that_fails_in_a_passing_way_is_tried_again(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    real = http.client.HTTPConnection.connect
    failed: list[OSError] = []

    def connecting(self: http.client.HTTPConnection) -> None:
        if not failed:
            failed.append(error)
            raise error
        real(self)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", connecting)
    server.answers["/file.gz"] = CONTENT
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert failed


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirect_away_from_the_web_is_not_followed(
    server: Server, target: Path, location: str
) -> None:
    server.answers["/file.gz"] = lambda handler: send(handler, 302, b"", Location=location)
    told = refusal(server, target)
    assert "which is not followed" in told or "is not allowed" in told  # ours, or urllib's own
    assert len(server.asked) == 1


def test_a_redirect_from_https_back_to_http_is_not_followed() -> None:
    request = urllib.request.Request("https://host/file.gz")
    with pytest.raises(urllib.error.URLError, match="which is not followed"):
        download._Redirects().redirect_request(
            request, io.BytesIO(), 302, "Found", {}, "http://host/file.gz"
        )


def test_a_redirect_in_circles_ends(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = lambda handler: send(handler, 302, b"", Location="/file.gz")
    assert "the server answered 302" in refusal(server, target)


def test_a_certificate_that_is_not_trusted_is_told(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"

    def opened(*_: object, **__: object) -> None:
        raise urllib.error.URLError(error)

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", opened)
    with pytest.raises(RunError, match="its certificate is not trusted: self-signed certificate"):
        fetch(["https://127.0.0.1/x"], target, right, patience=QUICK)


def test_certificates_are_looked_at(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    seen: list[Any] = []

    def connecting(self: Any) -> None:
        seen.append(self._context.verify_mode)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(http.client.HTTPSConnection, "connect", connecting)
    with pytest.raises(RunError):
        fetch(["https://127.0.0.1/x"], target, right, patience=QUICK)
    assert seen == [ssl.CERT_REQUIRED]


def test_a_server_without_encryption_is_no_https_server(server: Server, target: Path) -> None:
    server.answers["/file.gz"] = CONTENT
    with pytest.raises(RunError, match="cannot be reached: "):
        fetch([server.url.replace("http:", "https:") + "/file.gz"], target, right, patience=QUICK)


# disks


def test_a_full_disk_is_told_and_keeps_what_has_arrived(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    server.answers["/file.gz"] = CONTENT
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        RunError, match="No space left on device; set MNISTLAB_CACHE to another folder"
    ):
        get(server, target)
    assert part_of(target).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_folder_that_cannot_be_written_is_told(server: Server, tmp_path: Path) -> None:
    server.answers["/file.gz"] = CONTENT
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="cannot be written: Not a directory"):
        get(server, tmp_path / "file" / "x.gz")
