"""Work done in a copy of this process: a crash, a hang or a gigabyte there does no harm here."""

import io
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from campaign.tally import SkippedError
from mnistlab.errors import MnistlabError

TIMEOUT = 60  # seconds
LOADED, REFUSED, BROKEN = 0, 1, 70  # how `in_child` ends


@dataclass(frozen=True)
class Told:
    """How work in a child ended: exit code (128 + signal), all that it wrote, seconds of computing,
    which other work beside it does not change, and by how many MB it grew to its peak."""

    code: int
    text: str
    seconds: float
    growth: float

    @property
    def plainly(self) -> bool:
        """Whether nothing in the text looks like a traceback."""
        return "Traceback (most recent call last)" not in self.text


def in_child(work: Callable[[], object]) -> Told:
    """Do `work` in a forked child: LOADED where it ends, REFUSED, with the message, where it raises
    an error of ours or FileNotFoundError, BROKEN, with the traceback, for anything else."""
    if sys.platform != "linux":
        raise SkippedError("forks and memory at the peak are measured as Linux does it")
    with tempfile.TemporaryFile() as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads; here is one
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            _child(work, stream.fileno())
        _, status, used = os.wait4(child, 0)
        seconds = used.ru_utime + used.ru_stime
        stream.seek(0)
        text, _, growth = stream.read().decode(errors="backslashreplace").rpartition("\0")
    code = os.waitstatus_to_exitcode(status)
    return Told(128 - code if code < 0 else code, text, seconds, float(growth or "nan"))


def in_process(work: Callable[[], object]) -> Told:
    """As `in_child`, but here: for many trials in one child, whose peak they share."""
    out = io.StringIO()
    before, started = _peak(), time.process_time()
    code = _outcome(work, out)
    return Told(code, out.getvalue(), time.process_time() - started, (_peak() - before) / 1024)


def _child(work: Callable[[], object], fd: int) -> None:
    signal.alarm(TIMEOUT)
    before = _peak()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    raw = open(fd, "wb", buffering=0, closefd=False)  # noqa: SIM115
    out = io.TextIOWrapper(raw, write_through=True)
    sys.stdout = sys.stderr = out
    code = _outcome(work, out)
    sys.stdout = sys.stderr = out  # a command may have put others there
    out.write(f"\0{(_peak() - before) / 1024}")
    os._exit(code)


def _outcome(work: Callable[[], object], out: TextIO) -> int:
    try:
        work()
    except (MnistlabError, FileNotFoundError) as error:
        out.write(f"{error}\n")
        return REFUSED
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else BROKEN
    except BaseException:
        out.write(traceback.format_exc())
        return BROKEN
    return LOADED


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on Linux


def command(*arguments: object) -> Told:
    """Run `mnistlab ARGUMENTS` in a forked child, where torch is imported already."""

    def work() -> None:
        from mnistlab.__main__ import main

        sys.argv = ["mnistlab", *map(str, arguments)]
        main()

    return in_child(work)
