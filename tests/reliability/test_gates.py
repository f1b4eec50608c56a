"""Nothing of ours runs foreign code, and nothing we stand on is known to be unsafe."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.reliability.processes import CHECKOUT

PROJECT = CHECKOUT / "pyproject.toml"
UNSAFE = [
    "import os, pickle as p",
    "from pickle import loads as harmless",
    "import marshal",
    "import shelve",
    "import joblib",
    "def f():\n    import cloudpickle.cloudpickle",
    "eval('1')",
    "exec('1')",
    "import builtins\nbuiltins.eval('1')",
    "import builtins\nbuiltins.__import__('os')",
    "import os as o\no.system('ls')",
    "from os import system as run\nrun('ls')",
    "import os\nos.popen('ls')",
    "import subprocess as s\ns.Popen('ls', shell=1)",
    "import subprocess\nsubprocess.getoutput('ls')",
    "import torch\ntorch.load('x', weights_only=True)",
    "import torch as t\nt.load('x')",
    "from torch import load as read",
    "import torch\nload = torch.load",
    "import torch\ntorch.save(1, 'x')",
    "import numpy as np\nnp.load('x', allow_pickle=True)",
    "import yaml\nyaml.load(text)",
    "import tempfile\ntempfile.mktemp()",
]
SAFE = [
    "import re\nre.compile('x')",
    "model.eval()",
    "import safetensors.torch\nsafetensors.torch.load(content)",
    "import subprocess, sys\nsubprocess.run([sys.executable, '-V'], shell=False, check=True)",
    "import json\njson.load(file)",
    "print('eval exec pickle torch.load os.system')",
]


def test_ruff_refuses_what_runs_foreign_code_or_a_shell(tmp_path: Path) -> None:
    """`make lint` then does so for every line of the project."""
    for number, source in enumerate([*UNSAFE, *SAFE]):
        (tmp_path / f"{number}.py").write_text(source)
    command = ["ruff", "check", "--config", str(PROJECT), "--output-format", "json", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    refused = {
        int(Path(breach["filename"]).stem)
        for breach in json.loads(done.stdout)
        if re.match(r"S\d|TID", breach["code"])
    }
    assert refused == set(range(len(UNSAFE)))


def test_foreign_code_runs_in_one_place_for_the_file_that_the_user_names() -> None:
    lines = [
        (path.name, line.strip())
        for path in (CHECKOUT / "src").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"noqa: *(S\d|TID)|\b(exec|eval|__import__|exec_module|run_path)\(", line)
        and ".eval()" not in line
    ]
    assert lines == [("own_code.py", "exec(code, vars(module))  # noqa: S102")]


def test_mnistlab_itself_starts_no_process_but_that_of_an_exercise() -> None:
    starts = re.compile(r"^\s*(import|from) (subprocess|multiprocessing)\b", re.MULTILINE)
    files = [path for path in (CHECKOUT / "src").rglob("*.py")
             if starts.search(path.read_text(encoding="utf-8"))]  # fmt: skip
    assert [f"{path.parent.name}/{path.name}" for path in files] == ["exercises/running.py"]


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
    assert len(promises) == 17  # with the head
    assert promises - tested == {"promise"}
