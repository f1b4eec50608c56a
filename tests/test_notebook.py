"""notebooks/chapter4.ipynb runs from top to bottom, and shows what it is stored with."""

import re
from pathlib import Path

import pytest

from mnistlab.data.store import ImageData
from tests.newcomer import difference
from tests.notebook import PATH, pictures, printed, read_notebook, run_cells
from tests.pages import ROOT

IN_COLAB = re.compile(r"\]\((https://colab\.research\.google\.com/github/\S+)\)")


def test_the_notebook_runs_and_prints_the_figures_that_it_is_stored_with(
    sample: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = [cell for cell in read_notebook()["cells"] if cell["cell_type"] == "code"]
    for number, (cell, made) in enumerate(zip(code, run_cells(code), strict=True), 1):
        stored = cell["outputs"]
        # figures within the tolerance for another processor; checksums by their form
        assert difference(printed(stored), printed(made)) is None, f"cell {number}"
        assert len(printed(stored)) == len(printed(made)), f"cell {number}"
        assert len(pictures(stored)) == len(pictures(made)), f"cell {number}"
        assert cell["execution_count"] == number
    ours, theirs = [line.split()[-1] for line in printed(made)]
    assert ours == theirs  # the loop in the notebook, and `mnistlab train`


def test_the_notebook_opens_in_colab_and_installs_mnistlab_only_where_it_is_missing() -> None:
    first, second, *_ = ["".join(cell["source"]) for cell in read_notebook()["cells"]]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [address] = {link for text in (first, readme) for link in IN_COLAB.findall(text)}
    assert address.endswith(f"/blob/main/{PATH.relative_to(ROOT).as_posix()}")
    assert 'find_spec("mnistlab") is None' in second
    assert "mnistlab[plot]" in second
    assert PATH.stat().st_size <= 200_000
