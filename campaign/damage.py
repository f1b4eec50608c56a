"""A damaged file of a run is refused with a message; no byte of it passes for another.

Sealed files (models, state, cache) carry a checksum: each of their bytes is flipped, each length
cut. The others are text that a user may edit; damage to them may stop a command, but neither
breaks it nor changes what is computed.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from campaign.forked import Told, command
from campaign.images import make_folders
from campaign.tally import Tally
from mnistlab.config import resolve
from mnistlab.data.cache import read_entry
from mnistlab.data.folders import load_folders
from mnistlab.errors import DamagedFileError
from mnistlab.runs import Run, summarize
from mnistlab.storage import load_model, load_state

READERS: dict[str, Callable[[Path], object]] = {
    "model.safetensors": load_model,
    "best.safetensors": load_model,
    "resume.safetensors": load_state,
}
SECOND_LIFE = 4  # epochs in all, of a run of two that is resumed


Bits = range | tuple[int, ...]


def quick(folder: Path) -> Tally:
    """Two bits of every byte of the models and the state; some of the rest."""
    return _campaign(folder, bits=(0, 7), every=6, commands=4, texts=14)


def full(folder: Path) -> Tally:
    """Every bit; the commands some hundred times."""
    return _campaign(folder, bits=range(8), every=1, commands=200, texts=400)


def _campaign(folder: Path, bits: Bits, every: int, commands: int, texts: int) -> Tally:
    torch.set_num_threads(1)
    with mock.patch.dict(os.environ, {"MNISTLAB_CACHE": str(folder / "cache")}):
        data = make_folders(folder / "data", images=6, side=4)
        words = ("--data", data, "--epochs", 2, "--run-dir", folder / "runs")
        made = command("train", *words)
        assert made.code == 0, made.text
        run = Run(next((folder / "runs").iterdir()))
        tally = _sealed(run, bits)
        bytes_tried = tally.tried
        tally.add(_cache(folder, data, bits, every))
        tally.add(_sealed_through_commands(run, data, commands))
        tally.add(_summaries(run, bits, every))
        tally.add(_texts(run, data, texts))
    tally.notes.append(f"{bytes_tried:,} of them of a model, a best model and a state file")
    return tally


def _damaged(content: bytes, bits: Bits = range(8), every: int = 1) -> Iterator[tuple[str, bytes]]:
    """`content` with each bit of `bits` flipped in each byte, cut to each length, made longer; or
    only in `every` so manieth byte, and to such lengths."""
    for place in range(0, len(content), every):
        for bit in bits:
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            yield f"bit {bit} of byte {place} flipped", bytes(flipped)
    for length in range(0, len(content), every):
        yield f"cut to {length} bytes", content[:length]
    for more in (b"\0", b"\n", b" ", b"}", content, bytes(2**20)):
        yield f"{len(more)} bytes more", content + more
        yield f"{len(more)} bytes before", more + content


def _rewritten(content: bytes) -> Iterator[tuple[str, bytes]]:
    """JSON in which each value in turn is another one."""
    whole = json.loads(content)
    parts: list[tuple[str, Any]] = [("", whole)]
    for where, part in parts:  # grows on the way
        inside = enumerate(part) if isinstance(part, list) else list(part.items())
        for key, value in inside:
            for other in (None, -1, 1e308, "x", [], [1], {}, {"a": None}):
                part[key] = other
                yield f"{where}.{key} made {other}", json.dumps(whole).encode()
            part[key] = value
            if isinstance(value, dict | list):
                parts.append((f"{where}.{key}", value))


def _sealed(run: Run, bits: Bits) -> Tally:
    tally = Tally()
    for name, read in READERS.items():
        path = run.path / name
        whole = path.read_bytes()
        read(path)
        for what, content in _damaged(whole, bits):
            path.write_bytes(content)
            try:
                read(path)
                fault = "loaded"
            except DamagedFileError as error:
                fault = "" if name in str(error) else f"{error} does not name it"
            except BaseException as error:
                fault = f"{type(error).__name__}: {error}"
            tally.check(not fault, f"{name}, {what}: {fault}")
        path.write_bytes(whole)
    return tally


def _cache(folder: Path, data: Path, bits: Bits, every: int) -> Tally:
    """A damaged cache costs time, never truth."""
    tally, chance = Tally(), random.Random(3)
    sound = load_folders(data)
    for path in sorted((folder / "cache" / "decoded").iterdir()):
        whole = path.read_bytes()
        assert read_entry(path) is not None
        damaged = list(_damaged(whole, bits, every))
        for what, content in damaged:
            path.write_bytes(content)
            tally.check(read_entry(path) is None, f"the cache, {what}: used")
        for what, content in chance.sample(damaged, 24 // every):
            path.write_bytes(content)
            again = load_folders(data)
            same = all(
                torch.equal(ours, theirs)
                for split in ("train_ds", "valid_ds")
                for ours, theirs in zip(
                    getattr(sound, split).tensors, getattr(again, split).tensors, strict=True
                )
            )
            healed = path.read_bytes() == whole
            tally.check(same and healed, f"the cache, {what}: other images, or not made again")
    return tally


def _sealed_through_commands(run: Run, data: Path, count: int) -> Tally:
    tally, chance = Tally(), random.Random(5)
    image = data / "valid" / "dark" / "0000.png"
    cases: list[tuple[str, tuple[object, ...]]] = [
        ("model.safetensors", ("eval", run.path)),
        ("model.safetensors", ("predict", run.path, image)),
        ("best.safetensors", ("eval", run.path, "--best")),
        ("resume.safetensors", ("train", "--resume", run.path, "--epochs", SECOND_LIFE)),
    ]
    for number in range(count):
        name, words = cases[number % len(cases)]
        path = run.path / name
        whole = path.read_bytes()
        what, content = chance.choice(list(_damaged(whole)))
        path.write_bytes(content)
        told = command(*words)
        path.write_bytes(whole)
        held = told.code == 1 and told.plainly and name in told.text
        tally.check(held, f"{words[0]} with {name}, {what}: exit {told.code}, {told.text[-300:]}")
    return tally


def _summaries(run: Run, bits: Bits, every: int) -> Tally:
    """`runs list` has a line for a run, whatever is in its `run.json`."""
    tally = Tally()
    whole = run.info_file.read_bytes()
    for what, content in (*_damaged(whole, bits, every), *_rewritten(whole)):
        run.info_file.write_bytes(content)
        try:
            fault = "" if summarize(run).name == run.name else "another run"
        except BaseException as error:
            fault = f"{type(error).__name__}: {error}"
        tally.check(not fault, f"summary of run.json, {what}: {fault}")
    run.info_file.write_bytes(whole)
    return tally


def _texts(run: Run, data: Path, count: int) -> Tally:
    """Damage to what has no checksum: no command breaks, and none computes another thing."""
    tally, chance = Tally(), random.Random(7)
    sound = {way: _numbers(_command(way, run, data)) for way in ("eval", "predict", "resume")}
    ways = (*sound, "list", "show", "report", "verify")
    for name in ("run.json", "metrics.csv", "config.toml"):
        share = count // 2 if name == "run.json" else count // 4
        for number in range(share):
            copy = _copied(run)
            path = copy.path / name
            whole = path.read_bytes()
            odd = name == "run.json" and number // len(ways) % 2 == 0
            what, content = chance.choice(list(_rewritten(whole) if odd else _damaged(whole)))
            path.write_bytes(content)
            way = ways[number % len(ways)]
            told = _command(way, copy, data)
            fault = "" if told.code in (0, 1, 2, 3) and told.plainly else "broken"
            if not fault and told.code == 0 and way in sound and _numbers(told) != sound[way]:
                fault = "other numbers"
            if not fault and told.code == 0 and (way, name) == ("verify", "config.toml"):
                fault = _told_settings(run, copy, told)
            end = f"exit {told.code} {told.text[-300:]}"
            tally.check(not fault, f"{way} with {name}, {what}: {fault}: {end}")
    return tally


def _copied(run: Run) -> Run:
    target = run.path.parent.parent / "copies" / run.name
    shutil.rmtree(target.parent, ignore_errors=True)
    shutil.copytree(run.path, target)
    return Run(target)


def _command(way: str, run: Run, data: Path) -> Told:
    words: dict[str, tuple[object, ...]] = {
        "eval": ("eval", run.path, "--json"),
        "predict": ("predict", run.path, data / "valid" / "dark" / "0000.png", "--json"),
        "resume": ("train", "--resume", run.path, "--epochs", SECOND_LIFE, "--json"),
        "list": ("runs", "list", "--run-dir", run.path.parent),
        "show": ("runs", "show", run.path),
        "report": ("report", run.path),
        "verify": ("runs", "verify", run.path),
    }
    if way == "resume":
        run = _copied(run) if run.path.parent.name != "copies" else run
        words["resume"] = ("train", "--resume", run.path, "--epochs", SECOND_LIFE, "--json")
    return command(*words[way])


def _numbers(told: Told) -> Any:
    """What a command computed, without names, times and versions."""
    start = told.text.index("{\n") if "{\n" in told.text else told.text.index("{")
    found = json.JSONDecoder().raw_decode(told.text, start)[0]
    keys = ("n", "correct", "accuracy", "loss", "confusion", "predictions", "weights_sha256")
    return {key: found[key] for key in keys if key in found}


def _told_settings(run: Run, damaged: Run, told: Told) -> str:
    """What is wrong if a run was verified by other settings without a word; empty if nothing."""
    sound, other = (resolve({}, str(one.config_file)).config.model_dump() for one in (run, damaged))
    changed = [key for key in sound if sound[key] != other[key]]
    # what a setting of `auto` comes to is decided anew, and compared
    silent = [key for key in changed if other[key] != "auto" and key not in told.text]
    return f"other settings, untold: {', '.join(silent)}" if silent else ""
