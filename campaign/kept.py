"""What a run folder must be after whatever happened to it; the undisturbed run beside it."""

import csv
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from campaign.commands import Outcome
from mnistlab.files import is_temporary
from mnistlab.runs import Run, list_runs


@dataclass(frozen=True)
class Whole:
    """An undisturbed training: its arguments and what came out."""

    arguments: tuple[str, ...]
    epochs: int
    sha256: str


def whole_run(arguments: tuple[str, ...], outcome: Outcome) -> Whole:
    """What `mnistlab train … --json` told of an undisturbed run."""
    if outcome.code != 0:
        raise RuntimeError(f"the undisturbed run failed: {outcome.err}")
    told = json.loads(outcome.out)
    return Whole(arguments, len(told["epochs"]), told["weights_sha256"])


def only_run(folder: Path) -> Run | None:
    """The one run in `folder`, if it has appeared."""
    found = list_runs(folder)
    if len(found) > 1:
        raise RuntimeError(f"{folder}: {len(found)} runs where there should be one")
    return found[0] if found else None


def fault_of(run: Run | None, whole: Whole) -> str | None:
    """What is wrong with a run that was disturbed and then trained to its end; None if nothing."""
    from mnistlab.storage import load_model, load_state, weights_sha256

    if run is None:
        return "there is no run"
    info = run.info()
    if info["status"] != "done":
        return f"its status is {info['status']}"
    hashes = {
        "run.json": info["result"]["weights_sha256"],
        "model.safetensors": weights_sha256(load_model(run.model_file)[0].state_dict()),
        "resume.safetensors": weights_sha256(load_state(run.state_file).weights),
    }
    if wrong := [name for name, found in hashes.items() if found != whole.sha256]:
        return f"other weights than the undisturbed run's in {', '.join(wrong)}"
    load_model(run.best_file)
    with (run.path / "metrics.csv").open(newline="") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]
    if epochs != [str(epoch) for epoch in range(whole.epochs)]:
        return f"epochs in metrics.csv: {' '.join(epochs)}"
    return f"left behind: {', '.join(left)}" if (left := leftovers(run.path)) else None


def broken(run: Run) -> str | None:
    """What in a run folder is not whole; None if each file is the one of some save."""
    from mnistlab.storage import load_model, load_state

    try:
        for path in run.path.iterdir():
            if path in (run.model_file, run.best_file):
                load_model(path)
            elif path == run.state_file:
                load_state(path)
            elif path == run.config_file:
                tomllib.loads(path.read_text())
            elif path == run.info_file:
                run.info()
            elif path.name == "metrics.csv":
                text = path.read_text()
                rows = list(csv.reader(text.splitlines()))
                if not text.endswith("\n") or {len(row) for row in rows} != {5}:
                    return f"metrics.csv: {text!r}"
            elif path.name != ".lock" and not is_temporary(path.name):
                return f"{path.name}: whose is that?"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def leftovers(folder: Path) -> list[str]:
    """The temporary names anywhere below `folder`."""
    return sorted(path.name for path in folder.rglob("*") if is_temporary(path.name))
