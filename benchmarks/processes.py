"""Timing whole processes from outside: wall seconds and peak memory as the system counts them."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """One finished process: wall seconds, peak resident megabytes, and what it printed last."""

    seconds: float
    megabytes: float
    last_line: str


def run(command: list[str], **environment: str) -> Cost:
    """Run `command` to its end. Raises RuntimeError with its stderr if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    printed = process.stdout.read()
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed\n{complaint}")
    lines = printed.strip().splitlines()
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there
    return Cost(seconds, usage.ru_maxrss * unit / 1e6, lines[-1] if lines else "")


def in_turns(commands: dict[str, list[str]], rounds: int) -> dict[str, list[Cost]]:
    """Each command once per round, A B C A B C …, so that a slow spell hits all of them alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            print(f"  round {number} of {rounds}: {name}", file=sys.stderr)
            cost = run(command)
            if number:  # round 0 warms the caches
                costs[name].append(cost)
    return costs


def median_of(costs: list[Cost], what: str) -> float:
    """The median of `seconds` or `megabytes`."""
    return float(statistics.median(getattr(cost, what) for cost in costs))


def told(costs: list[Cost]) -> list[dict[str, Any]]:
    """The JSON objects that the processes printed as their last lines."""
    return [json.loads(cost.last_line) for cost in costs]
