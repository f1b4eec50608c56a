"""A run as one HTML page: no network, no script, nothing beside the file."""

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mnistlab import __version__
from mnistlab.metrics import Evaluation, wilson_interval
from mnistlab.names import printable
from mnistlab.report import facts, gallery
from mnistlab.report.gallery import Gathered
from mnistlab.report.history import (
    best_epoch,
    curves_of,
    epochs_of,
    mapping,
    number,
    result_of,
    seeds_of,
)
from mnistlab.report.pictures import Images, worst_pairs
from mnistlab.report.png import data_uris
from mnistlab.report.svg import chart

_ROWS = 200  # of a table; a run of a million epochs must not make a page that no browser opens
_PAIRS = 30


def render(found: Gathered) -> str:
    """The page. A function of the run and the data alone: the same ones, the same bytes."""
    loader = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = {**_head(found), **_scores(found), **_progress(found), **_images(found)}
    content |= {
        "settings": facts.settings(found.info),
        "counts": facts.counts(found.info),
        "data_facts": facts.data_facts(found.info),
        "environment": facts.environment(found.info),
        "files": facts.files(found.run.path),
        "sha256": facts.sha256_of(found),
        "repeat": facts.repeat(found),
        "version": __version__,
    }
    return loader.get_template("page.html.j2").render(content) + "\n"


def _shown(value: Any) -> Any:
    """Text from files, made visible: no control character reaches the page."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)


def _head(found: Gathered) -> dict[str, Any]:
    config = mapping(found.info.get("config"))
    score = found.score
    data = score.data if score else str(config.get("data", "unknown data"))
    return {
        "title": f"{found.card.model} on {Path(data).name or data}",
        "about": facts.about(found),
        "n_classes": len(found.card.classes),
        "weights": facts.which_weights(found),
        "data": data,
        "split": score.split_name if score else "valid",
        "notes": facts.notes(found),
        "headline": _headline(found),
    }


def _headline(found: Gathered) -> dict[str, Any] | None:
    """The figures on top: those scored now; without the data, those that the run noted down."""
    if found.score:
        return _figures_of(found.score.evaluation)
    result, data = result_of(found.info), mapping(found.info.get("data"))
    rows = epochs_of(found.info)
    accuracy = result.get("accuracy")
    if found.best:
        accuracy = mapping(result.get("best")).get("accuracy")
        rows = [row for row in rows if row["epoch"] == best_epoch(found.info)]
    if not number(accuracy):
        return None
    figures: dict[str, Any] = {"accuracy": f"{accuracy:.6f}", "balanced": None, "loss": None}
    if rows:
        figures["loss"] = f"{rows[-1]['valid_loss']:.6f}"
    n = sum(count for count in mapping(data.get("valid")).values() if isinstance(count, int))
    return {**figures, **_counted(round(accuracy * n), n)}


def _figures_of(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "accuracy": f"{evaluation.accuracy:.6f}",
        "balanced": f"{evaluation.balanced_accuracy:.6f}",
        "loss": f"{evaluation.loss:.6f}",
        **_counted(evaluation.correct, evaluation.n),
    }


def _counted(correct: int, n: int) -> dict[str, Any]:
    if not n:
        return {"correct": None}
    low, high = wilson_interval(correct, n)
    wrong = n - correct
    return {
        "correct": f"{correct:,}",
        "n": f"{n:,}",
        "wrong": f"{wrong:,}",
        "low": f"{low:.4f}",
        "high": f"{high:.4f}",
    }


def _scores(found: Gathered) -> dict[str, Any]:
    """The table of classes and the confusion matrix; of many classes, the worst."""
    if found.score is None:
        return {"per_class": None, "confusion": None}
    evaluation = found.score.evaluation
    precision, recall, f1 = evaluation.precision, evaluation.recall, evaluation.f1
    names = list(recall)
    if len(names) > _ROWS:
        names = sorted(names, key=lambda name: recall[name])[:_ROWS]
    rows = [
        (
            name,
            f"{evaluation.counts_of(name)[1]:,}",
            f"{recall[name]:.4f}",
            None if (share := precision[name]) is None else f"{share:.4f}",
            f"{f1[name]:.4f}",
        )
        for name in names
    ]
    left_out = len(recall) - len(names)
    per_class = {
        "rows": rows,
        "left_out": left_out,
        "recall": f"{evaluation.balanced_accuracy:.4f}",
        "f1": f"{evaluation.macro_f1:.4f}",
    }
    return {"per_class": per_class, "confusion": _confusion(evaluation)}


def _confusion(evaluation: Evaluation) -> dict[str, Any]:
    matrix = gallery.confusion_matrix(evaluation)
    pairs = worst_pairs(matrix)
    cells = None
    if len(matrix.rows) <= gallery.CLASSES_SHOWN:
        most = pairs[0][0] if pairs else 1
        cells = [
            [
                (
                    f"{count:,}",
                    "hit" if i == k else "miss",
                    # a share of the row for what is right, of the worst pair for what is not
                    f"{count / (sum(row) or 1) if i == k else count / most:.3f}",
                )
                for k, count in enumerate(row)
            ]
            for i, row in enumerate(matrix.counts)
        ]
    return {
        "names": matrix.rows,
        "cells": cells,
        "pairs": pairs[:_PAIRS],
        "left_out": len(pairs) - len(pairs[:_PAIRS]),
    }


def _progress(found: Gathered) -> dict[str, Any]:
    """Curves, and the epochs as a table for those who cannot see them."""
    rows = epochs_of(found.info)
    best = best_epoch(found.info)
    step = -(-len(rows) // _ROWS) or 1
    kept = [
        row
        for place, row in enumerate(rows)
        if place % step == 0 or place == len(rows) - 1 or row["epoch"] == best
    ]
    curves = curves_of(found.info)
    return {
        "charts": [(curve, chart(curve, f"chart{i}")) for i, curve in enumerate(curves)],
        "epochs": [
            {
                "epoch": f"{row['epoch']}",
                "best": row["epoch"] == best,
                **{key: f"{row[key]:.6f}" for key in ("train_loss", "valid_loss", "accuracy")},
            }
            for row in kept
        ],
        "step": step,
        "trained": "epochs" in mapping(found.info.get("config")),
        "spread": facts.spread(found.info),
        "seeds": [_seed(row) for row in seeds_of(found.info)[:_ROWS]],
        "n_seeds": len(seeds_of(found.info)),
    }


def _seed(row: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ("train_loss", "valid_loss", "accuracy")
    if row.get("diverged"):
        return (str(row.get("seed")), "", "", "diverged")
    figures = (f"{row[key]:.6f}" if number(row.get(key)) else "" for key in keys)
    return (str(row.get("seed")), *figures)


def _images(found: Gathered) -> dict[str, Any]:
    score, weights = found.score, gallery.weight_images(found.model, found.card)
    mistakes = samples = None
    if score is not None:
        mistakes = _section(gallery.mistake_images(score))
        for tile in mistakes["tiles"]:
            taken, sure, file = tile["lines"]
            # short, as three of them stand side by side on a phone; the alt text has all
            tile["caption"] = [taken, sure.split(" ")[-1], file.partition("/")[2]]
        samples = _by_class(gallery.sample_images(score.split, score.split_name))
    classes = found.card.classes
    return {
        "mistakes": mistakes,
        "samples": samples,
        "weights_images": None if weights is None else _section(weights),
        "signed": weights is not None and weights.signed,
        "units": weights is not None and weights.title.startswith("Hidden"),
        "pair": classes if len(classes) == 2 else None,
        "kind": found.card.model,
    }


def _by_class(picture: Images) -> dict[str, Any]:
    tiles = _section(picture)["tiles"]
    # the first line of a name is the class
    return {"groups": [(name, list(own)) for name, own in groupby(tiles, lambda t: t["lines"][0])]}


def _section(picture: Images) -> Mapping[str, Any]:
    tiles = [
        {"lines": lines, "caption": lines, "uri": Markup(uri), "height": height, "width": width}
        for name, uri, (height, width) in data_uris(picture)
        for lines in [name.split("\n")]
    ]
    return {"title": picture.title, "tiles": tiles}
