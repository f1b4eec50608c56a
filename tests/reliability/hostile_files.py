"""Model and state files that somebody made to do harm, each with a checksum that holds."""

import hashlib
import io
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

Header = dict[str, Any]
DEEP = "[" * 100_000


def parts_of(content: bytes) -> tuple[Header, bytes]:
    """Header and payload of a safetensors file."""
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


def sealed(header: Header | str, payload: bytes = b"") -> bytes:
    """A safetensors file, sealed as docs/architecture.md describes it."""
    if not isinstance(header, str):
        header = json.dumps(header, separators=(",", ":"))
    text = header.encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    content = len(text).to_bytes(8, "little") + text + payload
    mark = b'"seal":"' + b"0" * 64
    return content.replace(mark, mark[:8] + hashlib.sha256(content).hexdigest().encode(), 1)


def claiming(content: bytes, card: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """A file whose metadata, or the card in them, say something else."""
    header, payload = parts_of(content)
    meta = json.loads(header["__metadata__"]["mnistlab"])
    meta |= {"card": meta["card"] | (card or {}), **changes}
    header["__metadata__"] = {"mnistlab": json.dumps(meta), "seal": "0" * 64}
    return sealed(header, payload)


def cards() -> dict[str, dict[str, Any]]:
    """What a card may claim, by what is wrong with it: of a two-layer model of three classes."""
    claims: dict[str, dict[str, Any]] = {
        f"hidden {n:.0e}": {"settings": {"hidden": n}} for n in (10**6, 10**9, 10**30, -1, 0)
    }
    claims |= {
        f"{model} with sides of {n:.0e}": {"model": model, "image_size": (n, n), "settings": {}}
        for n in (10**4, 10**9, 10**30, 0, -3)
        for model in ("linear", "two-layer", "cnn", "pixel-similarity")
    }
    deep: tuple[dict[str, Any], ...] = (
        *({"channels": widths} for widths in ([10**6] * 2, [65536] * 3, [1] * 10**6, [], ["1"])),
        *({"depth": depth, "padding": True} for depth in (100, 10**9)),
        {"hidden": 2**20, "channels": [65536]},
    )
    for settings in deep:
        claims[f"cnn with {settings!s:.40}"] = {
            "model": "cnn",
            "image_size": (64, 64),
            "settings": settings,
        }
    many = [str(i) for i in range(10**5)]
    return claims | {
        "10**5 classes": {"classes": many},
        "10**5 classes of resnet18": {"model": "resnet18", "classes": many, "settings": {}},
        "classes twice": {"classes": ["a", "b", "a"]},
        "one class": {"classes": ["a"]},
        "classes as one text": {"classes": "abc"},
        "classes as numbers": {"classes": [1, 2, 3]},
        "a model with a long name": {"model": "x" * 10**6},
        "a model named to break a terminal": {"model": "\x1b[2J\n"},
        "an unknown loss": {"loss": "nosuch"},
        "a loss for two classes": {"loss": "mnist"},
        "settings as text": {"settings": "hidden"},
        "an unknown setting": {"settings": {"\x1b]0;x": 1}},
        "half an image": {"image_size": [3]},
        "broken sides": {"image_size": [3.5, 4.0]},
        "an endless background": {"ground": float("inf")},
    }


def states() -> dict[str, dict[str, Any]]:
    """What a state file may claim beside its card."""
    inf, nan = float("inf"), float("nan")
    values: tuple[Any, ...] = (-1, inf, nan, "2", None, [])
    claims: dict[str, dict[str, Any]] = {
        f"{key} {value!r}": {key: value}
        for key in ("epoch", "batch", "seconds")
        for value in values
    }
    for key in ("config", "environment", "history", "best", "mixed", "data_fingerprint"):
        claims |= {f"{key} of a number": {key: 7}, f"{key} of pairs": {key: [[1, 2]]}}
    claims["a history without losses"] = {"history": [{"epoch": 0}]}
    claims["a history of NaN"] = {"history": [dict.fromkeys(("epoch", "accuracy"), nan)]}
    return claims


def headers(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Claims of the header about the tensors behind it."""
    header, payload = parts_of(content)
    header["__metadata__"] |= {"seal": "0" * 64}
    name, other = (
        next(key for key in header if key.endswith(end)) for end in ("hidden.weight", "out.weight")
    )
    entry = header[name]
    start, end = entry["data_offsets"]

    def changed(**entries: Any) -> bytes:
        return sealed({**header, name: {**entry, **entries}}, payload)

    odd: list[Any] = [[2**40], [2**62, 2**62], [2**64], [-5, -12], [(end - start) // 4], [], None]
    for shape in odd:
        yield f"a shape of {shape}", changed(shape=shape)
    beyond = [(0, 2**42), (start, 2**63), (end, start), (-4, end)]
    for first, last in (*beyond, (start, end - 4), (start + 4, end + 4)):
        yield f"a range of {first} to {last}", changed(data_offsets=[first, last])
    for kind in ("F31", "I32", "F64"):
        yield f"weights as {kind}", changed(dtype=kind)
    yield "overlapping ranges", sealed({**header, other: {**entry}}, payload)
    yield "a hole", sealed(header, payload + b"\0" * 64)
    text = json.dumps(header, separators=(",", ":"))
    for twice in (name, "__metadata__"):
        again = f',"{twice}":{json.dumps(header[twice], separators=(",", ":"))}}}'
        yield f"{twice} twice", sealed(text[:-1] + again, payload)
    yield "a tensor less", sealed({k: v for k, v in header.items() if k != name}, payload)
    added = {"dtype": "F32", "shape": [0], "data_offsets": [len(payload)] * 2}
    yield "a tensor more", sealed({**header, "\x1b[31m": added}, payload)
    many = {f"t{i:06}": added for i in range(100_000)}
    yield "a hundred thousand tensors", sealed({**header, **many}, payload)


def texts(content: bytes) -> Iterator[tuple[str, bytes]]:
    """JSON that is made to choke on."""
    header, payload = parts_of(content)
    header["__metadata__"] |= {"seal": "0" * 64}
    kind = json.loads(header["__metadata__"]["mnistlab"])["kind"]
    text = json.dumps(header, separators=(",", ":"))
    yield "a deep header", sealed(text[:-1] + ',"x":' + DEEP + "}", payload)
    for name, inside in {
        "deep metadata": DEEP + "]" * len(DEEP),
        "a number of 10,000 digits": f'{{"kind":"{kind}","format":{"1" * 10_000}}}',
        "no metadata": "",
        "metadata of null": "null",
        "metadata of another kind": '{"kind":"other","format":1}',
        "another format": f'{{"kind":"{kind}","format":2}}',
        "a kind to break a terminal": '{"kind":"\\u001b[2J\\udc80","format":1}',
    }.items():
        block = {"mnistlab": inside, "seal": "0" * 64}
        yield name, sealed({**header, "__metadata__": block}, payload)
    numbered = text.replace('"mnistlab":"', '"mnistlab":7,"x":"')
    yield "metadata that is no text", sealed(numbered, payload)
    yield "a header that is no UTF-8", sealed(text.replace("hidden", "hidde\udcff"), payload)


class _Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.marker,))


def pickles(content: bytes, marker: Path) -> Iterator[tuple[str, bytes]]:
    """Pickles, alone and as torch writes them; each makes `marker` if it is run."""
    bomb = _Bomb(marker)
    yield "a pickle", pickle.dumps(bomb)
    for zipped in (True, False):
        stream = io.BytesIO()
        torch.save({"model": bomb}, stream, _use_new_zipfile_serialization=zipped)
        yield f"a file of torch.save, zipped {zipped}", stream.getvalue()
    yield "a pickle behind a sealed file", content + pickle.dumps(bomb)
    yield "a pickle before a sealed file", pickle.dumps(bomb) + content
