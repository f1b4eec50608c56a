"""A file made to do harm, its checksum right, is refused in 2 s, in 200 MB, and runs no code.

Model and state files are written from nothing with a seal that holds, so that every check behind
the seal is met; each is read in a forked child whose time and peak memory are measured.
"""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from campaign.forked import LOADED, REFUSED, Told, command, in_child, in_process
from campaign.hostile_files import cards, headers, pickles, sealed, sound, states, texts
from campaign.images import make_folders
from campaign.tally import Tally
from mnistlab.storage import load_model, load_state, restore

SECONDS = 2.0
MEGABYTES = 200.0
Way = Callable[[Callable[[], object]], Told]


def quick(folder: Path) -> Tally:
    """Every file through the functions that read it, all in one child: a few seconds."""

    def trials() -> None:
        tally = _campaign(folder, in_process)
        print(json.dumps(tally.__dict__))

    told = in_child(trials)
    if told.code != LOADED:
        return Tally(1, [f"exit {told.code}: {told.text[-500:]}"])
    return Tally(**json.loads(told.text))


def full(folder: Path) -> Tally:
    """Every file in a child of its own, and through the commands as well."""
    from mnistlab.vision import torchvision

    torchvision()  # once, here, and not in every child that looks at a resnet18
    return _campaign(folder, in_child, _trained(folder))


def _campaign(folder: Path, way: Way, run: Path | None = None) -> Tally:
    torch.set_num_threads(1)
    tally = Tally()
    marker = folder / "ran"
    slowest = largest = 0.0
    for kind in ("model", "resume"):
        path = folder / f"{kind}.safetensors"
        path.write_bytes(sealed(*sound(kind)))
        _read(kind, path)  # what all of them are but for one claim does load
        for name, make in _files(kind, marker):
            path.unlink(missing_ok=True)
            make(path)
            outcomes = [(name, way(partial(_read, kind, path)))]
            if run is not None:
                outcomes += _through_commands(kind, name, path, run)
            for words, told in outcomes:
                fault = _fault(told, marker)
                tally.check(not fault, f"{kind}: {words}: {fault}")
                slowest, largest = max(slowest, told.seconds), max(largest, told.growth)
    tally.notes.append(f"at most {slowest:.1f} s and {largest:.0f} MB")
    return tally


def _files(kind: str, marker: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    def written(content: bytes) -> Callable[[Path], object]:
        return lambda path: path.write_bytes(content)

    for name, card in cards().items():
        yield name, written(sealed(*sound(kind, card=card)))
    if kind == "resume":
        for name, changes in states().items():
            yield name, written(sealed(*sound(kind, **changes)))
    for files in (headers(kind), texts(kind), pickles(marker, kind)):
        for name, content in files:
            yield name, written(content)
    for claim in (2**64 - 1, 2**63, 2**40, 60 * 2**20):
        yield (
            f"a header of {claim}",
            written(claim.to_bytes(8, "little") + sealed(*sound(kind))[8:]),
        )
    head = sealed(*sound(kind))
    yield "7 GiB of nothing", lambda path: _sparse(path, b"")
    yield (
        "a header of 60 MiB, and 7 GiB",
        lambda path: _sparse(path, (60 * 2**20).to_bytes(8, "little")),
    )
    yield "a sound beginning of 9 GiB", lambda path: _sparse(path, head, 9)
    yield "a pipe", os.mkfifo
    yield "a device without end", lambda path: path.symlink_to("/dev/zero")


def _sparse(path: Path, content: bytes, gigabytes: int = 7) -> None:
    path.write_bytes(content)
    os.truncate(path, gigabytes * 2**30)


def _read(kind: str, path: Path) -> None:
    if kind == "model":
        load_model(path)
    else:
        state = load_state(path)
        restore(path, state.card, state.weights)


def _fault(told: Told, marker: Path) -> str:
    """What is wrong with how a file was refused; empty if nothing is."""
    if marker.exists():
        marker.unlink()
        return "its code was run"
    if told.code != REFUSED or not told.plainly:
        return f"exit {told.code}: {told.text[-300:]}"
    message = told.text.strip()
    if not message or len(message) > 2000 or not message.replace("\n", "").isprintable():
        return f"its message is {message[:100]!r}, {len(message)} characters"
    if told.seconds > SECONDS or told.growth > MEGABYTES:
        return f"{told.seconds:.1f} s and {told.growth:.0f} MB"
    return ""


def _trained(folder: Path) -> Path:
    data = make_folders(folder / "data")
    made = command("train", "--data", data, "--epochs", 2, "--run-dir", folder / "runs")
    assert made.code == 0, made.text
    return next((folder / "runs").iterdir())


def _through_commands(kind: str, name: str, path: Path, run: Path) -> list[tuple[str, Told]]:
    """How the commands that read such a file end with it in place of a run's own."""
    ways: dict[str, tuple[object, ...]] = {
        "eval": ("eval", run),
        "predict": ("predict", run, run.parents[1] / "data" / "valid" / "dark" / "0000.png"),
    }
    if kind == "resume":
        ways = {"resume": ("train", "--resume", run, "--epochs", 3)}
    target = run / f"{kind}.safetensors"
    kept = target.rename(run.parent / "kept")
    try:
        path.rename(target)
        return [(f"{name}, {way}", command(*words)) for way, words in ways.items()]
    finally:
        target.unlink(missing_ok=True)
        kept.rename(target)
