"""`make campaign`: every promise tried many times; the table goes to docs/reliability.md."""

import argparse
import importlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from campaign.tally import CORES, SkippedError, Tally

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs" / "reliability.md"
BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"

HEAD = "| promise | tried | held | seconds | commit | beside |\n|---|---|---|---|---|---|"

# Each is a module here with `full(folder) -> Tally`; its first line is the row's title. In order
# of what they need: the last ones take the longest.
ROWS = (
    "saves",
    "disks",
    "damage",
    "hostile",
    "pictures",
    "races",
    "stale",
    "archives",
    "downloads",
    "terminals",
    "settings",
    "kills",
    "signals",
    "soak",
    "fuzzing",
)


def main(names: list[str]) -> int:
    """Run the rows named, or all; print each, and write the table with the others as they were."""
    unknown = set(names) - set(ROWS)
    if unknown:
        sys.exit(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    print(f"commit {_commit()}; {_machine()}\n\n{HEAD}", flush=True)
    failed = 0
    for name in names or ROWS:
        module = importlib.import_module(f"campaign.{name}")
        line, fault = _row(_title(module), module.full)
        print(line, flush=True)
        failed += fault
        _write(_title(module), line)
    return 1 if failed else 0


def _title(module: ModuleType) -> str:
    return (module.__doc__ or "").split("\n")[0].rstrip(".")


def _row(title: str, full: Callable[[Path], Tally]) -> tuple[str, bool]:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        try:
            tally = full(Path(folder))
        except SkippedError as reason:
            return f"| {title} | skipped | | | {_commit()} | {reason} |", False
    seconds = time.monotonic() - started
    for fault in tally.faults[:20]:
        print(f"  NOT HELD: {fault}", file=sys.stderr)
    figures = f"{tally.tried:,} | {tally.held:,} | {seconds:.0f} | {_commit()}"
    beside = "; ".join(tally.notes)
    return f"| {title} | {figures} | {beside} |", bool(tally.faults) or not tally.tried


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "pillow", "safetensors"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {CORES} of {os.cpu_count()} "
        f"cores, {platform.system()} {platform.release()}; Python {platform.python_version()}, "
        f"{packages}."
    )


@cache  # asked before the page itself changes
def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip() or "unknown"


def _write(title: str, line: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    lines = {row.split(" | ")[0].removeprefix("| "): row for row in old.splitlines()}
    lines[title] = line
    titles = [_title(importlib.import_module(f"campaign.{name}")) for name in ROWS]
    table = "\n".join([HEAD, *(lines[title] for title in titles if title in lines)])
    PAGE.write_text(f"{before}{BEGIN}\n{_machine()}\n\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    # started in the background, Ctrl-C and a lost terminal are ignored, and trials would be too
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    sys.exit(main(parser.parse_args().rows))
