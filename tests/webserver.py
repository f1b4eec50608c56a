"""A web server on this machine that answers as a test tells it to, and notes what it was asked."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """`answers[path]` is bytes (served whole, with ranges), or a function of the handler.

    A list is served one after the other; its last entry from then on.
    """

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Answer | list[bytes | Answer]] = {}
        self.asked: list[tuple[str, str]] = []  # path, Range
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append((handler.path, handler.headers.get("Range", "")))
        found = self.answers.get(handler.path)
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if found is None:
            handler.send_error(404)
        elif isinstance(found, bytes):
            whole(found)(handler)
        else:
            found(handler)


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """One answer; `Content_Length=""` leaves the length out."""
    handler.send_response(status)
    fields = {"Content_Length": str(len(body)), **headers}
    for name, value in fields.items():
        if value:
            handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def whole(content: bytes) -> Answer:
    """Serve `content`, from the byte that is asked for."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        if not asked:
            return send(handler, 200, content)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return send(handler, 416, b"", Content_Range=f"bytes */{len(content)}")
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return send(handler, 206, content[start:], Content_Range=place)

    return answer


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server on 127.0.0.1 for as long as the context lasts."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            with contextlib.suppress(ConnectionError):  # the client may leave early
                server.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=lambda: listening.serve_forever(0.01))
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
