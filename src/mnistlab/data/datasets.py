"""The datasets that `mnistlab data download` can get: classes, files, origin. No torch.

They are listed in `data/datasets.toml`; addresses and checksums of the files are those of
torchvision's classes (`download.py`).
"""

import importlib.util
import string
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mnistlab.data import BUNDLED
from mnistlab.errors import DataError
from mnistlab.files import cache_folder, packaged
from mnistlab.names import natural_key, nearest, printable


@dataclass(frozen=True)
class Dataset:
    """One dataset with a name."""

    name: str
    about: str
    source: str  # the name of its class in torchvision.datasets
    packed: int  # size of the download in MB
    home: str
    names: tuple[str, ...] = tuple(string.digits)  # of the classes, in the order of their labels
    images: tuple[int, int] = (60_000, 10_000)  # how many are published for train and for valid
    stems: tuple[str, str] = ("train", "t10k")  # how its files for train and for valid begin
    endings: tuple[str, ...] = ("-images-idx3-ubyte.gz", "-labels-idx1-ubyte.gz")
    archive: str = ""  # the zip archive in which the files are published, if they are
    side: int = 28  # pixels
    first_label: int = 0
    contents: tuple[str, ...] = ()  # SHA-256 of the files when unpacked, where known
    bundle: str = ""  # the one file that mnistlab-digits has of it (`digits.py`), if it does

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """Split → the names of its files, images first."""
        return {
            split: tuple(f"{stem}{ending}" for ending in self.endings)
            for split, stem in zip(("train", "valid"), self.stems, strict=True)
        }

    @property
    def labels(self) -> dict[str, int]:
        """Class name → its label in the files, in the order of `classes`."""
        return {name: self.first_label + self.names.index(name) for name in self.classes}

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in natural order, as folders of these names would have them."""
        return tuple(sorted(self.names, key=natural_key))

    @property
    def published(self) -> tuple[str, ...]:
        """The names of the files to download."""
        return (self.archive,) if self.archive else sum(self.files.values(), ())

    @property
    def folder(self) -> Path:
        """The folder in the cache for its stores. Raises RunError where there is no cache."""
        return cache_folder() / "datasets" / self.name

    @property
    def originals(self) -> dict[str, Path]:
        """Name → path in the cache of each file as published. Raises RunError."""
        folder = cache_folder() / "datasets" / "originals" / self.source.lower()
        return {name: folder / name for name in self.published}

    @property
    def bundled(self) -> dict[str, Path]:
        """Name → path of `bundle`: in the package mnistlab-digits or the checkout; else nothing."""
        places = [packaged("data") / "digits"]
        if package := importlib.util.find_spec("mnistlab_digits"):
            places += map(Path, package.submodule_search_locations or ())
        files = [place / self.bundle for place in places if self.bundle]
        return {path.name: path for path in files if path.is_file()}

    @property
    def here(self) -> bool:
        """Whether it can be loaded without the network."""
        stores = [self.folder / f"{split}.store" for split in self.files]
        whole = (all(map(Path.exists, paths)) for paths in (stores, self.originals.values()))
        return any(whole) or bool(self.bundled)

    def how_to_bring(self) -> str:
        """What to do without a network, in lines."""
        files = "this file" if self.archive else "these files"
        names = "".join(f"\n  {name}" for name in self.published)
        return (
            f"without a network: bring {files} (see {self.home}) in a folder DIR,\n"
            f"then: mnistlab data download {self.name} --from DIR{names}"
        )


def _read_table(path: Path) -> dict[str, Dataset]:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    for fields in tables.values():
        fields |= {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
    return {name: Dataset(name, **fields) for name, fields in tables.items()}


DATASETS = _read_table(packaged("data") / "datasets.toml")
NAMED = (BUNDLED, *DATASETS)
"""All that `--data` knows by name."""


def find_dataset(name: str) -> Dataset:
    """The dataset of that name. Raises DataError with the nearest one."""
    if name in DATASETS:
        return DATASETS[name]
    none = "comes with mnistlab; there is nothing to download"
    why = none if name == BUNDLED else f"no such dataset{nearest(name, DATASETS)}"
    raise DataError(name, [f"{printable(name)}: {why}"])
