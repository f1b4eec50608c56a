"""Sealed files: tensors and plain data in one file, of which not a single bit can change unseen.

They are ordinary safetensors files, which cannot run code when they are opened. safetensors does
not notice a flipped bit in a weight, so the header carries `seal`: the SHA-256 of the file with the
64 digits of the seal itself set to zero.
"""

import hashlib
import json
import re
import stat
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
_MAX_TENSORS = 2**15  # the deepest net that can be asked for has 27,000 in its state
_DTYPES = {
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
_ORDER = list(_DTYPES)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Any) -> None:
    """Write `tensors` and JSON-able `metadata` to `path`, as a whole or not at all.

    The same content gives the same bytes. Raises OSError; `path` is then as it was.
    """
    # The sealed header, then the memory of each tensor: nothing is copied.
    header: dict[str, Any] = {}
    payload: list[memoryview] = []
    end = 0
    # the order of safetensors: the wide types first, so that every tensor is aligned
    for name in sorted(tensors, key=lambda name: (_ORDER.index(tensors[name].dtype), name)):
        tensor = tensors[name].detach().cpu().contiguous()
        data = tensor.reshape(-1).view(torch.uint8).numpy().data
        start, end = end, end + data.nbytes
        dtype, shape = _DTYPES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        payload.append(data)
    header["__metadata__"] = {"mnistlab": json.dumps(metadata), "seal": _BLANK.decode()}
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)  # safetensors aligns the payload to 8 bytes
    head = len(text).to_bytes(8, "little") + text
    seal = hashlib.sha256(head)
    for data in payload:
        seal.update(data)
    digits = seal.hexdigest().encode()
    sealed = head.replace(b'"seal":"' + _BLANK, b'"seal":"' + digits, 1)
    write_whole(path, sealed, *payload)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """The tensors and the metadata of a sealed file, every byte verified.

    Raises DamagedFileError for what `write_tensors` did not write, RunError, FileNotFoundError.
    """
    where = printable(path)
    try:
        # Asked before it is opened: a pipe would wait for ever, a device has no end.
        status = path.stat()
        if status.st_size > _MAX_FILE:
            size = f"{status.st_size:,} bytes"
            raise DamagedFileError(f"{where}: {size}; no file of mnistlab is that large")
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise DamagedFileError(f"{where}: not a regular file; nothing loaded")
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"{where}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise RunError(f"{where}: not enough memory to read it") from error
    header_end = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or header_end > min(len(content), _MAX_HEADER):
        raise _damaged(where, "its header is cut off or no header at all")
    seal = _SEAL.search(content, 0, header_end)
    if seal is None:
        raise _damaged(where, "it carries no seal")
    digest = hashlib.sha256(content[: seal.start(1)] + _BLANK)
    digest.update(memoryview(content)[seal.end(1) :])
    if digest.hexdigest().encode() != seal[1]:
        raise _damaged(where, "its checksum does not match")
    try:
        if content.count(b'"dtype"', 8, header_end) > _MAX_TENSORS:
            raise ValueError
        header = json.loads(content[8:header_end], object_pairs_hook=_no_duplicates)
        metadata = json.loads(header["__metadata__"]["mnistlab"], object_pairs_hook=_no_duplicates)
        return safetensors.torch.load(content), metadata
    # A well-sealed file that somebody else made can still hold anything.
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise _damaged(where, f"its content cannot be read ({type(error).__name__})") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # of two values with one name, two readers may take different ones
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is there twice")
    return values


def _damaged(where: str, why: str) -> DamagedFileError:
    return DamagedFileError(f"{where}: damaged or not written by mnistlab: {why}; nothing loaded")
