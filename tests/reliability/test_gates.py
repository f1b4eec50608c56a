"""Nothing of ours runs foreign code, and nothing we stand on is known to be unsafe."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.reliability.gates import breaches

CHECKOUT = Path(__file__).parents[2]
# Breaches that are meant: file → what, and why.
ALLOWED: dict[str, dict[str, str]] = {
    "tests/reliability/hostile_files.py": {
        "imports pickle": "writes pickles, to see that none is opened",
        "names torch.save": "the same",
    },
    "tests/reliability/test_terminals.py": {
        "imports pty": "opens a terminal; starts nothing in it"
    },
}
PROJECT = CHECKOUT / "pyproject.toml"


# code


@pytest.mark.parametrize("folder", ["src", "benchmarks", "data", "tests/reliability"])
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
    "import importlib\nimportlib.import_module('tests.command')",
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


def test_every_promise_of_the_page_has_a_test() -> None:
    page = (CHECKOUT / "docs" / "reliability.md").read_text(encoding="utf-8")
    table = page.partition("<!-- campaign -->")[2].partition("<!-- end of campaign -->")[0]
    promises = {line.split(" | ")[0][2:] for line in table.splitlines() if line.startswith("| ")}
    tested = {
        path.read_text(encoding="utf-8").partition("\n")[0].strip('"').rstrip(".")
        for path in Path(__file__).parent.glob("test_*.py")
    }
    assert len(promises) == 16  # with the head
    assert promises - tested == {"promise"}
