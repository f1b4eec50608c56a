"""MNIST_SAMPLE, the real data that travels with mnistlab: unpacked once, verified, whole."""

import atexit
import contextlib
import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from mnistlab.data.folders import ImageData, Progress, load_folders
from mnistlab.errors import DamagedFileError, DataError, LockedError, MnistlabError, RunError
from mnistlab.files import (
    cache_folder,
    flush_folder,
    packaged,
    remove,
    remove_leftovers,
    temporary_beside,
)
from mnistlab.names import printable

ARCHIVE = "mnist_sample.tgz"
ARCHIVE_SHA256 = "b2ea514c5c641508e3caca211f91dbc794f1c73862656f391e1055afe0b2a371"
FINGERPRINT = "0e3460063392dc8cd2f86df4adb90477c77cfa8fd0b5815b1369bdb7e865c2e0"
"""`ImageData.fingerprint` of the unpacked data."""

_MEMBER = re.compile(r"mnist_sample/(labels\.csv|(train|valid)/[37]/(0|[1-9][0-9]{0,4})\.png)")
_MAX_MEMBER_BYTES = 1_000_000
_MAX_MEMBERS = 20_000
_MAX_UNZIPPED_BYTES = 2**26  # four times what is shipped
_ATTEMPTS = 4  # to load a copy that others change or renew meanwhile
_PATIENCE = 120.0  # seconds, for another process that unpacks

Copy = tuple[int, ...]
"""Tells one unpacked copy from the next at the same place."""


def load_sample(progress: Progress | None = None) -> ImageData:
    """The bundled data, loaded; a copy that somebody changed is unpacked again first.

    Raises RunError where that does not help, and as `mnist_sample`.
    """
    bad = None
    for _ in range(_ATTEMPTS):
        folder = mnist_sample(bad)
        bad = _copy_at(folder)  # should it turn out to be
        with contextlib.suppress(DataError):  # files are missing or damaged
            loaded = load_folders(folder, progress=progress)
            if loaded.fingerprint == FINGERPRINT:
                return loaded
    raise RunError(
        f"{printable(folder)}: not the bundled data, however often it is unpacked; does another "
        "program change it? set MNISTLAB_CACHE to another folder"
    )


def mnist_sample(bad: Copy | None = None) -> Path:
    """The folder of the bundled data, unpacked into the cache on first use.

    Where the copy there is `bad`, which somebody changed, it is unpacked again; another one in its
    place is left alone, as another process may have made it, and may be reading it. Without a
    writable cache it goes to a temporary folder that lasts as long as the process. Raises
    DamagedFileError if the archive is not the one that was shipped.
    """
    try:
        home = cache_folder() / "data"
        target = home / f"mnist_sample-{ARCHIVE_SHA256[:12]}"
        # at every start: what a killed one left is not old enough when the next one unpacks
        remove_leftovers(home, older_than=600)
        if _is_good(target, bad):
            return target
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK):
            raise PermissionError
    except (OSError, RunError):
        home = Path(tempfile.mkdtemp(prefix="mnistlab-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        target = home / "mnist_sample"
    try:
        # Onto nothing, renaming a folder is one step; what is there is replaced by one at a time.
        with _alone(home) if os.path.lexists(target) else contextlib.nullcontext():
            if not _is_good(target, bad):
                _unpack_to(target, bad)
    except OSError as error:
        raise RunError(
            f"{printable(target)}: the bundled data cannot be unpacked: {error.strerror or error}; "
            "set MNISTLAB_CACHE to a folder with 60 MB of space"
        ) from error
    return target


def _copy_at(folder: Path) -> Copy | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


def _is_good(target: Path, bad: Copy | None) -> bool:
    return target.is_dir() and (bad is None or _copy_at(target) != bad)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """While no other process replaces a copy."""
    try:
        with FileLock(home / ".mnist_sample.lock", timeout=_PATIENCE):
            yield
    except Timeout as error:
        raise LockedError(
            f"{printable(home)}: another process is unpacking the bundled data; stop it, or set "
            "MNISTLAB_CACHE to another folder"
        ) from error


def _unpack_to(target: Path, bad: Copy | None) -> None:
    archive = packaged("data") / ARCHIVE
    content = archive.read_bytes()
    if hashlib.sha256(content).hexdigest() != ARCHIVE_SHA256:
        raise DamagedFileError(
            f"{printable(archive)}: its SHA-256 is not the expected one; install mnistlab again"
        )
    temporary = temporary_beside(target)
    try:
        temporary.mkdir()
        extract_checked(content, temporary, _MEMBER)
        _put_in_place(temporary / "mnist_sample", target, bad)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    flush_folder(target.parent)


def _put_in_place(folder: Path, target: Path, bad: Copy | None) -> None:
    # Where another process was faster, its copy is as good as ours and may be in use already; only
    # what is no good is moved aside.
    aside = temporary_beside(target)
    if os.path.lexists(target) and not _is_good(target, bad):
        os.replace(target, aside)
    try:
        os.rename(folder, target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        remove(aside)


def extract_checked(content: bytes, folder: Path, allowed: "re.Pattern[str]") -> None:
    """Unpack a .tar.gz into `folder`: only regular files whose whole name matches `allowed`.

    Member names are matched before anything is written, so absolute paths, `..`, links, devices
    and foreign files never reach the disk. Raises DamagedFileError.
    """
    seen: set[str] = set()
    try:
        # Unzipped by gzip, as tarfile's own stream does not look at the checksum.
        with (
            gzip.GzipFile(fileobj=io.BytesIO(content)) as unzipped,
            _Limited(unzipped) as limited,
            tarfile.open(fileobj=limited, mode="r|") as tar,
        ):
            for member in tar:
                if member.isdir():
                    continue
                name = member.name
                # not a sparse one neither: what it claims to hold would be skipped without end
                regular = member.isreg() and not member.issparse()
                if not regular or not allowed.fullmatch(name) or name in seen:
                    raise DamagedFileError(f"unexpected member {printable(name)!r} in the archive")
                if member.size > _MAX_MEMBER_BYTES or len(seen) >= _MAX_MEMBERS:
                    raise DamagedFileError("the archive unpacks to more than it should")
                seen.add(name)
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None  # regular files have content
                path.write_bytes(source.read())
            while limited.read(2**16):  # to the end, where the checksum is
                pass
    except MnistlabError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise  # of the disk
        # tarfile raises whatever the damage leads it to, RecursionError for headers of headers
        raise DamagedFileError(f"the archive is damaged: {error}") from error


class _Limited(io.RawIOBase):
    """A stream that ends with an error where it unzips to more than any archive of ours."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.stream = stream
        self.left = _MAX_UNZIPPED_BYTES

    def read(self, size: int = -1) -> bytes:
        piece = self.stream.read(size)
        self.left -= len(piece)
        if self.left < 0:
            raise DamagedFileError("the archive unpacks to more than it should")
        return piece
