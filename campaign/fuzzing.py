"""The readers of files meet random and searched-for input with no errors but our own.

hypothesis changes sound files at random; atheris, where it is installed, searches for input that
reaches new lines of mnistlab. Run as a module with a target, seconds and a folder it is one search.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from campaign.tally import CORES, Tally, side_by_side

SEARCH = 600.0  # seconds, all targets together
CASES = 1000  # of hypothesis, for each of the five targets
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def quick(folder: Path) -> Tally:
    """5,000 cases, the same every time."""
    return _at_random(folder, CASES)


def full(folder: Path) -> Tally:
    """The same, and the search; without atheris random cases for as long."""
    tally = _at_random(folder, CASES)
    tally.notes.append(f"{tally.tried:,} of them by hypothesis")
    if find_spec("atheris") is None:
        more = _for_as_long(folder)
        tally.notes.append("atheris is not installed: hypothesis for as long instead")
    else:
        more = _searches(folder)
    tally.add(more)
    return tally


def _at_random(folder: Path, cases: int, seed: int | None = None) -> Tally:
    from campaign.fuzz_targets import TARGETS

    tally = Tally()
    for name in TARGETS:
        _hypothesis(name, folder, cases, seed, tally)
    return tally


def _hypothesis(name: str, folder: Path, cases: int, seed: int | None, tally: Tally) -> None:
    import hypothesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    from campaign.fuzz_targets import TARGETS, seeds

    edits = st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=6), st.integers(0, 8)),
                     min_size=1, max_size=5)  # fmt: skip
    inputs: Any = st.builds(_edited, st.sampled_from(seeds(name)), edits)
    if name == "checkpoint":
        inputs |= _claims()
    with tempfile.TemporaryDirectory(dir=folder) as own:

        @settings(max_examples=cases, derandomize=seed is None, database=None, deadline=None,
                  phases=(Phase.generate,), suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(data=inputs | st.binary(max_size=300))
        def trial(data: bytes) -> None:
            try:
                TARGETS[name](data, Path(own))
                fault = ""
            except Exception:
                fault = traceback.format_exc(limit=-3)
            tally.check(not fault, f"{name}: {data!r:.300}: {fault}")

        (trial if seed is None else hypothesis.seed(seed)(trial))()


def _edited(start: bytes, edits: list[tuple[int, bytes, int]]) -> bytes:
    for place, piece, gone in edits:
        place %= len(start) + 1
        start = start[:place] + piece + start[place + gone :]
    return start


def _claims() -> Any:
    """Metadata in which one value is any JSON."""
    from hypothesis import strategies as st

    from campaign.hostile_files import sound

    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    anything = st.recursive(plain, lambda inner: st.lists(inner, max_size=3)
                            | st.dictionaries(st.text(max_size=9), inner, max_size=3))  # fmt: skip
    metas = {kind: json.loads(sound(kind)[0]["__metadata__"]["mnistlab"])
             for kind in ("model", "resume")}  # fmt: skip

    def claimed(kind: str, key: int, inner: bool, value: Any) -> bytes:
        meta = dict(metas[kind])
        part = meta["card"] = dict(meta["card"])
        part = part if inner else meta
        part[sorted(part)[key % len(part)]] = value
        return (b"\2" if kind == "model" else b"\x82") + json.dumps(meta).encode()

    return st.builds(
        claimed, st.sampled_from(sorted(metas)), st.integers(0, 20), st.booleans(), anything
    )


def _for_as_long(folder: Path) -> Tally:
    tally, started, seed = Tally(), time.monotonic(), 0
    while time.monotonic() - started < SEARCH:
        seed += 1
        tally.add(_at_random(folder, CASES, seed))
    return tally


def _searches(folder: Path) -> Tally:
    from campaign.fuzz_targets import TARGETS

    seconds = int(SEARCH * CORES / len(TARGETS))
    counts: dict[str, int] = {}

    def search(name: str) -> str | None:
        own = folder / name
        own.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "campaign.fuzzing", name, str(seconds), str(own)],
            capture_output=True, text=True, errors="backslashreplace", check=False,
            timeout=seconds + 300, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        found = _EXECUTED.search(done.stderr)
        counts[name] = int(found[1]) if found else 0
        if done.returncode == 0 and found:
            return None
        return f"{name}: exit {done.returncode}: {done.stdout[-2000:]} {done.stderr[-1500:]}"

    tally = side_by_side(search, TARGETS, min(CORES, len(TARGETS)))
    tally.tried = sum(counts.values()) + len(tally.faults)
    told = ", ".join(f"{name} {counts[name]:,}" for name in TARGETS)
    tally.notes.append(f"atheris for {seconds} s each: {told}")
    return tally


def _search(name: str, seconds: str, folder: Path) -> None:
    """Search for input that a target fails on, in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["mnistlab", "PIL", "tomllib"]):
        from campaign.fuzz_targets import TARGETS, seeds
    corpus, own = folder / "corpus", folder / "own"
    for made in (corpus, own):
        made.mkdir()
    for number, content in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(content)

    def trial(data: bytes) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            TARGETS[name](data, own)

    options = [f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=30", "-seed=1",
               "-rss_limit_mb=4096", "-max_len=8192", f"-artifact_prefix={folder}/"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], trial)
    atheris.Fuzz()


if __name__ == "__main__":
    _search(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
