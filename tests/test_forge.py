"""The files for the forge: workflows, templates, hooks, the image. Each holds what it says."""

import functools
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import torch
from packaging.requirements import Requirement
from ruamel.yaml import YAML

import mnistlab
from tests import needs
from tests.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [ROOT / ".github/ISSUE_TEMPLATE" / name for name in ("bug.yml", "idea.yml")]
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "github-actions": [ROOT / ".github/actions/python/action.yml"],
    "dependabot": [ROOT / ".github/dependabot.yml"],
    "github-issue-forms": FORMS,
    "github-issue-config": [ROOT / ".github/ISSUE_TEMPLATE/config.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
}
# What may write, and what.
WRITES = {("release.yml", "publish"): "id-token", ("release.yml", "announce"): "contents"}
# What is not in the wheels, in MB: python:3.14-slim, and what a training imports, compiled.
BASE, COMPILED = 150, 30
# pip neither asks an index nor installs what is there.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
NO_NETWORK = """
import socket

def refuse(*_):
    raise OSError("there is no network")

socket.getaddrinfo = socket.socket.connect = refuse
"""


@functools.cache
def read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield path.name, name, job


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for workflow, name, job in jobs():
        yield from ((f"{workflow}: {name}", step) for step in job.get("steps", []))
    [action] = SCHEMAS["github-actions"]
    yield from ((action.name, step) for step in read(action)["runs"]["steps"])


@pytest.mark.parametrize("schema", SCHEMAS)
def test_each_file_follows_its_schema(schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--builtin-schema", f"vendor.{schema}", *map(str, SCHEMAS[schema])]
    code = check_jsonschema.main(words, standalone_mode=False)
    assert code == 0, capsys.readouterr()


@pytest.mark.parametrize("command", ["actionlint", "zizmor --offline --min-severity medium ."])
def test_the_workflows_pass_linters_of_their_own(command: str) -> None:
    name, *words = command.split()
    program = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if not program:
        why = f"no {name} here: make forge"
        (pytest.fail if "MNISTLAB_REQUIRE_FORGE" in os.environ else pytest.skip)(why)
    done = subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    files = [path for path in (ROOT / ".github").rglob("*") if path.is_file()]
    files += [
        ROOT / name for name in (".pre-commit-config.yaml", ".devcontainer/devcontainer.json")
    ]
    calls = re.compile(r"\bmake ([a-z]+(?: [a-z]+)*)")
    named = {
        target
        for path in files
        for line in calls.findall(path.read_text(encoding="utf-8"))
        for target in line.split()
    }
    assert {"test", "lint", "types", "forge", "wheel", "audit", "campaign"} <= named <= targets


def test_the_tests_run_on_three_systems_with_the_first_and_the_last_python() -> None:
    job = read(ROOT / ".github/workflows/tests.yml")["jobs"]["tests"]
    matrix = job["strategy"]["matrix"]
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert matrix["python"] == [versions[0], versions[-1]]
    assert [system.partition("-")[0] for system in matrix["system"]] == [
        "ubuntu",
        "macos",
        "windows",
    ]
    assert any(step.get("run", "").startswith("make test") for step in job["steps"])
    assert set(re.findall(r"FROM python:([\d.]+)", dockerfile_text())) == {versions[-1]}


def test_a_workflow_may_only_read_but_for_what_a_release_writes() -> None:
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {"contents": "read"}, path
        assert "pull_request_target" not in read(path)["on"]
    given = {(file, name): job.get("permissions", {}) for file, name, job in jobs()}
    writes = {job: {WRITES[job]: "write"} if job in WRITES else {} for job in given}
    assert given == writes


def test_what_a_workflow_runs_is_pinned_and_cannot_be_changed_by_a_name() -> None:
    for place, step in steps():
        uses = step.get("uses", "./")
        assert uses.startswith("./") or re.search(r"@[0-9a-f]{40}$", uses), f"{place}: {uses}"
        if uses.startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, place
        # the name of a branch, put into a command, would be run
        assert "${{" not in step.get("run", ""), place
    for path in [*WORKFLOWS, *SCHEMAS["github-actions"]]:
        pins = re.findall(r"@[0-9a-f]{40}(.*)", path.read_text(encoding="utf-8"))
        assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", comment) for comment in pins)


def test_a_release_publishes_both_packages_after_all_tests() -> None:
    release = read(ROOT / ".github/workflows/release.yml")
    digits = tomllib.loads((ROOT / "data/digits/pyproject.toml").read_text(encoding="utf-8"))
    publish = release["jobs"]["publish"]
    projects = publish["strategy"]["matrix"]["project"]
    assert projects == [PROJECT["name"], digits["project"]["name"]]
    assert release["jobs"][publish["needs"]]["uses"] == "./.github/workflows/tests.yml"
    uploads = {
        step["with"]["name"] for _, step in steps() if "upload-artifact" in step.get("uses", "")
    }
    assert set(projects) == uploads
    [upload] = [step for step in publish["steps"] if "pypi-publish" in step.get("uses", "")]
    assert upload["with"]["attestations"] is True
    assert "password" not in upload["with"]


def test_the_hooks_before_a_commit_are_what_make_test_checks_before_the_tests() -> None:
    [repository] = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    needed = re.findall(r"^test: (.*) ##", MAKEFILE, re.MULTILINE)[0].split()
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert [*entries, "make unit"] == [f"make {target}" for target in needed]


def test_a_report_asks_for_the_version_and_the_traceback() -> None:
    for form, flags in zip(FORMS, [["--version", "--debug"], ["--version"]], strict=True):
        text = form.read_text(encoding="utf-8")
        assert all(flag in text for flag in flags), form


def test_the_citation_names_this_version() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == mnistlab.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["keywords"] == PROJECT["keywords"]


# the image


def dockerfile_text() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


@functools.cache
def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, by its name; "" is the one that the image is made of."""
    found: dict[str, list[tuple[str, str]]] = {}
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile_text(), flags=re.MULTILINE))
    for line in filter(None, lines.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found[rest.partition(" AS ")[2]] = []
        elif found:
            [*found.values()][-1].append((word, rest.strip()))
    return found


@needs.posix
def test_the_workflows_find_the_cpu_builds_where_the_image_does(tmp_path: Path) -> None:
    [*_, step] = read(SCHEMAS["github-actions"][0])["runs"]["steps"]
    environment = os.environ | {"GITHUB_ENV": str(tmp_path / "env")}
    subprocess.run(["sh", "-ec", step["run"]], cwd=ROOT, env=environment, check=True)
    written = (tmp_path / "env").read_text(encoding="utf-8")
    [index] = re.findall(r"^ARG CPU_INDEX=(https://.*)", dockerfile_text(), re.MULTILINE)
    assert written == f"PIP_EXTRA_INDEX_URL={index}\n"


def test_no_container_runs_as_root() -> None:
    settings = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    users = {name: dict(stage).get("USER", "root") for name, stage in stages().items()}
    assert users[settings["build"]["target"]] == settings["remoteUser"] != "root"
    assert users[""] not in ("root", "0")


def copy_context(target: Path) -> None:
    """COPY . . copies what .dockerignore leaves."""
    first, *lines = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert first == "*"
    ignore = shutil.ignore_patterns(*(line[3:] for line in lines if line.startswith("**/")))
    for name in (line[1:] for line in lines if line.startswith("!")):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, target / name)


def run_steps(root: Path, environment: dict[str, str]) -> Path:
    """Carry the stage `build` out below `root`; the folder that it makes."""
    folder, variables = root, dict(environment)
    for word, rest in stages()["build"]:
        match word:
            case "ENV":
                for name, _, value in (one.partition("=") for one in shlex.split(rest)):
                    variables[name] = f"{root}{value}" if value.startswith("/") else value
                variables |= OFFLINE
                for name in ("PIP_EXTRA_INDEX_URL", "PIP_BUILD_CONSTRAINT"):
                    del variables[name]
            case "WORKDIR":
                folder = root / rest.lstrip("/")
                folder.mkdir()
            case "COPY":
                assert rest == ". ."
                copy_context(folder)
            case "RUN" if not rest.endswith("train --quiet"):  # the test does so itself, below
                assert not re.search(r"(^|[\s=])['\"]?/", rest), f"outside of the folder: {rest}"
                subprocess.run(["sh", "-ec", rest], cwd=folder, env=variables, check=True)
            case _:
                assert word in ("ARG", "RUN"), word
    return Path(variables["HOUSE"])


@needs.posix
@needs.processes
def test_the_steps_of_the_image_end_in_a_command_that_trains_without_a_network(
    tmp_path: Path,
) -> None:
    pytest.importorskip("pip", reason="an environment without pip")
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # the images are unpacked already: that takes longer than all the steps
    environment = {"PATH": scripts, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment["MNISTLAB_CACHE"] = os.environ["MNISTLAB_CACHE"]
    house = run_steps(tmp_path, environment)
    image = dict(stages()[""])
    source, target = image["COPY"].split()[1:]
    assert image["COPY"].startswith("--from=build ")
    assert f"{tmp_path}{source}" == str(house)
    assert source == target  # its scripts name their own folder

    [site] = house.glob("lib/python*/site-packages")
    assert (site / "mnistlab/_data/mnist_sample.tgz").exists()
    assert (site / "mnistlab_digits/mnist.npz").exists()
    (site / "here.pth").write_text(sysconfig.get_path("purelib"))
    work = tmp_path / image["WORKDIR"].lstrip("/")
    work.mkdir()
    [program] = json.loads(image["ENTRYPOINT"])
    done = subprocess.run(
        [f"{tmp_path}{program}", "train", "--debug", "--json"],
        cwd=work,
        env=environment | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] > 0.98
    assert [run.name for run in work.glob("runs/*")] == [Path(json.loads(done.stdout)["run"]).name]


def installed_files() -> dict[str, int]:
    """The files that mnistlab brings along, without compiled ones, with their sizes."""
    found: dict[str, int] = {}
    todo, done = [*map(Requirement, PROJECT["dependencies"])], set()
    while todo:
        wanted = todo.pop()
        if wanted.name in done or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        done.add(wanted.name)
        distribution = importlib.metadata.distribution(wanted.name)
        todo += map(Requirement, distribution.requires or [])
        files = distribution.files or []
        found |= {str(file): file.size or 0 for file in files if file.suffix != ".pyc"}
    return found


@needs.real_linux
@pytest.mark.skipif(torch.version.cuda is not None, reason="the image has the CPU build of torch")
def test_the_image_has_at_most_a_gigabyte(tmp_path: Path) -> None:
    """Files of the sizes of those that are installed, of which the steps delete some."""
    site = tmp_path / "lib/python3/site-packages"
    small = 0
    for name, size in installed_files().items():
        if size < 16_000 or ".." in name:
            small += size
            continue
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
        os.truncate(site / name, size)
    [delete] = [rest for word, rest in stages()["build"] if word == "RUN" and "rm -rf" in rest]
    environment = {"PATH": os.environ["PATH"], "HOUSE": str(tmp_path)}
    subprocess.run(["sh", "-ec", delete], cwd=tmp_path, env=environment, check=True)
    large = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    own = sum(path.stat().st_size for path in (ROOT / "data").rglob("*") if path.is_file())
    megabytes = (small + large + own) / 1e6 + BASE + COMPILED
    print(f"about {megabytes:.0f} MB")
    assert 700 < megabytes <= 1000
    assert (site / "torch/bin/torch_shm_manager").exists()
