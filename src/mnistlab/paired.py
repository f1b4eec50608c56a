"""Two classifiers on the same images: only the images on which they disagree tell them apart."""

import math
from dataclasses import dataclass

from mnistlab.metrics import wilson_interval


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
        tail, term = 0, 1  # term is the binomial coefficient, in whole numbers: nothing is rounded
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
        phi = self._correlation()

        def reach(x: float, y: float) -> float:
            return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

        return (
            max(-1.0, self.difference - reach(p_b - low_b, high_a - p_a)),
            min(1.0, self.difference + reach(high_b - p_b, p_a - low_a)),
        )

    def _correlation(self) -> float:
        # with the method's own continuity correction: a small positive product counts as none
        product: float = self.both * self.neither - self.only_a * self.only_b
        if product > 0:
            product = max(0.0, product - self.n / 2)
        margins = (
            (self.both + self.only_a)
            * (self.only_b + self.neither)
            * (self.both + self.only_b)
            * (self.only_a + self.neither)
        )
        return product / math.sqrt(margins) if margins else 0.0
