"""`--data NAME|DIR` → images, loaded: the bundled data, a dataset that was downloaded, a folder.

The bundled data, MNIST_SAMPLE, are unpacked once and then loaded as any folder is. The data of a
run are found again where they were, or where they are now; never other data.
"""

import atexit
import contextlib
import functools
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from mnistlab.data import BUNDLED
from mnistlab.data.datasets import DATASETS, NAMED
from mnistlab.data.folders import load_folders, read_splits
from mnistlab.data.layouts import LoadOptions
from mnistlab.data.published import load_dataset
from mnistlab.data.scan import SPLITS
from mnistlab.data.splitting import leave_out
from mnistlab.data.store import ImageData, Progress, Split
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.files import (
    building,
    cache_folder,
    is_writable,
    packaged,
    remove_leftovers,
    user_path,
)
from mnistlab.names import nearest, printable
from mnistlab.runs import Run
from mnistlab.system import move

ARCHIVE = "mnist_sample.tgz"
ARCHIVE_SHA256 = "b2ea514c5c641508e3caca211f91dbc794f1c73862656f391e1055afe0b2a371"
FINGERPRINT = "0e3460063392dc8cd2f86df4adb90477c77cfa8fd0b5815b1369bdb7e865c2e0"
"""`ImageData.fingerprint` of the unpacked data."""

PATIENCE = 120.0  # seconds, for another process that unpacks


def load_data(
    name: str | os.PathLike[str] = BUNDLED,
    options: LoadOptions = LoadOptions(),
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> ImageData:
    """Load both splits of a named dataset, or of images that are laid out as `layouts.py` says.

    `changes` are fields of `LoadOptions`, as in `load_data("digits", valid_fraction=0.3)`. Every
    byte of a named dataset is verified.
    """
    name, options = os.fspath(name), replace(options, **changes)
    if name not in NAMED:
        return load_folders(_own_folder(name), options, progress=progress)
    data = _load_sample(progress) if name == BUNDLED else load_dataset(DATASETS[name])
    if options.image_size not in (None, data.image_size) or options.fit == "ink":
        if name != BUNDLED:
            side = DATASETS[name].side
            fault = (
                f"--data {name}: its images are {side} x {side} as published; for another size, "
                f"write them as files: mnistlab data download {name} --to DIR"
            )
            raise DataError(name, [fault])
        reading = read_splits(data.root, SPLITS, options, progress=progress, keep_young=True)
        (train, valid), notes = reading.usable(SPLITS, options)
        data = replace(data, train=train, valid=valid, notes=notes)
    elif options.exclude:
        left = leave_out({"train": data.train, "valid": data.valid}, options.exclude)
        data = replace(data, train=left["train"], valid=left["valid"])
    if Path(name).is_dir():
        note = f"data    {name} is the dataset of that name; the folder is --data ./{name}"
        data = replace(data, notes=(*data.notes, note))
    return data


def _load_sample(progress: Progress | None) -> ImageData:
    """The bundled data; where somebody changed the unpacked files, they are unpacked again."""
    folder = mnist_sample()

    def load() -> ImageData | None:
        with contextlib.suppress(DataError):  # files are missing or damaged
            reading = read_splits(folder, SPLITS, progress=progress, keep_young=True)
            (train, valid), _ = reading.usable(SPLITS)
            data = ImageData(folder, BUNDLED, train, valid)
            return data if data.fingerprint == FINGERPRINT else None
        return None

    data: ImageData | None = load() or _unpack(folder, unless=load) or load()
    if data is None:
        raise RunError(
            f"{printable(folder)}: not the bundled data, although it was unpacked again; does "
            "another program change it? set MNISTLAB_CACHE to another folder"
        )
    return data


def mnist_sample() -> Path:
    """The folder of the bundled data, unpacked into the cache on first use.

    Without a writable cache it goes to a temporary folder that lasts as long as the process.
    Raises DamagedFileError if the archive is not the one that was shipped, RunError where it cannot
    be unpacked.
    """
    name = f"mnist_sample-{ARCHIVE_SHA256[:12]}"
    try:
        folder = cache_folder() / "data" / name
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not is_writable(folder.parent):
            raise PermissionError
    except (OSError, RunError):
        folder = _temporary_home() / name
    if not folder.is_dir():
        _unpack(folder, unless=folder.is_dir)
    return folder


@functools.cache
def _temporary_home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="mnistlab-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def _unpack(folder: Path, unless: Callable[[], Any]) -> Any:
    """Unpack in place of `folder`, `unless` another process has just done so: what that gave."""
    archive = packaged("data") / ARCHIVE
    lock = FileLock(folder.with_name(".mnist_sample.lock"), timeout=PATIENCE)
    try:
        with building(folder) as temporary, lock:
            if there := unless():
                return there
            remove_leftovers(folder.parent)  # of processes that were killed
            content = archive.read_bytes()
            if hashlib.sha256(content).hexdigest() != ARCHIVE_SHA256:
                why = "its SHA-256 is not the expected one; install mnistlab again"
                raise DamagedFileError(f"{printable(archive)}: {why}")
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                # as filter="data", which no Python before 3.11.4 knows; Debian 12 has 3.11.2
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                tar.extractall(temporary)
            with contextlib.suppress(FileNotFoundError):
                move(folder, temporary / "changed")
            move(temporary / "mnist_sample", folder)
    except OSError as error:
        why = f"the bundled data cannot be unpacked: {error.strerror or error}"
        remedy = "set MNISTLAB_CACHE to a folder with 60 MB of space"
        raise RunError(f"{printable(folder)}: {why}; {remedy}") from error


def load_split(
    name: str,
    split: str,
    options: LoadOptions = LoadOptions(),
    *,
    progress: Progress | None = None,
) -> Split:
    """Load one split of a named dataset or a folder; the others need not exist in a folder."""
    known = (*SPLITS, "test")
    if split not in known:
        raise DataError(split, [f"--split {printable(split)}: unknown{nearest(split, known)}"])
    if name not in NAMED:
        reading = read_splits(_own_folder(name), (split,), options, progress=progress)
        return reading.usable((split,), options)[0][0]
    data = load_data(name, options, progress=progress)
    if split == "test":
        raise DataError(name, [f"--split test: {name} has train and valid"])
    return data.train if split == "train" else data.valid


def _own_folder(name: str) -> Path:
    """The folder that `--data` names. Raises DataError with the nearest known name."""
    try:
        name.encode()  # a run must be able to note down where its data is
        path = user_path(name)
        exists = bool(name) and path.exists()
    except UnicodeEncodeError as error:
        why = "the path is not UTF-8; rename or move the folder"
        raise DataError(name, [f"--data {printable(name)}: {why}"]) from error
    except (OSError, ValueError):  # a name too long, a null byte
        path, exists = Path(name), False
    if not exists and Path(name).name == name:
        why = f"no such folder or dataset{nearest(name, NAMED)}"
        raise DataError(name, [f"--data {printable(name)}: {why}"])
    return path


def whereabouts(run: Run, recorded: str, given: str | None = None) -> str:
    """How `--data` names the data of `run`: as `given`, else as it was `recorded`.

    Raises DataError, which names the flag, where nothing is left at the recorded place.
    """
    if given is not None:
        return given
    if recorded in NAMED or os.path.exists(recorded):
        return recorded
    why = f"no such folder; the data of {printable(run.name)} were there; name the place now with"
    raise DataError(recorded, [f"{printable(recorded)}: {why} --data"])


def require_same(run: Run, data: ImageData, fingerprint: str) -> None:
    """Raise DataError unless `data` have the `fingerprint` of those that `run` was trained on."""
    if data.fingerprint != fingerprint:
        why = f"not the data that {printable(run.name)} was trained on"
        changed = "images, labels or classes have changed"
        raise DataError(data.name, [f"{printable(data.root)}: {why} ({changed})"])
