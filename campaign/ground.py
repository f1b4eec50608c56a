"""What trials of commands stand on: images, a run of known weights, and what a run must hold."""

import json
import re
import shutil
import struct
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any

from campaign.commands import Outcome, surroundings
from campaign.forge import Forges
from campaign.images import make_folders

EPOCHS = 6
EVERY_EPOCH = {"mnistlab.experiment:SAVE_EVERY": -1.0}
_SETTINGS = ("--epochs", str(EPOCHS), "--batch-size", "5", "--lr", "0.3")


@dataclass
class Ground:
    """A folder of images, commands on it, and the weights that an undisturbed run ends with."""

    folder: Path
    forges: Forges
    classes: tuple[str, str] = ("dark", "light")
    env: dict[str, str] = field(init=False)
    tree: Path = field(init=False)
    done: Path = field(init=False)
    sha256: str = field(init=False)
    usual: dict[tuple[str | Path, ...], Outcome] = field(default_factory=dict)
    making: Lock = field(default_factory=Lock)  # what trials share is made by the first of them

    def __post_init__(self) -> None:
        self.env = surroundings(self.folder)
        self.tree = make_folders(self.folder / "images")
        for split, (old, new) in product(
            ("train", "valid"), zip(("dark", "light"), self.classes, strict=True)
        ):
            (self.tree / split / old).rename(self.tree / split / new)
        (self.folder / "home").mkdir()
        told = self.run("train", *self.settings, "--json", "--run-dir", self.folder / "undisturbed")
        document = json.loads(told.out)
        self.done, self.sha256 = Path(document["run"]), document["weights_sha256"]

    @property
    def settings(self) -> tuple[str, ...]:
        """Those of a run that ends with `sha256`."""
        return ("--data", str(self.tree), *_SETTINGS)

    def run(self, *arguments: str | Path, **surroundings: Any) -> Outcome:
        """Run a command; a training saves after each epoch."""
        given = {"cwd": self.folder, "env": self.env, "values": EVERY_EPOCH, **surroundings}
        return self.forges.run(*arguments, **given)

    def half_done(self, runs: Path) -> Path:
        """A run in `runs` that was trained for half of its epochs."""
        begun = self.folder / "half"
        with self.making:
            if not begun.exists():
                settings = ("--data", self.tree, *_SETTINGS, "--epochs", str(EPOCHS // 2))
                self.run("train", *settings, "--quiet", "--run-dir", begun)
        [run] = begun.iterdir()
        shutil.copytree(run, runs / run.name)
        return runs / run.name

    def resumes(self, run: Path) -> str | None:
        """None if `run` can be resumed to the weights of an undisturbed run, else what is wrong."""
        more = ("--epochs", str(EPOCHS), "--json")
        ended = self.run("train", "--resume", run, *more)
        if ended.code != 0:
            return f"resuming it: exit {ended.code}: {ended.err.strip()}"
        if json.loads(ended.out)["weights_sha256"] != self.sha256:
            return "resumed, it ends with other weights"
        return None


def wrongly_told(outcome: Outcome, code: int, pattern: str = "") -> str | None:
    """None if a command ended with `code` and said why in plain words, else what is wrong."""
    if outcome.code != code:
        return f"exit {outcome.code}, not {code}: {outcome.err.strip()[-300:]}"
    if not outcome.told_plainly or "fault of mnistlab" in outcome.err:
        return f"not told in plain words: {outcome.err.strip()[-300:]}"
    if not re.search(pattern, outcome.err):
        return f"it does not say {pattern!r}: {outcome.err.strip()[-300:]}"
    return None


def broken_files(run: Path) -> str | None:
    """None if every file in the folder of a run is whole and nothing is left over."""
    from mnistlab.errors import MnistlabError
    from mnistlab.files import is_temporary
    from mnistlab.storage import read_tensors

    for path in run.iterdir():
        if is_temporary(path.name):
            return f"{path.name} is left over"
        try:
            if path.suffix == ".safetensors":
                read_tensors(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".csv" and not path.read_text().endswith("\n"):
                return f"{path.name} is cut off"
        except (MnistlabError, ValueError) as error:
            return f"{path.name}: {error}"
    return None


def make_idx(folder: Path, train: int = 40, valid: int = 20, side: int = 28) -> Path:
    """MNIST's four files, with that many images of ten classes."""
    folder.mkdir(parents=True)
    for name, count in (("train", train), ("t10k", valid)):
        with open(folder / f"{name}-images-idx3-ubyte", "wb") as images:
            images.write(struct.pack(">HBB3I", 0, 8, 3, count, side, side))
            images.truncate(16 + count * side * side)
        labels = bytes(i % 10 for i in range(count))
        head = struct.pack(">HBBI", 0, 8, 1, count)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + labels)
    return folder
