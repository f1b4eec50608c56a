"""`--data NAME|DIR` → images, loaded. A new named dataset is an entry in `datasets.DATASETS`."""

from pathlib import Path

from mnistlab.data import bundled
from mnistlab.data.datasets import BUNDLED, DATASETS
from mnistlab.data.folders import ImageData, Progress, Split, load_folders, load_splits
from mnistlab.data.store import absent, load_dataset
from mnistlab.data.tree import SPLITS
from mnistlab.errors import DataError
from mnistlab.names import nearest, printable

NAMED = (BUNDLED, *DATASETS)
"""All that `--data` knows by name."""


def find_data(name: str) -> Path:
    """Where `--data` is: a folder, or the one file of a dataset that was downloaded.

    A known name wins; write `./NAME` for a folder of that name. Raises DataError with the nearest
    known name where there is neither, or with what to do where the dataset is not here yet.
    """
    if name == BUNDLED:
        return bundled.mnist_sample()
    if name in DATASETS:
        dataset = DATASETS[name]
        if not dataset.path.exists():
            raise absent(dataset)
        return dataset.path
    if not name:
        raise DataError(name, ["--data: is empty; name a dataset or a folder"])
    try:
        name.encode()
    except UnicodeEncodeError as error:  # a run could not note down where its data is
        why = "the path is not UTF-8; rename or move the folder"
        raise DataError(name, [f"--data {printable(name)}: {why}"]) from error
    path = Path(name)
    looks_like_name = path.name == name
    if looks_like_name and not _exists(path):
        raise DataError(
            name, [f"--data {printable(name)}: no such folder or dataset{nearest(name, NAMED)}"]
        )
    return path


def load_data(
    name: str = BUNDLED, *, skip_bad: bool = False, progress: Progress | None = None
) -> ImageData:
    """Load both splits of a named dataset or a folder; named ones are checked to be whole."""
    if name in DATASETS:
        return load_dataset(DATASETS[name])
    if name != BUNDLED:
        return load_folders(find_data(name), skip_bad=skip_bad, progress=progress)
    return bundled.load_sample(progress)


def load_split(
    name: str, split: str, *, skip_bad: bool = False, progress: Progress | None = None
) -> Split:
    """Load one split of a named dataset or a folder; the other need not exist in a folder."""
    if split not in SPLITS:
        raise DataError(split, [f"--split {printable(split)}: unknown{nearest(split, SPLITS)}"])
    if name in NAMED:
        folders = load_data(name, progress=progress)
        return folders.train if split == "train" else folders.valid
    [loaded] = load_splits(find_data(name), (split,), skip_bad=skip_bad, progress=progress)
    return loaded


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
