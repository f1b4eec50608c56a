"""Cost and memory against the number of images: `python -m benchmarks.size make|train …`.

`make TIMES FOLDER` writes the 3s and 7s of MNIST_SAMPLE, TIMES over, each copy moved about a little
(`augment`), as MNIST's own IDX files. `train PRESET FOLDER EPOCHS [MEGABYTES]` trains on them in a
process of at most so many megabytes and prints one line of JSON.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path

import torch

from mnistlab import load_data
from mnistlab.data.batches import augment, to_float
from mnistlab.experiment import prepare, run_epochs
from mnistlab.resolving import resolve

GROUPS = Path("/sys/fs/cgroup/memory")  # where Linux limits the memory of processes (cgroup v1)


def make(times: int, folder: Path) -> None:
    """Write the files; the images of validation are those of MNIST_SAMPLE."""
    data = load_data()
    folder.mkdir(parents=True, exist_ok=True)
    for name, ds, copies in (("train", data.train_ds, times), ("t10k", data.valid_ds, 1)):
        images, labels = ds.tensors
        digits = torch.tensor([int(name) for name in data.classes], dtype=torch.uint8)[labels]
        shape = (copies * len(images), *images.shape[1:])
        with (folder / f"{name}-images-idx3-ubyte").open("wb") as file:
            file.write(struct.pack(">4B3I", 0, 0, 8, 3, *shape))
            for copy in range(copies):
                moved = augment(to_float(images), 0, copy, 0)[:, 0] if copy else images / 255
                file.write((moved * 255).round().byte().numpy().tobytes())
        with (folder / f"{name}-labels-idx1-ubyte").open("wb") as file:
            file.write(struct.pack(">4BI", 0, 0, 8, 1, shape[0]))
            file.write(digits.repeat(copies).numpy().tobytes())


def limit(megabytes: int) -> None:
    """Let this process have at most so much memory, the files that it maps included."""
    group = GROUPS / f"mnistlab-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(f"{megabytes}M", encoding="ascii")
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def resident(kind: str) -> float:
    """Megabytes of this process now: `RssAnon` is its own, `RssFile` what it maps of files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / 1e6


def train(preset: str, folder: str, epochs: int) -> dict[str, float]:
    """Train, and say what an image costs in microseconds, and the memory beside the store in MB."""
    experiment = prepare(resolve({"data": folder, "epochs": epochs}, source=preset))
    images = len(experiment.data.train_ds)
    now, peak = experiment.now, 0.0

    def look() -> bool:  # asked before each batch whether to stop
        nonlocal peak
        if now.place.batch % 100 == 0:
            peak = max(peak, resident("RssAnon"))
        return False

    now.place.stop = look
    started = time.perf_counter()
    seconds = [row.seconds for row in run_epochs(experiment, now.model, now.opt, 0, now.place)]
    whole = time.perf_counter() - started
    return {
        "images": images,
        "first": seconds[0] / images * 1e6,
        "each": min(seconds) / images * 1e6,
        "seconds": whole,
        "own": peak,
        "store": images * 784 / 1e6,
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        if len(sys.argv) > 5:
            limit(int(sys.argv[5]))
        print(json.dumps(train(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
