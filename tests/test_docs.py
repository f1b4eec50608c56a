"""What the docs name exists."""

import re
from pathlib import Path

from mnistlab.lessons import LESSONS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mnistlab"


def test_the_book_page_names_every_lesson_and_only_files_that_exist() -> None:
    page = (ROOT / "docs" / "book.md").read_text(encoding="utf-8")
    assert set(re.findall(r"mnistlab lesson ([a-z]+)`", page)) >= set(LESSONS)
    for name in re.findall(r"`((?:lessons/|data/)?[a-z_]+\.py)`", page):
        assert (SOURCE / name).is_file(), name


def test_the_architecture_page_names_every_file() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = [
        path.name
        for path in SOURCE.rglob("*.py")
        if path.parent.name not in ("lessons", "cli", "report")
        and not path.name.startswith("__")
        and path.name not in page
    ]
    assert missing == []


def test_no_lesson_is_longer_than_a_newcomer_reads() -> None:
    lengths = {
        path.name: len(path.read_text(encoding="utf-8").splitlines())
        for path in (SOURCE / "lessons").glob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 120} == {}
    assert {f"{name}.py" for name in LESSONS} <= set(lengths)


def test_the_readme_example_runs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example.replace("epochs=5", "epochs=1"), "README.md", "exec"), names)
    assert "evaluate" in names
