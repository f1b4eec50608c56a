"""Run all tests with the versions that are installed; what came of it is a row of a table.

`python -m tests.compat NAME`, for the sessions of noxfile.py. A row of the same name and system is
replaced, also by a run that failed.
"""

import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs" / "compatibility.md"
BEGIN, END = "<!-- compat -->", "<!-- end of compat -->"
PACKAGES = ("torch", "torchvision", "pillow", "typer", "pydantic", "rich", "numpy")
COUNTS = ("tests", "failures", "errors", "skipped")


def main(name: str) -> int:
    """Run pytest and write the row `name`; pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "junit.xml")
        shared_out = ("--numprocesses", "auto", "--dist", "worksteal")
        command = [sys.executable, "-m", "pytest", *shared_out, f"--junit-xml={report}"]
        code = subprocess.call(command, cwd=CHECKOUT)
        counts = ["did not run", "-", "-"]
        if report.exists():
            [suite] = ElementTree.parse(report).getroot().iter("testsuite")
            tests, failures, errors, skipped = (int(suite.attrib[key]) for key in COUNTS)
            failed = failures + errors
            counts = [f"{tests - failed - skipped:,}", str(failed), str(skipped)]
    cells = [name, f"{platform.system()} {platform.machine()}", platform.python_version()]
    cells += [*map(version, PACKAGES), *counts, f"{datetime.now(UTC):%Y-%m-%d}"]
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_row(page, cells), encoding="utf-8")
    return code


def with_row(page: str, cells: list[str]) -> str:
    """`page` with a row of `cells` in its table, in place of that of the same first two cells."""
    before, _, rest = page.partition(f"{BEGIN}\n")
    table, _, after = rest.partition(END)
    head, line, *rows = table.splitlines()
    name, system = cells[:2]
    kept = [row for row in rows if not row.startswith(f"| {name} | {system} |")]
    rows = sorted([*kept, f"| {' | '.join(cells)} |"])
    return f"{before}{BEGIN}\n" + "\n".join([head, line, *rows]) + f"\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
