"""`make compat`: all tests with the oldest and the newest versions that pyproject.toml allows.

Each session is an environment of its own below .nox, of up to 6 GB where torch comes with CUDA, and
writes its row of docs/compatibility.md. One only: `make compat ARGS="-s oldest"`.
"""

import os
import re
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False  # a Python that is not here is left out

PROJECT = nox.project.load_toml("pyproject.toml")
LOCK = Path("requirements.lock")


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """The lowest version of each dependency that pyproject.toml allows."""
    project = PROJECT["project"]
    ranges = [*project["dependencies"], *project["optional-dependencies"]["plot"]]
    lowest = Path(session.virtualenv.location, "lowest.txt")
    lowest.write_text(
        "\n".join(re.sub(r">=([^,]+).*", r"==\1", one) for one in ranges), encoding="utf-8"
    )
    check(session, "--constraint", str(lowest))


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def newest(session: nox.Session) -> None:
    """The newest of everything that pip is offered."""
    check(session)


@nox.session(python="3.11")
def locked(session: nox.Session) -> None:
    """What `make` installs."""
    if not LOCK.exists():
        session.skip(f"there is no {LOCK}")
    check(session, "--constraint", str(LOCK))


def check(session: nox.Session, *versions: str) -> None:
    """Install mnistlab with what works on it, run all tests, write the row."""
    tools = nox.project.dependency_groups(PROJECT, "dev")
    flags = os.environ.get("PIP_FLAGS", "").split()
    session.install(*flags, *versions, "--editable", ".[plot]", *tools)
    session.run("python", "-m", "tests.compat", session.name)
