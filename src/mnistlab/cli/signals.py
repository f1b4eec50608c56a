"""Ctrl-C, termination, a lost terminal, a warning of a batch system: finish the batch, save, go."""

import contextlib
import os
import signal
import sys
import time
import traceback
from types import FrameType

# SIGBREAK: Ctrl-Break on Windows, and what it sends when the window is closed
SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK", "SIGUSR1", "SIGXCPU")
    if hasattr(signal, name)
]
# By these a batch system or a limit of CPU time says that the end is near. They may come again,
# SIGXCPU every second, which is no reason to hurry.
WARNINGS = SIGNALS[-2:] if hasattr(signal, "SIGXCPU") else []


def exit_code_of(number: int) -> int:
    """128 + the number of the signal; SIGBREAK counts as SIGTERM, which Windows does not send."""
    return 128 + (signal.SIGTERM if number == getattr(signal, "SIGBREAK", None) else number)


class StopSignals(contextlib.ExitStack):
    """Context in which the first signal asks for a stop and the second one ends at once.

    Call it to learn whether a stop was asked for. `exit_code` is 128 + the signal's number.
    """

    received: int | None = None
    counts_from = 0.0  # time from which on a further signal is a second wish

    def __call__(self) -> bool:
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM, 129 for a lost terminal, …; 0 if none came."""
        return 0 if self.received is None else exit_code_of(self.received)

    def __enter__(self) -> "StopSignals":
        for number in SIGNALS:
            # A signal that the parent had us ignore (nohup) stays ignored.
            if signal.getsignal(number) != signal.SIG_IGN:
                self.callback(signal.signal, number, signal.signal(number, self._handle))
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if number in WARNINGS or time.monotonic() < self.counts_from:
                return
            raise SystemExit(exit_code_of(number))
        self.received = number
        if "RANK" in os.environ:  # a batch system and torchrun may both pass on the same signal
            self.counts_from = time.monotonic() + 1
        # os.write, because the interrupted code may be in the middle of a print
        with contextlib.suppress(OSError, ValueError, AttributeError):
            again = b"" if number in WARNINGS else b"; once more to stop at once"
            os.write(sys.stderr.fileno(), b"stopping after this batch" + again + b"\n")


def end_on_signals() -> None:
    """Make every signal an orderly exit with 128 + its number, without a word, from now on."""
    begun = False

    def leave(number: int, frame: FrameType | None) -> None:
        nonlocal begun
        # While a module is imported, or pydantic builds its checks, there is nothing to tidy up,
        # and an exception could be lost or shown on the way: libraries catch it, and what a
        # module's lock calls back swallows it.
        # And whoever asks twice does not want to wait.
        if begun and number in WARNINGS:
            return
        callers = [caller.f_code.co_filename for caller, _ in traceback.walk_stack(frame)]
        building = ("<frozen importlib._bootstrap>", os.path.join("pydantic", "_internal"))
        if begun or any(part in name for part in building for name in callers):
            os._exit(exit_code_of(number))
        begun = True
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(exit_code_of(number))

    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, leave)


def ignore_signals() -> None:
    """Let no signal change how a process ends that is on its way out."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
