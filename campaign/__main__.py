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
from importlib.metadata import version
from pathlib import Path

from campaign.tally import CORES, SkippedError, Tally

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs" / "reliability.md"
BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"

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
    """Run the rows named, or all; print the table, and write it if all were run."""
    unknown = set(names) - set(ROWS)
    if unknown:
        sys.exit(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    lines = ["| promise | tried | held | seconds | beside |", "|---|---|---|---|---|"]
    failed = 0
    for name in names or ROWS:
        module = importlib.import_module(f"campaign.{name}")
        title = (module.__doc__ or "").split("\n")[0].rstrip(".")
        line, fault = _row(title, module.full)
        print(line, flush=True)
        lines.append(line)
        failed += fault
    table = "\n".join(lines)
    print(f"\n{table}\n\n{_machine()}")
    if not names:
        _write(f"{_machine()}\n\n{table}")
    return 1 if failed else 0


def _row(title: str, full: Callable[[Path], Tally]) -> tuple[str, bool]:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        try:
            tally = full(Path(folder))
        except SkippedError as reason:
            return f"| {title} | skipped | | | {reason} |", False
    seconds = time.monotonic() - started
    for fault in tally.faults[:20]:
        print(f"  NOT HELD: {fault}", file=sys.stderr)
    beside = "; ".join(tally.notes)
    return (
        f"| {title} | {tally.tried:,} | {tally.held:,} | {seconds:.0f} | {beside} |",
        bool(tally.faults) or not tally.tried,
    )


def _machine() -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "pillow", "safetensors"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}; {CORES} of {os.cpu_count()} "
        f"cores, {platform.system()} {platform.release()}; Python {platform.python_version()}, "
        f"{packages}."
    )


def _write(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    # started in the background, Ctrl-C and a lost terminal are ignored, and trials would be too
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    sys.exit(main(parser.parse_args().rows))
