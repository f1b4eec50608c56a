"""One file from the network: resumed, checked, whole or not at all.

What has arrived lies in `<file>.part` until it is complete and right, also over a break, Ctrl-C or
a restart; the next attempt asks the server for the rest. Only then it gets its name.
"""

import contextlib
import http.client
import itertools
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mnistlab import __version__
from mnistlab.errors import RunError
from mnistlab.files import flush_folder
from mnistlab.names import printable

Progress = Callable[[str, int, int], None]
"""Called as progress(file name, bytes done, bytes in all); 0 in all where the server is silent."""

_PIECE = 2**16
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # answers that may be others in a moment


@dataclass(frozen=True)
class Patience:
    """How long to try: seconds without a byte, attempts without progress, pause between them."""

    timeout: float = 30.0
    attempts: int = 4
    pause: float = 1.0
    in_all: int = 100  # attempts, with progress or not
    max_bytes: int = 2**30


class _BrokenOffError(Exception):
    """It may work at another attempt."""


class _RefusedError(Exception):
    """This address will not give the file."""


def fetch(
    urls: Sequence[str],
    target: Path,
    check: Callable[[Path], str],
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> str:
    """Get `target` from the first of `urls` that gives it; the URL it came from.

    `check` looks at a complete file and says why it is wrong, or nothing. A file that is wrong is
    deleted. Raises RunError that names every address and why it did not do, or says that the disk
    cannot be written.
    """
    part = target.with_name(target.name + ".part")
    patience = patience or Patience()
    faults = []
    for url in urls:
        try:
            _fetch_from(url, part, check, progress, patience)
        except _RefusedError as refused:
            faults.append(f"  {printable(url)}: {printable(refused)}")
            continue
        with _writing(target):
            with part.open("rb+") as arrived:
                os.fsync(arrived.fileno())  # no power cut leaves the final name without its bytes
            os.replace(part, target)
            flush_folder(target.parent)
        if progress is not None:
            progress(target.name, _size(target), _size(target))
        return url
    lines = [f"{printable(target.name)}: cannot be downloaded", *faults]
    if _size(part):
        lines.append("what has arrived is kept; the same command goes on from there")
    raise RunError("\n".join(lines))


def _fetch_from(
    url: str,
    part: Path,
    check: Callable[[Path], str],
    progress: Progress | None,
    patience: Patience,
) -> None:
    """Complete `part` from one address. Raises _RefusedError."""
    tries = vain = 0  # attempts, and those of the last ones that brought nothing
    while vain < patience.attempts and tries < patience.in_all:
        tries += 1
        before, fault = _size(part), ""
        try:
            _receive(url, part, progress, patience)
        except _BrokenOffError as broken:
            fault = str(broken)
        # looked at also after a break, as a server may promise more than there is
        with _writing(part):
            wrong = check(part) if _size(part) else "nothing arrived"
            if not wrong:
                return
            if not fault:
                part.unlink(missing_ok=True)
        if not fault and not before:
            raise _RefusedError(f"{wrong}; deleted")
        # What lay there may have been the beginning of another file: once more from the start.
        fault = fault or wrong
        vain = 0 if _size(part) > before else vain + 1
        if vain < patience.attempts:
            time.sleep(patience.pause * 2**vain / 2)
    raise _RefusedError(f"{fault}; tried {tries} times")


def _receive(url: str, part: Path, progress: Progress | None, patience: Patience) -> None:
    """One request; what comes is appended to `part`, or replaces it if the server sends it all.

    Raises _BrokenOffError, _RefusedError.
    """
    start = _size(part)
    response = _open(url, start, patience.timeout)
    if response is None:
        return
    with response:
        if response.status != 206:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            with _writing(part):
                part.unlink(missing_ok=True)
            raise _BrokenOffError("the server sent another part than it was asked for")
        length = response.headers.get("Content-Length") or ""
        # not more digits than int() takes, and no digits of other scripts
        total = start + int(length) if length.isdecimal() and len(length) < 16 else 0
        pieces = _pieces(response)
        first = next(pieces, b"")
        if not start and first.lstrip()[:1] == b"<":
            raise _RefusedError("a web page, not the file (a login or an error page?)")
        if total > patience.max_bytes:
            raise _RefusedError(f"{total:,} bytes; no file of a dataset is that large")
        done = start
        with _writing(part), part.open("ab" if start else "wb") as file:
            for piece in itertools.chain([first], pieces):
                done += len(piece)
                if done > patience.max_bytes:
                    break
                file.write(piece)
                if progress is not None:
                    progress(part.stem, done, total)
    if done > patience.max_bytes:
        with _writing(part):
            part.unlink(missing_ok=True)
        raise _RefusedError("it does not end; no file of a dataset is that large")
    if done < total:
        raise _BrokenOffError(f"the connection ended after {done:,} of {total:,} bytes")


def _open(url: str, start: int, timeout: float) -> Any:
    """The response to one request from byte `start` on; None where there is nothing beyond it.

    Raises _BrokenOffError, _RefusedError.
    """
    headers = {"User-Agent": f"mnistlab/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise _RefusedError("not a web address (http or https)")
        opener = urllib.request.build_opener(_Redirects)
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return None
        kind = _BrokenOffError if error.code in _AGAIN else _RefusedError
        raise kind(f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted: {reason.verify_message}"
            raise _RefusedError(why) from error
        if isinstance(reason, TimeoutError | ConnectionResetError | ConnectionAbortedError):
            raise _BrokenOffError(_said(reason)) from error
        raise _RefusedError(f"cannot be reached: {_said(reason)}") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise _RefusedError(f"not a web address: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(_said(error)) from error


def _pieces(response: Any) -> Iterator[bytes]:
    """The body as it arrives. Raises _BrokenOffError."""
    while True:
        try:
            piece: bytes = response.read1(_PIECE)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _BrokenOffError(_said(error)) from error
        if not piece:
            return
        yield piece


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to web addresses only, and never from https back to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _said(reason: Any) -> str:
    if isinstance(reason, TimeoutError):
        return "the server has stopped answering"
    return str(getattr(reason, "strerror", None) or reason or type(reason).__name__)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{printable(path)}: cannot be written: {error.strerror or error}; set MNISTLAB_CACHE "
            "to another folder; what has arrived is kept"
        ) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
