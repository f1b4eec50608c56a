"""`data download`: a named dataset from the network, a mirror or a folder, to where it is kept."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnistlab.data import download
from mnistlab.data.datasets import Dataset
from mnistlab.data.folders import ImageData, Progress
from mnistlab.data.idx import require_new, write_folders
from mnistlab.data.originals import read_originals
from mnistlab.data.published import (
    Found,
    Published,
    check_file,
    find_originals,
    published_files,
)
from mnistlab.data.store import load_dataset, store_dataset, unwritable
from mnistlab.errors import DamagedFileError, DataError, LockedError, RunError


@dataclass(frozen=True)
class Obtained:
    """What `obtain` did. `data` is what `--data` takes; `files` is empty where it was here."""

    dataset: Dataset
    data: str
    counts: dict[str, dict[str, int]]  # split → class → images
    files: tuple[Found, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.dataset.name,
            "data": self.data,
            "classes": list(self.dataset.classes),
            "image_size": [self.dataset.side] * 2,
            "counts": self.counts,
            "files": [file.as_dict() for file in self.files],
        }


def obtain(
    dataset: Dataset,
    source: str | None = None,
    *,
    to: Path | None = None,
    force: bool = False,
    unchecked: bool = False,
    downloading: download.Progress | None = None,
    writing: Progress | None = None,
    patience: download.Patience | None = None,
) -> Obtained:
    """Make `dataset` ready for `--data NAME`, or write it as folders of PNG to the new folder `to`.

    `source` is a folder with the published files or the address of a mirror; None asks the
    addresses that torchvision knows. Published files are kept, and used again. What is here
    already is left as it is, unless `force`. `unchecked` takes files of a folder that are not the
    published ones if their content fits. Raises DataError, RunError, LockedError.
    """
    if to is not None:
        require_new(to)
    elif not force and (kept := _kept(dataset)) is not None:
        counts = {"train": kept.train.counts, "valid": kept.valid.counts}
        return Obtained(dataset, dataset.name, counts, ())
    is_address = source is not None and "://" in source
    if unchecked and (source is None or is_address):
        raise DataError(dataset.name, ["--unchecked: only for files of one's own: --from DIR"])
    # Nobody else minds a folder made from a folder.
    alone = contextlib.nullcontext() if to and source and not is_address else _locked(dataset)
    with alone:
        if source is not None and not is_address:
            found = find_originals(dataset, Path(source), unchecked=unchecked)
        else:
            found = _download(dataset, source, downloading, patience)
        splits = read_originals(dataset, found)
        if to is None:
            counts = store_dataset(dataset, splits, found)
        else:
            labels = {name: dataset.labels[name] for name in dataset.classes}
            counts = write_folders(splits, labels, to, writing)
    return Obtained(dataset, dataset.name if to is None else str(to), counts, tuple(found))


def _kept(dataset: Dataset) -> ImageData | None:
    if not dataset.path.exists():
        return None
    try:
        return load_dataset(dataset)
    except DamagedFileError:  # made again
        return None


def _download(
    dataset: Dataset,
    mirror: str | None,
    progress: download.Progress | None,
    patience: download.Patience | None,
) -> list[Found]:
    found = []
    for file in published_files(dataset):
        urls = file.urls if mirror is None else (f"{mirror.rstrip('/')}/{file.name}",)
        target = dataset.originals / file.name
        try:
            found.append(_get(file, urls, target, progress, patience))
        except OSError as error:
            raise unwritable(target, error) from error
        except RunError as error:
            raise RunError(f"{error}\n{dataset.how_to_bring()}") from error
    return found


def _get(
    file: Published,
    urls: tuple[str, ...],
    target: Path,
    progress: download.Progress | None,
    patience: download.Patience | None,
) -> Found:
    if target.exists():
        found, wrong = check_file(target, file)
        if not wrong:
            return found
        target.unlink()
    seen: list[Found] = []

    def check(path: Path) -> str:
        found, wrong = check_file(path, file)
        seen.append(found)
        return wrong

    target.parent.mkdir(parents=True, exist_ok=True)
    download.fetch(urls, target, check, progress, patience)
    return replace(seen[-1], path=target)


@contextlib.contextmanager
def _locked(dataset: Dataset) -> Iterator[None]:
    """One at a time for all datasets that share the published files."""
    folder = dataset.path.parent
    lock = FileLock(folder / f".{dataset.source.lower()}.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise LockedError(
            f"{dataset.name}: another process is downloading it; wait for it or stop it"
        ) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()
