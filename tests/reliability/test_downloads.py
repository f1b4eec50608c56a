"""A download ends with the right file or a plain error, whatever a server does; the next one works.

A server on this machine breaks off, stalls, lies and misleads, several times one after the other,
and is honest then. After every attempt the final name holds nothing or the verified bytes.
"""

import gzip
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from random import Random

import pytest

from mnistlab import MnistlabError
from mnistlab.data import download
from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.webserver import Answer, Server, send, serving, whole

CONTENT = Random(1).randbytes(90_000)
OTHER = Random(2).randbytes(90_000)
PAGE = b"<!DOCTYPE html><title>Sign in</title>"
TIMEOUT = 0.15  # seconds; a server that stalls does so for longer
PARTS = (b"", CONTENT[:20_000], OTHER[:20_000], CONTENT, CONTENT + b"more")  # of before


def rest(
    upto: int = len(CONTENT), content: bytes = CONTENT, more: bytes = b"", pause: float = 0
) -> Answer:
    """The part that is asked for, all of it promised, sent as far as `upto`; then `more`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        start = min(start, len(CONTENT) - 1)
        headers = {
            "Content_Length": str(len(CONTENT) - start),
            "Content_Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}",
        }
        send(handler, 206 if start else 200, content[start : max(start, upto)], **headers)
        handler.wfile.write(more)
        time.sleep(pause)

    return answer


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda handler: send(handler, code, body, **headers)


def raw(content: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)

    return answer


def flipped(chance: Random) -> Answer:
    content = bytearray(CONTENT)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return rest(content=bytes(content))


def faults(chance: Random, elsewhere: str) -> dict[str, Answer]:
    """What a server can do wrong; `elsewhere` is another one."""
    upto = chance.randrange(len(CONTENT))
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    lengths = ("90009", "89991", "-90000", "many", "9" * 12, "9" * 5000)
    places = ["/file.gz", "file:///etc/hostname", "http://[::1/x", "/\x1b[2J\x07"]
    places += [f"{elsewhere}/{name}" for name in ("other", "right", "none")]
    codes = (304, 401, 403, 404, 407, 429, 500, 503)
    return {
        "breaks off": rest(upto),
        "breaks off, no length": status(200, CONTENT[:upto], Content_Length=""),
        "stalls": rest(upto, pause=3 * TIMEOUT),
        "never answers": lambda handler: time.sleep(3 * TIMEOUT),
        "hangs up": raw(b""),
        **{
            f"a length of {length:.9}": status(200, CONTENT, Content_Length=length)
            for length in lengths
        },
        **{f"redirects to {place!a}": status(302, Location=place) for place in places},
        "a web page": status(200, PAGE, Content_Type="text/html"),
        "nothing": status(200),
        "changed between two parts": rest(content=OTHER),
        "a bit flipped": flipped(chance),
        "ignores the range": status(200, CONTENT),
        "more than it said": rest(more=b"more" * chance.randrange(1, 9999)),
        "packed with gzip": status(200, gzip.compress(CONTENT), Content_Encoding="gzip"),
        "no HTTP": raw(b"\x16\x03\x01\0\xa5\x01 secret \x1b[2J\r\n\r\n"),
        "a reason of control characters": raw(b"HTTP/1.1 404 \x1b[2J\x07\r\n\r\n"),
        "a long line": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
        "chunks that break off": raw(chunks + b"1000\r\n" + CONTENT[:500]),
        "chunks that end early": raw(chunks + b"1f4\r\n" + CONTENT[:500] + b"\r\n"),
        **{f"answers {code}": status(code, PAGE) for code in codes},
    }


def test_a_download_ends_with_the_right_file_whatever_went_wrong_before(
    tally: Tally, examples: Examples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("TIMEOUT", TIMEOUT), ("ATTEMPTS", 2), ("PAUSE", 0)):
        monkeypatch.setattr(download, name, value)
    chance = Random(6)
    with serving() as server, serving() as elsewhere:
        elsewhere.answers = {"/other": OTHER, "/right": CONTENT}
        for number in range(examples(20, 1000)):
            known = faults(chance, elsewhere.url)
            names = chance.sample(sorted(known), chance.randint(1, 4))
            names[0] = sorted(known)[number % len(known)]
            before = chance.choice(PARTS)
            answers = [known[name] for name in names]
            fault = fault_of(server, tmp_path / str(number), answers, before)
            tally.check(f"{', then '.join(names)}, and there were {len(before)} bytes", fault)


def fault_of(server: Server, folder: Path, answers: list[Answer], before: bytes) -> str:
    """What is wrong when a server gives these answers, one after the other, and is honest then."""
    target = folder / "downloads" / "file.gz"
    target.parent.mkdir(parents=True)
    if before:
        target.with_name("file.gz.part").write_bytes(before)
    server.answers = {"/file.gz": [*answers, whole(CONTENT)]}
    for _ in range(len(answers) + 2):
        fault = ""
        try:
            download.fetch([f"{server.url}/file.gz"], target, check)
        except MnistlabError as error:
            if server.url not in str(error) or len(str(error)) > 1000:
                fault = f"an unclear message: {error}"
            if not all(line.isprintable() for line in str(error).splitlines()):
                fault = f"an unprintable message: {str(error)!a}"
        except Exception as error:  # what is not ours ends in a traceback
            fault = f"{type(error).__name__}: {error}"
        names = {path.name for path in target.parent.iterdir()}
        if names - {"file.gz", "file.gz.part"} or list(folder.iterdir()) != [target.parent]:
            fault = "it left something behind"
        if "file.gz" in names:
            right = target.read_bytes() == CONTENT and names == {"file.gz"}
            return fault if right else "the final name holds something else, or a part is left"
        if fault:
            return fault
    return f"it never works again; asked {server.asked}"


def check(path: Path) -> str:
    return "" if path.read_bytes() == CONTENT else "not the file"
