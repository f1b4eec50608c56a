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
import zlib
from pathlib import Path

from mnistlab.errors import DamagedFileError, MnistlabError, RunError
from mnistlab.files import flush_folder, remove, remove_leftovers, temporary_beside
from mnistlab.names import printable
from mnistlab.places import cache_folder, packaged

ARCHIVE = "mnist_sample.tgz"
ARCHIVE_SHA256 = "b2ea514c5c641508e3caca211f91dbc794f1c73862656f391e1055afe0b2a371"
FINGERPRINT = "0e3460063392dc8cd2f86df4adb90477c77cfa8fd0b5815b1369bdb7e865c2e0"
"""`ImageFolders.fingerprint` of the unpacked data."""

_MEMBER = re.compile(r"mnist_sample/(labels\.csv|(train|valid)/[37]/(0|[1-9][0-9]{0,4})\.png)")
_MAX_MEMBER_BYTES = 1_000_000
_MAX_MEMBERS = 20_000
_MAX_UNZIPPED_BYTES = 2**28


def mnist_sample(*, renew: bool = False) -> Path:
    """The folder of the bundled data, unpacked into the cache on first use.

    `renew` unpacks it again, for a folder that somebody changed. Without a writable cache it goes
    to a temporary folder that lasts as long as the process. Raises DamagedFileError if the
    archive is not the one that was shipped.
    """
    try:
        home = cache_folder() / "data"
        target = home / f"mnist_sample-{ARCHIVE_SHA256[:12]}"
        # at every start: what a killed one left is not old enough when the next one unpacks
        remove_leftovers(home, older_than=600)
        if target.is_dir() and not renew:
            return target
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK):
            raise PermissionError
    except (OSError, RunError):
        home = Path(tempfile.mkdtemp(prefix="mnistlab-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        target = home / "mnist_sample"
    try:
        _unpack_to(target, renew=renew)
    except OSError as error:
        raise RunError(
            f"{printable(target)}: the bundled data cannot be unpacked: {error.strerror or error}; "
            "set MNISTLAB_CACHE to a folder with 60 MB of space"
        ) from error
    return target


def _unpack_to(target: Path, *, renew: bool) -> None:
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
        _put_in_place(temporary / "mnist_sample", target, renew=renew)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    flush_folder(target.parent)


def _put_in_place(folder: Path, target: Path, *, renew: bool) -> None:
    # Renaming a folder is one step, but only onto nothing. Where another process was faster, its
    # copy is as good as ours and may be in use already; only what is no good is moved aside.
    if os.path.lexists(target) and (renew or not target.is_dir()):
        aside = temporary_beside(target)
        with contextlib.suppress(FileNotFoundError):  # another process moved it aside first
            os.replace(target, aside)
        remove(aside)
    try:
        os.rename(folder, target)
    except OSError:
        if not target.is_dir():
            raise


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
                if not member.isreg() or not allowed.fullmatch(name) or name in seen:
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
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
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
