"""What mnistlab brings along: `make audit` asks for known vulnerabilities, `make sbom` lists it.

The tools are pip-audit and cyclonedx-bom (`pip install '.[audit]'`). Looked at are mnistlab's
dependencies and theirs, as they are installed here, not what only its developers need.
"""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PACKAGE = "mnistlab"
EXTRAS = ("", "plot")  # what users install
SECONDS = 300


@dataclass(frozen=True)
class Verdict:
    """What an audit came to. `answered` is false where nobody could be asked."""

    answered: bool
    vulnerable: tuple[str, ...]
    unknown: tuple[str, ...]
    reason: str = ""


def needed() -> dict[str, str]:
    """The version of every package that mnistlab needs, directly or not, as installed here."""
    found: dict[str, str] = {}
    waiting = [f"{PACKAGE}[{','.join(extra for extra in EXTRAS if extra)}]"]
    seen: set[str] = set()
    while waiting:
        asked = Requirement(waiting.pop())
        name = canonicalize_name(asked.name)
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system
        if name != PACKAGE:
            found[name] = installed.version
        extras = {"", *asked.extras}
        for line in installed.requires or ():
            wanted = Requirement(line)
            marker = wanted.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                wanted.marker = None
                if str(wanted) not in seen:
                    seen.add(str(wanted))
                    waiting.append(str(wanted))
    return dict(sorted(found.items()))


def audit() -> Verdict:
    """Ask for known vulnerabilities of all that is needed."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "needed.txt"
        # the index does not know builds, as in 2.13.0+cpu
        lines = [f"{name}=={Version(version).public}\n" for name, version in needed().items()]
        pins.write_text("".join(lines), encoding="utf-8")
        options = ("--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off")
        try:
            asked = subprocess.run(
                [sys.executable, "-m", "pip_audit", *options, "--requirement", str(pins)],
                capture_output=True, text=True, timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Verdict(False, (), (), f"no answer within {SECONDS} seconds")
    return judge(asked.stdout, asked.stderr)


def judge(out: str, err: str) -> Verdict:
    """Read pip-audit's answer, which calls all well that it could not ask about."""
    try:
        packages: list[Mapping[str, Any]] = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (err.strip().splitlines() or ["no answer"])[-1]
        return Verdict(False, (), (), last)
    vulnerable = tuple(
        f"{package['name']} {package['version']}: {fault['id']}"
        f"{' (' + ', '.join(fault['aliases']) + ')' if fault.get('aliases') else ''}"
        f", fixed in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for package in packages
        for fault in package.get("vulns", ())
    )
    unknown = tuple(package["name"] for package in packages if "skip_reason" in package)
    if len(unknown) == len(packages):
        return Verdict(False, (), unknown, "the package index knows none of the packages")
    return Verdict(True, vulnerable, unknown)


def bill(path: Path) -> int:
    """Write the bill of materials (CycloneDX, JSON); how many components it has."""
    made = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible",
         "--pyproject", str(Path(__file__).parents[1] / "pyproject.toml"), sys.executable],
        capture_output=True, text=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    content = json.loads(made.stdout)
    keep = needed()
    content["components"] = [
        one for one in content["components"] if canonicalize_name(one["name"]) in keep
    ]
    root = content["metadata"]["component"]
    root["version"] = importlib.metadata.version(PACKAGE)
    refs = {one["bom-ref"] for one in content["components"]} | {root["bom-ref"]}
    content["dependencies"] = [
        {**one, "dependsOn": [ref for ref in one.get("dependsOn", ()) if ref in refs]}
        for one in content["dependencies"]
        if one["ref"] in refs
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return len(content["components"])


def main(words: list[str]) -> int:
    """`audit`, or `sbom FILE`."""
    if words[:1] == ["sbom"] and len(words) == 2:
        print(f"{words[1]}: {bill(Path(words[1]))} components")
        return 0
    if words != ["audit"]:
        print("python -m campaign.dependencies audit | sbom FILE", file=sys.stderr)
        return 2
    verdict = audit()
    if not verdict.answered:
        print(f"not audited: {verdict.reason}; is there a network?")
        return 0
    for name in verdict.unknown:
        print(f"not audited: {name}, which the package index does not know")
    for line in verdict.vulnerable:
        print(line)
    print(f"{len(verdict.vulnerable)} known vulnerabilities in {len(needed())} packages")
    return 1 if verdict.vulnerable else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
