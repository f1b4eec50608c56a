"""Ctrl-C, termination and a lost terminal: finish the batch, save, then go."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class StopSignals:
    """Context in which the first signal asks for a stop and the second one ends at once.

    Call it to learn whether a stop was asked for. `exit_code` is 128 + the signal's number.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM, 129 for a lost terminal; 0 if none came."""
        return 0 if self.received is None else 128 + self.received

    def __enter__(self) -> "StopSignals":
        for number in SIGNALS:
            # A signal that the parent had us ignore (nohup) stays ignored.
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise SystemExit(128 + number)
        self.received = number
        # os.write, because the interrupted code may be in the middle of a print
        with contextlib.suppress(OSError, ValueError, AttributeError):
            text = b"stopping after this batch; once more to stop at once\n"
            os.write(sys.stderr.fileno(), text)


def end_on_termination() -> None:
    """Make SIGTERM an orderly exit (143), so that temporary files are removed on the way out."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in SIGNALS:
        if number != signal.SIGINT and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, leave)
