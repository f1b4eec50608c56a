"""A run's model as an ONNX file, which needs neither torch nor mnistlab, with a model card."""

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from mnistlab import __version__
from mnistlab.data.batches import eval_batch, to_float
from mnistlab.eject import ENVIRONMENT
from mnistlab.errors import RunError
from mnistlab.files import write_file
from mnistlab.losses import predictions, probabilities
from mnistlab.metrics import wilson_interval
from mnistlab.names import printable
from mnistlab.storage import weights_sha256

if TYPE_CHECKING:
    from mnistlab.report.page import Report

OPSET = 20
TOLERANCE = 1e-5  # of a probability
CARD = Path(__file__).with_name("card.md.j2").read_text("utf-8")


class Whole(nn.Module):
    """Pixels of files, uint8 (n, H, W) → logits (n, 1) or (n, C), probabilities (n, C)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.model(to_float(images))  # the division by 255 is inside: nobody forgets it
        return logits, probabilities(logits)


def export_onnx(report: "Report", figures: dict[str, Any] | None, path: Path) -> dict[str, str]:
    """Write the model of `report` to `path`, and a model card to that name with `.md` behind.

    figures: what `report.page.headline` says, for the card. Returns what the file says of itself,
    and how it was checked. Raises RunError, with nothing written, where onnxruntime disagrees.
    """
    card, (height, width) = report.card, report.card.image_size
    framed = card.fit == "ink" or (card.fit is None and card.ground is not None)
    how = "ink found and framed as in MNIST" if framed else f"fitted: {card.fit or 'scaled'}"
    data = printable(Path(report.record.config.data).name) if report.record else "unknown data"
    facts = {
        "run": printable(report.run.name),
        "model": f"{card.model}, {'best' if report.best else 'last'} weights",
        "weights_sha256": weights_sha256(report.model.state_dict()),
        "classes": json.dumps(card.classes),
        "image_size": f"{height} x {width}",
        "input": f"images, uint8 (n, {height}, {width}): pixels 0 to 255",
        "prepared": f"{how}; mnistlab predict --save-prepared DIR writes such images",
        "outputs": "logits (one for two classes), probabilities (one for each class)",
        "opset": str(OPSET),
        "mnistlab": __version__,
    }
    example = torch.zeros(2, height, width, dtype=torch.uint8)  # of 1, the batch would stay 1
    # torch warns of its own code
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        program = torch.onnx.export(
            Whole(report.model).eval(),
            (example,),
            input_names=["images"],
            output_names=["logits", "probabilities"],
            dynamic_shapes=({0: "n"},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # they name folders of this machine
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value)
    content = proto.SerializeToString()
    facts["checked"] = _check(report, content)
    text = ENVIRONMENT.from_string(CARD).render(
        report=report,
        facts=facts,
        data=data,
        file=path.name,
        figures=figures,
        interval=wilson_interval,
    )
    write_file(path.with_name(f"{path.name}.md"), text.encode())
    write_file(path, content)
    return facts


def _check(report: "Report", content: bytes) -> str:
    """What onnxruntime answers to the images of `report`, in words. Raises RunError."""
    if report.score is None:
        return f"no: {report.missing['data']}"
    if find_spec("onnxruntime") is None:
        return "no: needs onnxruntime; install it with: pip install onnxruntime"
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = report.score.split.ds.tensors[0].split(eval_batch(*report.card.image_size))
    results = [session.run(None, {"images": xb.numpy()}) for xb in parts]
    logits, probs = (torch.from_numpy(np.concatenate(one)) for one in zip(*results, strict=True))
    off = float((probs - probabilities(report.score.logits)).abs().max())
    wrong = int((predictions(logits) != predictions(report.score.logits)).sum())
    if wrong or not off <= TOLERANCE:
        raise RunError(f"onnxruntime: {wrong} other classes, probabilities off by {off:.0e}")
    return f"onnxruntime, {len(probs):,} images: classes equal, probabilities within {off:.0e}"
