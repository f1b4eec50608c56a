"""Killing a forked child at its n-th system call of a kind, for every n that matters.

strace attaches to this process and follows its forks. It counts the calls of every process on its
own and kills each at one fixed number, which no undisturbed child reaches; a child that is to die
at its k-th write makes as many harmless writes first as are missing. So one strace serves for all
points, and torch is imported once.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from campaign.tally import SkippedError

_NOWHERE = "/nowhere/at/all"
_NULL = os.open(os.devnull, os.O_RDWR)
# Calls that change a file or a name, and for each one that changes nothing.
HARMLESS: dict[str, Callable[[], object]] = {
    "write": lambda: os.write(_NULL, b""),
    "fsync": lambda: os.fsync(_NULL),
    "openat": lambda: os.open(_NOWHERE, os.O_RDONLY),
    "close": lambda: os.close(-1),
    "rename": lambda: os.rename(_NOWHERE, _NOWHERE),
    "unlink": lambda: os.unlink(_NOWHERE),
    "unlinkat": lambda: os.unlink(_NOWHERE, dir_fd=_NULL),
    "rmdir": lambda: os.rmdir(_NOWHERE),
    "mkdir": lambda: os.mkdir(_NOWHERE),
    "flock": lambda: fcntl.flock(_NULL, fcntl.LOCK_UN),
}
_CALL = re.compile(r"(?P<pid>\d+) +(?P<kind>\w+)\(")


@dataclass(frozen=True)
class Point:
    """The `number`-th call of a kind in a process, counted from 1."""

    kind: str
    number: int


def require_strace() -> None:
    """Raise SkippedError where strace cannot do this."""
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        raise SkippedError("strace's fault points are counted for Linux on x86-64")
    if shutil.which("strace") is None:
        raise SkippedError("strace is not installed")


@contextlib.contextmanager
def _traced(log: Path, *options: str) -> Iterator[None]:
    # where only ancestors may trace (Yama): anybody may trace this process
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
    tracer = subprocess.Popen(
        ["strace", "-f", "-y", "-qq", "-s0", "-o", log, *options, "-p", str(os.getpid())],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
            if tracer.poll() is not None:
                assert tracer.stderr is not None
                raise SkippedError(f"strace cannot attach: {tracer.stderr.read().strip()}")
            time.sleep(0.005)
        yield
    finally:
        tracer.send_signal(signal.SIGTERM)  # it lets go
        tracer.wait()


def fork(work: Callable[[], object]) -> int:
    """Do `work` in a child; its exit code, negative for a signal."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        work()
        os._exit(0)
    except SystemExit as leaving:
        os._exit(leaving.code if isinstance(leaving.code, int) else 1)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
        os._exit(99)


def points_of(
    work: Callable[[], object], folder: Path, log: Path
) -> tuple[list[Point], Counter[str]]:
    """Every call on something below `folder` that `work` makes in a child, and all its calls."""
    with _traced(log, f"--trace={','.join(HARMLESS)}"):
        code = fork(work)
    if code != 0:
        raise RuntimeError(f"the undisturbed child ended with {code}")
    points: list[Point] = []
    counts: Counter[str] = Counter()
    child = ""
    for line in log.read_text(errors="replace").splitlines():
        if not (call := _CALL.match(line)):
            continue
        # the first calls are of this process, if any; a thread of the child has a number too
        if int(call["pid"]) == os.getpid() or child not in ("", call["pid"]):
            continue
        child = call["pid"]
        counts[call["kind"]] += 1
        if str(folder) in line:
            points.append(Point(call["kind"], counts[call["kind"]]))
    return points, counts


def kill_at(
    points: Mapping[Point, Callable[[], object]], counts: Counter[str], log: Path
) -> dict[Point, int]:
    """Do each point's work in a child that is killed just before that call; the exit codes."""
    fixed = {kind: count + 20 for kind, count in counts.items()}
    options = [f"--inject={kind}:signal=SIGKILL:when={n}" for kind, n in fixed.items()]
    ended = {}
    with _traced(log, f"--trace={','.join(fixed)}", *options):
        for point, work in points.items():
            ended[point] = fork(lambda point=point, work=work: _late(point, fixed, work))  # type: ignore[misc]
    return ended


def _late(point: Point, fixed: Mapping[str, int], work: Callable[[], object]) -> None:
    harmless = HARMLESS[point.kind]
    for _ in range(fixed[point.kind] - point.number):
        with contextlib.suppress(OSError):
            harmless()
    work()
