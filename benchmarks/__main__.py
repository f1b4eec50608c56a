"""`make bench`: everything in one run, in turns, medians; the result is docs/benchmarks.md."""

import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import deep, sharing
from benchmarks.processes import Cost, in_turns, median_of, run, told

ROUNDS = int(os.environ.get("ROUNDS", "5"))
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PYTHON = sys.executable
CLASS = 30  # learners
HAS_FASTAI = importlib.util.find_spec("fastai") is not None


def whole_process(data: str, runs: str) -> tuple[str, dict[str, list[Cost]]]:
    """(a), (c), (d): whole processes."""
    commands = {
        "import torch": [PYTHON, "-c", "import torch"],
        "mnistlab train": [PYTHON, "-m", "mnistlab", "train", "--run-dir", runs],
        "mnistlab --help": [PYTHON, "-m", "mnistlab", "--help"],
    }
    if HAS_FASTAI:
        commands["the same job with fastai"] = [PYTHON, "-m", "benchmarks.fastai_job", data]
    costs = in_turns(commands, ROUNDS)
    base = median_of(costs["import torch"], "seconds")
    rows = [
        f"| {name} | {median_of(found, 'seconds'):.2f} | {min(c.seconds for c in found):.2f} | "
        f"{max(c.seconds for c in found):.2f} | {median_of(found, 'seconds') / base:.2f} | "
        f"{max(c.megabytes for c in found):.0f} |"
        for name, found in costs.items()
    ]
    head = (
        "| process | seconds (median) | min | max | x import torch | peak MB |\n" + "|---" * 6 + "|"
    )
    return "\n".join([head, *rows]), costs


def fits() -> str:
    """(b): the fit alone."""
    names = ["mnistlab", "mnistlab-all-cores", "dataloader", "products", "products-all-cores"]
    names += ["fastai"] if HAS_FASTAI else []
    commands = {
        f"{peer}|{model}|{order}": [PYTHON, "-m", "benchmarks.peers", peer, model, order]
        for model in ("linear", "two-layer")
        for order in ("fixed", "shuffled")
        for peer in names
        if not (peer.startswith("products") and order == "shuffled")
    }
    costs = in_turns(commands, ROUNDS)
    seconds = {key: statistics.median(t["seconds"] for t in told(c)) for key, c in costs.items()}
    rows = []
    for key, found in costs.items():
        peer, model, order = key.split("|")
        own = seconds[f"mnistlab|{model}|{order}"]
        accuracy = told(found)[0]["accuracy"]
        peak = max(cost.megabytes for cost in found)
        rows.append(
            f"| {model} | {order} | {peer} | {seconds[key]:.3f} | {seconds[key] / own:.2f} | "
            f"{accuracy:.4f} | {peak:.0f} |"
            if accuracy
            else f"| {model} | {order} | {peer} | {seconds[key]:.3f} | {seconds[key] / own:.2f} | "
            f"| {peak:.0f} |"
        )
    head = (
        "| model | order | fit by | seconds (median) | x mnistlab | accuracy | peak MB |\n"
        + "|---" * 7
        + "|"
    )
    return "\n".join([head, *rows])


def loading() -> str:
    """(e): decoding and loading."""
    found = told(in_turns({"loading": [PYTHON, "-m", "benchmarks.loading"]}, ROUNDS)["loading"])
    middle = {key: 1000 * statistics.median(f[key] for f in found) for key in found[0]}
    return "\n".join(
        [
            "| what, 14,434 PNG files | milliseconds (median) |",
            "|---|---|",
            f"| Pillow alone: open and decode every file | {middle['pillow']:.0f} |",
            f"| first load: list, decode, check, keep | {middle['cold']:.0f} |",
            f"| warm load: list, compare, read the cache, verify it | {middle['warm']:.0f} |",
        ]
    )


def size() -> str:
    """(f): cost and memory against the number of images, up to a store beyond memory."""
    with tempfile.TemporaryDirectory() as base:
        folders = {times: f"{base}/{times}" for times in (1, 10, 100)}
        for times, folder in folders.items():
            run([PYTHON, "-m", "benchmarks.size", "make", str(times), folder])
        # 100 epochs of the first, 10 of the second, one of the third would see as many images; the
        # first epoch also checks the store, so that there are two at least
        commands = {
            f"{model}|{times}": [
                *(PYTHON, "-m", "benchmarks.size", "train", model, folder),
                str(max(2, 20 // times)),
            ]
            for model in ("linear", "two-layer", "cnn")
            for times, folder in folders.items()
        }
        costs = {key: told(found) for key, found in in_turns(commands, min(ROUNDS, 2)).items()}
        tight = ""
        if os.access("/sys/fs/cgroup/memory", os.W_OK):
            command = [*commands["two-layer|100"], "600"]
            [found] = told([run(command)])
            for group in Path("/sys/fs/cgroup/memory").glob("mnistlab-*"):
                group.rmdir()  # which no process can do from within
            tight = (
                f"\n\ntwo-layer on the largest store, {found['store']:.0f} MB, in a process of at "
                f"most 600 MB, what it maps of\nthe store included: {found['each']:.2f} "
                "microseconds an image and epoch."
            )
    rows = []
    for key, figures in costs.items():
        model, _ = key.split("|")
        middle = {name: statistics.median(f[name] for f in figures) for name in figures[0]}
        base_cost = statistics.median(f["each"] for f in costs[f"{model}|1"])
        rows.append(
            f"| {model} | {middle['images']:,.0f} | {middle['each']:.3f} | "
            f"{middle['each'] / base_cost:.2f} | {middle['first']:.3f} | {middle['store']:.0f} | "
            f"{middle['own']:.0f} |"
        )
    head = (
        "| model | training images | microseconds an image and epoch | x the first row | the first "
        "epoch | store, MB | memory beside the store, MB |\n" + "|---" * 7 + "|"
    )
    return "\n".join([head, *rows]) + tight


def machine() -> str:
    """Hardware and versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [
            line
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        model = lines[0].split(":", 1)[1].strip() if lines else model
        flags = set(cpuinfo.read_text(encoding="utf-8").split())
        named_flags = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
        model += f" ({' '.join(named_flags)})"
    packages = ["torch", "pillow", "typer", "safetensors"] + (["fastai"] if HAS_FASTAI else [])
    named = ", ".join(f"{name} {version(name)}" for name in packages)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}; {model}, {os.cpu_count()} "
        f"cores, {platform.system()}; Python {platform.python_version()}, {named}"
    )


def many_seeds() -> str:
    """(g): many models at once against one, and against scikit-learn's."""
    command = [PYTHON, "-m", "benchmarks.seeds"]
    found = told(in_turns({"seeds": command}, ROUNDS)["seeds"])
    middle = {key: statistics.median(f[key] for f in found) for key in found[0]}
    rows = []
    for name, seconds in middle.items():
        kind = "two-layer" if "two-layer" in name or "MLP" in name else "linear"
        base = f"{kind}: one seed"
        ratio = statistics.median(f[name] / f[base] for f in found)
        rows.append(f"| {name} | {seconds:.3f} | {ratio:.2f} x {kind} |")
    return "\n".join(
        ["| what is trained | seconds (median) | x one seed |", "|---|---|---|", *rows]
    )


def page() -> str:
    """(h): the page to draw on."""
    rows = []
    with tempfile.TemporaryDirectory() as base:
        for preset in ("linear", "two-layer", "cnn"):
            folder = Path(base, preset)
            train = ["-m", "mnistlab", "train", "--config", preset, "--run-dir", str(folder)]
            run([PYTHON, *train, "--threads", "1", "-q"])
            [own] = folder.iterdir()
            [found] = told([run([PYTHON, "-m", "benchmarks.play", str(own)])])
            rows.append(
                f"| {preset} | {found['bytes'] / 1000:.0f} | {found['seconds']:.2f} | "
                f"{found['median']:.1f} | {found['largest']:.1f} |"
            )
    head = (
        "| preset | file, kB | seconds to make it, beyond `import torch` | milliseconds from the "
    )
    head += "end of a stroke to the answer (median) | largest of 20 |\n" + "|---" * 5 + "|"
    return "\n".join([head, *rows])


def exercises() -> str:
    """(i): checking answers."""
    module, own = [PYTHON, "-m", "benchmarks.exercises"], [PYTHON, "-m", "mnistlab"]
    with tempfile.TemporaryDirectory() as base:
        run([*module, "class", f"{base}/class", str(CLASS)])
        one = f"{base}/class/learner 1"
        commands = {"import torch": [PYTHON, "-c", "import torch"]}
        for name in ("04_accuracy", "11_mnist_loss", "21_learner"):
            commands[name] = [*own, "exercise", "check", f"{one}/{name}.py"]
        costs = in_turns(commands, min(ROUNDS, 3))
        [saves] = told([run([*module, "watch", f"{base}/watched"])])
        graded = run([*own, "grade", f"{base}/class", "-q", "--csv", f"{base}/grades.csv"])
    middle = {name: median_of(found, "seconds") for name, found in costs.items()}
    rows = [
        f"| {name} | {seconds:.2f} | {seconds / middle['import torch']:.2f} |"
        for name, seconds in middle.items()
    ]
    head = "| what is checked, as a process | seconds (median) | x import torch |\n|---|---|---|"
    *others, last = saves.values()
    return "\n".join([head, *rows]) + (
        f"\n\nThe last one trains for 22 epochs. `exercise watch`, from a save to the answer: "
        f"{statistics.median(others):.2f} s (median), {max(others):.2f} s\n(largest) for the "
        f"exercises 1 to {len(others)}, {last:.2f} s for that one. `grade` of {CLASS} learners "
        f"with {len(saves)} exercises, right and wrong: {graded.seconds:.0f} s."
    )


def processes() -> str:
    """The whole process, with the ratios in words."""
    with tempfile.TemporaryDirectory() as runs:
        table, costs = whole_process(data_folder(), runs)
    ours = median_of(costs["mnistlab train"], "seconds")
    floor = median_of(costs["import torch"], "seconds")
    ratios = f"`mnistlab train` takes {ours / floor:.2f} x `import torch`"
    if HAS_FASTAI:
        theirs = median_of(costs["the same job with fastai"], "seconds")
        ratios += f"; the same job with fastai takes {theirs / ours:.1f} x `mnistlab train`"
    else:
        ratios += "; fastai is not installed here, so it was left out (`make bench` installs it)"
    return f"{table}\n\n{ratios}."


def data_folder() -> str:
    """Where the bundled images lie as files."""
    # Not imported here: a child's peak memory is counted from what its parent had.
    prepare = "from mnistlab import load_data; print(load_data().root)"
    return run([PYTHON, "-c", prepare]).last_line


FITS = """linear: 20 epochs; two-layer: 40. Everybody starts from the same weights; in the fixed
order all see the same batches. `products` is the floor: nothing but the matrix products that the
fit needs. mnistlab and `products` compute on one thread, mnistlab's default for such models; all
others on as many as torch chooses.

"""
WHERE_A_STEP_GOES = """

Where a step of the linear fit goes, measured by hand on the same machine: of about 210
microseconds, 40 bring the batch to floats in 0...1 (a division, as in the chapter), 35 are the
two matrix products, 10 gather the images, and the rest is what autograd and Python need for a
dozen small operations. Two threads save a sixth when nothing else runs, and cost from twice to
forty times as much when something does; that is why mnistlab uses one."""

# name on the command line → title and what makes the section
SECTIONS: dict[str, tuple[str, Callable[[], str]]] = {
    "process": ("The whole process: linear, 20 epochs, shuffled, warm cache", processes),
    "fit": (
        "The fit alone: 12,396 images, batches of 256, accuracy every epoch",
        lambda: FITS + fits() + WHERE_A_STEP_GOES,
    ),
    "loading": ("Loading", loading),
    "size": ("Cost and memory against the number of images", size),
    "seeds": ("Many models at once", many_seeds),
    "play": ("The page to draw on, in a headless Chromium", page),
    "exercises": ("Exercises: a check, a save, a class", exercises),
    "cnn": ("A small convolutional net on 3 and 7", deep.quick),
    "digits": ("Ten digits to 99 %", deep.digits),
    "precision": ("In bfloat16 and in float32", lambda: deep.precision(min(ROUNDS, 3))),
    "resnet18": ("resnet18, one epoch of 3 and 7", lambda: deep.residual(data_folder())),
    "best": ("As accurate as a few minutes allow", deep.best),
    "processes": (
        "One model by several processes",
        lambda: sharing.shared(min(ROUNDS, 2)),
    ),
}
HEAD = f"""# Benchmarks

Made by `make bench`; `make bench ARGS="seeds"` makes one section again. Medians of {ROUNDS}
(precision, exercises, processes: 3; size: 2) after one warm-up, each section in one run, taking
turns (A B C A B C ...). Machines are noisy: read the ratios, not the seconds.
"""


def main(names: list[str]) -> None:
    """Measure the named sections, or all, and write the page; the others stay as they are."""
    unknown = set(names) - set(SECTIONS)
    if unknown:
        sys.exit(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    old = PAGE.read_text(encoding="utf-8").split("\n## ")[1:] if PAGE.exists() else []
    kept = {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in old}
    for name in names or SECTIONS:
        title, make = SECTIONS[name]
        kept[title] = f"{machine()}.\n\n{make()}"
        print(f"## {title}\n\n{kept[title]}\n")
    parts = [f"## {title}\n\n{kept[title]}\n" for title, _ in SECTIONS.values() if title in kept]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join([HEAD, *parts]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
