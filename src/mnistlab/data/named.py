"""`--data NAME|DIR` → images, loaded. A new named dataset is an entry in `datasets.DATASETS`.

A dataset that was downloaded is kept as one store for each split. It holds what `load_folders`
makes of the same images as folders of PNG files (`data download NAME --to DIR`): the same order,
labels, names and fingerprint.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mnistlab.data import bundled
from mnistlab.data.datasets import BUNDLED, DATASETS, Dataset
from mnistlab.data.download import Original, download_originals, find_originals
from mnistlab.data.folders import ImageData, Progress, load_folders, load_splits
from mnistlab.data.idx import read_dataset, require_new, write_folders
from mnistlab.data.store import Split, StoreWriter, describe_store, open_store
from mnistlab.data.tree import SPLITS
from mnistlab.errors import DamagedFileError, DataError, RunError
from mnistlab.names import nearest, printable

NAMED = (BUNDLED, *DATASETS)
"""All that `--data` knows by name."""


def load_data(
    name: str = BUNDLED, *, skip_bad: bool = False, progress: Progress | None = None
) -> ImageData:
    """Load both splits of a named dataset or a folder; every byte of a named one is verified."""
    if name in DATASETS:
        return load_dataset(DATASETS[name])
    if name == BUNDLED:
        return bundled.load_sample(progress)
    return load_folders(_folder(name), skip_bad=skip_bad, progress=progress)


def load_split(
    name: str, split: str, *, skip_bad: bool = False, progress: Progress | None = None
) -> Split:
    """Load one split of a named dataset or a folder; the other need not exist in a folder."""
    if split not in SPLITS:
        raise DataError(split, [f"--split {printable(split)}: unknown{nearest(split, SPLITS)}"])
    if name in NAMED:
        data = load_data(name, progress=progress)
        return data.train if split == "train" else data.valid
    [loaded] = load_splits(_folder(name), (split,), skip_bad=skip_bad, progress=progress)
    return loaded


def _folder(name: str) -> Path:
    """The folder of one's own that `--data` names. Raises DataError with the nearest known name."""
    try:
        name.encode()  # a run must be able to note down where its data is
        exists = bool(name) and Path(name).exists()
    except UnicodeEncodeError as error:
        why = "the path is not UTF-8; rename or move the folder"
        raise DataError(name, [f"--data {printable(name)}: {why}"]) from error
    except (OSError, ValueError):  # a name too long, a null byte
        exists = False
    if not exists and Path(name).name == name:
        why = f"no such folder or dataset{nearest(name, NAMED)}"
        raise DataError(name, [f"--data {printable(name)}: {why}"])
    return Path(name)


def load_dataset(dataset: Dataset) -> ImageData:
    """The dataset from its stores; where they are missing or damaged, from its published files.

    Raises DataError or DamagedFileError, both with what to do, where these are not here either.
    """
    stores = [dataset.folder / f"{split}.store" for split in SPLITS]
    damage = ""
    if all(path.is_file() for path in stores):
        try:
            made_from = describe_store(stores[0])["signature"]
            if not made_from.startswith(f"{dataset.name} "):
                raise DamagedFileError(f"{printable(stores[0])}: the store of another dataset")
            return ImageData(dataset.folder, *(open_store(path, made_from) for path in stores))
        except (OSError, DamagedFileError) as error:
            damage = str(error)
    if all(path.exists() for path in dataset.originals.values()):
        return store_dataset(dataset, dataset.originals)
    command = f"mnistlab data download {dataset.name}"
    if damage:
        raise DamagedFileError(f"{damage}\nmake it again with: {command}")
    size = f"{dataset.packed} MB" if dataset.packed < 100 else f"{dataset.packed} MB, once"
    fault = f"--data {dataset.name}: not here yet; get it ({size}) with: {command}"
    if Path(dataset.name).is_dir():
        fault += f"\nthe folder of that name is --data ./{dataset.name}"
    raise DataError(dataset.name, [fault], dataset.how_to_bring())


def store_dataset(dataset: Dataset, originals: Mapping[str, Path]) -> ImageData:
    """Make the stores of `dataset` from its published files, and load them.

    Raises DataError where the files are not as published, OSError where the disk fails.
    """
    signature = dataset.name
    for path in originals.values():
        with path.open("rb") as file:
            signature += f" {hashlib.file_digest(file, 'sha256').hexdigest()}"
    contents = {split: read_dataset(dataset, split, originals) for split in SPLITS}
    stored = []
    for split, (images, labels) in contents.items():
        by_name = np.array(sorted(range(len(labels)), key=str))  # 10.png stands before 2.png
        counts, names = {}, []
        with StoreWriter(dataset.folder / f"{split}.store") as store:
            for name, label in dataset.labels.items():
                indices = by_name[labels[by_name] == label]
                store.add(images[indices].tobytes())
                counts[name] = len(indices)
                names += [f"{name}/{index}.png" for index in indices]
            size, about = images.shape[1:], f"{dataset.name}, {split}"
            stored.append(store.finish(size, counts, names, signature=signature, about=about))
    return ImageData(dataset.folder, *stored)


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
                return _counts(load_dataset(dataset)), []
        if source is None or mirror:
            originals = download_originals(dataset, mirror, downloading)
        else:
            originals = find_originals(dataset, Path(source), unchecked=unchecked)
        paths = {original.name: original.path for original in originals}
        if to is None:
            return _counts(store_dataset(dataset, paths)), originals
    except OSError as error:
        where = printable(error.filename or dataset.folder)
        why = f"{error.strerror or error}; MNISTLAB_CACHE may name another folder for the cache"
        raise RunError(f"{where}: {why}") from error
    contents = {split: read_dataset(dataset, split, paths) for split in SPLITS}
    return write_folders(contents, dataset.labels, to, writing), originals


def _counts(data: ImageData) -> dict[str, dict[str, int]]:
    return {"train": data.train.counts, "valid": data.valid.counts}
