"""`mnistlab export`: an ONNX file that answers as the run does, and a card that says what it is."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnistlab.exports import model as exports
from mnistlab.losses import probabilities
from mnistlab.models import MODELS
from mnistlab.runs import find_run
from mnistlab.scoring import open_model, score_run
from tests.command import Result
from tests.conftest import make_tree

Mnistlab = Callable[..., Result]


def test_what_is_not_installed_is_named_and_nothing_is_made(
    mnistlab: Mnistlab, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnistlab("train", "--data", tiny, "--epochs", "1", "-q").ok()
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    before = sorted(Path().rglob("*"))
    result = mnistlab("export")
    assert (result.code, result.out) == (2, "")
    needs = "--to onnx needs onnx and onnxscript and onnxruntime"
    advice = "install it with: pip install onnx onnxscript onnxruntime"
    assert result.err == f"error: {needs}; {advice}\n"
    assert sorted(Path().rglob("*")) == before
    assert mnistlab("export", "-o", "model.txt").code == 2
    assert mnistlab("export", "nothing").code == 2


def onnxruntime() -> Any:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    return pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_the_file_answers_as_the_run_does(
    mnistlab: Mnistlab, tmp_path: Path, request: pytest.FixtureRequest, name: str, n_classes: int
) -> None:
    runtime = onnxruntime()
    if not request.config.getoption("campaign") and (name, n_classes) not in QUICK:
        pytest.skip("takes seconds: with --campaign")
    tree = make_tree(tmp_path / "tree", ("a", "b", "c d|e")[:n_classes], (28, 28), valid=20)
    command = ["train", "--model", name, "--epochs", "1"]
    if name == "pixel-similarity":
        command = ["baseline", name]
    elif name not in ("linear", "two-layer"):
        command += ["--precision", "bf16"]
    mnistlab(*command, "--data", tree, "-q").ok()
    facts = mnistlab("export", "-o", "m.onnx", "--json").ok().json
    assert facts["checked"].startswith(f"onnxruntime, {20 * n_classes} images: ")
    content = Path("m.onnx").read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"site-packages" not in content

    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    run = find_run("latest", Path("runs"))
    _, card = open_model(run)
    described = session.get_modelmeta().custom_metadata_map
    assert described == {k: v for k, v in facts.items() if k not in _NOT_IN_FILE}
    assert json.loads(described["classes"]) == list(card.classes)
    [given] = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [28, 28])
    score = score_run(run)
    images = score.split.ds.tensors[0]
    for count in (1, 7, len(images)):
        logits, probs = session.run(None, {"images": images[:count].numpy()})
        expected = score.logits[:count]
        torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-4)
        assert np.abs(probs - probabilities(expected).numpy()).max() < 1e-5
        assert probs.shape == (count, n_classes)


QUICK = (("linear", 2), ("cnn", 3))
_NOT_IN_FILE = ("schema_version", "file", "checked")


def test_the_card_says_what_the_run_says_and_the_code_of_the_docs_runs(
    mnistlab: Mnistlab, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime()
    mnistlab("train", "--data", tiny, "--epochs", "9", "-q").ok()
    run = find_run("latest", Path("runs"))
    out = mnistlab("export").ok().out
    assert f"file            {run.path / 'model.onnx'}\n" in out
    assert "opset           20\n" in out
    card = (run.path / "model.onnx.md").read_text(encoding="utf-8")
    assert str(tiny) not in card
    _, front, text = card.split("---\n")
    assert front.startswith("license: unknown\nlibrary_name: onnx\n")
    evaluation = score_run(run).evaluation
    assert f"value: {evaluation.accuracy}}}" in front
    assert f"{evaluation.correct} of {evaluation.n}\n" in text
    assert run.record().data.fingerprint in text

    Image.open(tiny / "valid/light/0.png").save("image.png")
    Path("model.onnx").write_bytes((run.path / "model.onnx").read_bytes())
    docs = Path(__file__).parents[2] / "docs" / "export.md"
    [code] = re.findall(r"```python\n(.*?)```", docs.read_text("utf-8"), re.DOTALL)
    capsys.readouterr()
    exec(compile(code, "card", "exec"), {})
    predicted = mnistlab("predict", "latest", "image.png", "--json").ok().json["predictions"][0]
    name, probability = capsys.readouterr().out.split()
    assert name == predicted["class"]
    assert float(probability) == pytest.approx(predicted["probability"], abs=1e-5)
    mnistlab("runs", "rm", "latest", "--force").ok()  # the two files are the run's own


def test_a_file_that_answers_otherwise_is_not_written(
    mnistlab: Mnistlab, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime()
    mnistlab("train", "--data", tiny, "--epochs", "1", "-q").ok()

    def forward(self: exports.Whole, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.model(images.unsqueeze(1).float() / 256)  # a wrong division
        return logits, probabilities(logits)

    monkeypatch.setattr(exports.Whole, "forward", forward)
    before = sorted(Path().rglob("*"))
    result = mnistlab("export", "-o", "m.onnx")
    assert result.code == 1
    assert "error: onnxruntime: " in result.err
    assert sorted(Path().rglob("*")) == before


def test_what_cannot_be_checked_is_not_written(
    mnistlab: Mnistlab, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime()
    mnistlab("train", "--data", tiny, "--epochs", "1", "-q").ok()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        result = mnistlab("export", "-o", "m.onnx")
    assert result.code == 2
    assert result.err.endswith("install it with: pip install onnxruntime\n")
    tiny.rename(tiny.with_name("gone"))
    result = mnistlab("export", "-o", "m.onnx")
    assert result.code == 2
    assert "no such folder" in result.err
    assert not Path("m.onnx").exists()
