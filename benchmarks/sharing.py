"""The section `processes`: one model on 1, 2 and 4 processes, and DistributedDataParallel's."""

import json
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.processes import run

PYTHON = sys.executable
PARTS = 8
# preset → epochs; the first one, which warms up, does not count
EPOCHS = {"cnn": 5, "linear": 20, "two-layer": 20}
OURS, WHOLE, THEIRS = "mnistlab", "mnistlab, batches in one part", "DistributedDataParallel"
JOBS = ((OURS, 1), (OURS, 2), (OURS, 4), (WHOLE, 1), (THEIRS, 1), (THEIRS, 2))
HEAD = (
    "| preset | trained by | processes | seconds an epoch (median) | min | max | images a second | "
    "x as fast as one | bytes sent a step and process | accuracy | weights |\n" + "|---" * 11 + "|"
)
NETWORK = Path("/proc/net/dev")


def shared(rounds: int) -> str:
    """Each preset by each of JOBS, taking turns."""
    rows = []
    for preset, epochs in EPOCHS.items():
        found: dict[tuple[str, int], list[dict[str, Any]]] = {job: [] for job in JOBS}
        for number in range(rounds):
            for who, size in JOBS:
                print(f"  round {number + 1} of {rounds}: {preset}, {who}, {size}", file=sys.stderr)
                found[who, size].append(_trained(preset, epochs, who, size))
        # the median over all epochs of all rounds: they have the same batches
        each = {job: [s for f in found[job] for s in f["seconds"][1:]] for job in JOBS}
        middle = {job: statistics.median(seconds) for job, seconds in each.items()}
        for who, size in JOBS:
            seconds, last = middle[who, size], found[who, size][-1]
            one = middle[THEIRS if who == THEIRS else OURS, 1]
            sent = statistics.median(f["bytes"] for f in found[who, size])
            rows.append(
                f"| {preset} | {who} | {size} | {seconds:.3f} | {min(each[who, size]):.3f} | "
                f"{max(each[who, size]):.3f} | {last['images'] / seconds:,.0f} | "
                f"{one / seconds:.2f} | {sent if size > 1 else 0:,.0f} | "
                f"{last['accuracy']:.4f} | {last['weights'][:8]} |"
            )
    return "\n".join([HEAD, *rows, "", TEXT.format(parts=PARTS, cores=os.cpu_count())])


TEXT = """All compute on one thread in each process, in the precision that the preset takes here.
`mnistlab` cuts a batch into {parts} parts, with 1, 2 and 4 processes alike, so its weights (the
first digits of their SHA-256) are the same; "in one part" is what cutting costs. `x as fast` is
beside one process of the same trainer, for all of mnistlab the one with {parts} parts. Seconds are
those of an epoch and its evaluation, without the start and without the first epoch. The processes
have {cores} cores here. Bytes are what the kernel counts on the loopback interface from the start
of torchrun to its end, its own included: run nothing else that talks there."""


def _trained(preset: str, epochs: int, who: str, size: int) -> dict[str, Any]:
    """One training: seconds of each epoch, images, bytes of a step and process, and the result."""
    several = [PYTHON, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
    with tempfile.TemporaryDirectory() as folder:
        parts = 1 if who == WHOLE else PARTS
        command = [*(several if size > 1 else [PYTHON]), "-m", "mnistlab", "train", "-q"]
        command += ["--config", preset, "--epochs", str(epochs), "--run-dir", folder]
        command += ["--threads", "1", "--micro-batches", str(parts)]
        if who == THEIRS:
            command = [*several, "-m", "benchmarks.sharing_peers", preset, str(epochs)]
        before = _sent()
        cost = run(command, OMP_NUM_THREADS="1")
        sent = _sent() - before
        if who == THEIRS:
            found: dict[str, Any] = json.loads(cost.last_line)
            return found | {"weights": "", "bytes": sent / found["steps"] / size}
        [own] = Path(folder).glob("*/run.json")
        record = json.loads(own.read_text(encoding="utf-8"))
    images, result = sum(record["data"]["train"].values()), record["result"]
    steps = epochs * math.ceil(images / record["config"]["batch_size"])
    return {
        "seconds": [epoch["seconds"] for epoch in result["epochs"]],
        "accuracy": result["accuracy"],
        "weights": result["weights_sha256"],
        "images": images,
        "bytes": sent / steps / size,
    }


def _sent() -> int:
    """Bytes that went over the loopback interface so far; 0 where the system does not say."""
    lines = NETWORK.read_text(encoding="utf-8").splitlines() if NETWORK.exists() else []
    return sum(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))
