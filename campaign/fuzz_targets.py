"""The five readers of files from outside, each as a function of bytes that raises only for a fault
of ours; and sound bytes to start from."""

import gzip
import io
import json
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

from campaign.encoders import chunk, filtered, gif, grey, header, idat, png, tiff
from campaign.hostile_files import sealed, sound
from mnistlab.config import presets, read_config, resolve
from mnistlab.data.bundled import _MEMBER, extract_checked
from mnistlab.data.idx import read_idx
from mnistlab.data.images import UndecodableError, decode_grey_bytes, quiet_pillow
from mnistlab.errors import MnistlabError
from mnistlab.storage import load_model, load_state, restore


def checkpoint(data: bytes, folder: Path) -> None:
    """A model or state file: as it is, or by its first byte sealed around a header or metadata."""
    path = folder / "x.safetensors"
    kind = "resume" if data[:1] >= b"\x80" else "model"
    header, payload = sound(kind)
    way, text = data[:1], data[1:].decode("utf-8", "surrogateescape")
    if way[:1] in (b"\1", b"\x81"):
        content = sealed(text, payload)
    elif way[:1] in (b"\2", b"\x82"):
        meta = {"mnistlab": text, "seal": "0" * 64}
        content = sealed({**header, "__metadata__": meta}, payload)
    else:
        content = data
    path.write_bytes(content)
    try:
        load_model(path)
    except MnistlabError as error:
        _require_told(error)
    try:
        state = load_state(path)
        restore(path, state.card, state.weights)
    except MnistlabError as error:
        _require_told(error)


def picture(data: bytes, folder: Path) -> None:
    """An image file."""
    try:
        with quiet_pillow():
            image = decode_grey_bytes(data)
    except UndecodableError as error:
        _require_told(error)
        return
    assert image.mode == "L"
    assert max(image.size) <= 4096


def config(data: bytes, folder: Path) -> None:
    """A config file, read and then used."""
    path = folder / "x.toml"
    path.write_bytes(data)
    for use in (lambda: read_config(path), lambda: resolve({}, str(path))):
        try:
            use()
        except MnistlabError as error:
            _require_told(error)


def idx(data: bytes, folder: Path) -> None:
    """A file of MNIST's format, gzipped if it says so."""
    path = folder / "x-idx"
    path.write_bytes(data)
    for dimensions in (1, 3):
        try:
            sizes, values = read_idx(path, dimensions)
        except MnistlabError as error:
            _require_told(error)
            continue
        assert len(sizes) == dimensions
        found = 1
        for size in sizes:
            found *= size
        assert len(values) == found


def archive(data: bytes, folder: Path) -> None:
    """A .tar.gz like the bundled one; by its first byte what follows is gzipped first."""
    target = folder / "x"
    target.mkdir()
    content = gzip.compress(data[1:], 1, mtime=0) if data[:1] == b"\1" else data
    try:
        extract_checked(content, target, _MEMBER)
    except MnistlabError as error:
        _require_told(error)
    finally:
        found = [
            path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()
        ]
        shutil.rmtree(target)
    assert all(map(_MEMBER.fullmatch, found)), found
    assert [path.name for path in folder.iterdir() if path.name != "x.safetensors"] == []


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    "checkpoint": checkpoint,
    "picture": picture,
    "config": config,
    "idx": idx,
    "archive": archive,
}


def seeds(target: str) -> list[bytes]:
    """Sound input for a target, to be changed."""
    return {
        "checkpoint": _checkpoints,
        "picture": _pictures,
        "config": lambda: [path.read_bytes() for path in presets().values()],
        "idx": _idx_files,
        "archive": _archives,
    }[target]()


def _checkpoints() -> list[bytes]:
    found = []
    for kind, first in (("model", 0), ("resume", 0x80)):
        header, payload = sound(kind)
        text = json.dumps(header, separators=(",", ":"))
        metadata = header["__metadata__"]["mnistlab"]
        found += [bytes((first + 1,)) + text.encode(), bytes((first + 2,)) + metadata.encode()]
        found.append(sealed(header, payload))
    return found


def _pictures() -> list[bytes]:
    rows = [[(37 * x + 91 * y) % 256 for x in range(5)] for y in range(4)]
    palette = chunk(b"PLTE", bytes(range(9)))
    return [
        grey(rows),
        png(header(5, 4), idat(filtered(rows, 4))),
        png(header(3, 1, 8, 3), palette, chunk(b"tRNS", b"\0\xff"), idat(b"\0\0\1\2")),
        png(header(1, 1, 16), idat(b"\0\x80\0")),
        tiff(rows),
        tiff(rows, t274=(6,), t262=(0,)),
        gif([[0, 1, 2, 3]], (1, 2, 3, 4)),
        b"P5 5 2 255\n0123456789",
    ]


def _idx_files() -> list[bytes]:
    pixels = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + bytes(24)
    labels = struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes(5)
    return [pixels, labels, gzip.compress(pixels, mtime=0), gzip.compress(labels, mtime=0)]


def _archives() -> list[bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("labels.csv", "train/3/10.png", "valid/7/2.png"):
            entry = tarfile.TarInfo(f"mnist_sample/{name}")
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"abc"))
    return [b"\1" + stream.getvalue(), gzip.compress(stream.getvalue(), mtime=0)]


def _require_told(error: Exception) -> None:
    text = str(error)
    assert text, "no message"
    assert all(line.isprintable() for line in text.splitlines()), f"not printable: {text!r}"
