"""requirements.lock, which make and CI install from, holds what pyproject.toml asks for."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
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
