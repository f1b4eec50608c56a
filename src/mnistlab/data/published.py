"""The files of a named dataset as they are published: where, with which checksum; and ours."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mnistlab.data.datasets import Dataset
from mnistlab.data.tree import require_folder
from mnistlab.errors import DataError
from mnistlab.names import printable
from mnistlab.vision import torchvision

_PIECE = 2**20
_MAX_CONTENT = 2**28  # bytes; no file whose content is known unpacks to a quarter of it


@dataclass(frozen=True)
class Published:
    """One file: its name, its MD5, the addresses that torchvision knows.

    `content` is the SHA-256 of what it unpacks to, where known.
    """

    name: str
    md5: str
    urls: tuple[str, ...]
    content: str = ""


@dataclass(frozen=True)
class Found:
    """A file that is here, and how it was checked.

    `checked` is `md5` (byte for byte the published one), `content` (packed differently, unpacks to
    the same) or `no`. `sha256` is that of the file, `size` its bytes.
    """

    name: str
    path: Path
    size: int
    sha256: str
    checked: str

    def as_dict(self) -> dict[str, str | int]:
        """Plain data for JSON; not where it lay."""
        return {
            "name": self.name,
            "bytes": self.size,
            "sha256": self.sha256,
            "checked": self.checked,
        }


def published_files(dataset: Dataset) -> tuple[Published, ...]:
    """Names, checksums and addresses from the dataset's class in torchvision."""
    source = getattr(torchvision().datasets, dataset.source)
    listed: Iterable[tuple[str, str, list[str]]]
    if dataset.source == "EMNIST":
        listed = [(dataset.archive, source.md5, [source.url])]
    elif dataset.source == "USPS":
        listed = [(name, md5, [url]) for url, name, md5 in source.split_list.values()]
    elif dataset.source == "QMNIST":
        both = source.resources["train"] + source.resources["test"]
        listed = [(url.rpartition("/")[2], md5, [url]) for url, md5 in both]
    else:
        listed = [
            (name, md5, [f"{mirror}{name}" for mirror in source.mirrors])
            for name, md5 in source.resources
        ]
    return tuple(
        Published(name, md5, tuple(urls), dataset.contents.get(name, ""))
        for name, md5, urls in listed
    )


def check_file(path: Path, file: Published) -> tuple[Found, str]:
    """What lies at `path`, and why it is not the published `file`; an empty reason if it is.

    Raises OSError where it cannot be read.
    """
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with path.open("rb") as opened:
        while piece := opened.read(_PIECE):
            md5.update(piece)
            sha256.update(piece)
            size += len(piece)
    checked, why = "no", ""
    if md5.hexdigest() == file.md5:
        checked = "md5"
    elif file.content and _content_sha256(path) == file.content:
        checked = "content"
    elif file.md5:
        why = f"not the published file: its MD5 is {md5.hexdigest()}, and should be {file.md5}"
    else:
        why = f"no checksum is known of {file.name}, only of the archive that it is published in"
    return Found(file.name, path, size, sha256.hexdigest(), checked), why


def find_originals(dataset: Dataset, folder: Path, *, unchecked: bool = False) -> list[Found]:
    """The files of `dataset` in `folder`, as published or unpacked, each one checked.

    Also those of a torchvision root, below `<name>/raw`. `unchecked` takes files that are not the
    published ones. Raises DataError with all that are missing or not right.
    """
    require_folder(folder, ", ".join(dataset.published))
    files = published_files(dataset)
    if dataset.archive and _lies_in(dataset, folder, dataset.archive) is None:
        unpacked = [name for names in dataset.files.values() for name in names]
        if any(_lies_in(dataset, folder, name) for name in unpacked):
            files = tuple(Published(name, "", ()) for name in unpacked)
    found, missing, wrong = [], [], []
    for file in files:
        path = _lies_in(dataset, folder, file.name)
        if path is None:
            missing.append(f"{printable(folder)}: no {file.name} in it")
            continue
        try:
            one, why = check_file(path, file)
        except OSError as error:
            wrong.append(f"{printable(path)}: cannot be read: {error.strerror or error}")
            continue
        found.append(one)
        if why and not unchecked:
            wrong.append(f"{printable(path)}: {why}")
    if missing:
        raise DataError(printable(folder), missing + wrong, dataset.how_to_bring())
    if wrong:
        advice = "--unchecked takes files that are packed differently, if their content fits"
        raise DataError(printable(folder), wrong, "" if unchecked else advice)
    return found


def _lies_in(dataset: Dataset, folder: Path, name: str) -> Path | None:
    names = [name]
    if name != dataset.archive:
        unpacked, _, packing = name.rpartition(".")
        dotted = unpacked.replace("-idx", ".idx")  # as some copies of MNIST write it
        names += [unpacked, dotted, f"{dotted}.{packing}"]
    for place in (folder, folder / dataset.source / "raw", folder / dataset.folder):
        for candidate in names:
            if os.path.isfile(place / candidate):
                return place / candidate
    return None


def _content_sha256(path: Path) -> str:
    """The SHA-256 of a file that may be gzipped; empty if it is damaged, or has no end in sight."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as raw:
            zipped = raw.peek(2).startswith(b"\x1f\x8b")
            with gzip.GzipFile(fileobj=raw) if zipped else raw as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    size += len(piece)
                    if size > _MAX_CONTENT:
                        return ""
    except (OSError, EOFError, zlib.error):
        return ""
    return digest.hexdigest()
