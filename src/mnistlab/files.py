"""Files appear whole or not at all.

A file is written under a temporary name beside its target, flushed to the disk, and renamed over
the target in one step; then the folder is flushed, so that the new name survives a power cut.
"""

import contextlib
import csv
import io
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mnistlab.errors import ConfigError, RunError
from mnistlab.names import printable
from mnistlab.system import flush, flush_folder, move


def packaged(folder: str) -> Path:
    """A folder shipped with mnistlab: `configs` or `data`.

    An installed wheel carries them inside the package; a checkout has them at its top.
    """
    inside = Path(str(resources.files("mnistlab"))) / f"_{folder}"
    if inside.is_dir():
        return inside
    checkout = Path(__file__).parents[2] / folder
    if checkout.is_dir():
        return checkout
    raise RunError(f"{inside}: missing; mnistlab is not installed completely, install it again")


def cache_folder() -> Path:
    """`$MNISTLAB_CACHE`, else `$XDG_CACHE_HOME/mnistlab`, else the system's folder for caches.

    On Linux that is `~/.cache/mnistlab`. Not created here. Raises RunError where there is neither a
    variable nor a home.
    """
    if own := os.environ.get("MNISTLAB_CACHE"):
        return user_path(own).absolute()
    base = os.path.expanduser(os.environ.get("XDG_CACHE_HOME", ""))
    if os.path.isabs(base):  # the XDG rules: a relative path there is to be ignored
        return Path(base) / "mnistlab"
    import platformdirs  # only here: --help shall be quick

    try:
        return platformdirs.user_cache_path("mnistlab", appauthor=False)
    except RuntimeError as error:
        raise RunError("no home folder for the cache; set MNISTLAB_CACHE to a folder") from error


def user_path(name: str | os.PathLike[str]) -> Path:
    """`name` as a path; `~` is the home, and a folder that is really called so is `./~`.

    Words of the command line are expanded already (`cli/app.py`).
    """
    with contextlib.suppress(ValueError):  # a null byte: no file has such a name
        name = os.path.expanduser(name)
    path = Path(name)
    # Path("./~") is Path("~"): absolute, so that it is not taken for the home after all
    return path.absolute() if path.parts and path.parts[0].startswith("~") else path


_SUFFIX = ".mnistlab-tmp"


def write_whole(path: Path, *content: bytes | memoryview) -> None:
    """Write `content` to `path`: afterwards the old file or the new one is there, never a part.

    Several pieces are written one after the other. Raises OSError (disk full, no permission, …);
    `path` is then as it was.
    """
    with building(path) as temporary:
        with open(temporary, "xb") as file:  # x: never through a link that somebody laid there
            for piece in content:
                file.write(piece)
            file.flush()
            flush(file.fileno())
        move(temporary, path)
    flush_folder(path.parent)


@contextlib.contextmanager
def building(path: Path) -> Iterator[Path]:
    """Where to build what is to be moved to `path`; what is there at the end is deleted."""
    temporary = temporary_beside(path)
    try:
        yield temporary
    finally:
        remove(temporary)


def temporary_beside(path: Path) -> Path:
    """A new hidden name beside `path`, recognised by `remove_leftovers`."""
    # not the whole name: it may be as long as the system allows
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}{_SUFFIX}")


def is_temporary(name: str) -> bool:
    """Whether `name` is one that `temporary_beside` made."""
    return name.endswith(_SUFFIX)


def remove_leftovers(folder: Path, *, older_than: float = 0.0) -> None:
    """Delete what an interrupted write left in `folder`, if at least `older_than` seconds old."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f".*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime >= older_than:
                    remove(path)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def require_file(path: Path, endings: Sequence[str], flag: str) -> None:
    """Find out before any work whether a file `path` can be made; `flag` is what asked for it.

    The name must have one of `endings` (png, svg, …), if any are given, so that no model or image
    is overwritten by mistake. Raises ConfigError for a name that is not usable, RunError for a
    folder that is not writable.
    """
    where = f"{flag} {printable(path)}"
    ending = path.suffix.removeprefix(".").lower()
    if endings and ending not in endings:
        raise ConfigError(f"{where}: the name must end in .{' or .'.join(endings)}")
    folder = path.absolute().parent
    try:
        fits = path.is_file() or (bool(path.name) and not path.exists() and folder.is_dir())
    except (OSError, ValueError):  # a name too long, a null byte
        fits = False
    if not fits:
        raise ConfigError(f"{where}: not a file name in an existing folder, or no regular file")
    if path.name == "metrics.csv" and (folder / "run.json").exists():
        raise ConfigError(f"{where}: is a file of the run itself; name another one")
    if not is_writable(folder):
        raise RunError(f"{where}: the folder {printable(folder)} cannot be written")


def require_packages(flag: str, *names: str) -> None:
    """Raise ConfigError, which says what to install, unless all can be imported."""
    if missing := [name for name in names if find_spec(name) is None]:
        install = f"install it with: pip install {' '.join(missing)}"
        raise ConfigError(f"{flag} needs {' and '.join(missing)}; {install}")


def is_writable(folder: Path) -> bool:
    """Whether a file can be made in `folder`: tried, as the permissions of Windows do not tell."""
    import tempfile  # only here: --help shall be quick

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises RunError."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise RunError(
            f"{printable(path)}: cannot be written: {error.strerror or error}"
        ) from error


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write strict CSV (RFC 4180, plain newlines): a header, then rows; floats in full.

    The file appears as a whole or not at all. Raises RunError.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    # a file name that is not UTF-8 comes back as the bytes that it is
    write_file(path, text.getvalue().encode("utf-8", "surrogateescape"))
