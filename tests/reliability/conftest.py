"""The promises of docs/reliability.md as tests: with a few examples, or with many (`--campaign`).

A file is a row of the table: its first line is the promise. Each test is one trial, or counts its
trials in a `tally`. Under `--campaign` the counts are written into the table at the end.
"""

import functools
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import hypothesis
import pytest

from tests.reliability.processes import CHECKOUT, Server
from tests.reliability.runs import Training, make_folders

PAGE = CHECKOUT / "docs" / "reliability.md"
BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"
HEAD = """\
| promise | tried | held | seconds | commit | date | Python, torch, pillow, safetensors | notes |
|---|---|---|---|---|---|---|---|"""

TrainingOf = Callable[[str], Training]


@dataclass
class Tally:
    """Trials of a promise: how many there were, and what was wrong with those that failed."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # figures for the table

    def check(self, what: str, fault: str | None) -> None:
        """Count one trial; `fault` is empty where the promise held."""
        self.tried += 1
        if fault:
            self.faults.append(f"{what}: {fault}")


@pytest.fixture
def tally() -> Tally:
    """Counts the trials of one test, which fails if one of them did."""
    return Tally()


SETTINGS = {
    "linear": ("--epochs", "6", "--lr", "0.3"),
    "two-layer": ("--epochs", "8", "--hidden", "4"),
    "cnn": ("--epochs", "6", "--channels", "4", "--hidden", "4"),
    "resnet18": ("--epochs", "2", "--batch-size", "12"),
}


@pytest.fixture(scope="session")
def training_of(server: Server, tmp_path_factory: pytest.TempPathFactory) -> TrainingOf:
    """The training of a model on small images, measured when it is first asked for.

    One of the classes has a name that not every encoding has.
    """

    @functools.cache
    def measured(model: str) -> Training:
        folder = tmp_path_factory.mktemp(model)
        data = make_folders(folder / "data", classes=("dark", "日本"))
        command: tuple[str, ...] = ("train", "--model", model, "--batch-size", "7")
        if model == "pixel-similarity":
            command = ("baseline", model)
        return Training(server, folder, (*command, *SETTINGS.get(model, ()), "--data", str(data)))

    return measured


@pytest.fixture(scope="session")
def training(training_of: TrainingOf) -> Training:
    """The training of the linear model."""
    return training_of("linear")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "trials(few, many): run with `trial` = 0, 1, … so often")
    many = config.getoption("campaign")
    hypothesis.settings.register_profile(
        "reliability",
        max_examples=2000 if many else 20,
        derandomize=not many,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if marker := metafunc.definition.get_closest_marker("trials"):
        few, many = marker.args
        metafunc.parametrize("trial", range(many if metafunc.config.getoption("campaign") else few))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Iterator[None]:
    """Let a test fail by its tally, and send its counts to the process that writes the table."""
    tally: Any = item.funcargs.get("tally", Tally())
    started, broken = time.monotonic(), 1
    try:
        yield
        if tally.faults:
            pytest.fail(f"{len(tally.faults)} failed:\n" + "\n".join(tally.faults[:20]), False)
        broken = 0
    finally:
        tried = tally.tried or 1
        held = tried - max(len(tally.faults), broken)
        counts = (tried, held, time.monotonic() - started, tally.notes)
        item.user_properties.append(("campaign", (_title(Path(item.path)), *counts)))


# The table: a campaign replaces the rows of the files that it has run in full.

_rows: dict[str, list[Any]] = {}  # title → tried, held, seconds, notes


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties if report.when == "call" else ():
        if name == "campaign" and not report.skipped:
            title, *counts = cast("tuple[Any, ...]", value)
            row = _rows.setdefault(title, [0, 0, 0.0, []])
            row[:] = [before + count for before, count in zip(row, counts, strict=True)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    in_part = config.option.keyword or any("::" in argument for argument in config.args)
    if not config.getoption("campaign") or in_part or hasattr(config, "workerinput"):
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in old.splitlines()}
    versions = [platform.python_version(), *map(version, ("torch", "pillow", "safetensors"))]
    for title, (tried, held, seconds, notes) in _rows.items():
        cells = [title, f"{tried:,}", f"{held:,}", f"{seconds:.0f}", _commit()]
        cells += [f"{datetime.now(UTC):%Y-%m-%d}", ", ".join(versions), "; ".join(notes)]
        lines[title] = f"| {' | '.join(cells)} |"
    titles = map(_title, sorted(Path(__file__).parent.glob("test_*.py")))
    table = "\n".join([HEAD, *(lines[title] for title in titles if title in lines)])
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].strip('"').rstrip(".")


def _commit() -> str:
    """The commit that was tried; `-dirty` where the code differs from it."""
    asked = [["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "src", "tests"]]
    commit, changes = (
        subprocess.run(["git", *one], cwd=CHECKOUT, capture_output=True, text=True).stdout.strip()
        for one in asked
    )
    return f"{commit or 'unknown'}{'-dirty' if changes else ''}"
