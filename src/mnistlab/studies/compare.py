"""Two runs on the same images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnistlab.config import READING
from mnistlab.data.store import Progress
from mnistlab.devices import differences
from mnistlab.errors import DataError
from mnistlab.losses import predictions
from mnistlab.metrics import wilson_interval
from mnistlab.names import printable
from mnistlab.runs import Run
from mnistlab.scoring import RunScore, data_of, open_model, score_run


@dataclass(frozen=True)
class Paired:
    """How many images both get right, only A, only B, neither; together n ≥ 1."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        """Accuracy of B minus accuracy of A, -1…1."""
        return (self.only_b - self.only_a) / self.n

    @property
    def p_value(self) -> float:
        """McNemar's test, exact and two-sided, 0…1.

        If A and B were equally good, each image on which they disagree would fall to either with
        probability ½: the chance of a split at least this uneven. Q. McNemar, Psychometrika 12
        (1947), 153-157.
        """
        discordant = self.only_a + self.only_b
        fewer = min(self.only_a, self.only_b)
        tail, term = 0, 1  # term is the binomial coefficient, in integers: nothing is rounded
        for k in range(fewer + 1):
            tail += term
            term = term * (discordant - k) // (k + 1)
        return min(1.0, 2 * tail / (1 << discordant))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `difference`: Newcombe's square-and-add, for paired proportions.

        R. G. Newcombe, Statistics in Medicine 17 (1998), 2635-2650, method 10.
        """
        right_a, right_b = self.both + self.only_a, self.both + self.only_b
        p_a, p_b = right_a / self.n, right_b / self.n
        low_a, high_a = wilson_interval(right_a, self.n)
        low_b, high_b = wilson_interval(right_b, self.n)
        # the correlation of right and right, with the method's own continuity correction: a small
        # positive product counts as none
        product: float = self.both * self.neither - self.only_a * self.only_b
        if product > 0:
            product = max(0.0, product - self.n / 2)
        margins = right_a * (self.n - right_a) * right_b * (self.n - right_b)
        phi = product / math.sqrt(margins) if margins else 0.0

        def reach(x: float, y: float) -> float:
            return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

        return (
            max(-1.0, self.difference - reach(p_b - low_b, high_a - p_a)),
            min(1.0, self.difference + reach(high_b - p_b, p_a - low_a)),
        )


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` returns.

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
    classes = [open_model(run, best=best)[1].classes for run in (a, b)]
    if set(classes[0]) != set(classes[1]):
        faults = [
            f"{printable(run.name)}: knows the classes {', '.join(map(printable, own))}"
            for run, own in zip((a, b), classes, strict=True)
        ]
        raise DataError(printable(b.name), faults, "two runs are compared on the same ones")
    given = {key: value for key, value in (settings or {}).items() if value is not None}
    given.setdefault("threads", max(a.threads, b.threads))
    options = None
    if not given.keys() & {"data", *READING}:  # the others say how `data` is read
        given["data"], options = data_of(a)
    one, other = (
        score_run(run, given, split=split, best=best, options=options, progress=progress)
        for run in (a, b)
    )
    right_a, right_b = (predictions(score.logits) == score.labels for score in (one, other))
    paired = Paired(
        int((right_a & right_b).sum()),
        int((right_a & ~right_b).sum()),
        int((~right_a & right_b).sum()),
        int((~right_a & ~right_b).sum()),
    )
    records = [run.known_record() for run in (a, b)]
    first, second = (record.config.applicable() if record else {} for record in records)
    for settings_of, record in zip((first, second), records, strict=True):
        for key, code in record.sources.items() if record else ():
            settings_of[key] = f"{settings_of[key]} ({code['sha256'][:16]})"
    differing = differences(first, {**dict.fromkeys(first), **second})
    fingerprints = {record.data.fingerprint for record in records if record} - {""}
    notes = ["they were trained on different data; images that one has trained on favour it"]
    return Comparison(one, other, paired, differing, notes if len(fingerprints) > 1 else [])
