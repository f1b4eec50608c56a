"""The readers of files meet random and searched-for input with no errors but our own.

hypothesis changes sound files at random; under `--campaign` atheris, where it is installed,
searches for input that reaches new lines of mnistlab (fuzz_targets.py).
"""

import re
import subprocess
import sys
import tempfile
import traceback
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.reliability.fuzz_targets import TARGETS, seeds
from tests.reliability.processes import CHECKOUT

SEARCH = 240  # seconds for each target


def edited(start: bytes, edits: list[tuple[int, bytes, int]]) -> bytes:
    for place, piece, deleted in edits:
        place %= len(start) + 1
        start = start[:place] + piece + start[place + deleted :]
    return start


@pytest.mark.parametrize("target", TARGETS)
def test_random_input_raises_no_errors_but_ours(target: str, tally: Tally, tmp_path: Path) -> None:
    sound = seeds(target, tmp_path)
    edit = st.tuples(st.integers(0, 4000), st.binary(max_size=6), st.integers(0, 8))
    changed = st.builds(edited, st.sampled_from(sound), st.lists(edit, min_size=1, max_size=5))

    @settings(settings.get_profile("reliability"))
    @given(data=changed | st.binary(max_size=300))
    def trial(data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as own:
            try:
                TARGETS[target](data, Path(own))
                fault = ""
            except Exception:
                fault = traceback.format_exc(limit=-3)
        tally.check(f"{target}: {data!r:.300}", fault)

    for content in sound:
        TARGETS[target](content, tmp_path)
    trial()


@pytest.mark.parametrize("target", TARGETS)
def test_the_search_finds_no_input_that_raises_another_error(
    target: str, tally: Tally, examples: Examples, tmp_path: Path
) -> None:
    seconds = examples(0, SEARCH)
    if not seconds or find_spec("atheris") is None:
        pytest.skip("only under --campaign, where atheris is installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.fuzz_targets", target, str(seconds), tmp_path],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=seconds + 300,
    )
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    assert executed, done.stderr[-1500:]
    fault = done.stdout[-2000:] + done.stderr[-1500:] if done.returncode else ""
    tally.check(target, fault)
    tally.tried += int(executed[1]) - 1
    tally.notes.append(f"atheris for {seconds} s on {target}: {int(executed[1]):,}")
