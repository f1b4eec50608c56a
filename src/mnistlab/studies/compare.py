"""Two runs on the same images."""

from dataclasses import dataclass
from typing import Any

import torch

from mnistlab.data.folders import Progress
from mnistlab.errors import DamagedFileError, DataError
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
    *,
    data: str | None = None,
    split: str = "valid",
    best: bool = False,
    skip_bad: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Comparison:
    """Score two runs on the same images: those of `data` (default: what A was trained on).

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
    if data is None:
        data, skip = data_of(a)
        skip_bad = skip_bad or skip
    scores = [
        score_run(
            run, data=data, split=split, best=best, skip_bad=skip_bad, device=device,
            progress=progress,
        )
        for run in (a, b)
    ]  # fmt: skip
    one, other = scores
    if not torch.equal(one.split.ds.tensors[0], other.split.ds.tensors[0]):
        raise DataError(data, [f"{printable(data)}: changed between the two scores; do it again"])
    right_a, right_b = (predictions(score.logits) == score.labels for score in scores)
    paired = Paired(
        int((right_a & right_b).sum()),
        int((right_a & ~right_b).sum()),
        int((~right_a & right_b).sum()),
        int((~right_a & ~right_b).sum()),
    )
    return Comparison(one, other, paired, _differing(a, b), _notes(a, b))


def _differing(a: Run, b: Run) -> dict[str, tuple[Any, Any]]:
    first, second = (_part(run, "config") for run in (a, b))
    return {
        key: (first.get(key), second.get(key))
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    }


def _notes(a: Run, b: Run) -> list[str]:
    notes = []
    prints = [_part(run, "data").get("fingerprint") for run in (a, b)]
    if None not in prints and prints[0] != prints[1]:
        notes.append(
            "they were trained on different data; images that one of them has seen in training "
            "favour it"
        )
    return notes


def _part(run: Run, key: str) -> dict[str, Any]:
    try:
        part = run.info().get(key)
    except (OSError, DamagedFileError):
        return {}
    return part if isinstance(part, dict) else {}
