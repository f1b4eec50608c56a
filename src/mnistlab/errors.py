"""Every error that mnistlab raises on purpose.

    MnistlabError
    ├── RequestError       exit 2: it cannot be done as asked
    │   ├── ConfigError    a setting, a config file, a name
    │   └── DataError      a folder of images; carries every fault found, not only the first
    ├── RunError           exit 1: it failed while running
    │   ├── DamagedFileError
    │   ├── DivergedError
    │   └── LockedError
    └── CheckError         exit 3: a check that was asked for does not hold

A message says what is wrong, where, and what to do. The command line catches the base class and
prints `str(error)`; nothing below the command line prints or exits.
"""

import errno
import re
from collections.abc import Sequence

FAULTS_SHOWN = 20


class MnistlabError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what the command line exits with."""

    exit_code = 1


class RequestError(MnistlabError):
    """It cannot be done as asked: wrong usage, settings or data."""

    exit_code = 2


class ConfigError(RequestError):
    """A setting, a config file or a name that is not usable."""


class DataError(RequestError):
    """A data folder that cannot be used.

    `faults` holds one line each; the message shows the first `FAULTS_SHOWN` and counts the rest.
    """

    def __init__(self, where: str, faults: Sequence[str], advice: str = "") -> None:
        self.where = where
        self.faults = list(faults)
        lines = self.faults[:1]
        if len(faults) != 1:
            lines = [f"{where}: {len(faults)} faults"]
            lines += [f"  {fault}" for fault in self.faults[:FAULTS_SHOWN]]
        if len(faults) > FAULTS_SHOWN:
            lines.append(f"  ... and {len(faults) - FAULTS_SHOWN} more")
        super().__init__("\n".join([*lines, advice] if advice else lines))


class RunError(MnistlabError):
    """It failed while running: a disk, a file, a device."""


class DamagedFileError(RunError):
    """A file of ours that is not what was written: truncated, flipped bits, foreign."""


class DivergedError(RunError):
    """The loss or a weight stopped being a finite number."""


class LockedError(RunError):
    """Another process is working on the same run."""


class CheckError(MnistlabError):
    """A check that was asked for (`--min-accuracy`, `verify`, …) does not hold."""

    exit_code = 3


# No library has a class of its own for it on every device. torch: "DefaultCPUAllocator: can't
# allocate memory: you tried to allocate …", "CUDA out of memory", CUBLAS_STATUS_ALLOC_FAILED;
# oneDNN: "could not create a primitive".
_NO_MEMORY = re.compile(
    r"(can't|cannot|could not|failed to) allocate|not enough memory|out of memory|bad_alloc|"
    r"ALLOC_FAILED|could not create a (primitive|memory)\b(?! desc)",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is what Python, torch or the system says when memory ends."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        return _NO_MEMORY.search(str(error)) is not None
    return isinstance(error, MemoryError)
