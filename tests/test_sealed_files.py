"""Sealed files: ordinary safetensors, of which every byte is checked."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistlab import storage
from mnistlab.errors import DamagedFileError, RunError
from mnistlab.storage import read_tensors, write_tensors
from tests import needs

TENSORS = {
    "weights": torch.tensor([[1.5, -2.0], [float("inf"), 1e-45]]),
    "Bias": torch.tensor([3.0], dtype=torch.float64),
    "images": torch.arange(7, dtype=torch.uint8),
    "step": torch.tensor(-5),
    "flags": torch.tensor([True, False]),
    "nothing": torch.empty(0, 3),
}
METADATA = {"classes": ["3", "7", "größe\n\udcff"], "n": 2, "lr": 0.1, "deep": [None, {"a": True}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, METADATA)
    return path


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == TENSORS.keys() and all(
        found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
        for name, tensor in TENSORS.items()
    )


def seal(content: bytes) -> bytes:
    """Give `content` the right seal, as the docstring of the module says it is made."""
    before, mark, rest = content.partition(b'"seal":"')
    blank = before + mark + b"0" * 64 + rest[64:]
    return before + mark + hashlib.sha256(blank).hexdigest().encode() + rest[64:]


def test_tensors_and_metadata_come_back(path: Path) -> None:
    tensors, metadata = read_tensors(path)
    assert same(tensors)
    assert metadata == METADATA
    tensors["weights"] += 1  # they are the caller's own


def test_the_same_content_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "y"
    write_tensors(other, dict(reversed(TENSORS.items())), METADATA)
    assert other.read_bytes() == path.read_bytes()


def test_any_reader_of_safetensors_can_open_it(path: Path) -> None:
    assert same(safetensors.torch.load_file(path))


def test_the_payload_is_the_one_safetensors_writes(tmp_path: Path) -> None:
    kinds = [torch.int64, torch.float64, torch.float32, torch.int32, torch.bfloat16, torch.float16]
    kinds += [torch.int16, torch.int8, torch.uint8, torch.bool]
    tensors = {f"{name}{k}": torch.tensor([0, 1, k + 1]).to(kind)
               for k, kind in enumerate(kinds) for name in "ba"}  # fmt: skip
    write_tensors(tmp_path / "x", tensors | TENSORS, None)
    theirs = safetensors.torch.save(tensors | TENSORS)
    ours = (tmp_path / "x").read_bytes()

    def taken_apart(content: bytes) -> tuple[dict[str, Any], bytes]:
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        header.pop("__metadata__", None)
        return header, content[end:]

    assert taken_apart(ours) == taken_apart(theirs)


def test_writing_copies_nothing(tmp_path: Path) -> None:
    import tracemalloc

    images = torch.zeros(64, 256, 256, dtype=torch.uint8)  # 4 MiB
    tracemalloc.start()
    write_tensors(tmp_path / "x", {"images": images}, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_the_seal_is_what_the_docstring_says(path: Path) -> None:
    content = path.read_bytes()
    assert seal(content) == content
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert len(header["__metadata__"]["seal"]) == 64


def test_odd_tensors_are_written_as_they_look(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    write_tensors(tmp_path / "x", {"t": matrix.T, "g": matrix.clone().requires_grad_()}, None)
    tensors, metadata = read_tensors(tmp_path / "x")
    assert tensors["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["g"].tolist() == matrix.tolist()
    assert metadata is None


def test_no_tensors_at_all(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", {}, [1])
    assert read_tensors(tmp_path / "x") == ({}, [1])


def test_metadata_that_looks_like_a_seal_does_no_harm(tmp_path: Path) -> None:
    trap: dict[str, Any] = {"seal": "0" * 64, 'x"seal":"' + "0" * 64 + '"': '"seal":"' + "a" * 64}
    write_tensors(tmp_path / "x", {"seal": torch.ones(1), "A": torch.ones(1)}, trap)
    tensors, metadata = read_tensors(tmp_path / "x")
    assert metadata == trap
    assert sorted(tensors) == ["A", "seal"]


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_a_flipped_bit_in_any_byte_is_noticed(path: Path, flip: int) -> None:
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(content):
            file.seek(place)
            file.write(bytes([byte ^ flip]))
            with pytest.raises(DamagedFileError, match="damaged or not written by mnistlab"):
                read_tensors(path)
            file.seek(place)
            file.write(bytes([byte]))
    assert same(read_tensors(path)[0])


def test_every_cut_and_every_addition_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for length in reversed(range(len(content))):
        os.truncate(path, length)
        with pytest.raises(DamagedFileError):
            read_tensors(path)
    for more in (b"\0", b" ", content):
        path.write_bytes(content + more)
        with pytest.raises(DamagedFileError, match="checksum"):
            read_tensors(path)


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=9)), min_size=1, max_size=4)
)
def test_a_mangled_file_is_refused_with_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path, good = folder / "mangled.safetensors", folder / "good.safetensors"
    if not good.exists():
        write_tensors(good, TENSORS, METADATA)
    original = good.read_bytes()
    content = original
    for place, piece in edits:
        place %= len(content) + 1
        content = content[:place] + piece + content[place + len(piece) // 2 :]
    path.write_bytes(content)
    if content == original:
        assert same(read_tensors(path)[0])
        return
    with pytest.raises(DamagedFileError):
        read_tensors(path)


@pytest.mark.parametrize(
    "header",
    [
        b'{"__metadata__":{"mnistlab":"{","seal":"%s"}}',
        b'{"__metadata__":{"seal":"%s"}}',
        b'{"__metadata__":["seal"],"x":{"seal":"%s"}}',
        b'{"seal":"%s"}',
        b'{"seal":"%s"',
        b'{"__metadata__":{"mnistlab":7,"seal":"%s"}}',
        b'{"__metadata__":{"mnistlab":"7","seal":"%s"},"t":{"dtype":"F99","shape":[1],'
        b'"data_offsets":[0,4]}}',
        b'{"__metadata__":{"mnistlab":"7","seal":"%s"},"t":{"dtype":"F32","shape":[9],'
        b'"data_offsets":[0,4]}}',
        b'{"__metadata__":{"mnistlab":"%s","seal":"%%s"}}' % (b"[" * 100_000),
        b'\xff{"seal":"%s"}',
        b'{"__metadata__":{"mnistlab":"7","mnistlab":"8","seal":"%s"}}',
        b'{"__metadata__":{"mnistlab":"{\\"a\\":1,\\"a\\":2}","seal":"%s"}}',
    ],
)
def test_a_well_sealed_file_of_somebody_else_is_refused(path: Path, header: bytes) -> None:
    text = header.replace(b"%s", b"0" * 64)
    path.write_bytes(seal(len(text).to_bytes(8, "little") + text + b"\0\0\0\0"))
    with pytest.raises(DamagedFileError, match="its content cannot be read"):
        read_tensors(path)


def test_a_file_of_safetensors_without_a_seal_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "x")
    with pytest.raises(DamagedFileError, match="it carries no seal; nothing loaded"):
        read_tensors(tmp_path / "x")


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.write_text, (tmp_path / "ran", "x"))

    (tmp_path / "x").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DamagedFileError):
        read_tensors(tmp_path / "x")
    assert not (tmp_path / "ran").exists()


def test_a_header_that_claims_to_be_endless_is_refused(path: Path) -> None:
    for claim in (2**64 - 1, 2**62, 2**31):
        path.write_bytes(claim.to_bytes(8, "little") + b"{" * 99)
        with pytest.raises(DamagedFileError, match="its header is cut off or no header at all"):
            read_tensors(path)


def test_a_file_too_large_to_be_ours_is_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_MAX_FILE", path.stat().st_size - 1)
    with pytest.raises(DamagedFileError, match="no file of mnistlab is that large"):
        read_tensors(path)
    monkeypatch.setattr(storage, "_MAX_FILE", path.stat().st_size)
    assert same(read_tensors(path)[0])


def test_too_little_memory_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(self: Path, mode: str) -> None:
        raise MemoryError

    monkeypatch.setattr(Path, "open", starve)
    with pytest.raises(RunError, match="not enough memory to read it") as fault:
        read_tensors(path)
    assert not isinstance(fault.value, DamagedFileError)


@needs.devices
def test_a_device_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("/dev/zero")
    with pytest.raises(DamagedFileError, match="not a regular file"):
        read_tensors(tmp_path / "x")


def test_more_tensors_than_any_model_has_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_MAX_TENSORS", len(TENSORS) - 1)
    with pytest.raises(DamagedFileError, match="its content cannot be read"):
        read_tensors(path)


def test_no_file_a_folder_and_a_broken_disk_are_told_apart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        read_tensors(path.with_name("none"))
    why = "Permission denied" if needs.WINDOWS else "Is a directory"
    with pytest.raises(RunError, match=f"cannot be read: {why}"):
        read_tensors(path.parent)

    def fail(self: Path, mode: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(RunError, match="cannot be read: Input/output error") as fault:
        read_tensors(path)
    assert not isinstance(fault.value, DamagedFileError)


@needs.any_name
def test_an_odd_name_is_told_safely(tmp_path: Path) -> None:
    path = tmp_path / "a\n\x1b[2J"
    path.write_bytes(b"")
    with pytest.raises(DamagedFileError) as fault:
        read_tensors(path)
    assert str(fault.value).isprintable()


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(path, {}, None)
    assert path.read_bytes() == before
