"""requirements.lock, which make and CI install from, holds what pyproject.toml asks for."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINES = [
    line
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
LOCK = [Requirement(line.partition(" #")[0]) for line in LINES]
CUDA = re.compile(r"cuda-|nvidia-|triton$")  # torch brings them, in versions that it names itself
SYSTEMS = {
    "Linux": {"sys_platform": "linux", "os_name": "posix", "platform_machine": "x86_64"},
    "Darwin": {"sys_platform": "darwin", "os_name": "posix", "platform_machine": "arm64"},
    "Windows": {"sys_platform": "win32", "os_name": "nt", "platform_machine": "AMD64"},
}
ENVIRONMENTS = [
    {**default_environment(), **names, "platform_system": system}
    | {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"}
    for system, names in SYSTEMS.items()
    for minor in range(11, 15)
]
on_each = pytest.mark.parametrize(
    "environment",
    ENVIRONMENTS,
    ids=lambda one: f"{one['platform_system']}-{one['python_version']}",
)


def required() -> Iterator[Requirement]:
    """What pyproject.toml asks for: to build, to run, for the extras, and for each group."""
    project = PROJECT["project"]
    groups = PROJECT["dependency-groups"].values()
    lists = [project["dependencies"], *project["optional-dependencies"].values(), *groups]
    for one in [PROJECT["build-system"]["requires"], *lists]:
        # a group that another one includes is in the list itself
        yield from (Requirement(line) for line in one if isinstance(line, str))


def applies(wanted: Requirement, environment: dict[str, Any], extra: str = "") -> bool:
    return wanted.marker is None or wanted.marker.evaluate({**environment, "extra": extra})


def pins(environment: dict[str, Any]) -> dict[str, Version]:
    """The one version of each name that holds there."""
    there = [pin for pin in LOCK if applies(pin, environment)]
    found = {canonicalize_name(pin.name): pin for pin in there}
    assert len(found) == len(there), "two pins of one name"
    return {name: Version(str(pin.specifier).removeprefix("==")) for name, pin in found.items()}


@on_each
def test_each_requirement_and_what_it_brings_has_one_version_that_it_allows(
    environment: dict[str, Any],
) -> None:
    locked = pins(environment)
    todo = [("pyproject.toml", wanted) for wanted in required() if applies(wanted, environment)]
    done = set()
    while todo:
        by, wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if (str(wanted), by) in done or (by == "torch" and CUDA.match(name)):
            continue
        done.add((str(wanted), by))
        assert name in locked, f"{by} asks for {wanted}: make lock"
        assert wanted.specifier.contains(locked[name], prereleases=True), f"{by}: {wanted}"
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        # make compat has other versions, which may bring other things
        if Version(installed.version).public == locked[name].public:
            brings = [Requirement(line) for line in installed.requires or ()]
            todo += [
                (name, one)
                for one in brings
                if any(applies(one, environment, extra) for extra in {"", *wanted.extras})
            ]
    assert len(done) > 50


def test_nothing_is_locked_for_a_requirement_that_is_gone() -> None:
    asked = {
        canonicalize_name(pin.name)
        for pin, line in zip(LOCK, LINES, strict=True)
        if "mnistlab (pyproject.toml" in line
    }
    assert asked == {canonicalize_name(wanted.name) for wanted in required()}


def test_a_line_is_a_name_a_version_and_where_it_holds_and_no_address() -> None:
    for line in LINES:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*( ; [^#/\\]+)?( +# via [^/\\]+)?", line)
        assert not CUDA.match(line.partition("==")[0]), f"a CPU install must not get {line}"


def test_torch_is_open_in_the_package_and_locked_with_the_torchvision_that_belongs_to_it() -> None:
    floors = {}
    for wanted in map(Requirement, PROJECT["project"]["dependencies"]):
        if wanted.name in ("torch", "torchvision"):
            [limit] = wanted.specifier
            assert limit.operator == ">="
            floors[wanted.name] = Version(limit.version)
    for versions in (floors, *map(pins, ENVIRONMENTS)):
        # torch 2.13 goes with torchvision 0.28, and so on
        assert versions["torch"].major == 2
        assert versions["torchvision"].minor == versions["torch"].minor + 15
        assert versions["torchvision"].major == 0


# the wheel


def brought_by(wanted: list[Requirement]) -> set[str]:
    """The names of what is installed here for `wanted` without extras, and of what that brings."""
    todo, here = [(one, {""}) for one in wanted], {**default_environment()}
    done = set()
    while todo:
        one, extras = todo.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key in done or not any(applies(one, here, extra) for extra in extras):
            continue
        done.add(key)
        brings = [] if CUDA.match(key[0]) else importlib.metadata.requires(key[0]) or []
        todo += [(Requirement(line), {"", *one.extras}) for line in brings]
    return {name for name, _ in done}


# With no package but those in argv: the modules of mnistlab that cannot be imported, and the
# packages that all others load.
ALONE = """
import importlib, importlib.metadata as metadata, json, pkgutil, sys
allowed, before = {*json.loads(sys.argv[1])}, {*sys.modules}
homes = metadata.packages_distributions()
for name, owners in homes.items():
    if not allowed & {owner.lower().replace("_", "-") for owner in owners}:
        sys.modules[name] = None
import mnistlab
missing = {}
for module in pkgutil.walk_packages(mnistlab.__path__, "mnistlab."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        missing[module.name] = error.name
loaded = {name.partition(".")[0] for name in {*sys.modules} - before if sys.modules[name]}
print(json.dumps([missing, sorted({one for name in loaded for one in homes.get(name, ())})]))
"""


def test_the_wheel_asks_for_what_pyproject_does_and_is_imported_with_nothing_else(
    tmp_path: Path,
) -> None:
    """With the test of pyproject.toml above: all that is loaded is in the lock."""
    [file] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path))
    [built] = importlib.metadata.distributions(path=[file])
    wheel = [Requirement(line) for line in built.requires or ()]
    project = PROJECT["project"]
    asked = [project["dependencies"], *project["optional-dependencies"].values()]
    assert sorted((one.name, str(one.specifier)) for one in wheel) == sorted(
        (one.name, str(one.specifier)) for line in asked for one in map(Requirement, line)
    )
    brought = brought_by(wheel)
    words = [sys.executable, "-c", ALONE, json.dumps([*brought, "mnistlab"])]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    missing, loaded = json.loads(done.stdout)
    assert missing == {}
    assert {canonicalize_name(name) for name in loaded} <= {*brought, "mnistlab"}
    assert {"torch", "pillow", "scipy"} <= {*loaded}
