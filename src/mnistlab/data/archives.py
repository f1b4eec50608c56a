"""An archive of images → a folder in the cache."""

import hashlib
import os
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from mnistlab.data.scan import fault_in, stamps_of
from mnistlab.errors import RunError
from mnistlab.files import building, cache_folder, remove
from mnistlab.names import printable
from mnistlab.system import move

_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
# What damage leads the readers to; also members that are locked or packed by unknown methods.
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, ValueError)


def is_archive(path: Path) -> bool:
    """Whether `path` is an archive, by its name."""
    return path.name.lower().endswith(_ENDINGS) and path.is_file()


def unpacked(path: Path) -> Path:
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
    except _DAMAGE as error:
        raise fault_in(path, f"cannot be unpacked: {error}") from error
    return folder


def _unzip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            place = PurePosixPath(name.replace("\\", "/"))
            if place.is_absolute() or ".." in place.parts or ":" in name:
                raise fault_in(path, f"{name} in it points outside; not unpacked")
        archive.extractall(folder)


def _untar(path: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise fault_in(path, "only Python 3.11.4 and later unpack a tar archive safely; unpack it")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")  # a member that points outside is a TarError
