"""The datasets that `mnistlab data download` can get: their classes, files and origins. No torch.

Where their files are and which checksums they have is torchvision's knowledge (`published.py`).
"""

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mnistlab.errors import DataError
from mnistlab.files import cache_folder
from mnistlab.names import natural_key, nearest, printable

BUNDLED = "mnist_sample"


@dataclass(frozen=True)
class Dataset:
    """One dataset with a name.

    labels: class → the label that stands for it in the files; images: how many are published for
    train and valid, of `side` x `side` pixels; files: split → the names of its files as published,
    images first (USPS has both in one). Where these lie in an archive, that is `archive`, and
    `folder` the place in it; `mirrored`: rows and columns are swapped there. `packed` is the size
    of the download in MB. `contents` are the SHA-256 of files unpacked, where known. `source` is
    the name of the class in torchvision.datasets.
    """

    name: str
    about: str
    source: str
    labels: Mapping[str, int]
    images: tuple[int, int]
    packed: int
    home: str
    licence: str
    side: int = 28
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    archive: str = ""
    folder: str = ""
    mirrored: bool = False
    contents: Mapping[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in natural order, as folders of these names would have them."""
        return tuple(sorted(self.labels, key=lambda name: (natural_key(name), name)))

    @property
    def published(self) -> tuple[str, ...]:
        """The names of the files to bring."""
        return (self.archive,) if self.archive else sum(self.files.values(), ())

    @property
    def path(self) -> Path:
        """Where it is kept once it is there. Raises RunError where there is no place for it."""
        return cache_folder() / "datasets" / f"{self.name}.safetensors"

    @property
    def originals(self) -> Path:
        """The folder that keeps the files it was made from. Raises RunError."""
        return cache_folder() / "datasets" / "originals" / self.source.lower()

    def how_to_bring(self) -> str:
        """What to do without a network, in lines."""
        return "\n".join(
            [
                f"without a network: bring {'this file' if self.archive else 'these files'} "
                f"(see {self.home}) in a folder DIR,",
                f"then: mnistlab data download {self.name} --from DIR",
                *(f"  {name}" for name in self.published),
            ]
        )


def _numbered(names: Iterable[str], first: int = 0) -> dict[str, int]:
    return {name: label for label, name in enumerate(names, first)}


def _idx(train: str, valid: str, labels: str = "idx1-ubyte") -> dict[str, tuple[str, ...]]:
    return {
        split: (f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-{labels}.gz")
        for split, stem in (("train", train), ("valid", valid))
    }


_MNIST = Dataset(
    "mnist",
    "digits",
    "MNIST",
    _numbered(string.digits),
    (60_000, 10_000),
    12,
    "http://yann.lecun.com/exdb/mnist/",
    "CC BY-SA 3.0; Yann LeCun, Corinna Cortes, Christopher J. C. Burges",
    files=_idx("train", "t10k"),
    contents={
        "train-images-idx3-ubyte.gz": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte.gz": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
)
_CLOTHES = ["t-shirt", "trouser", "pullover", "dress", "coat"]
_CLOTHES += ["sandal", "shirt", "sneaker", "bag", "ankle-boot"]
_HIRAGANA = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
_EMNIST = Dataset(
    "emnist-digits",
    "NIST's digits",
    "EMNIST",
    _numbered(string.digits),
    (240_000, 40_000),
    562,
    "https://www.nist.gov/itl/products-and-services/emnist-dataset",
    "none stated; NIST Special Database 19; Cohen, Afshar, Tapson, van Schaik (2017)",
    files=_idx("emnist-digits-train", "emnist-digits-test"),
    archive="gzip.zip",
    folder="gzip/",
    mirrored=True,
)
DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        _MNIST,
        replace(
            _MNIST,
            name="fashion-mnist",
            about="clothes",
            source="FashionMNIST",
            labels=_numbered(_CLOTHES),
            packed=31,
            home="https://github.com/zalandoresearch/fashion-mnist",
            licence="MIT; Zalando SE",
            contents={},
        ),
        replace(
            _MNIST,
            name="kmnist",
            about="cursive hiragana",
            source="KMNIST",
            labels=_numbered(_HIRAGANA),
            packed=21,
            home="https://github.com/rois-codh/kmnist",
            licence="CC BY-SA 4.0; KMNIST Dataset (created by CODH), adapted from Kuzushiji "
            "Dataset (created by NIJL and others), doi:10.20676/00000341",
            contents={},
        ),
        replace(
            _MNIST,
            name="qmnist",
            about="MNIST, remade",
            source="QMNIST",
            images=(60_000, 60_000),
            packed=20,
            home="https://github.com/facebookresearch/qmnist",
            licence="BSD-style; Chhavi Yadav, Leon Bottou (2019)",
            files=_idx("qmnist-train", "qmnist-test", "idx2-int"),
            contents={},
        ),
        _EMNIST,
        replace(
            _EMNIST,
            name="emnist-letters",
            about="NIST's letters",
            labels=_numbered(string.ascii_lowercase, 1),
            images=(124_800, 20_800),
            files=_idx("emnist-letters-train", "emnist-letters-test"),
        ),
        Dataset(
            "usps",
            "digits on mail",
            "USPS",
            _numbered(string.digits, 1),
            (7_291, 2_007),
            8,
            "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
            "none stated; J. J. Hull, IEEE PAMI 16(5), 1994",
            side=16,
            files={"train": ("usps.bz2",), "valid": ("usps.t.bz2",)},
        ),
    )
}


def find_dataset(name: str) -> Dataset:
    """The dataset of that name. Raises DataError with the nearest one."""
    if name == BUNDLED:
        raise DataError(name, [f"{BUNDLED}: comes with mnistlab; there is nothing to download"])
    if name not in DATASETS:
        raise DataError(
            name, [f"{printable(name)}: no such dataset{nearest(name, tuple(DATASETS))}"]
        )
    return DATASETS[name]
