"""What is packed: archives of images, published files, MNIST's own IDX files.

An IDX file is, as the page of the MNIST database describes it, a big-endian magic number (two zero
bytes, the type, the number of dimensions), the sizes, then the values. It may be packed by gzip or
bzip2, or lie in a zip archive.
"""

import bz2
import contextlib
import gzip
import hashlib
import io
import math
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mnistlab.data.scan import fault_in, require_exists, stamps_of
from mnistlab.errors import DataError, RunError
from mnistlab.files import building, cache_folder, remove
from mnistlab.names import printable
from mnistlab.system import move

Array = np.ndarray[Any, np.dtype[Any]]

_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
_DTYPES = {8: "u1", 12: ">i4"}  # of an IDX file, by the code in its magic number
# What damage leads the readers to; also members that are locked or packed by unknown methods.
_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile)


def is_archive(path: Path) -> bool:
    """Whether `path` is an archive, by its name."""
    return path.name.lower().endswith(_ENDINGS) and path.is_file()


def unpacked_folder(path: Path) -> Path:
    """The folder in the cache with the content of the archive, unpacked unless it is there already.

    Nothing is written outside that folder, and it appears complete or not at all. Raises DataError
    for an archive that is damaged or hostile, RunError where there is no place for it.
    """
    place = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:12]
    state = hashlib.sha256(repr(stamps_of(path)[1:]).encode()).hexdigest()[:12]
    folder = cache_folder() / "unpacked" / f"{place}-{state}"
    if folder.is_dir():
        return folder
    try:
        for old in folder.parent.glob(f"{place}-*"):
            remove(old)
        with building(folder) as temporary:
            temporary.mkdir(parents=True)
            unpack = _unzip if zipfile.is_zipfile(path) else _untar
            unpack(path, temporary)
            if not folder.is_dir():  # another process may have been quicker
                move(temporary, folder)
    except OSError as error:
        raise RunError(
            f"{printable(path)}: cannot be unpacked: {error.strerror or error}; set MNISTLAB_CACHE "
            "to a folder with more space"
        ) from error
    except (tarfile.TarError, *_DAMAGE) as error:
        raise fault_in(path, f"cannot be unpacked: {error}") from error
    return folder


def _unzip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            place = PurePosixPath(name.replace("\\", "/"))
            if place.is_absolute() or ".." in place.parts or ":" in name:
                raise fault_in(path, f"{name} in it points outside; not unpacked")
        _require_space(path, folder, sum(member.file_size for member in archive.infolist()))
        archive.extractall(folder)


def _untar(path: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise fault_in(path, "only Python 3.11.4 and later unpack a tar archive safely; unpack it")
    with tarfile.open(path) as archive:
        _require_space(path, folder, sum(member.size for member in archive))
        archive.extractall(folder, filter="data")  # a member that points outside is a TarError


def _require_space(path: Path, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free / 2:
        sizes = f"unpacks to {size / 1e6:,.0f} MB, and the cache has {free / 1e6:,.0f} MB free"
        raise fault_in(path, f"{sizes}; set MNISTLAB_CACHE to a folder with more space")


@contextlib.contextmanager
def unpacked(path: Path, member: str = "") -> Iterator[io.BufferedIOBase]:
    """The content of a file, or of the `member` of a zip archive, gzip or bzip2 undone.

    Nothing is unpacked to disk. Raises DataError, also while the content is read.
    """
    try:
        with contextlib.ExitStack() as stack:
            raw: Any = stack.enter_context(open(path, "rb"))
            if member:
                archive = stack.enter_context(zipfile.ZipFile(raw))
                method = archive.getinfo(member).compress_type
                if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    # zipfile unpacks bzip2 and LZMA without a limit: a small file fills the memory
                    raise fault_in(path / member, f"is packed by method {method}; use deflate")
                raw = stack.enter_context(archive.open(member))
            begin = raw.peek(3)
            if begin.startswith(b"\x1f\x8b"):
                raw = stack.enter_context(gzip.GzipFile(fileobj=raw))
            elif begin.startswith(b"BZh"):
                raw = stack.enter_context(bz2.BZ2File(raw))
            yield raw
    except KeyError as error:
        raise fault_in(path, f"no {member} in it") from error
    except _DAMAGE as error:
        why = getattr(error, "strerror", None) or f"damaged: {error}"
        raise fault_in(path / member, f"cannot be read: {why}") from error


def read_idx(path: Path, member: str = "", most: int = 2**32) -> Array:
    """The values of one IDX file, or of a `member` of a zip archive, gzipped or not.

    Unsigned bytes or 32-bit integers, in the shape that the file says; at most `most` of them.
    Raises DataError.
    """
    where = path / member
    with unpacked(path, member) as file:
        head = file.read(4)
        if not re.fullmatch(rb"\x00\x00[\x08\x0c][\x01-\x03]", head):
            raise fault_in(where, "not an IDX file of bytes or integers in up to 3 dimensions")
        dtype = np.dtype(_DTYPES[head[2]])
        sizes = np.frombuffer(file.read(4 * head[3]), ">u4", count=head[3]).tolist()
        count = math.prod(sizes)
        if count > most:
            raise fault_in(where, f"claims {count:,} values; at most {most:,} are possible")
        # In pieces: a header that is wrong about the size must not cost the memory that it claims.
        size = count * dtype.itemsize
        content = bytearray()
        while len(content) <= size and (piece := file.read(min(size + 1 - len(content), 2**20))):
            content += piece
    if len(content) != size:
        follow = "more follow" if len(content) > size else f"{len(content):,} bytes follow"
        raise fault_in(where, f"its header promises {count:,} values, but {follow}")
    return np.frombuffer(content, dtype).reshape(sizes)


def find_files(places: Sequence[Path], names: Iterable[str], advice: str = "") -> dict[str, Path]:
    """Where each of the files (`x-idx3-ubyte.gz`) is, in the first of `places` that has it.

    Also unpacked, or `x.idx3-ubyte`, as some copies write it. Raises DataError with all that are
    missing, and `advice`.
    """
    require_exists(places[0], ", ".join(names), folder=True)
    paths, missing = {}, []
    for name in names:
        plain = os.path.splitext(name)[0]
        forms = [form.replace("-idx", dot) for dot in ("-idx", ".idx") for form in (name, plain)]
        candidates = (place / form for place in places for form in forms)
        readable = [path for path in candidates if path.is_file() and os.access(path, os.R_OK)]
        if readable:
            paths[name] = readable[0]
        else:
            missing.append(f"{printable(places[0])}: no {name} in it that can be read")
    if missing:
        raise DataError(printable(places[0]), missing, advice)
    return paths
