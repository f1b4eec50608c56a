"""Adding a model is small: a class in `models.py`, its name and settings in `config.py`, no more.

The test adds a net of three layers with dropout to a copy of the source, then uses it everywhere.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command import run_script
from tests.conftest import CHECKOUT

CLASS = '''
class DropoutNet(nn.Module):
    """Three layers; while it is trained, each hidden value is left out with probability `drop`."""

    def __init__(
        self, image_size: tuple[int, int], n_classes: int, hidden: int = 16, drop: float = 0.5
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(image_size[0] * image_size[1], hidden),
            nn.ReLU(),
            nn.Dropout(drop),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(drop),
            nn.Linear(hidden, n_logits(n_classes)),
        )

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(xb.flatten(1))
        return logits


MODELS: dict'''
SETTING = """    drop: Share = setting(
        0.5, "Share of values that dropout leaves out.", model=("dropout",)
    )
    channels: Annotated["""

# File → (text, what stands there instead); each text is there once.
EDITS = {
    "models.py": [
        ("\nMODELS: dict", CLASS),
        ('    "resnet18": ResNet18,\n', '    "resnet18": ResNet18,\n    "dropout": DropoutNet,\n'),
    ],
    "config.py": [
        ('"resnet18", "pixel-similarity"]', '"resnet18", "dropout", "pixel-similarity"]'),
        ('model=("two-layer", "cnn")', 'model=("two-layer", "cnn", "dropout")'),
        ("    channels: Annotated[", SETTING),
    ],
}
# Run in one process, since importing torch takes longer than all of them; prints a list in JSON.
DRIVER = """
import json, sys
from tests.command import run_in_process
results = [vars(run_in_process(*line.split())) for line in json.load(sys.stdin)]
print(json.dumps(results))
"""


@pytest.fixture
def commands(tmp_path: Path) -> Any:
    """Runs command lines with the source that has one more model."""
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "src", checkout / "src", ignore=ignored)
    for folder in ("configs", "data"):
        shutil.copytree(CHECKOUT / folder, checkout / folder)
    for name, edits in EDITS.items():
        file = checkout / "src" / "mnistlab" / name
        text = file.read_text(encoding="utf-8")
        for old, new in edits:
            assert text.count(old) == 1, f"{name}: {old!r}"
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")
    path = os.pathsep.join((str(checkout / "src"), str(CHECKOUT)))
    # `make coverage` measures the source, not its copy
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}

    def run(*lines: str) -> list[dict[str, Any]]:
        output = subprocess.run(
            [sys.executable, "-c", DRIVER],
            input=json.dumps(lines),
            env={**surroundings, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        results: list[dict[str, Any]] = json.loads(output)
        return results

    return run


def test_a_model_added_in_two_files_trains_repeats_resumes_and_is_known_everywhere(
    commands: Any, tiny: Path
) -> None:
    train = f"train --model dropout --drop 0.25 --hidden 8 --data {tiny} --batch-size 8 --json"
    lines = {
        "help": "train --help",
        "plan": f"{train} --dry-run",
        "unbroken": f"{train} --epochs 3 --run-dir a",
        "again": f"{train} --epochs 3 --run-dir b",
        "stopped": f"{train} --epochs 1 --run-dir c",
        "resumed": "train --resume latest --epochs 3 --run-dir c --json",
        "other drop": f"{train} --epochs 3 --run-dir d --drop 0.5",
        "eval": "eval --run-dir a --json",
        "predict": f"predict latest {tiny}/valid/dark/0.png --run-dir a --json",
        "verify": "runs verify latest --run-dir a --json",
        "show": "runs show latest --run-dir a --json",
        "lr-find": f"lr-find --model dropout --data {tiny} --steps 20 --json",
        "pictures": "show latest --run-dir a --json",
        "report": "report latest --run-dir a --json",
        "seeds": f"{train} --epochs 1 --seeds 2 --run-dir e",
        "eject": "eject latest --run-dir a -o plain.py --json",
        "other model": f"train --model linear --drop 0.25 --data {tiny}",
    }
    results = dict(zip(lines, commands(*lines.values()), strict=True))
    codes = {name: result["code"] for name, result in results.items()}
    assert codes == dict.fromkeys(codes, 0) | {"other model": 2}, results
    documents = {
        name: json.loads(result["out"])
        for name, result in results.items()
        if name not in ("help", "other model")
    }
    assert "cnn|resnet18|dropout" in results["help"]["out"]
    assert "--drop" in results["help"]["out"]
    assert documents["plan"]["settings"]["drop"] == {"value": 0.25, "from": "--drop"}
    assert "channels" not in documents["plan"]["settings"]
    assert [layer["kind"] for layer in documents["plan"]["model"]["layers"]].count("Dropout") == 2
    weights = {name: documents[name].get("weights_sha256") for name in documents}
    assert weights["again"] == weights["unbroken"]
    assert weights["resumed"] == weights["unbroken"]
    assert weights["other drop"] != weights["unbroken"]
    assert documents["predict"]["predictions"][0]["class"] in ("dark", "light")
    assert documents["verify"]["repeats"] is True
    assert documents["show"]["config"]["drop"] == 0.25
    assert "unit 0" in results["pictures"]["out"]
    assert "--drop: needs --model dropout, not linear" in results["other model"]["err"]
    # dropout in a script draws what it drew here
    assert run_script("plain.py")[-1] == weights["unbroken"]
    [page] = Path("a").glob("*/report.html")
    assert "drop" in page.read_text(encoding="utf-8")
