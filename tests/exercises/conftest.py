"""For all tests of exercises."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mnistlab.exercises import load
from mnistlab.exercises.kit import images_of
from mnistlab.exercises.running import file_name, file_text

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def loaded_once() -> None:
    """The images are loaded here, where the cache is set, and stay for the tests that follow."""
    images_of("3")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("accuracy", "answers.float()")`: the learner's file, with this in place of the gap.

    above: lines in front of the function.
    """

    def write(name: str, answer: str, above: str = "") -> Path:
        path = tmp_path / file_name(name)
        code = load(name).file_code
        text = file_text(name).replace(code, f"{above}\n{code}")
        path.write_text(text.replace("    ...\n", f"    {answer}\n"), encoding="utf-8")
        return path

    return write
