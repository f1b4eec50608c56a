"""A run in a line, read from its folder alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnistlab.errors import ConfigError
from mnistlab.runs import SORTABLE, Run, summaries, summarize
from tests.command import Result


def made(name: str, **info: Any) -> Run:
    path = Path("runs") / name
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps(info))
    return Run(path)


def test_a_trained_run_says_what_it_was(mnistlab: Callable[..., Result], tiny: Path) -> None:
    document = mnistlab("train", "--data", tiny, "--epochs", "3", "--seed", "5", "--json").json
    found = summarize(Run(Path(document["run"])))
    assert (found.model, found.seed, found.seeds, found.status) == ("linear", 5, 1, "done")
    assert found.epochs == 3
    assert found.accuracy == document["accuracy"]
    assert found.best == document["best"]["accuracy"]
    assert found.seconds == pytest.approx(sum(row["seconds"] for row in document["epochs"]))
    assert found.data == str(tiny)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"result": 3, "config": [], "status": 7}', '{"result": {"epochs": 5}}', "\0"],
)
def test_whatever_is_in_a_folder_it_can_be_listed(content: str) -> None:
    run = made("odd")
    run.info_file.write_text(content)
    found = summarize(run)
    assert found.name == "odd"
    assert found.accuracy is None
    assert summaries(Path("runs")) == [found]


def test_a_run_that_nobody_holds_was_killed(tiny: Path) -> None:
    run = made("one", status="running")
    assert summarize(run).status == "killed"
    with run.locked():
        assert summarize(run).status == "running"
    assert summarize(run).status == "killed"


def test_sorting_puts_what_has_no_value_last() -> None:
    for name, accuracy in (("run2", 0.5), ("run10", None), ("run1", 0.9)):
        made(name, created=name, result={"accuracy": accuracy, "epochs": []})
    names = {
        key: [one.name for one in summaries(Path("runs"), key)] for key in ("name", "accuracy")
    }
    assert names == {"name": ["run1", "run2", "run10"], "accuracy": ["run2", "run1", "run10"]}
    turned = [one.name for one in summaries(Path("runs"), "accuracy", reverse=True)]
    assert turned == ["run1", "run2", "run10"]
    for key in SORTABLE:
        assert len(summaries(Path("runs"), key)) == 3
    with pytest.raises(ConfigError, match="--sort acuracy; did you mean accuracy"):
        summaries(Path("runs"), "acuracy")


def test_listing_runs_does_not_wait_for_torch(mnistlab: Callable[..., Result], tiny: Path) -> None:
    mnistlab("train", "--data", tiny, "--epochs", "1").ok()
    code = (
        "import sys\nfrom mnistlab.cli.app import app\n"
        "for arguments in (['runs', 'list'], ['runs', 'show']):\n"
        "    app(arguments, standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
