"""The datasets that `mnistlab data download` can get: classes, files, origin. No torch.

Addresses and checksums of the files are those of torchvision's classes (`download.py`).
"""

import importlib.util
import string
from dataclasses import dataclass, replace
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


_EMNIST_DIGITS = Dataset(
    name="emnist-digits",
    about="NIST's digits",
    source="EMNIST",
    images=(240_000, 40_000),
    packed=562,
    home="https://www.nist.gov/itl/products-and-services/emnist-dataset",
    stems=("emnist-digits-train", "emnist-digits-test"),
    archive="gzip.zip",
)
_ALL = (
    Dataset(
        name="mnist",
        about="digits",
        source="MNIST",
        packed=12,
        home="http://yann.lecun.com/exdb/mnist/",
        contents=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        bundle="mnist.npz",
    ),
    Dataset(
        name="fashion-mnist",
        about="clothes",
        source="FashionMNIST",
        names=(
            *("t-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle-boot"),
        ),
        packed=31,
        home="https://github.com/zalandoresearch/fashion-mnist",
        # of Debian's copy: packed again with the time and the names of the published files, it has
        # their MD5 (tests/data/test_datasets.py)
        contents=(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    Dataset(
        name="kmnist",
        about="cursive hiragana",
        source="KMNIST",
        names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        packed=21,
        home="https://github.com/rois-codh/kmnist",
    ),
    Dataset(
        name="qmnist",
        about="MNIST, remade",
        source="QMNIST",
        images=(60_000, 60_000),
        packed=20,
        home="https://github.com/facebookresearch/qmnist",
        stems=("qmnist-train", "qmnist-test"),
        endings=("-images-idx3-ubyte.gz", "-labels-idx2-int.gz"),
    ),
    _EMNIST_DIGITS,
    replace(
        _EMNIST_DIGITS,
        name="emnist-letters",
        about="NIST's letters",
        names=tuple(string.ascii_lowercase),
        first_label=1,
        images=(124_800, 20_800),
        stems=("emnist-letters-train", "emnist-letters-test"),
    ),
    Dataset(
        name="usps",
        about="digits on mail",
        source="USPS",
        first_label=1,
        images=(7_291, 2_007),
        side=16,
        packed=8,
        home="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        stems=("usps", "usps.t"),
        endings=(".bz2",),
    ),
)
DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _ALL}
NAMED = (BUNDLED, *DATASETS)
"""All that `--data` knows by name."""


def find_dataset(name: str) -> Dataset:
    """The dataset of that name. Raises DataError with the nearest one."""
    if name in DATASETS:
        return DATASETS[name]
    none = "comes with mnistlab; there is nothing to download"
    why = none if name == BUNDLED else f"no such dataset{nearest(name, DATASETS)}"
    raise DataError(name, [f"{printable(name)}: {why}"])
