"""A damaged file of a run is refused with a message; no byte of it passes for another.

Models and states carry a checksum: their bits are flipped and their lengths cut. The other files
are text that a user may edit; damage to them may stop a command, but neither breaks it nor changes
what is computed.
"""

import json
import shutil
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mnistlab import MnistlabError, load_model
from tests.command import Result, run_in_process
from tests.reliability.conftest import Tally
from tests.reliability.runs import make_folders

IMAGE = Path("data", "valid", "dark", "0000.png")
SECOND_LIFE = "4"  # epochs in all, of a run of two that is resumed


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_folders(tmp_path / "data", images=6, side=4)
    run_in_process("train", "--data", "data", "--epochs", "2").ok()
    [run] = (tmp_path / "runs").iterdir()
    return run


def damaged(
    content: bytes, bits: Iterable[int] = range(8), every: int = 1
) -> Iterator[tuple[str, bytes]]:
    """`content` with each of `bits` flipped in each byte, cut to each length, made longer; or only
    at every `every`-th place."""
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
def test_no_damaged_model_is_loaded(
    name: str, run: Path, tally: Tally, examples: Callable[[int, int], int]
) -> None:
    path = run / name
    for what, content in damaged(path.read_bytes(), every=examples(11, 1)):
        path.write_bytes(content)
        try:
            load_model(path)
            fault = "loaded"
        except MnistlabError as error:
            fault = "" if name in str(error) else f"{error} does not name it"
        except BaseException as error:
            fault = f"{type(error).__name__}: {error}"
        tally.check(f"{name}, {what}", fault)


@pytest.mark.parametrize(
    ("name", "command", "many"),
    [
        ("model.safetensors", ("eval", "latest"), 100),
        ("model.safetensors", ("predict", "latest", IMAGE), 100),
        ("best.safetensors", ("eval", "latest", "--best"), 100),
        ("resume.safetensors", ("train", "--resume", "latest", "--epochs", SECOND_LIFE), 10**6),
    ],
)
def test_a_command_refuses_a_damaged_file_by_its_name(
    name: str,
    command: tuple[str | Path, ...],
    many: int,
    run: Path,
    tally: Tally,
    examples: Callable[[int, int], int],
) -> None:
    path = run / name
    cases = list(damaged(path.read_bytes()))
    for what, content in Random(5).sample(cases, min(examples(8, many), len(cases))):
        path.write_bytes(content)
        result = run_in_process(*command)
        held = result.code == 1 and name in result.err and "Traceback" not in result.err
        tally.check(
            f"{command[0]} with {what}", "" if held else f"exit {result.code}: {result.err}"
        )


def test_a_run_is_listed_whatever_is_in_its_record(
    run: Path, tally: Tally, examples: Callable[[int, int], int]
) -> None:
    record = run / "run.json"
    content = record.read_bytes()
    cases = [*damaged(content), *rewritten(content)]
    for what, damage in Random(3).sample(cases, examples(40, 4000)):
        record.write_bytes(damage)
        listed = run_in_process("runs", "list", "--json")
        held = listed.code == 0 and run.name in listed.out
        tally.check(f"run.json, {what}", "" if held else f"exit {listed.code}: {listed.err}")


COMMANDS: dict[str, tuple[str | Path, ...]] = {
    "eval": ("eval", "latest", "--json"),
    "predict": ("predict", "latest", IMAGE, "--json"),
    "resume": ("train", "--resume", "latest", "--epochs", SECOND_LIFE, "--json"),
    "list": ("runs", "list"),
    "show": ("runs", "show", "latest"),
    "report": ("report", "latest"),
    "verify": ("runs", "verify", "latest"),
}
FIGURES = ("n", "correct", "accuracy", "loss", "confusion", "predictions", "weights_sha256")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "config.toml"])
def test_damage_to_a_text_neither_breaks_a_command_nor_changes_what_it_computes(
    name: str, command: str, run: Path, tally: Tally, examples: Callable[[int, int], int]
) -> None:
    original = run.parent.with_name("original")
    shutil.copytree(run, original)
    sound = run_in_process(*COMMANDS[command]).ok()
    content = (original / name).read_bytes()
    cases = list(damaged(content))
    if name == "run.json":
        cases = [*rewritten(content), *cases[:: len(cases) // 500]]
    for what, damage in Random(f"{name} {command}").sample(cases, examples(1, 25)):
        shutil.rmtree(run)
        shutil.copytree(original, run)
        (run / name).write_bytes(damage)
        result = run_in_process(*COMMANDS[command])
        fault = ""
        if result.code not in (0, 1, 2, 3) or "Traceback" in result.err:
            fault = f"exit {result.code}: {result.err}"
        elif result.code == 0 and "--json" in COMMANDS[command]:
            fault = "" if figures(result) == figures(sound) else f"other figures: {result.out}"
        elif result.code == 0 and command == "verify" and name == "config.toml":
            fault = silent_settings(content, damage, result)
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
