"""The notebook, run without Jupyter: `make notebook` runs it and keeps what it shows in it."""

import base64
import contextlib
import io
import json
import tempfile
from typing import Any
from unittest import mock

import matplotlib
import matplotlib.pyplot as plt

from tests.pages import ROOT

PATH = ROOT / "notebooks" / "chapter4.ipynb"
Outputs = list[dict[str, Any]]


def read_notebook() -> dict[str, Any]:
    """The notebook as it is stored."""
    stored: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return stored


def printed(outputs: Outputs) -> list[str]:
    """The lines that a cell has printed."""
    texts = [text for output in outputs for text in output.get("text", [])]
    return "".join(texts).splitlines()


def pictures(outputs: Outputs) -> list[bytes]:
    """The pictures that a cell shows."""
    return [base64.b64decode(one["data"]["image/png"]) for one in outputs if "data" in one]


def run_cells(cells: list[dict[str, Any]]) -> list[Outputs]:
    """Run the code cells in their order, in the current folder; what each prints and shows.

    What a cell prints comes first, then its pictures, in Jupyter's format.
    """
    matplotlib.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    made: list[Outputs] = []
    for number, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
        shown: Outputs = []
        said = io.StringIO()
        code = compile("".join(cell["source"]), f"{PATH.name}, cell {number + 1}", "exec")
        keep = mock.patch.object(plt, "show", lambda shown=shown: shown.extend(_figures()))
        with contextlib.redirect_stdout(said), keep:
            exec(code, names)
        lines = said.getvalue().splitlines(keepends=True)
        stream = {"name": "stdout", "output_type": "stream", "text": lines}
        made.append([stream, *shown] if lines else shown)
    return made


def _figures() -> Outputs:
    """The open figures as PNG; closes them."""
    made: Outputs = []
    for number in plt.get_fignums():
        figure, file = plt.figure(number), io.BytesIO()
        figure.savefig(file, dpi=80, bbox_inches="tight", metadata={"Software": None})
        plt.close(figure)
        data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": ["a figure"]}
        made.append({"data": data, "metadata": {}, "output_type": "display_data"})
    return made


def main() -> None:
    """Run the notebook in an empty folder and store what it shows."""
    notebook = read_notebook()
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        made = run_cells(code)
    for number, (cell, outputs) in enumerate(zip(code, made, strict=True), 1):
        cell["execution_count"], cell["outputs"] = number, outputs
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    PATH.write_text(text, encoding="utf-8", newline="\n")
    print(f"{PATH.relative_to(ROOT)}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
