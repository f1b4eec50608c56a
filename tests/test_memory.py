"""Memory: evaluation is bounded, and where memory ends there is a plain message."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnistlab import experiment as experiment_module
from mnistlab import training
from mnistlab.data.batches import eval_batch
from mnistlab.runs import Run
from mnistlab.training import compute_logits
from tests.command import run_in_process
from tests.conftest import make_tree


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1, 1, 1024), (28, 28, 1024), (14, 56, 1024), (28, 29, 988), (56, 56, 256),
        (224, 224, 16), (896, 896, 1), (4000, 6000, 1),
    ],
)  # fmt: skip
def test_as_many_pixels_at_once_as_1024_digits_have(height: int, width: int, expected: int) -> None:
    assert eval_batch(height, width) == expected


class Counting(nn.Module):
    """Notes the sizes of the batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(xb))
        return xb.mean((2, 3))


def test_a_model_is_evaluated_in_such_batches() -> None:
    large = torch.zeros(40, 224, 224, dtype=torch.uint8)
    small = torch.zeros(1500, 28, 28, dtype=torch.uint8)
    model = Counting()
    assert [len(compute_logits(model, images)) for images in (large, small)] == [40, 1500]
    assert model.sizes == [16, 16, 8, 1024, 476]


LIMITED = """
import resource, sys
import torch, mnistlab.experiment  # what these take is not limited
torch.set_num_threads(1)
[used] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmSize")]
resource.setrlimit(resource.RLIMIT_AS, (int(used) * 1024 + 500 * 2**20, -1))
from mnistlab.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_a_training_that_memory_ends_says_what_to_lower(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "photos", size=(200, 200), train=40)
    flags = ["--data", str(tree), "--model", "cnn", "--hidden", "8", "--epochs", "1"]
    flags += ["--precision", "fp32"]  # else memory could end as the first batch is tried in bf16
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "train", *flags],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("epoch"), done.stderr  # it had begun
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: out of memory; try a smaller --batch-size")
    assert done.returncode == 1


def test_the_last_save_stays_and_the_run_goes_on(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["train", "--data", str(tiny), "--epochs", "4"]
    whole = run_in_process(*flags, "--json").ok().json
    evaluate, calls = training.evaluate, list[int]()

    def fails(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you")
        return evaluate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate", fails)
        patch.setattr(experiment_module, "SAVE_EVERY", -1.0)
        done = run_in_process(*flags)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("error: out of memory; try a smaller --batch-size")
    run = Run(max(Path("runs").iterdir()))
    rows = (run.path / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1"]
    again = run_in_process("train", "--resume", run.path, "--json").ok().json
    assert again["weights_sha256"] == whole["weights_sha256"]
