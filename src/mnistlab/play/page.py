"""A run as one HTML file to draw on: its weights, some of its images, and the scripts."""

import base64
import hashlib
import inspect
import json
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from jinja2 import Template
from markupsafe import Markup
from torch import nn

from mnistlab.calibration import calibration_of
from mnistlab.config import MODEL_NAMES
from mnistlab.data.store import Progress
from mnistlab.errors import ConfigError, DataError, RunError
from mnistlab.language import _, language
from mnistlab.models import ModelCard
from mnistlab.names import printable
from mnistlab.runs import Run
from mnistlab.scoring import RunScore, open_model, score_run

FOLDER = Path(__file__).parent
_MAX_PIXELS = 400 * 28 * 28  # of all validation images of a page


def make_page(run: Run, *, best: bool = False, progress: Progress | None = None) -> tuple[str, str]:
    """The page of a run; and what it lacks and why, if anything: images, the calibration.

    Raises RunError, DamagedFileError, and ConfigError for a model that no page can run.
    """
    record, refusal = run.known_record(), f"{printable(run.name)}: {{}}; use: mnistlab predict"
    name = Path(record.config.model).name if record else "linear"
    if name not in MODEL_NAMES:  # and is not opened: that may ask for trust
        raise ConfigError(refusal.format(f"no page can run {printable(name)}"))
    model, card = open_model(run, best=best)
    if card.model not in MODEL_NAMES or card.model == "resnet18":
        raise ConfigError(refusal.format(f"no page can run {printable(card.model)}"))
    if card.ground is None:
        why = "its images have no even ground, so no drawing can be made like them"
        raise ConfigError(refusal.format(why))
    payload: dict[str, Any] = {"schema_version": 1, "run": run.name, **model_payload(model, card)}
    payload |= dict.fromkeys(("calibration", "accuracy", "n_valid", "valid", "nudge"))
    calibration, missing = calibration_of(run, model), []
    if calibration and calibration.card.image_size != card.image_size:
        missing += ["the calibration: of 28 x 28 alone; predict says where it is not sure"]
    elif calibration:
        guard = model_payload(calibration.guard, calibration.card)
        payload["calibration"] = {**calibration.figures(), "guard": guard}
    try:
        payload |= _valid_payload(score_run(run, best=best, progress=progress))
    except (DataError, RunError) as error:
        missing += [f"no images of the run: {error}"]

    def text(*names: str) -> Markup:
        return Markup("\n".join((FOLDER / name).read_text("utf-8") for name in names))

    css, scripts = text("page.css"), (text("net.js", "ink.js"), text("page.js"))
    if language() != "en":
        texts = re.findall(r'\b_\("(.+?)"', "".join(scripts))
        payload["texts"] = {english: _(english) for english in texts}
    # A browser runs no script and takes no style but those with these hashes, and loads nothing.
    digests = [hashlib.sha256(part.encode()).digest() for part in (css, *scripts)]
    style, *code = (f"'sha256-{_base64(digest)}'" for digest in digests)
    policy = f"default-src 'none'; script-src {' '.join(code)}; style-src {style}; "
    return Template(
        text("page.html.j2"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).render(
        payload
        | {
            "_": _,
            "language": language,
            "title": f"{card.model}: {run.name}",
            "policy": Markup(policy + "img-src data: blob:; base-uri 'none'; form-action 'none'"),
            "css": css,
            "scripts": scripts,
            # so that no name ends the script
            "payload": Markup(json.dumps(payload).replace("<", "\\u003c")),
        }
    ), "; ".join(missing)


def model_payload(model: nn.Module, card: ModelCard) -> dict[str, Any]:
    """What `readModel` in net.js makes the model of."""
    own = inspect.signature(type(model)).parameters.values()
    defaults = {one.name: one.default for one in own if one.default is not one.empty}
    tensors = {
        name: {"shape": [*tensor.shape], "data": _base64(tensor.float().contiguous().numpy())}
        for name, tensor in model.state_dict().items()
    }
    values = {
        key: getattr(card, key) for key in ("model", "classes", "image_size", "ground", "fit")
    }
    return values | {"settings": defaults | card.settings, "tensors": tensors}


def _valid_payload(score: RunScore) -> dict[str, Any]:
    """Some validation images, the mistakes first; of a linear model also 200 to nudge it on."""

    def images(rows: list[int]) -> dict[str, Any]:
        levels = score.split.ds.tensors[0][rows].numpy()
        names = [score.split.path_of(row) for row in rows]
        packed = _base64(zlib.compress(levels.tobytes(), 9))
        return {"images": packed, "labels": score.labels[rows].tolist(), "names": names}

    def spread(count: int) -> list[int]:
        n = score.evaluation.n
        return torch.linspace(0, n - 1, min(count, n)).long().tolist()

    height, width = score.card.image_size
    count = max(_MAX_PIXELS // (height * width), 2)
    wrong = [verdict.index for verdict in score.mistakes(count // 2)]
    others = [row for row in spread(count - len(wrong)) if row not in wrong]
    return {
        "accuracy": score.evaluation.accuracy,
        "n_valid": score.evaluation.n,
        "valid": images(wrong + others) | {"mistakes": [*range(len(wrong))]},
        "nudge": images(spread(200)) if score.card.model == "linear" else None,
    }


def _base64(content: Any) -> str:
    return base64.b64encode(content).decode()
