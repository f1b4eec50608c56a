"""Decoding and cached loading of MNIST_SAMPLE, after `import torch`: one line of JSON."""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch  # noqa: F401 - its import is not what is measured
from PIL import Image

from mnistlab.data.folders import load_folders
from mnistlab.data.named import mnist_sample


def main() -> None:
    """Measure in this process; the decoded cache of the first part is thrown away."""
    root = mnist_sample()
    files = list(root.rglob("*.png"))
    started = time.perf_counter()
    for path in files:
        with Image.open(path) as image:
            image.load()
    pillow = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as empty:
        kept = os.environ.get("MNISTLAB_CACHE")
        os.environ["MNISTLAB_CACHE"] = empty
        started = time.perf_counter()
        load_folders(Path(root))
        cold = time.perf_counter() - started
        if kept is None:
            del os.environ["MNISTLAB_CACHE"]
        else:
            os.environ["MNISTLAB_CACHE"] = kept
    load_folders(root)
    warm = []
    for _ in range(7):
        started = time.perf_counter()
        load_folders(root)
        warm.append(time.perf_counter() - started)
    print(json.dumps({"pillow": pillow, "cold": cold, "warm": statistics.median(warm)}))


if __name__ == "__main__":
    main()
