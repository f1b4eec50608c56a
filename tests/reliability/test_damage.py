"""A damaged file of a run is refused with a message; no byte of it passes for another.

Models and states carry a checksum: their bits are flipped and their lengths cut. The other files
are text that a user may edit; damage to them may stop a command, but neither breaks it nor changes
what is computed.
"""

import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mnistlab import MnistlabError, load_model, train_run
from tests.command import Result, run_in_process
from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.reliability.runs import make_folders

SECOND_LIFE = "4"  # epochs in all, of a run of two that is resumed
Command = tuple[str | Path, ...]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound run, trained on `data` beside `runs`."""
    folder = tmp_path_factory.mktemp("damage")
    data = make_folders(folder / "data", images=6, side=4)
    return train_run({"data": str(data), "epochs": 2}, folder=folder / "runs").path


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(original, tmp_path / "runs" / original.name))


def damaged(content: bytes, every: int = 1) -> Iterator[tuple[str, bytes]]:
    """`content` with each bit flipped, cut to each length, made longer; or only at every
    `every`-th place."""
    for place in range(0, len(content), every):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            yield f"bit {bit} of byte {place} flipped", bytes(flipped)
    for length in range(0, len(content), every):
        yield f"cut to {length} bytes", content[:length]
    for more in (b"\0", b"\n", b" ", b"}", content, bytes(2**20)):
        yield f"{len(more)} bytes more", content + more
        yield f"{len(more)} bytes before", more + content


def rewritten(content: bytes) -> Iterator[tuple[str, bytes]]:
    """JSON in which each value in turn is another one."""
    document = json.loads(content)
    parts: list[tuple[str, Any]] = [("", document)]
    for where, part in parts:  # grows on the way
        inside = enumerate(part) if isinstance(part, list) else list(part.items())
        for key, value in inside:
            for other in (None, -1, 1e308, "x", [], [1], {}, {"a": None}):
                part[key] = other
                yield f"{where}.{key} made {other}", json.dumps(document).encode()
            part[key] = value
            if isinstance(value, dict | list):
                parts.append((f"{where}.{key}", value))


@pytest.mark.parametrize("name", ["model.safetensors", "best.safetensors"])
def test_no_damaged_model_is_loaded(name: str, run: Path, tally: Tally, examples: Examples) -> None:
    path = run / name
    for what, content in damaged(path.read_bytes(), every=examples(23, 1)):
        path.write_bytes(content)
        try:
            load_model(path)
            fault = "loaded"
        except MnistlabError as error:
            fault = "" if name in str(error) else f"{error} does not name it"
        except BaseException as error:
            fault = f"{type(error).__name__}: {error}"
        tally.check(f"{name}, {what}", fault)


COMMANDS: dict[str, Command] = {
    "eval": ("eval", "latest", "--json"),
    "eval --best": ("eval", "latest", "--best", "--json"),
    "predict": ("predict", "latest", "IMAGE", "--json"),
    "resume": ("train", "--resume", "latest", "--epochs", SECOND_LIFE, "--json"),
    "list": ("runs", "list"),
    "show": ("runs", "show", "latest"),
    "report": ("report", "latest"),
    "verify": ("runs", "verify", "latest"),
}


def run_command(name: str, original: Path) -> Result:
    image = original.parents[1] / "data" / "valid" / "dark" / "0000.png"
    return run_in_process(*(image if word == "IMAGE" else word for word in COMMANDS[name]))


@pytest.mark.parametrize(
    ("name", "command", "many"),
    [
        ("model.safetensors", "eval", 100),
        ("model.safetensors", "predict", 100),
        ("best.safetensors", "eval --best", 100),
        ("resume.safetensors", "resume", 10**6),
    ],
)
def test_a_command_refuses_a_damaged_file_by_its_name(
    name: str, command: str, many: int, run: Path, original: Path, tally: Tally, examples: Examples
) -> None:
    cases = list(damaged((original / name).read_bytes()))
    for what, content in Random(5).sample(cases, min(examples(5, many), len(cases))):
        (run / name).write_bytes(content)
        result = run_command(command, original)
        held = result.code == 1 and name in result.err and "Traceback" not in result.err
        tally.check(f"{command} with {what}", "" if held else f"exit {result.code}: {result.err}")


FIGURES = ("n", "correct", "accuracy", "loss", "confusion", "predictions", "weights_sha256")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "config.toml"])
def test_damage_to_a_text_neither_breaks_a_command_nor_changes_what_it_computes(
    name: str, command: str, run: Path, original: Path, tally: Tally, examples: Examples
) -> None:
    sound = run_command(command, original).ok() if "--json" in COMMANDS[command] else None
    content = (original / name).read_bytes()
    cases = list(damaged(content))
    if name == "run.json":
        cases = [*rewritten(content), *cases[:: len(cases) // 500]]
    many = 4000 if (name, command) == ("run.json", "list") else 25
    for what, damage in Random(f"{name} {command}").sample(
        cases, min(examples(1, many), len(cases))
    ):
        shutil.rmtree(run)
        shutil.copytree(original, run)
        (run / name).write_bytes(damage)
        result = run_command(command, original)
        fault = ""
        if result.code not in (0, 1, 2, 3) or "Traceback" in result.err:
            fault = f"exit {result.code}: {result.err}"
        elif result.code == 0 and sound is not None:
            fault = "" if figures(result) == figures(sound) else f"other figures: {result.out}"
        elif result.code == 0 and command == "verify" and name == "config.toml":
            fault = silent_settings(content, damage, result)
        elif command == "list" and (result.code != 0 or run.name not in result.out):
            fault = f"exit {result.code}, not listed: {result.out} {result.err}"
        tally.check(what, fault)


def figures(result: Result) -> dict[str, Any]:
    """What a command computed, without names, times and versions."""
    return {key: result.json[key] for key in FIGURES if key in result.json}


def silent_settings(sound: bytes, damaged: bytes, result: Result) -> str:
    """What is wrong if a run was verified with other settings without a word."""
    before, after = (tomllib.loads(content.decode()) for content in (sound, damaged))
    changed = [key for key in before if key in after and before[key] != after[key] != "auto"]
    silent = [key for key in changed if key not in result.out + result.err]
    return f"other settings, not named: {', '.join(silent)}" if silent else ""
