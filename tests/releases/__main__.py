"""Make the run folders of a release, by its own code: `python -m tests.releases NAME CHECKOUT`.

CHECKOUT is a checkout of that release, as `git worktree add CHECKOUT v1.1.0` makes one. An old one
that does not know some of these commands gets the names of those to make: `... CHECKOUT linear`.
A new kind of run, or one with a new file in its folder, gets a line in RUNS.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.golden.play import machine
from tests.releases import EXPECTED, HERE, IMAGES, make_images

# Runs `mnistlab` and sends it Ctrl-C in the step of this number. A step is counted where every
# version must do it, so that a run stops in the middle of an epoch, always at the same place.
COMMAND = """
import signal, sys, torch
left, backward = int(sys.argv[1]), torch.Tensor.backward
def counted(*arguments, **named):
    global left
    left -= 1
    if left == 0:
        signal.raise_signal(signal.SIGINT)
    return backward(*arguments, **named)
torch.Tensor.backward = counted
signal.signal(signal.SIGINT, signal.default_int_handler)  # else deaf where a shell started this
sys.argv[:2] = ["mnistlab"]
from mnistlab.__main__ import main
main()
"""
NET = """\
from torch import nn


class Net(nn.Sequential):
    def __init__(self, image_size, n_logits, width=5):
        height, across = image_size
        super().__init__(
            nn.Flatten(),
            nn.Linear(height * across, width),
            nn.BatchNorm1d(width),
            nn.Dropout(0.2),
            nn.Linear(width, n_logits),
        )
"""


@dataclass
class Kind:
    """How a run is made.

    stop: in which step it is stopped, if at all. epochs: how many it has when it has gone on; 0
    where no version goes on with it.
    """

    line: str
    stop: int = 0
    epochs: int = 0


TRAIN = "train --data tiny --batch-size 5 --device cpu --threads 1"  # five steps an epoch
CNN = f"{TRAIN} --model cnn --channels 3,4 --hidden 5 --batch-norm --padding --precision fp32"
SAMPLE = "train --epochs 2 --batch-size 512 --device cpu --threads 1"  # 25 steps an epoch
RUNS = {
    "linear": Kind(f"{TRAIN} --epochs 3", epochs=5),
    "linear-stopped": Kind(f"{TRAIN} --epochs 5", stop=13, epochs=5),
    "two-layer": Kind(f"{TRAIN} --model two-layer --hidden 6 --lr 0.5 --epochs 3", epochs=5),
    "baseline": Kind("baseline pixel-similarity --data tiny"),
    "sample-stopped": Kind(SAMPLE, stop=40, epochs=2),
    "cnn-stopped": Kind(
        f"{CNN} --optimizer adamw --lr 0.01 --schedule one-cycle --augment --keep best --epochs 4",
        stop=13,
        epochs=4,
    ),
    "own-stopped": Kind(f"{TRAIN} --model net.py:Net --epochs 9", stop=43, epochs=9),
    "seeds": Kind(f"{TRAIN} --seeds 3 --epochs 3"),
    "folds": Kind(f"{TRAIN} --folds 2 --epochs 3"),
    "calibrated": Kind(f"{SAMPLE} --calibrate"),
}


def main(release: str, checkout: str, *names: str) -> None:
    """Write the runs and what is to be expected of them."""
    target = HERE / release
    target.mkdir()
    expected: dict[str, Any] = {"machine": machine(), "runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_images()
        Path("net.py").write_text(NET, encoding="utf-8")
        own = {"MNISTLAB_CACHE": "cache", "MNISTLAB_STATE": "state", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, "PYTHONPATH": str(Path(checkout, "src").absolute()), **own}

        def mnistlab(line: str, stop: int = 0, code: int = 0) -> Any:
            command = [sys.executable, "-c", COMMAND, str(stop), *line.split(), "--json"]
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=False
            )
            if done.returncode != code:
                raise SystemExit(f"{line}: exit {done.returncode}, not {code}")
            return json.loads(done.stdout or "null")  # a stopped run prints none

        for name in names or RUNS:
            kind = RUNS[name]
            mnistlab(kind.line, kind.stop, 130 if kind.stop else 0)
            [run] = Path("runs").iterdir()
            shutil.copytree(run, target / name, ignore=shutil.ignore_patterns(".lock"))
            data = "--data tiny" if "tiny" in kind.line else ""
            says: dict[str, Any] = {"scored": mnistlab(f"eval {run.name} {data}")}
            if not names:  # the first releases had no predict
                found = mnistlab(f"predict {run.name} --prepare never {' '.join(IMAGES)}")
                says["predicted"] = found["predictions"]
            if kind.epochs:
                unbroken = mnistlab(f"{kind.line} --epochs {kind.epochs} --run-dir unbroken")
                says["unbroken"] = {k: unbroken[k] for k in ("accuracy", "weights_sha256")}
            expected["runs"][name] = {**says, "epochs": kind.epochs}
            shutil.rmtree("runs")
    text = json.dumps(expected, indent=1) + "\n"
    (target / EXPECTED).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
