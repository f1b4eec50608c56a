"""Small datasets in the true formats of the published files, with their checksums known.

`publish(monkeypatch, name, folder)` writes the files of a named dataset to `folder` and lets
torchvision's class of it tell their MD5 instead of the real ones.
"""

import bz2
import gzip
import hashlib
import io
import struct
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mnistlab.data import download
from mnistlab.data.datasets import DATASETS, Dataset

MIRROR = "http://127.0.0.1:9/"  # nobody listens there


@dataclass
class Made:
    """What was published: images uint8 (n, side, side) as people see them, and class names."""

    dataset: Dataset
    folder: Path
    images: dict[str, np.ndarray]
    names: dict[str, list[str]]

    def expected(self, split: str) -> list[tuple[str, np.ndarray]]:
        """`class/index.png` and pixels, in the order of folders of such files."""
        files = [f"{name}/{i}.png" for i, name in enumerate(self.names[split])]
        pairs = dict(zip(files, self.images[split], strict=True))
        rank = {name: place for place, name in enumerate(self.dataset.classes)}
        return [
            (file, pairs[file])
            for file in sorted(files, key=lambda file: (rank[file.split("/")[0]], file))
        ]


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX file of an array of bytes or of 32-bit integers, after the format's description."""
    kind = {"uint8": 8, "int32": 12}[array.dtype.name]
    head = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def usps_bytes(images: np.ndarray, labels: list[int]) -> bytes:
    """libsvm's text: label, then index:value, values from -1 to 1 with few digits."""
    lines = []
    for image, label in zip(images, labels, strict=True):
        # the middle of each level, so that rounding down finds it again
        values = (image.astype(np.float64).reshape(-1) + 0.5) / 255 * 2 - 1
        values = np.minimum(values, 1)
        pairs = " ".join(f"{i}:{value:.6g}" for i, value in enumerate(values, 1))
        lines.append(f"{label} {pairs} \n")
    return "".join(lines).encode()


def publish(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, n: int = 3) -> Made:
    """`n` images of each class for training, two for validation."""
    dataset = DATASETS[name]
    counts = (n * len(dataset.labels), 2 * len(dataset.labels))
    dataset = replace(dataset, images=counts, contents=(), bundle="")
    monkeypatch.setitem(DATASETS, name, dataset)
    made = Made(dataset, folder, {}, {})
    random = np.random.default_rng(len(name))
    contents: dict[str, bytes] = {}
    for split, files in dataset.files.items():
        count = counts[split == "valid"]
        made.images[split] = random.integers(
            0, 256, (count, dataset.side, dataset.side), dtype=np.uint8
        )
        names = [*dataset.labels] * (count // len(dataset.labels))
        random.shuffle(names)
        made.names[split] = names
        contents |= _contents(dataset, files, made.images[split], names)
    folder.mkdir(parents=True, exist_ok=True)
    if dataset.archive:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as zipped:
            zipped.writestr("gzip/", b"")
            for file, content in contents.items():
                zipped.writestr(f"gzip/{file}", content)
        contents = {dataset.archive: packed.getvalue()}
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    tell_checksums(monkeypatch, dataset, folder)
    return made


def tell_checksums(monkeypatch: pytest.MonkeyPatch, dataset: Dataset, folder: Path) -> None:
    """Let torchvision publish the files in `folder`, as its class of `dataset` would."""
    listed = [
        (name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for name in dataset.published
    ]
    if dataset.source == "EMNIST":
        source = SimpleNamespace(url=MIRROR + listed[0][0], md5=listed[0][1])
    elif dataset.source == "USPS":
        parts = zip(("train", "test"), listed, strict=True)
        split_list = {split: [MIRROR + name, name, md5] for split, (name, md5) in parts}
        source = SimpleNamespace(split_list=split_list)
    elif dataset.source == "QMNIST":
        located = [(MIRROR + name, md5) for name, md5 in listed]
        source = SimpleNamespace(resources={"train": located[:2], "test": located[2:]})
    else:
        source = SimpleNamespace(mirrors=[MIRROR, MIRROR + "other/"], resources=listed)
    package = SimpleNamespace(datasets=SimpleNamespace(**{dataset.source: source}))
    monkeypatch.setattr(download, "torchvision", lambda: package)


def _contents(
    dataset: Dataset, files: tuple[str, ...], images: np.ndarray, names: list[str]
) -> dict[str, bytes]:
    labels = [dataset.labels[name] for name in names]
    if dataset.source == "USPS":
        return {files[0]: bz2.compress(usps_bytes(images, labels))}
    if dataset.source == "EMNIST":
        images = images.transpose(0, 2, 1)
    table = np.array(labels, dtype=np.uint8)
    if "idx2-int" in files[1]:
        table = np.zeros((len(labels), 8), dtype=np.int32)
        table[:, 0] = labels
        table[:, 5] = 70_000 + np.arange(len(labels))
    return {
        files[0]: gzip.compress(idx_bytes(images), mtime=0),
        files[1]: gzip.compress(idx_bytes(table), mtime=0),
    }
