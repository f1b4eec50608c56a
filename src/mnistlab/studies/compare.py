"""Two runs on the same images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mnistlab.data.folders import Progress
from mnistlab.errors import DataError
from mnistlab.losses import predictions
from mnistlab.metrics import Paired
from mnistlab.names import printable
from mnistlab.runs import Run
from mnistlab.scoring import RunScore, data_of, open_model, score_run


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` found.

    `settings` holds what differs: name → (of A, of B), None where a run has no such setting;
    `notes` says what a reader must know to judge the result.
    """

    a: RunScore
    b: RunScore
    paired: Paired
    settings: dict[str, tuple[Any, Any]]
    notes: list[str]


def compare_runs(
    a: Run,
    b: Run,
    settings: Mapping[str, Any] | None = None,
    *,
    split: str = "valid",
    best: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Score two runs on the same images: those of the setting `data`, else those of A.

    Classes are matched by name. Raises DataError if the two know different classes, and all that
    `score_run` raises.
    """
    cards = [open_model(run, best=best)[1] for run in (a, b)]
    if set(cards[0].classes) != set(cards[1].classes):
        raise DataError(
            printable(b.name),
            [
                f"{printable(run.name)}: knows the classes "
                f"{', '.join(map(printable, card.classes))}; two runs are compared on the same ones"
                for run, card in zip((a, b), cards, strict=True)
            ],
        )
    settings = {"threads": max(a.threads, b.threads), **_given(settings)}
    if "data" not in settings:
        settings["data"], skipped = data_of(a)
        settings["skip_bad"] = settings.get("skip_bad", skipped)
    scores = [score_run(run, settings, split=split, best=best, progress=progress) for run in (a, b)]
    one, other = scores
    if not torch.equal(one.split.ds.tensors[0], other.split.ds.tensors[0]):
        raise DataError(
            one.data, [f"{printable(one.data)}: changed between the two scores; do it again"]
        )
    right_a, right_b = (predictions(score.logits) == score.labels for score in scores)
    paired = Paired(
        int((right_a & right_b).sum()),
        int((right_a & ~right_b).sum()),
        int((~right_a & right_b).sum()),
        int((~right_a & ~right_b).sum()),
    )
    return Comparison(one, other, paired, _differing(a, b), _notes(a, b))


def _differing(a: Run, b: Run) -> dict[str, tuple[Any, Any]]:
    """The settings that differ, of those that apply; None where a run has no such setting."""
    settings = []
    for run in (a, b):
        record = run.known_record()
        settings.append(record.config.applicable() if record else {})
    first, second = settings
    return {
        key: (first.get(key), second.get(key))
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    }


def _notes(a: Run, b: Run) -> list[str]:
    records = [run.known_record() for run in (a, b)]
    fingerprints = {record.data.fingerprint for record in records if record}
    if len(fingerprints - {""}) < 2:
        return []
    return [
        "they were trained on different data; images that one of them has seen in training "
        "favour it"
    ]


def _given(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (settings or {}).items() if value is not None}
