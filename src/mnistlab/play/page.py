"""A run as a page to play with: one HTML text with the weights, some images and the scripts."""

import base64
import hashlib
import inspect
import json
import zlib
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mnistlab.data.store import Progress
from mnistlab.errors import ConfigError, DataError, RunError
from mnistlab.models import MODELS
from mnistlab.names import printable
from mnistlab.runs import Run
from mnistlab.scoring import RunScore, open_model, score_run

FOLDER = Path(__file__).parent
_MAX_PIXELS = 400 * 28 * 28  # of all validation images of a page
_NUDGED = 200  # images on which a nudged weight of the linear model is tried


def make_page(
    run: Run, *, best: bool = False, progress: Progress | None = None
) -> tuple[str, str | None]:
    """The page of a run, and why it has no images, if it has none.

    Raises RunError, DamagedFileError, and ConfigError for a model that a page cannot run.
    """
    payload, missing = payload_of(run, best=best, progress=progress)
    style, *scripts = _text("page.css"), _text("net.js", "ink.js"), _text("page.js")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_source, scripts))}; "
        f"style-src {_source(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=f"{payload['model']}: {payload['run']}",
        policy=Markup(policy),  # of nothing but hashes
        css=Markup(style),
        scripts=list(map(Markup, scripts)),
        # so that no name ends the script
        payload=Markup(json.dumps(payload).replace("<", "\\u003c")),
        model=payload["model"],
        has_images=payload["valid"] is not None,
    )
    return page, missing


def payload_of(
    run: Run, *, best: bool = False, progress: Progress | None = None
) -> tuple[dict[str, Any], str | None]:
    """What the scripts of the page get, in plain values; and why it has no images, or None."""
    model, card = open_model(run, best=best)
    name = printable(run.name)
    if card.model == "resnet18":
        raise ConfigError(f"{name}: a page cannot run resnet18; use: mnistlab predict")
    if card.ground is None:
        raise ConfigError(
            f"{name}: its images have no even ground, so that a drawing cannot be made like "
            "them; use: mnistlab predict"
        )
    arguments = inspect.signature(MODELS[card.model]).parameters.values()
    defaults = {one.name: one.default for one in arguments if one.default is not one.empty}
    payload: dict[str, Any] = {
        "schema_version": 1,
        "run": run.name,
        "model": card.model,
        "classes": card.classes,
        "image_size": card.image_size,
        "settings": defaults | card.settings,
        "ground": card.ground,
        "fit": card.fit,
        "tensors": {
            key: {"shape": list(tensor.shape), "data": _base64(tensor.float().contiguous())}
            for key, tensor in model.state_dict().items()
        },
        "calibration": None,
        "accuracy": None,
        "n_valid": None,
        "valid": None,
        "nudge": None,
    }
    try:
        score = score_run(run, best=best, progress=progress)
    except (DataError, RunError) as error:
        return payload, str(error)
    payload |= {"accuracy": score.evaluation.accuracy, "n_valid": score.evaluation.n}
    height, width = card.image_size
    wrong = [verdict.index for verdict in score.mistakes()]
    count = max(_MAX_PIXELS // (height * width), 1)
    mistakes = wrong[: count // 2]
    rest = torch.linspace(0, score.evaluation.n - 1, min(count - len(mistakes), score.evaluation.n))
    rows = [*mistakes, *(row for row in rest.long().tolist() if row not in set(mistakes))]
    payload["valid"] = _images(score, rows) | {"mistakes": list(range(len(mistakes)))}
    if card.model == "linear":
        spread = torch.linspace(0, score.evaluation.n - 1, min(_NUDGED, score.evaluation.n))
        payload["nudge"] = _images(score, spread.long().tolist())
    return payload, None


def _images(score: RunScore, rows: list[int]) -> dict[str, Any]:
    """The images at `rows`, with their labels and names."""
    return {
        "images": _base64(zlib.compress(score.split.ds.tensors[0][rows].numpy().tobytes(), 9)),
        "labels": score.labels[rows].tolist(),
        "names": [score.split.path_of(row) for row in rows],
    }


def _text(*names: str) -> str:
    return "\n".join((FOLDER / name).read_text("utf-8") for name in names)


def _source(text: str) -> str:
    """How a policy names a script or a style that may run: by its hash."""
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"


def _base64(content: bytes | torch.Tensor) -> str:
    if isinstance(content, torch.Tensor):
        content = content.numpy().astype("<f4").tobytes()
    return base64.b64encode(content).decode()
