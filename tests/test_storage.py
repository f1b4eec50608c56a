"""The model file and the state file: what goes in comes out, and nothing else gets in."""

import hashlib
import stat
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from mnistlab.errors import ConfigError, DamagedFileError, RunError
from mnistlab.models import ModelCard
from mnistlab.records import Best, EpochRow
from mnistlab.storage import (
    RunState,
    StateRecord,
    load_model,
    load_state,
    save_model,
    save_state,
    weights_sha256,
    write_tensors,
)

ROW = EpochRow(epoch=0, train_loss=0.5, valid_loss=1e-9, accuracy=0.1 + 0.2, seconds=0.5)
CARD = ModelCard("two-layer", ("a", "b", "c"), (3, 4), {"hidden": 5}, "cross-entropy")


def state(**changes: Any) -> RunState:
    """A state; `changes` of its fields or of its record, which are not checked."""
    record = StateRecord(
        config={"lr": 0.1},
        data_fingerprint="f" * 64,
        environment={"threads": 2},
        epoch=3,
        batch=2,
        seconds=0.125,
        history=[ROW],
        best=Best(epoch=0, accuracy=0.1 + 0.2),
        mixed=False,
    )
    of_record = {key: changes.pop(key) for key in list(changes) if key in StateRecord.model_fields}
    fields: dict[str, Any] = {
        "card": CARD,
        "record": record.model_copy(update=of_record),
        "weights": CARD.build(1).state_dict(),
        "best_weights": CARD.build(2).state_dict(),
        "losses": torch.tensor([0.5, 0.25]),
    }
    return RunState(**(fields | changes))


def write(path: Path, weights: dict[str, torch.Tensor], card: ModelCard = CARD) -> None:
    """A model file that `save_model` would refuse to write."""
    write_tensors(path, weights, {"kind": "model", "format": 1, "card": card.__dict__})


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "card",
    [
        CARD,
        ModelCard("linear", ("3", "7"), (28, 28), {"init": "normal"}, "mnist"),
        ModelCard("pixel-similarity", ("3", "7"), (6, 6), {"distance": "rmse"}, "mnist"),
    ],
)
def test_a_model_comes_back_as_it_was(card: ModelCard, tmp_path: Path) -> None:
    model = card.build(7)
    save_model(tmp_path / "m.safetensors", model.state_dict(), card)
    loaded, found = load_model(tmp_path / "m.safetensors")
    assert found == card
    assert not loaded.training
    assert equal(loaded.state_dict(), model.state_dict())
    xb = torch.rand(3, 1, *card.image_size)
    assert torch.equal(loaded(xb), model(xb))


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = state(optimizer={"step": torch.tensor(4)})
    save_state(tmp_path / "r.safetensors", saved)
    found = load_state(tmp_path / "r.safetensors")
    for group in ("weights", "best_weights", "optimizer"):
        assert equal(getattr(found, group), getattr(saved, group))
    assert torch.equal(found.losses, saved.losses)
    assert (found.card, found.record) == (saved.card, saved.record)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_model(tmp_path / name, CARD.build(1).state_dict(), CARD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_readers_of_safetensors_can_open_a_model(tmp_path: Path) -> None:
    import safetensors.torch

    save_model(tmp_path / "m", CARD.build(1).state_dict(), CARD)
    assert equal(safetensors.torch.load_file(tmp_path / "m"), CARD.build(1).state_dict())


def test_a_model_file_has_the_mode_of_any_file_the_user_makes(tmp_path: Path) -> None:
    save_model(tmp_path / "m", CARD.build(1).state_dict(), CARD)
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_the_weights_hash_by_its_definition() -> None:
    weights = {"b": torch.tensor([[1.5, -2.0]]), "a": torch.tensor(3, dtype=torch.int64)}
    text = b"a int64 \n" + struct.pack("<q", 3) + b"b float32 1x2\n" + struct.pack("<2f", 1.5, -2.0)
    assert weights_sha256(weights) == hashlib.sha256(text).hexdigest()
    assert weights_sha256({**weights, "b": torch.tensor([[1.5], [-2.0]])}) != weights_sha256(
        weights
    )


def test_every_flipped_byte_of_a_model_is_refused(tmp_path: Path) -> None:
    card = ModelCard("linear", ("a", "b"), (2, 2), {"init": "uniform"}, "mnist")
    path = tmp_path / "m"
    save_model(path, card.build(1).state_dict(), card)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="nothing loaded"):
            load_model(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError):
            load_model(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedFileError):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "resume"}, "resume file, not a model file"),
        ({"format": 2}, "format 2"),
        ({"card": None}, "cannot be loaded"),
        ({"card": {"model": "linear"}}, "cannot be loaded"),
        ({"card": {**CARD.__dict__, "model": "nosuch"}}, "needs model: one of linear"),
        ({"card": {**CARD.__dict__, "loss": "mnist"}}, "needs loss: one of cross-entropy"),
        ({"card": {**CARD.__dict__, "classes": "abc"}}, "needs classes: a list of names"),
        ({"card": {**CARD.__dict__, "classes": ("a", "b", "a")}}, "two or more different names"),
        ({"card": {**CARD.__dict__, "settings": {"hidden": -4}}}, "cannot be built"),
        ({"card": {**CARD.__dict__, "settings": {"depth": 4}}}, "unexpected keyword"),
        ({"card": {**CARD.__dict__, "settings": {"\x1b[2J": 4}}}, r"argument .\\x1b"),
        ({"card": {**CARD.__dict__, "settings": {"hidden": 6}}}, "two-layer needs"),
        ({"card": {**CARD.__dict__, "image_size": (3, 5)}}, "two-layer needs"),
        ({"card": {**CARD.__dict__, "model": "linear", "settings": {}}}, "linear needs"),
    ],
)
def test_a_sealed_file_with_other_content_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    meta = {"kind": "model", "format": 1, "card": CARD.__dict__} | change
    write_tensors(tmp_path / "m", CARD.build(1).state_dict(), meta)
    with pytest.raises(DamagedFileError, match=words):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("kind", [torch.float64, torch.int32, torch.bool])
def test_weights_of_another_type_are_not_converted(kind: torch.dtype, tmp_path: Path) -> None:
    weights = CARD.build(1).state_dict()
    weights["out.bias"] = weights["out.bias"].to(kind)
    with pytest.raises(ConfigError):
        save_model(tmp_path / "m", weights, CARD)
    write(tmp_path / "m", weights)
    with pytest.raises(DamagedFileError, match=r"tensor out\.bias: two-layer needs float32 3"):
        load_model(tmp_path / "m")


def test_a_model_larger_than_any_memory_is_refused_before_it_is_built(tmp_path: Path) -> None:
    card = ModelCard("linear", CARD.classes, (65536, 65536), {}, "cross-entropy")
    with pytest.raises(ConfigError, match="linear needs"):
        save_model(tmp_path / "m", CARD.build(1).state_dict(), card)
    write(tmp_path / "m", CARD.build(1).state_dict(), card)
    with pytest.raises(DamagedFileError, match="linear needs float32 3, not no such"):
        load_model(tmp_path / "m")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = CARD.build(1).state_dict()
    weights["hidden.bias"][0] = float("nan")
    with pytest.raises(ConfigError):
        save_model(tmp_path / "m", weights, CARD)
    write(tmp_path / "m", weights)
    with pytest.raises(DamagedFileError, match=r"hidden\.bias holds a value that is not finite"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("meta", [None, [], 3, {"kind": "resume"}, {"kind": "resume", "format": 1}])
def test_a_state_file_with_other_content_is_refused(meta: Any, tmp_path: Path) -> None:
    write_tensors(tmp_path / "r", {"losses": torch.zeros(1)}, meta)
    with pytest.raises(DamagedFileError):
        load_state(tmp_path / "r")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"losses": torch.zeros(3)}, "its losses are not those of its batches"),
        ({"losses": torch.zeros(2).double()}, "its losses are not those of its batches"),
        ({"best_weights": {"hidden.bias": torch.zeros(5)}}, "two-layer needs"),
        ({"best_weights": {n: t / 0 for n, t in CARD.build(2).state_dict().items()}}, "not finite"),
        (
            {"optimizer": {"steps": torch.tensor(float("nan"))}},
            "its optimizer is no number",
        ),
        ({"card": ModelCard("linear", CARD.classes, (3, 4), {}, "cross-entropy")}, "linear needs"),
        ({"history": [EpochRow.model_construct(epoch=0)]}, "its history cannot be right"),
        ({"history": [], "best": None}, "history is not that of its epochs"),
        ({"best": None}, "best epoch is not in its history"),
        ({"seconds": float("inf")}, "its seconds cannot be right"),
    ],
)
def test_a_state_that_does_not_agree_with_itself_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    save_state(tmp_path / "r", state(**changes))
    with pytest.raises(DamagedFileError, match=words):
        load_state(tmp_path / "r")


def test_a_missing_file_is_told_apart_from_an_unreadable_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none")
    with pytest.raises(RunError, match="cannot be read"):
        load_model(tmp_path)
