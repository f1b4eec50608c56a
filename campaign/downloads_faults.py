"""What a server can do wrong: each a function of a random generator that gives one answer."""

import contextlib
import gzip
import socket
import struct
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from random import Random

from tests.webserver import Answer, send

CONTENT = Random(1).randbytes(90_000)
OTHER = Random(2).randbytes(90_000)
PAGE = b"<!DOCTYPE html><title>Sign in</title>"
STALL = 0.4  # seconds

Fault = Callable[[Random], Answer]


def _asked(handler: BaseHTTPRequestHandler) -> int:
    """The first byte that was asked for."""
    return int((handler.headers.get("Range") or "bytes=0-")[6:-1])


def _range(start: int, end: int = len(CONTENT)) -> str:
    return f"bytes {start}-{end - 1}/{len(CONTENT)}"


def _rest(handler: BaseHTTPRequestHandler, upto: int, content: bytes = CONTENT) -> None:
    """The part that is asked for, all of it promised, sent as far as `upto`."""
    start = min(_asked(handler), len(CONTENT) - 1)
    length = str(len(CONTENT) - start)
    body = content[start : max(start, upto)]
    send(handler, 206 if start else 200, body, Content_Length=length, Content_Range=_range(start))


def _broken_off(random: Random) -> Answer:
    upto = random.randrange(len(CONTENT))
    return lambda handler: _rest(handler, upto)


def _broken_off_without_length(random: Random) -> Answer:
    upto = random.randrange(len(CONTENT))
    return lambda handler: send(handler, 200, CONTENT[:upto], Content_Length="")


def _reset(random: Random) -> Answer:
    upto = random.randrange(len(CONTENT))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        _rest(handler, upto)
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.shutdown(socket.SHUT_RD)
        handler.connection.close()

    return answer


def _stall(random: Random) -> Answer:
    upto = random.randrange(len(CONTENT))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        _rest(handler, upto)
        handler.wfile.flush()
        time.sleep(STALL)

    return answer


def _silent(_: Random) -> Answer:
    return lambda handler: time.sleep(STALL)


def _length(claim: Callable[[int], str]) -> Fault:
    """Everything, with another length than it has."""

    def make(_: Random) -> Answer:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", claim(len(CONTENT)))
            handler.end_headers()
            handler.wfile.write(CONTENT)

        return answer

    return make


def _status(code: int, body: bytes = b"", **headers: str) -> Fault:
    return lambda _: lambda handler: send(handler, code, body, **headers)


def _to(location: str, code: int = 302) -> Fault:
    return _status(code, Location=location)


def _raw(content: bytes) -> Fault:
    return lambda _: lambda handler: _write(handler, content)


def _write(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.wfile.write(content)


def _chunked(content: bytes) -> Fault:
    """Pieces as they are, without an end."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return _raw(head + content)


def _changed(random: Random) -> Answer:
    """The rest that is asked for, of a file that has changed since."""
    return lambda handler: _rest(handler, len(CONTENT), OTHER)


def _flipped(random: Random) -> Answer:
    content = bytearray(CONTENT)
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return lambda handler: _rest(handler, len(content), bytes(content))


def _part(claim: Callable[[int], str], shift: int = 0) -> Fault:
    """A part with another Content-Range than it has, or than was asked for."""

    def make(_: Random) -> Answer:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            start = _asked(handler)
            body = CONTENT[max(start + shift, 0) :]
            send(handler, 206, body, Content_Range=claim(start))

        return answer

    return make


def _slice(random: Random) -> Answer:
    """Less than was asked for, and it says so."""
    size = random.randrange(1, 5000)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = min(_asked(handler), len(CONTENT) - 1)
        body = CONTENT[start : start + size]
        send(handler, 206, body, Content_Range=_range(start, start + len(body)))

    return answer


def _more(random: Random) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        _rest(handler, len(CONTENT))
        handler.wfile.write(b"more" * random.randrange(1, 9999))

    return answer


KNOWN: dict[str, Fault] = {
    "breaks off": _broken_off,
    "breaks off, no length": _broken_off_without_length,
    "resets": _reset,
    "stalls": _stall,
    "never answers": _silent,
    "hangs up": _raw(b""),
    "a length too long": _length(lambda n: str(n + 9)),
    "a length too short": _length(lambda n: str(n - 9)),
    "a length below nothing": _length(lambda n: f"-{n}"),
    "a length in words": _length(lambda _: "many"),
    "a length beyond all": _length(lambda _: "9" * 12),
    "a length of 5000 digits": _length(lambda _: "9" * 5000),
    "redirects to itself": _to("/file.gz"),
    "redirects to a file": _to("file:///etc/hostname"),
    "redirects to ftp": _to("ftp://127.0.0.1/x"),
    "redirects to data": _to("data:,secret"),
    "redirects to nobody": _to("http://127.0.0.1:9/x"),
    "redirects to no address": _to("http://[::1/x"),
    "redirects nowhere": _status(302),
    "redirects to control characters": _to("/\x1b[2J\x07"),
    "a web page": _status(200, PAGE, Content_Type="text/html"),
    "a web page for a part": _part(_range, len(CONTENT)),
    "nothing": _status(200),
    "no content": _status(204),
    "changed between two parts": _changed,
    "a bit flipped": _flipped,
    "ignores the range": _status(200, CONTENT),
    "ignores the range, of another file": _status(200, OTHER),
    "another part": _part(lambda start: _range(start + 5), 5),
    "another part, and does not say so": _part(_range, 7),
    "no Content-Range": _part(lambda _: ""),
    "a Content-Range of nonsense": _part(lambda _: "bytes */many"),
    "a smaller part": _slice,
    "nothing beyond": _status(416, Content_Range=f"bytes */{len(CONTENT)}"),
    "more than it said": _more,
    "packed with gzip": _status(200, gzip.compress(CONTENT), Content_Encoding="gzip"),
    "packed with deflate": _status(200, zlib.compress(CONTENT), Content_Encoding="deflate"),
    "no HTTP": _raw(b"\x16\x03\x01\0\xa5\x01 secret \x1b[2J\r\n\r\n"),
    "another HTTP": _raw(b"HTTP/9.9 200 Fine\r\n\r\n" + CONTENT),
    "a status of words": _raw(b"HTTP/1.1 fine\r\n\r\n"),
    "a reason of control characters": _raw(b"HTTP/1.1 404 \x1b[2J\x07\r\n\r\n"),
    "a long line": _raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    "headers without end": _raw(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 9999 + b"\r\n"),
    "waits and waits": _raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "chunks that break off": _chunked(b"1000\r\n" + CONTENT[:500]),
    "chunks that end early": _chunked(b"1f4\r\n" + CONTENT[:500] + b"\r\n"),
    "chunks of nonsense": _chunked(b"zz\r\n" + CONTENT[:500] + b"\r\n"),
    "chunks below nothing": _chunked(b"-5\r\n" + CONTENT[:500] + b"\r\n"),
}
_CODES = (300, 304, 400, 401, 403, 404, 407, 410, 418, 429, 500, 502, 503, 504, 599)


def faults(elsewhere: str) -> dict[str, Fault]:
    """By name; `elsewhere` is another server, with another file at /other and ours at /right."""
    return {
        **KNOWN,
        **{f"answers {code}": _status(code, PAGE) for code in _CODES},
        "redirects to another file": _to(f"{elsewhere}/other", 301),
        "redirects to a host that has it": _to(f"{elsewhere}/right", 307),
        "redirects to what is not there": _to(f"{elsewhere}/none", 308),
    }
