"""A run's model as an ONNX file, which needs neither torch nor mnistlab, with a model card."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mnistlab import __version__
from mnistlab.data.batches import eval_batch, to_float
from mnistlab.data.store import Progress
from mnistlab.eject import ENVIRONMENT
from mnistlab.errors import RunError
from mnistlab.files import write_file
from mnistlab.losses import predictions, probabilities
from mnistlab.metrics import wilson_interval
from mnistlab.names import printable
from mnistlab.runs import Run
from mnistlab.scoring import open_model, score_run
from mnistlab.storage import weights_sha256

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


def export_onnx(
    run: Run, path: Path, settings: Mapping[str, Any], best: bool, progress: Progress | None = None
) -> dict[str, str]:
    """Write the model of `run` to `path`, and a model card to that name with `.md` behind.

    settings: as for `score_run`. Returns what the file says of itself, and how it was checked.
    Raises RunError, with nothing written, where onnxruntime disagrees; and as `score_run` does.
    """
    import onnxruntime

    (model, card), record = open_model(run, best=best), run.record()
    score = score_run(run, {**settings, "device": "cpu"}, best=best, progress=progress)
    height, width = card.image_size
    facts = {
        "run": printable(run.name),
        "model": f"{printable(Path(card.model).name)}, {'best' if best else 'last'} weights",
        "weights_sha256": weights_sha256(model.state_dict()),
        "classes": json.dumps(card.classes),
        "input": f"images, uint8 (n, {height}, {width}): pixels 0 to 255",
        "prepared": "as mnistlab predict --save-prepared DIR writes images",
        "opset": str(OPSET),
        "mnistlab": __version__,
    }
    # torch warns of its own code
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        program = torch.onnx.export(
            Whole(model).eval(),
            (torch.zeros(2, height, width, dtype=torch.uint8),),  # of 1, the batch would stay 1
            input_names=["images"],
            output_names=["logits", "probabilities"],
            dynamic_shapes=({0: "n"},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(facts)
    for node in program.model.graph:
        node.metadata_props.clear()  # they name folders of this machine
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = score.split.ds.tensors[0].split(eval_batch(height, width))
    results = [session.run(None, {"images": xb.numpy()}) for xb in parts]
    logits, probs = (torch.from_numpy(np.concatenate(one)) for one in zip(*results, strict=True))
    off = float((probs - probabilities(score.logits)).abs().max())
    wrong = int((predictions(logits) != predictions(score.logits)).sum())
    if wrong or not off <= TOLERANCE:
        raise RunError(f"onnxruntime: {wrong} other classes, probabilities off by {off:.0e}")
    facts["checked"] = f"onnxruntime, {len(probs):,} images: probabilities within {off:.0e}"
    text = ENVIRONMENT.from_string(CARD).render(
        facts=facts,
        trained_on=printable(Path(record.config.data).name),
        scored_on=printable(Path(score.data).name),
        data=record.data,
        evaluation=score.evaluation,
        interval=wilson_interval,
    )
    write_file(path.with_name(f"{path.name}.md"), text.encode())
    write_file(path, content)
    return facts
