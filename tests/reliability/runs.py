"""Small image folders, trainings on them, and what a run must hold after it was disturbed."""

import csv
import hashlib
import json
import os
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import safe_open

from mnistlab import load_model, weights_sha256
from tests.command import Result
from tests.originals import idx_bytes
from tests.reliability.processes import CHECKOUT, KILLED, Process, Server, start_real

RESUME = ("train", "--resume", "latest")


def make_folders(
    root: Path, images: int = 12, side: int = 8, classes: tuple[str, ...] = ("dark", "light")
) -> Path:
    """Write PNG files: `images` a class to train, a third of it to validate, of
    side x side pixels. The same every time."""
    for split, count in (("train", images), ("valid", max(images // 3, 2))):
        for k, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = Image.new("L", (side, side), 60 + 130 * k // (len(classes) - 1) + i % 7)
                image.putpixel((i % side, i * 3 % side), (i * 37 + k * 11) % 256)
                image.save(folder / f"{i:04}.png")
    return root


def make_idx(folder: Path, train: int, valid: int) -> None:
    """Write MNIST's four files, with that many black images of ten classes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("t10k", valid)):
        images = np.zeros((count, 28, 28), np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The variables of a process: HOME and cache below `folder`, one thread, no terminal."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(CHECKOUT / "src"),
        "HOME": str(folder / "home"),
        "MNISTLAB_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **more,
    }


@dataclass
class Training:
    """A training in a folder of its own, and what it ends with when nothing disturbs it."""

    server: Server
    folder: Path
    arguments: tuple[str, ...]
    sha256: str = ""
    epochs: int = 0
    seconds: float = 0.0  # from the appearance of its run to its end

    def __post_init__(self) -> None:
        runs = self.folder / "undisturbed"
        for _ in range(2):  # the first one also fills the cache
            shutil.rmtree(runs, ignore_errors=True)
            process = self.start(*self.arguments, "--run-dir", runs)
            process.wait_until(lambda: only_run(runs) is not None)
            started = time.monotonic()
            outcome = process.finish()
            self.seconds = time.monotonic() - started
        if outcome.code != 0:
            raise RuntimeError(f"the undisturbed training failed: {outcome.err}")
        self.sha256 = json.loads((self.run / "run.json").read_text())["result"]["weights_sha256"]
        self.epochs = len(_epochs(self.run))

    @property
    def run(self) -> Path:
        """The undisturbed run."""
        [run] = (self.folder / "undisturbed").iterdir()
        return run

    @property
    def env(self) -> dict[str, str]:
        return environment(self.folder)

    def start(self, *arguments: str | Path, **options: Any) -> Process:
        """Start a command in this training's folder, with its cache."""
        return self.server.start(*arguments, **{"cwd": self.folder, "env": self.env, **options})

    def command(self, *arguments: str | Path, **options: Any) -> Result:
        """Run a command in this training's folder, with its cache."""
        return self.start(*arguments, **options).finish()

    def interrupted(
        self,
        number: int,
        *arguments: str | Path,
        moment: float,
        begun: Callable[[], bool],
        seconds: float,
        early: bool = False,
        real: bool = False,
        env: dict[str, str] | None = None,
    ) -> Result:
        """Start a command and send it a signal: `early`, or within `seconds` after `begun()`.

        `moment` is the place in that time, 0…1. `real`: as a user's process, from its first line.
        """
        start = start_real if real else self.server.start
        process = start(*arguments, cwd=self.folder, env=env or self.env)
        if early:
            time.sleep(moment * (1.5 if real else 0.1))
        else:
            process.wait_until(begun)
            time.sleep(moment * seconds)
        process.send(number)
        return process.finish()

    def started_run(self, runs: Path) -> Path:
        """A run in `runs` that was killed after its first save."""
        state = "*/resume.safetensors"
        process = self.start(*self.arguments, "--run-dir", runs)
        process.wait_until(lambda: any(map(_epochs, runs.glob("*"))) and any(runs.glob(state)))
        process.send(9)
        if process.finish().code != KILLED:
            shutil.rmtree(runs)
            return self.started_run(runs)
        [run] = [path for path in runs.iterdir() if not path.name.startswith(".")]
        return run

    def fault_when_resumed(self, runs: Path, *more: str) -> str:
        """What is wrong once the run in `runs` is resumed, or begun again where there is none.

        Ten minutes later: a folder of a run that never appeared may then go.
        """
        for path in runs.glob(".*"):
            os.utime(path, (0, 0))
        if "baseline" in self.arguments and not self.fault_of(runs):
            return ""  # of a baseline that is done there is nothing to resume
        again = self.arguments if only_run(runs) is None else RESUME
        if (ended := self.command(*again, *more, "--run-dir", runs)).code != 0:
            return f"exit {ended.code} when resumed: {ended.err[-300:]}"
        return self.fault_of(runs)

    def fault_of(self, runs: Path) -> str:
        """What is wrong with the run in `runs`, which was disturbed and then trained to its end."""
        run = only_run(runs)
        if run is None:
            return "there is no run"
        record = json.loads((run / "run.json").read_text())
        if record["status"] != "done":
            return f"its status is {record['status']}"
        hashes = {
            "run.json": record["result"]["weights_sha256"],
            "model.safetensors": weights_sha256(
                load_model(run / "model.safetensors")[0].state_dict()
            ),
        }
        if (state := run / "resume.safetensors").exists():
            with safe_open(state, "pt") as file:
                names = [name for name in file.keys() if name.startswith("model.")]  # noqa: SIM118
                weights = {name.removeprefix("model."): file.get_tensor(name) for name in names}
            hashes[state.name] = weights_sha256(weights)
        if wrong := [name for name, sha256 in hashes.items() if sha256 != self.sha256]:
            return f"other weights than those of the undisturbed run in {', '.join(wrong)}"
        if _epochs(run) != [str(epoch) for epoch in range(self.epochs)]:
            return f"epochs in metrics.csv: {' '.join(_epochs(run))}"
        return broken_file(run) or left_over(runs)


def only_run(runs: Path) -> Path | None:
    """The one run in `runs`, if it has appeared."""
    found = [path for path in runs.glob("*") if not path.name.startswith(".")]
    if len(found) > 1:
        raise RuntimeError(f"{runs}: {len(found)} runs where there should be one")
    return found[0] if found else None


def _epochs(run: Path) -> list[str]:
    if not (run / "metrics.csv").exists():
        return []
    with (run / "metrics.csv").open(newline="") as file:
        return [row["epoch"] for row in csv.DictReader(file)]


def saved_epochs(run: Path) -> int:
    """How many whole epochs the last save of a run holds."""
    if not (run / "resume.safetensors").exists():
        return 0
    with safe_open(run / "resume.safetensors", "pt") as file:
        return int(json.loads(file.metadata()["mnistlab"])["epoch"])


def left_over(folder: Path) -> str:
    """The temporary names below `folder`, in words; empty if there are none."""
    names = sorted(path.name for path in folder.rglob("*") if path.name.endswith("-tmp"))
    return f"left over: {', '.join(names)}" if names else ""


def broken_file(run: Path) -> str:
    """Which file of a run is not whole, and why; empty if each is the one of some save."""
    for path in run.iterdir():
        content = path.read_bytes()
        try:
            if path.suffix == ".safetensors":
                # as docs/architecture.md describes it: SHA-256 with the seal's own digits zero
                header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
                seal = header["__metadata__"]["seal"].encode()
                unsealed = content.replace(seal, b"0" * 64, 1)
                assert hashlib.sha256(unsealed).hexdigest().encode() == seal, "its seal"
            elif path.suffix == ".toml":
                tomllib.loads(content.decode())
            elif path.suffix == ".json":
                json.loads(content)
            elif path.suffix == ".csv":
                lengths = {len(row) for row in csv.reader(content.decode().splitlines())}
                assert (lengths, content[-1:]) == ({5}, b"\n"), "its rows"
        except Exception as error:
            return f"{path.name}: {type(error).__name__}: {error}"
    return ""


def fault_of_message(outcome: Result, code: int, pattern: str = "") -> str:
    """What is wrong unless a command ended with `code` and said why in plain words."""
    if outcome.code != code:
        return f"exit {outcome.code}, not {code}: {outcome.err.strip()[-300:]}"
    if "Traceback (most recent call last)" in outcome.err + outcome.out:
        return f"a traceback: {outcome.err.strip()[-500:]}"
    if "fault of mnistlab" in outcome.err or not re.search(pattern, outcome.err):
        return f"it does not say {pattern!r}: {outcome.err.strip()[-300:]}"
    return ""


def all_commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command there is, groups too, by its names; with click's description of it."""
    from typer.main import get_command

    from mnistlab.cli.app import app

    waiting: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    for names, command in waiting:  # grows on the way
        yield names, command
        inside = getattr(command, "commands", {})
        waiting += [((*names, name), one) for name, one in inside.items()]
