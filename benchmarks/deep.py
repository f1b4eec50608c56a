"""The sections of the deep models: presets over many seeds, beside what others take."""

import statistics
import sys
from typing import Any

from benchmarks.processes import Cost, run, told

PYTHON = sys.executable
SEEDS = 10
HEAD = (
    "| preset | seeds | accuracy: mean | sd | min | seconds of training (median) | min | max | "
    "with evaluation | peak MB |\n" + "|---" * 10 + "|"
)


def presets(*names: str, seeds: int = SEEDS) -> str:
    """A row for each preset, a fresh process for each seed, the presets taking turns.

    A name may end in a precision: `mnist-cnn fp32`.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    peaks = dict.fromkeys(names, 0.0)
    for seed in range(seeds):
        for name in names:
            print(f"  seed {seed} of {name}", file=sys.stderr)
            preset, *precision = name.split()
            cost = run([PYTHON, "-m", "benchmarks.presets", preset, str(seed), *precision])
            found[name] += told([cost])
            peaks[name] = max(peaks[name], cost.megabytes)
    return "\n".join([HEAD, *(_row(name, found[name], peaks[name]) for name in names)])


def _row(name: str, found: list[dict[str, Any]], peak: float) -> str:
    accuracies = [f["accuracy"] for f in found]
    training = [f["training"] for f in found]
    return (
        f"| {name} | {len(found)} | {statistics.mean(accuracies):.5f} | "
        f"{statistics.stdev(accuracies):.5f} | {min(accuracies):.4f} | "
        f"{statistics.median(training):.2f} | {min(training):.2f} | {max(training):.2f} | "
        f"{statistics.median(f['seconds'] for f in found):.2f} | {peak:.0f} |"
    )


def quick() -> str:
    """`cnn` on 3 and 7."""
    return (
        f"{presets('cnn')}\n\nAccuracy on the 2,038 validation images. Each seed is a process of "
        "its own, its first epoch included."
    )


def digits() -> str:
    """`mnist-cnn` in both precisions, and PyTorch's own MNIST example until it passes 0.990."""
    table = presets("mnist-cnn bf16", "mnist-cnn fp32", seeds=20)
    peer = told([run([PYTHON, "-m", "benchmarks.deep_peers", "pytorch-example"])])[0]
    accuracies = ", ".join(f"{accuracy:.4f}" for accuracy in peer["accuracy"])
    bf16, fp32 = (float(row.split("|")[6]) for row in table.splitlines()[-2:])
    whole = sum(peer["training"])
    return (
        f"`mnist-cnn` takes {whole / bf16:.0f} times less (bf16), {whole / fp32:.0f} times less "
        "(fp32) than PyTorch's own MNIST example until it passes 0.990.\n\n"
        f"{table}\n\nAccuracy on MNIST's 10,000 test images. Each seed is a process of its own, "
        "its first epoch included.\n\n"
        "PyTorch's example (its net, Adadelta, batches of 64 through a DataLoader), run once "
        f"beside them: accuracy\n{accuracies} after each epoch; {whole:.0f} s of training."
    )


NARROW = "without bf16 instructions"


def precision(rounds: int) -> str:
    """Each deep preset in every precision, also where the processor has no bf16 instructions."""
    rows, head = [], "| preset | processor | asked | used | seconds of training (median) | x auto |"
    for preset in ("cnn", "mnist-cnn", "resnet18"):
        for processor, variables in (("as it is", {}), (NARROW, {"ONEDNN_MAX_CPU_ISA": "AVX2"})):
            found: dict[str, list[dict[str, Any]]] = {}
            for seed in range(rounds if preset != "resnet18" else 1):
                for asked in ("auto", "bf16", "fp32"):
                    if (preset, processor, asked) == ("resnet18", NARROW, "bf16"):
                        continue  # minutes
                    print(f"  {preset} {processor} {asked} {seed}", file=sys.stderr)
                    command = [PYTHON, "-m", "benchmarks.presets", preset, str(seed), asked]
                    found.setdefault(asked, []).extend(told([run(command, **variables)]))
            middle = {
                asked: statistics.median(f["training"] for f in each)
                for asked, each in found.items()
            }
            rows += [
                f"| {preset} | {processor} | {asked} | {found[asked][0]['precision']} | "
                f"{seconds:.2f} | {seconds / middle['auto']:.2f} |"
                for asked, seconds in middle.items()
            ]
    return "\n".join([head, "|---" * 6 + "|", *rows])


def residual(data: str) -> str:
    """`resnet18` beside fastai's, one epoch each, in turns."""
    ours: list[Cost] = []
    theirs: list[Cost] = []
    for seed in map(str, range(3)):
        print(f"  round {seed} of resnet18 and fastai", file=sys.stderr)
        ours.append(run([PYTHON, "-m", "benchmarks.presets", "resnet18", seed]))
        theirs.append(run([PYTHON, "-m", "benchmarks.deep_peers", "fastai", data]))
    table = _row("resnet18", told(ours), max(cost.megabytes for cost in ours))
    own = statistics.median(f["seconds"] for f in told(ours))
    their = statistics.median(f["seconds"][0] for f in told(theirs))
    reached = ", ".join(f"{f['accuracy'][0]:.4f}" for f in told(theirs))
    return (
        f"{HEAD}\n{table}\n\nBeside it, in turns, fastai's `vision_learner(resnet18, "
        "pretrained=False)`, `fit_one_cycle(1, 0.1)` from the\nPNG folder: accuracy "
        f"{reached}; an epoch with evaluation takes {their:.1f} s (median), {their / own:.2f} x "
        f"mnistlab's {own:.1f} s."
    )


def best() -> str:
    """`mnist-best`, as accurate as a few minutes allow."""
    return presets("mnist-best")
