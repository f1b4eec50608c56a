"""What a row of the campaign tried, how often its promise held, and how trials run side by side."""

import os
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class SkippedError(Exception):
    """A row cannot be run on this machine; the text says why."""


@dataclass
class Tally:
    """Trials of one promise: each is counted once, and every one that failed is kept in words.

    `notes` are figures worth telling beside the count (a longest time, a largest growth).
    """

    tried: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def held(self) -> int:
        """How many trials held."""
        return self.tried - len(self.faults)

    def check(self, held: bool, fault: str) -> None:
        """Count one trial; `fault` says what was wrong if it did not hold."""
        self.tried += 1
        if not held:
            self.faults.append(fault)

    def add(self, other: "Tally") -> None:
        """Count the trials of `other` as well."""
        self.tried += other.tried
        self.faults += other.faults
        self.notes += other.notes


def side_by_side(
    trial: Callable[[T], str | None], items: Iterable[T], workers: int = CORES
) -> Tally:
    """Run `trial` on every item, `workers` at a time; it returns None where the promise held,
    else what was wrong. A trial that breaks did not hold.

    For trials that wait for processes of their own: they run in threads.
    """

    def tried(item: T) -> str | None:
        try:
            return trial(item)
        except SkippedError:
            raise
        except Exception as error:  # the other trials go on
            return f"the trial broke: {''.join(traceback.format_exception(error))[-1000:]}"

    tally = Tally()
    with ThreadPoolExecutor(workers) as pool:
        for fault in pool.map(tried, items):
            tally.check(fault is None, fault or "")
    return tally
