"""From a notebook: the public names, pinned, and docs/python.md, run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mnistlab
from mnistlab.errors import ConfigError
from tests.conftest import CHECKOUT

PUBLIC = {
    "BasicOptim", "Curves", "Images", "LinearModel", "MnistlabError", "ModelCard",
    "PixelSimilarity", "TwoLayerModel", "__version__", "binary_cross_entropy", "build_model",
    "compare_runs", "cross_entropy", "draw", "evaluate", "find_run", "load_data", "load_folders",
    "load_model", "load_tensors", "mnist_loss", "models", "open_model", "predict_images",
    "save_model", "score_run", "train_epochs", "train_run", "trust_code",
    "weights_sha256",
}  # fmt: skip


def test_the_public_names_are_these_and_each_is_there() -> None:
    assert set(mnistlab.__all__) == set(dir(mnistlab)) == PUBLIC
    assert mnistlab.__all__ == sorted(mnistlab.__all__)
    for name in PUBLIC - {"__version__", "models"}:
        thing = getattr(mnistlab, name)
        assert thing.__name__ == name
        assert thing.__doc__
    with pytest.raises(AttributeError, match="has no attribute 'train'"):
        _ = mnistlab.train


def test_importing_mnistlab_is_light() -> None:
    code = "import sys, mnistlab; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_runs_from_top_to_bottom(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (CHECKOUT / "docs" / "python.md").read_text(encoding="utf-8")
    cells = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(cells) == 8
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"docs/python.md, cell {number}", "exec"), names)
    said = capsys.readouterr().out
    assert "('3', '7') (28, 28) 12396 2038" in said
    assert "('three', 'seven') 19" in said
    assert "[('image 0', '3'), ('image 1', '3'), ('image 2', '3')]" in said
    assert "three.png 3 " in said  # inverted and enlarged, and still a three
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "runs").iterdir())) == 2
    used = set(re.findall(r"^from mnistlab import (.*)$", text, re.MULTILINE))
    assert {name for line in used for name in line.split(", ")} <= PUBLIC


def test_a_run_from_python_is_a_run_like_any_other(tiny: Path) -> None:
    run = mnistlab.train_run({"data": str(tiny), "epochs": 2, "seed": 4})
    assert run.record().status == "done"
    assert run.record().seed == 4
    with pytest.raises(ConfigError, match="trains one seed"):
        mnistlab.train_run({"data": str(tiny), "seeds": 2})
