"""Tensors and plain data in one sealed file: safetensors with a checksum over every byte.

safetensors cannot run code when opened, but it does not notice a flipped bit in a weight. So the
header carries `seal`: the SHA-256 of the whole file with the seal's own 64 digits set to zero.
The files stay ordinary safetensors for every other reader.
"""

import hashlib
import json
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from mnistlab.errors import DamagedFileError, RunError
from mnistlab.files import write_whole
from mnistlab.names import printable

_BLANK = b"0" * 64
_SEAL = re.compile(rb'"seal":"([0-9a-f]{64})"')
_MAX_FILE = 8 * 2**30
_MAX_HEADER = 64 * 2**20
_MAX_TENSORS = 2**15  # the deepest net that can be asked for has 27,000 in its whole state
_CODES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = list(_CODES)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Any) -> None:
    """Write `tensors` and JSON-able `metadata` to `path`, whole or not at all.

    The same content gives the same bytes. Raises OSError; `path` is then as it was.
    """
    write_whole(path, *_sealed(tensors, metadata))


def _sealed(tensors: Mapping[str, torch.Tensor], metadata: Any) -> list[bytes | memoryview]:
    # The sealed header, then each tensor's own memory: nothing is copied, as safetensors' save()
    # would do twice; a dataset would take three times its size to be written.
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header: dict[str, Any] = {}
    payload: list[memoryview] = []
    end = 0
    # safetensors' own order: the wide types first, so that every tensor is aligned
    for name in sorted(on_cpu, key=lambda name: (_DTYPES.index(on_cpu[name].dtype), name)):
        piece = _memory(on_cpu[name])
        start, end = end, end + piece.nbytes
        header[name] = {
            "dtype": _CODES[on_cpu[name].dtype],
            "shape": list(on_cpu[name].shape),
            "data_offsets": [start, end],
        }
        payload.append(piece)
    header["__metadata__"] = {"mnistlab": json.dumps(metadata), "seal": _BLANK.decode()}
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)  # safetensors aligns the payload to 8 bytes
    start_of_file = len(text).to_bytes(8, "little") + text
    seal = hashlib.sha256(start_of_file)
    for piece in payload:
        seal.update(piece)
    digits = seal.hexdigest().encode()
    return [start_of_file.replace(b'"seal":"' + _BLANK, b'"seal":"' + digits, 1), *payload]


def _memory(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor, little-endian."""
    flat = tensor.reshape(-1)
    if sys.byteorder == "big" and flat.element_size() > 1:  # pragma: no cover
        flat = flat.view(torch.uint8).reshape(-1, flat.element_size()).flip(1).reshape(-1)
    return flat.view(torch.uint8).numpy().data


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """The tensors and the metadata of a sealed file, every byte verified.

    Raises DamagedFileError for anything that `write_tensors` did not write, RunError where the
    file cannot be read, FileNotFoundError where there is none.
    """
    where = printable(path)
    content = _content(path, where)
    header_end = 8 + int.from_bytes(content[:8], "little")
    seal = _SEAL.search(content, 8, header_end)
    if seal is None:
        raise _damaged(where, "it carries no seal")
    view = memoryview(content)
    digest = hashlib.sha256(view[: seal.start(1)])
    digest.update(_BLANK)
    digest.update(view[seal.end(1) :])
    if digest.hexdigest().encode() != seal[1]:
        raise _damaged(where, "its checksum does not match")
    try:
        if content.count(b'"dtype"', 8, header_end) > _MAX_TENSORS:
            raise ValueError
        stated = json.loads(content[8:header_end], object_pairs_hook=_once)
        metadata = json.loads(stated["__metadata__"]["mnistlab"], object_pairs_hook=_once)
        tensors = safetensors.torch.load(content)
    # A well-sealed file that somebody else made can still hold anything.
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise _damaged(where, f"its content makes no sense ({type(error).__name__})") from error
    return tensors, metadata


def _content(path: Path, where: str) -> bytes:
    """All bytes of a file that may be one of ours; of others no more than the header is read."""
    try:
        # Asked before it is opened: a pipe would wait for ever, a device has no end.
        found = path.stat()
        if found.st_size > _MAX_FILE:
            raise DamagedFileError(
                f"{where}: {found.st_size:,} bytes; no file of mnistlab is that large"
            )
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise DamagedFileError(f"{where}: not a regular file; nothing loaded")
        with path.open("rb") as file:
            length = file.read(8)
            header_end = 8 + int.from_bytes(length, "little")
            if len(length) < 8 or header_end > min(found.st_size, _MAX_HEADER):
                raise _damaged(where, "its header is cut off or no header at all")
            if not _SEAL.search(file.read(header_end - 8)):
                raise _damaged(where, "it carries no seal")
            file.seek(0)
            return file.read(found.st_size + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"{where}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise RunError(f"{where}: not enough memory to read it") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # of two values with one name, two readers may take different ones
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _damaged(where: str, why: str) -> DamagedFileError:
    return DamagedFileError(f"{where}: damaged or not written by mnistlab: {why}; nothing loaded")
