"""The published files of a named dataset: from the network or from a folder, each one checked.

What has arrived of a file lies in `<file>.part` until it is complete and right, also over a break,
Ctrl-C or a restart; the next attempt asks the server for the rest. Only then it gets its name.
"""

import contextlib
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from mnistlab import __version__
from mnistlab.data.archives import find_files, unpacked
from mnistlab.data.datasets import Dataset
from mnistlab.data.published import load_dataset, store_dataset
from mnistlab.data.store import Progress
from mnistlab.data.trees import require_new, write_folders
from mnistlab.devices import torchvision
from mnistlab.errors import DamagedFileError, DataError, LockedError, RunError
from mnistlab.names import printable
from mnistlab.system import move

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 4  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second attempt; doubled before each further one
MAX_BYTES = 2**30  # no file of a dataset is that large
_PIECE = 2**16  # bytes read at once
_BUSY = {408, 425, 429, 500, 502, 503, 504}  # answers that may be others in a moment


@dataclass(frozen=True)
class Original:
    """A file on this machine that stands for a published one.

    checked: `md5` (it is the published file), `content` (it is when unpacked), `no` (`fault`: why).
    """

    name: str
    path: Path
    bytes: int
    sha256: str
    checked: str
    fault: str


def obtain(
    dataset: Dataset,
    source: str | None = None,
    *,
    to: Path | None = None,
    force: bool = False,
    unchecked: bool = False,
    downloading: Progress | None = None,
    writing: Progress | None = None,
) -> tuple[dict[str, dict[str, int]], list[Original]]:
    """Make `dataset` ready for `--data NAME`, or write it as folders of PNG to the new folder `to`.

    `source` is a folder with the published files or the address of a mirror; None asks the
    addresses that torchvision knows. What is here already is left as it is, unless `force`.
    `unchecked` takes files of a folder that are not the published ones if their content fits.
    Returns the counts by split and class, and the files used: none where the dataset was here.
    Raises DataError, RunError, LockedError.
    """
    mirror = source if source is not None and "://" in source else None
    if unchecked and (source is None or mirror):
        raise DataError(dataset.name, ["--unchecked: only for files of one's own: --from DIR"])
    if to is not None:
        require_new(to)
    try:
        if to is None and not force:
            with contextlib.suppress(DataError, DamagedFileError):  # then it is made again
                return load_dataset(dataset).counts, []
        if to and source is None and not force and dataset.bundled:
            originals = []
        elif source is None or mirror:
            originals = download_originals(dataset, mirror, downloading)
        else:
            originals = find_originals(dataset, Path(source), unchecked=unchecked)
        paths = {original.name: original.path for original in originals} or dataset.bundled
        data = store_dataset(dataset, paths, keep=to is None)
    except OSError as error:
        where = printable(error.filename or dataset.folder)
        why = f"{error.strerror or error}; MNISTLAB_CACHE may name another folder for the cache"
        raise RunError(f"{where}: {why}") from error
    if to is not None:
        write_folders([("train", data.train), ("valid", data.valid)], to, writing)
    return data.counts, originals


def download_originals(
    dataset: Dataset, mirror: str | None = None, progress: Progress | None = None
) -> list[Original]:
    """Download the files of `dataset` to the cache, but those that are there already.

    Raises RunError, with all addresses and what to do without a network, LockedError, and OSError.
    """
    originals = []
    lock = dataset.folder.with_name(f".{dataset.source.lower()}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            for name, (md5, urls) in _published(dataset).items():
                path = dataset.originals[name]
                path.parent.mkdir(parents=True, exist_ok=True)

                def fault_of(path: Path, name: str = name, md5: str = md5) -> str:
                    return check_file(dataset, name, md5, path).fault

                if not path.exists() or fault_of(path):
                    own = urls if mirror is None else [f"{mirror.rstrip('/')}/{name}"]
                    fetch(own, path, fault_of, progress)
                originals.append(check_file(dataset, name, md5, path))
    except Timeout as error:
        why = "another process is downloading it; wait for it or stop it"
        raise LockedError(f"{dataset.name}: {why}") from error
    except RunError as error:
        raise RunError(f"{error}\n{dataset.how_to_bring()}") from error
    return originals


def find_originals(dataset: Dataset, folder: Path, *, unchecked: bool = False) -> list[Original]:
    """The files of `dataset` in `folder`, as published or unpacked, each one checked.

    Also those of a torchvision root, below `<name>/raw`. `unchecked` takes files that are not the
    published ones. Raises DataError with all that are missing, or all that are not right.
    """
    places = [folder, folder / dataset.source / "raw", folder / "gzip"]
    names = dataset.published
    archived = any((place / dataset.archive).is_file() for place in places)
    if not archived and any(list(place.glob(f"{dataset.stems[0]}*")) for place in places):
        names = sum(dataset.files.values(), ())  # of EMNIST, taken out of its archive
    published = _published(dataset)
    originals = [
        check_file(dataset, name, published.get(name, ("",))[0], path)
        for name, path in find_files(places, names, dataset.how_to_bring()).items()
    ]
    wrong = [f"{printable(one.path)}: {one.fault}" for one in originals if one.fault]
    if wrong and not unchecked:
        advice = "--unchecked takes files that are packed differently, if their content fits"
        raise DataError(printable(folder), wrong, advice)
    return originals


def check_file(dataset: Dataset, name: str, md5: str, path: Path) -> Original:
    """Compare the file at `path` with the published file `name`, whose MD5 is `md5`.

    An empty `md5`: the file is published only inside an archive. Raises OSError.
    """
    with path.open("rb") as file:
        its_md5 = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    checked, fault = "no", f"not the published file: its MD5 is {its_md5}, and should be {md5}"
    if its_md5 == md5:
        checked, fault = "md5", ""
    elif not md5:
        fault = f"no checksum is known of {name}, only of the archive that it is published in"
    elif dataset.contents:
        content = dataset.contents[dataset.published.index(name)]
        # where it cannot be unpacked, it is not the published file
        with contextlib.suppress(DataError), unpacked(path) as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == content:
                checked, fault = "content", ""
    return Original(name, path, size, sha256, checked, fault)


def _published(dataset: Dataset) -> dict[str, tuple[str, list[str]]]:
    """Name → MD5 and addresses of each file, from the dataset's class in torchvision."""
    source = getattr(torchvision().datasets, dataset.source)
    if dataset.source == "EMNIST":
        return {dataset.archive: (source.md5, [source.url])}
    if dataset.source == "USPS":
        return {name: (md5, [url]) for url, name, md5 in source.split_list.values()}
    if dataset.source == "QMNIST":
        listed = source.resources["train"] + source.resources["test"]
        return {os.path.basename(url): (md5, [url]) for url, md5 in listed}
    return {
        name: (md5, [f"{mirror}{name}" for mirror in source.mirrors])
        for name, md5 in source.resources
    }


def fetch(
    urls: Sequence[str],
    target: Path,
    check: Callable[[Path], str],
    progress: Progress | None = None,
) -> None:
    """Get `target` from the first of `urls` that gives it.

    `check` says what is wrong with a complete file, or nothing; a wrong file is deleted.
    `progress(file name, bytes done, bytes in all)` has 0 in all where the server does not say.
    Raises RunError that names every address and its fault, OSError where the disk fails.
    """
    part = target.with_name(f"{target.name}.part")
    faults = [f"{printable(target.name)}: cannot be downloaded"]
    for url in urls:
        longest = start = part.stat().st_size if part.exists() else 0
        vain = 0  # attempts in a row that brought nothing new
        again = True
        while again and vain < ATTEMPTS:
            if vain:
                time.sleep(PAUSE * 2**vain / 2)
            fault, again = _receive(url, part, start, progress)
            if not fault:
                fault = check(part)
                if not fault:
                    move(part, target)
                    return
                part.unlink()
                # Else what lay there was perhaps the beginning of another file: from the start.
                fault, again = f"{fault}; deleted", start > 0
            start = part.stat().st_size if part.exists() else 0
            vain = 0 if start > longest else vain + 1
            longest = max(start, longest)
        tried = f"; tried {ATTEMPTS} times" if again else ""
        faults.append(f"  {printable(url)}: {printable(fault)}{tried}")
    if part.exists():
        faults.append("what has arrived is kept; the same command goes on from there")
    raise RunError("\n".join(faults))


def _receive(url: str, part: Path, start: int, progress: Progress | None) -> tuple[str, bool]:
    """One request for the bytes from `start` on: they are appended to `part`, or replace it where
    the server sends the file from its beginning.

    Returns what went wrong, or nothing; and whether it may work at another attempt.
    """
    headers = {"User-Agent": f"mnistlab/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if not url.startswith(("http://", "https://")):
        return "not a web address (http or https)", False
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # there is nothing beyond `start`
            return "", False
        return f"the server answered {error.code} {error.reason}", error.code in _BUSY
    except (urllib.error.URLError, http.client.InvalidURL, ValueError) as error:
        return f"cannot be reached: {getattr(error, 'reason', error)}", False
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}", True
    with response:
        if response.headers.get_content_type() == "text/html":
            return "a web page, not the file (a login or an error page?)", False
        done = start if response.status == 206 else 0
        total = 0 if response.length is None else done + response.length
        with part.open("ab" if done else "wb") as file:
            while done <= MAX_BYTES:
                try:
                    piece = response.read1(_PIECE)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    return f"the connection broke: {error}", True
                if not piece:
                    break
                file.write(piece)
                done += len(piece)
                if progress is not None:
                    progress(part.stem, done, total)
    if done < total:
        return f"the connection ended after {done:,} of {total:,} bytes", True
    return "", False
