"""The readers of files from outside, each as a function of bytes that raises only for a fault of
ours; and sound bytes to start from. Run with a target, seconds and a folder it is a search for
input that makes one fail, guided by the lines of mnistlab that are reached (atheris)."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.originals import idx_bytes
from tests.reliability.hostile_files import parts_of, sealed
from tests.reliability.odd_pictures import odd_pictures


def checkpoint(data: bytes, folder: Path) -> None:
    """A model file: as it is, or by its first byte sealed around a header or metadata."""
    from mnistlab import load_model

    found, payload = parts_of(sound_model(folder))
    text = data[1:].decode("utf-8", "surrogateescape")
    if data[:1] == b"\1":
        data = sealed(text, payload)
    elif data[:1] == b"\2":
        meta = {"mnistlab": text, "seal": "0" * 64}
        data = sealed({**found, "__metadata__": meta}, payload)
    path = folder / "x.safetensors"
    path.write_bytes(data)
    refused_plainly(lambda: load_model(path))


def sound_model(folder: Path) -> bytes:
    from mnistlab import ModelCard, build_model, save_model

    path = folder / "sound.safetensors"
    if not path.exists():
        classes, size = ("a", "b", "c"), (3, 4)
        weights = build_model("two-layer", size, classes, seed=1, hidden=5).state_dict()
        card = ModelCard("two-layer", classes, size, {"hidden": 5}, "cross-entropy")
        save_model(path, weights, card)
    return path.read_bytes()


def picture(data: bytes, folder: Path) -> None:
    """An image file."""
    from mnistlab.data.images import decode_bytes, quiet_pillow

    with quiet_pillow():
        image = refused_plainly(lambda: decode_bytes(data).grey)
    assert image is None or (image.mode == "L" and image.width * image.height <= 4096**2)


def config(data: bytes, folder: Path) -> None:
    """A config file."""
    from tests.command import run_in_process

    path = folder / "x.toml"
    path.write_bytes(data)
    ended = run_in_process("train", "--dry-run", "--config", path, "--data", folder / "nowhere")
    assert ended.code == 2, ended.err
    assert ended.err.replace("\n", "").isprintable(), ended.err


def idx(data: bytes, folder: Path) -> None:
    """A file of MNIST's format, gzipped if it says so; as images or as labels."""
    from mnistlab.data.trees import import_idx

    source, target = folder / "idx", folder / "tree"
    source.mkdir(exist_ok=True)
    pixels, labels = idx_files()[:2]
    for split in ("train", "t10k"):
        (source / f"{split}-images-idx3-ubyte").write_bytes(pixels)
        (source / f"{split}-labels-idx1-ubyte").write_bytes(labels)
    name = "train-images-idx3-ubyte" if len(data) % 2 else "t10k-labels-idx1-ubyte"
    (source / name).write_bytes(data)
    refused_plainly(lambda: import_idx(source, target))
    shutil.rmtree(target, ignore_errors=True)
    assert {path.name for path in folder.iterdir()} <= {"idx"}


def refused_plainly(read: Callable[[], Any]) -> Any:
    """What `read` gives; None where it raises an error of ours with a plain message."""
    from mnistlab import MnistlabError
    from mnistlab.data.images import UndecodableError

    try:
        return read()
    except (MnistlabError, UndecodableError) as error:
        text = str(error)
    assert text, "no message"
    assert all(line.isprintable() for line in text.splitlines()), f"not printable: {text!r}"
    return None


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    "checkpoint": checkpoint,
    "picture": picture,
    "config": config,
    "idx": idx,
}


def seeds(target: str, folder: Path) -> list[bytes]:
    """Sound input for a target, to be changed."""
    if target == "checkpoint":
        sound = sound_model(folder)
        found, _ = parts_of(sound)
        text = json.dumps(found, separators=(",", ":"))
        return [sound, b"\1" + text.encode(), b"\2" + found["__metadata__"]["mnistlab"].encode()]
    if target == "picture":
        return [odd.content for odd in odd_pictures() if odd.rows and len(odd.content) < 300]
    if target == "config":
        return [b'model = "cnn"\nlr = 0.1\nchannels = [4, 8]\n', b'seed = 3\norder_seed = "own"\n']
    return idx_files()


def idx_files() -> list[bytes]:
    pixels = idx_bytes(np.zeros((5, 3, 4), np.uint8))
    labels = idx_bytes(np.array([0, 1, 0, 1, 0], np.uint8))
    return [pixels, labels, gzip.compress(pixels, mtime=0), gzip.compress(labels, mtime=0)]


def search(name: str, seconds: str, folder: Path) -> None:
    """Search for input that a target fails on, in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["mnistlab", "PIL", "tomllib"]):
        import mnistlab.storage  # noqa: F401
    corpus, own = folder / "corpus", folder / "own"
    for made in (corpus, own):
        made.mkdir()
    for number, content in enumerate(seeds(name, own)):
        (corpus / str(number)).write_bytes(content)
    options = [
        *(f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=30", "-seed=1"),
        *("-rss_limit_mb=4096", "-max_len=8192", f"-artifact_prefix={folder}/"),
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: TARGETS[name](data, own))
    atheris.Fuzz()


if __name__ == "__main__":
    search(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
