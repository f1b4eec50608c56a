"""Nothing of ours runs foreign code, and nothing we stand on is known to be unsafe."""

import importlib.metadata
import importlib.util
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from campaign import dependencies
from campaign.dependencies import audit, judge, needed
from packaging.requirements import Requirement
from packaging.version import Version

from tests.reliability.gates import breaches

CHECKOUT = Path(__file__).parents[2]
# Breaches that are meant: file → what, and why.
ALLOWED: dict[str, dict[str, str]] = {
    "campaign/hostile_files.py": {
        "imports pickle": "writes pickles, to see that none is opened",
        "names torch.save": "the same",
    },
    "campaign/screens.py": {"imports pty": "opens a terminal; starts nothing in it"},
}
PROJECT = CHECKOUT / "pyproject.toml"


# code


@pytest.mark.parametrize("folder", ["src", "benchmarks", "campaign", "data"])
def test_nothing_unpickles_evaluates_or_opens_a_shell(folder: str) -> None:
    found = [
        f"{path}: {breach}"
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
        for breach in breaches(path.read_text(encoding="utf-8"))
        if breach.split(": ", 1)[1] not in ALLOWED.get(path.relative_to(CHECKOUT).as_posix(), {})
    ]
    assert found == []


def test_mnistlab_itself_starts_no_process() -> None:
    for path in (CHECKOUT / "src").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"\s*(import|from) (subprocess|multiprocessing)\b", line), path


UNSAFE = [
    "import pickle",
    "import os, pickle as p",
    "from pickle import loads",
    "from pickle import loads as harmless",
    "import marshal",
    "import shelve",
    "import joblib",
    "def f():\n    import cloudpickle.cloudpickle",
    "eval('1')",
    "f = eval",
    "map(exec, texts)",
    "exec('1')",
    "compile('1', '', 'eval')",
    "__import__('os')",
    "import builtins\nbuiltins.eval('1')",
    "from builtins import exec as run",
    "import builtins\ngetattr(builtins, 'eval')('1')",
    "import importlib\nimportlib.import_module('pickle')",
    "from importlib import import_module\nimport_module('marshal')",
    "import os\nos.system('ls')",
    "import os as o\no.system('ls')",
    "from os import system",
    "from os import system as run\nrun('ls')",
    "import os\nos.popen('ls')",
    "import subprocess\nsubprocess.run('ls', shell=True)",
    "import subprocess as s\ns.Popen('ls', shell=1)",
    "from subprocess import run\nrun('ls', shell=flag)",
    "import subprocess\nsubprocess.getoutput('ls')",
    "import torch\ntorch.load('x')",
    "import torch\ntorch.load('x', weights_only=True)",
    "import torch as t\nt.load('x')",
    "from torch import load as read",
    "import torch\nload = torch.load",
    "import torch\ntorch.save(1, 'x')",
    "anything.load('x', weights_only=False)",
    "import numpy as np\nnp.load('x', allow_pickle=True)",
    "import yaml\nyaml.load(text)",
    "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
    "from yaml import load",
    "import yaml\nyaml.unsafe_load(text)",
    "import tempfile\ntempfile.mktemp()",
    "from tempfile import mktemp as name",
]
SAFE = [
    "import re\nre.compile('x')",
    "model.eval()",
    "import safetensors.torch\nsafetensors.torch.load(content)",
    "import subprocess, sys\nsubprocess.run([sys.executable, '-V'], shell=False, check=True)",
    "import yaml\nyaml.safe_load(text)",
    "import tempfile\ntempfile.mkdtemp()",
    "import json\njson.load(file)",
    "import importlib\nimportlib.import_module('campaign.saves')",
    "import torch\ntorch.jit.script",
    "print('eval exec pickle torch.load os.system')",
]


@pytest.mark.parametrize("source", UNSAFE)
def test_the_gate_catches(source: str) -> None:
    assert breaches(source) != []


@pytest.mark.parametrize("source", SAFE)
def test_the_gate_lets_pass(source: str) -> None:
    assert breaches(source) == []


# what we stand on


def requirements() -> list[Requirement]:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in project["dependencies"]]


@pytest.mark.parametrize("wanted", requirements(), ids=lambda wanted: wanted.name)
def test_what_is_installed_is_what_is_required(wanted: Requirement) -> None:
    installed = Version(importlib.metadata.version(wanted.name))
    assert wanted.specifier.contains(installed, prereleases=True), f"{wanted} but {installed}"


@pytest.mark.parametrize("name", ["torch", "pillow"])
def test_the_floors_of_what_reads_foreign_files_say_what_they_keep_out(name: str) -> None:
    text = PROJECT.read_text(encoding="utf-8")
    found = re.search(rf'((?: *#.*\n)+) *"{name}>=([0-9.]+)', text)
    assert found, f"{name} has no floor with a comment"
    assert re.search(r"CVE-\d{4}-\d{4,}", found[1])


def test_what_is_needed_is_all_that_is_required_and_no_tool_of_developers() -> None:
    found = needed()
    assert {wanted.name for wanted in requirements()} <= {name.replace("_", "-") for name in found}
    assert {"markupsafe", "fsspec", "matplotlib"} <= set(found)  # of jinja2, of torch, of an extra
    assert not {"mnistlab", "pytest", "mypy", "fastai"} & set(found)


def answer(*packages: Mapping[str, object]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


FINE = {"name": "rich", "version": "15.0.0", "vulns": []}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
FAULT = {"id": "PYSEC-1", "fix_versions": ["16"], "aliases": ["CVE-2026-1"], "description": "x"}


def test_an_audit_that_nobody_answered_is_not_called_good() -> None:
    for out in ("", "{}", answer(UNKNOWN), "No known vulnerabilities found"):
        verdict = judge(out, "Traceback\nConnectionError: no such host\n")
        assert not verdict.answered
        assert verdict.reason
    assert judge(answer(FINE, UNKNOWN), "") == dependencies.Verdict(True, (), ("torch",))


def test_a_vulnerability_is_told_with_its_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = judge(answer({**FINE, "vulns": [FAULT, {**FAULT, "fix_versions": []}]}), "")
    assert bad.vulnerable == (
        "rich 15.0.0: PYSEC-1 (CVE-2026-1), fixed in 16",
        "rich 15.0.0: PYSEC-1 (CVE-2026-1), fixed in no version yet",
    )
    for verdict, code, told in (
        (bad, 1, "2 known vulnerabilities in "),
        (judge(answer(FINE, UNKNOWN), ""), 0, "not audited: torch, which the package index"),
        (judge("", "no such host"), 0, "not audited: no such host; is there a network?"),
    ):
        monkeypatch.setattr(dependencies, "audit", lambda verdict=verdict: verdict)
        assert dependencies.main(["audit"]) == code
        assert told in capsys.readouterr().out


def test_nothing_that_is_needed_has_a_known_vulnerability() -> None:
    """The only test that asks the network, and only where the tool for it was installed."""
    if importlib.util.find_spec("pip_audit") is None:
        pytest.skip("pip-audit is not installed; make audit installs it")
    verdict = audit()
    if not verdict.answered:
        pytest.skip(f"not audited: {verdict.reason}")
    assert verdict.vulnerable == ()


def test_the_bill_of_materials_lists_what_is_needed(tmp_path: Path) -> None:
    if importlib.util.find_spec("cyclonedx_py") is None:
        pytest.skip("cyclonedx-bom is not installed; make sbom installs it")
    assert dependencies.main(["sbom", str(tmp_path / "dist" / "sbom.json")]) == 0
    made = json.loads((tmp_path / "dist" / "sbom.json").read_text(encoding="utf-8"))
    assert made["bomFormat"] == "CycloneDX"
    assert {one["name"].lower() for one in made["components"]} >= {"torch", "pillow", "rich"}


def test_other_words_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert dependencies.main(["sbom"]) == 2
    assert "audit | sbom FILE" in capsys.readouterr().err
