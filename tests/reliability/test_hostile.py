"""A file made to do harm, its checksum right, is refused in 2 s, in 200 MB, and runs no code.

Models and states with a checksum that holds, so that every check behind it is met; each is given
to the command that reads it, in a process whose time and peak memory are measured.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.command import Result
from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.reliability.hostile_files import cards, claiming, headers, pickles, states, texts
from tests.reliability.processes import Server
from tests.reliability.runs import Training, make_folders

SECONDS = 2.0
MEGABYTES = 200.0


@pytest.fixture
def training(server: Server, tmp_path: Path) -> Training:
    data = ("--data", str(make_folders(tmp_path / "data", 6, 4, ("a", "b", "c"))))
    settings = ("--model", "two-layer", "--hidden", "5", "--epochs", "1", "--optimizer", "adam")
    return Training(server, tmp_path, ("train", *data, *settings))


def hostile(
    kind: str, sound: bytes, marker: Path
) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """(what it is, what makes it at a path) for each file in place of a sound one."""

    def written(content: bytes) -> Callable[[Path], object]:
        return lambda path: path.write_bytes(content)

    def sparse(content: bytes, gigabytes: int = 7) -> Callable[[Path], object]:
        def make(path: Path) -> None:
            path.write_bytes(content)
            os.truncate(path, gigabytes * 2**30)

        return make

    for name, card in cards().items():
        yield name, written(claiming(sound, card))
    if kind == "resume":
        for name, changes in states().items():
            yield name, written(claiming(sound, **changes))
    for files in (headers(sound), texts(sound), pickles(sound, marker)):
        for name, content in files:
            yield name, written(content)
    for claim in (2**64 - 1, 2**63, 2**40, 60 * 2**20):
        yield f"a header of {claim}", written(claim.to_bytes(8, "little") + sound[8:])
    yield "7 GiB of nothing", sparse(b"")
    yield "a header of 60 MiB, and 7 GiB", sparse((60 * 2**20).to_bytes(8, "little"))
    yield "a sound beginning of 9 GiB", sparse(sound, 9)
    yield "a pipe", os.mkfifo
    yield "a device without end", lambda path: path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["model", "resume"])
def test_no_file_made_to_do_harm_is_loaded(
    kind: str, training: Training, tally: Tally, examples: Examples, tmp_path: Path
) -> None:
    image = tmp_path / "data" / "valid" / "a" / "0000.png"
    commands: list[tuple[str | Path, ...]] = [
        ("eval", training.run),
        ("predict", training.run, image),
    ]
    if kind == "resume":
        commands = [("train", "--resume", training.run, "--epochs", "2")]
    path = training.run / f"{kind}.safetensors"
    sound, marker = path.read_bytes(), tmp_path / "ran"
    path.write_bytes(claiming(sound))
    for command in commands[: examples(1, 2)]:
        assert training.command(*command).code == 0  # but for one claim all of them are sound
    most_seconds = most_megabytes = 0.0
    for number, (name, make) in enumerate(hostile(kind, sound, marker)):
        if number % examples(29, 1):
            continue
        path.unlink()
        make(path)
        for command in commands[: examples(1, 2)]:
            ended = training.command(*command)
            tally.check(f"{kind}, {command[0]}: {name}", fault_of(ended, marker))
            most_seconds = max(most_seconds, ended.seconds)
            most_megabytes = max(most_megabytes, ended.megabytes)
    tally.notes.append(f"{kind}: at most {most_seconds:.1f} s and {most_megabytes:.0f} MB")


def fault_of(ended: Result, marker: Path) -> str:
    if marker.exists():
        marker.unlink()
        return "its code was run"
    message = ended.err.strip()
    if ended.code != 1 or "Traceback" in message:
        return f"exit {ended.code}: {message[-300:]}"
    if not message or len(message) > 2000 or not message.replace("\n", "").isprintable():
        return f"its message is {message[:100]!r}, {len(message)} characters"
    if ended.seconds > SECONDS or ended.megabytes > MEGABYTES:
        return f"{ended.seconds:.1f} s and {ended.megabytes:.0f} MB"
    return ""
