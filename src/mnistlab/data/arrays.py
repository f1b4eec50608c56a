"""Images in one file: pixels in a CSV file, `.npz`, MNIST's own IDX files.

`scan_file` makes scans of them, one for each split, which are then read like those of folders.
"""

import hashlib
import zipfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from mnistlab.data.archives import Array, find_files, read_idx, unpacked
from mnistlab.data.images import Decoded, decode_image, levels_of
from mnistlab.data.scan import DECODER, ROLES, Scan, fault_in, stamps_of
from mnistlab.data.tables import LABELS, Columns, columns_of, scan_table, side_of
from mnistlab.errors import ConfigError
from mnistlab.names import listed, natural_key, printable

Arrays = tuple[Array, Sequence[str]]
"""Images (n, H, W) or (n, H, W, 3), and the class of each."""


@dataclass
class ArrayScan(Scan):
    """Images in one file of arrays, which is read when they are needed and not before."""

    source: Callable[[], Arrays] = lambda: (np.empty((0, 0, 0)), ())
    _images: list[Array] = field(default_factory=list)

    def open(self) -> None:
        """Read the arrays. Raises DataError."""
        images, labels = self.source()
        by_class = defaultdict(list)
        for index, label in enumerate(labels):
            by_class[label].append(index)
        self.classes = sorted(by_class, key=lambda name: (natural_key(name), name))
        self.files = {name: [f"{name}/{i}" for i in by_class[name]] for name in self.classes}
        self._images = [images[i] for name in self.classes for i in by_class[name]]

    def read(self, position: int) -> Decoded:
        return decode_image(Image.fromarray(np.ascontiguousarray(self._images[position])))

    def unusable(self) -> dict[str, str]:
        return {}

    def signature(self) -> str:
        # of the file alone, so that it need not be opened to know that it has not changed
        return hashlib.sha256(f"{DECODER}{self.salt}{[*self.stamps]}".encode()).hexdigest()


def scan_file(path: Path, split: str, *, transpose: bool = False) -> dict[str, Scan]:
    """The scans of a table or a file of arrays, by split; only `split` where it has no others.

    Raises DataError.
    """
    parts = [path]
    sources: dict[str, Callable[[], Arrays]]
    if path.suffix == ".npz":
        sources = _of_npz(path, split)
    elif "-idx3-" in path.name or ".idx3-" in path.name:
        name = path.name.replace("images", "labels").replace("idx3", "idx1")
        parts.append(find_files([path.parent], [name])[name])
        sources = {split: lambda: _checked(path, read_idx(path), read_idx(parts[1]), transpose)}
    elif path.suffix.lower() == ".csv":
        columns = columns_of(path)
        if columns is None:
            raise fault_in(path, f"no column of labels; expected one of: {', '.join(LABELS)}")
        if not columns.pixels:
            return scan_table(path, split, columns)
        sources = {split: partial(_of_pixels, path, columns, transpose)}
    else:
        raise fault_in(path, "not a table or a file of arrays that is known: .csv, .npz or IDX")
    stamps = array("q", [stamp for part in parts for stamp in stamps_of(part)])
    salt = "transposed" if transpose else ""
    return {
        role: ArrayScan(path, role, stamps=stamps, salt=salt, source=source)
        for role, source in sources.items()
    }


def _of_pixels(path: Path, columns: Columns, transpose: bool) -> Arrays:
    skip = int(columns.has_header)
    read = partial(
        np.loadtxt, path, delimiter=columns.delimiter, skiprows=skip, encoding="utf-8-sig"
    )
    try:
        labels = read(usecols=[columns.label], dtype=str, ndmin=1)
        pixels = read(usecols=columns.pixels, dtype=np.float32, ndmin=2)
    except ValueError as error:
        raise fault_in(path, f"cannot be read as a table of pixels: {error}") from error
    side = side_of(len(columns.pixels))
    return _levels(path, pixels.reshape(-1, side, side), transpose), [str(name) for name in labels]


def _of_npz(path: Path, split: str) -> dict[str, Callable[[], Arrays]]:
    """`x_train, y_train, x_test, y_test`, as Keras has them; also `images` and `labels`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise fault_in(path, f"cannot be read: {error}") from error
    pairs = {("x", "y"): split, ("images", "labels"): split} | {
        pair: role
        for alias, role in ROLES.items()
        for pair in ((f"x_{alias}", f"y_{alias}"), (f"{alias}_images", f"{alias}_labels"))
    }
    found = {role: pair for pair, role in pairs.items() if names >= {*pair}}
    if not found:
        own = listed(Counter(map(printable, sorted(names))), "{}")
        raise fault_in(path, f"no x_train and y_train in it; it has {own}")
    return {role: partial(_npz_arrays, path, *pair) for role, pair in found.items()}


def _npz_arrays(path: Path, of_images: str, of_labels: str) -> Arrays:
    arrays = []
    for name in (of_images, of_labels):
        with unpacked(path, f"{name}.npy") as file:  # not numpy.load: it can read pickles
            arrays.append(np.lib.format.read_array(file, allow_pickle=False))
    images, labels = arrays
    return _checked(path, images, labels, False)


def _checked(path: Path, images: Array, labels: Array, transpose: bool) -> Arrays:
    labels = labels.reshape(len(labels), -1)
    if labels.shape[1] > 1 and np.isin(labels, (0, 1)).all():  # one column for each class
        labels = labels.argmax(1)[:, None]
    if len(labels) != len(images) or labels.shape[1] != 1:
        raise fault_in(path, f"{len(images)} images, and labels of the shape {labels.shape}")
    names = [value.decode() if isinstance(value, bytes) else str(value) for value in labels[:, 0]]
    return _levels(path, images, transpose), names


def _levels(path: Path, images: Array, transpose: bool) -> Array:
    """Images as uint8 (n, H, W), or (n, H, W, 3) in colour. Raises DataError."""
    if images.ndim == 2 and side_of(images.shape[1]):
        images = images.reshape(len(images), side_of(images.shape[1]), -1)
    if images.dtype.kind == "f" and images.size and 1 < images.max() <= 255:
        images = np.floor(images).astype(np.int32)
    try:
        levels = levels_of(images[..., None] if images.ndim == 3 else images)
    except ConfigError as error:
        raise fault_in(path, str(error)) from error
    return levels.swapaxes(1, 2) if transpose else levels
