"""A download ends with the right file or a plain error, whatever a server does; the next one works.

A server on this machine breaks off, stalls, lies and misleads, several times one after the other,
and is honest then. After every attempt the final name holds nothing or the verified bytes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.webserver import Answer, Server, serving, whole

from campaign.downloads_faults import CONTENT, OTHER, Fault, faults
from campaign.tally import Tally
from mnistlab.data.download import Patience, fetch
from mnistlab.errors import RunError

TIMEOUT = 0.15  # seconds; a server that stalls does so for longer


def quick(folder: Path) -> Tally:
    """Every fault once, and a few one after the other."""
    return _row(folder, starts=1, sequences=12)


def full(folder: Path) -> Tally:
    """Every fault in the face of every kind of part that may lie there, and many sequences."""
    return _row(folder, starts=len(PARTS), sequences=700)


PARTS: dict[str, bytes] = {
    "nothing": b"",
    "the beginning": CONTENT[:20_000],
    "of another file": OTHER[:20_000],
    "all of it": CONTENT,
    "more than all": CONTENT + b"more",
}


def _row(folder: Path, starts: int, sequences: int) -> Tally:
    tally, random = Tally(), Random(6)
    with serving() as server, serving() as elsewhere:
        elsewhere.answers["/other"] = OTHER
        elsewhere.answers["/right"] = CONTENT
        known = faults(elsewhere.url)
        names = list(known)
        for number, name in enumerate(names):
            for part in [*PARTS, *PARTS][number % len(PARTS) :][:starts]:
                fault = _trial(folder, server, [known[name]], PARTS[part], random)
                tally.check(fault is None, f"{name}, and there was {part}: {fault}")
        for _ in range(sequences):
            chosen = random.choices(names, k=random.randint(2, 4))
            part = random.choice(list(PARTS))
            fault = _trial(folder, server, [known[name] for name in chosen], PARTS[part], random)
            tally.check(fault is None, f"{', then '.join(chosen)}, on {part}: {fault}")
    return tally


def _trial(
    folder: Path, server: Server, faults: Sequence[Fault], part: bytes, random: Random
) -> str | None:
    """What is wrong when a server has these faults one after the other, and none from then on."""
    target = folder / "downloads" / "file.gz"
    target.parent.mkdir(exist_ok=True)
    if part:
        target.with_name("file.gz.part").write_bytes(part)
    (folder / "secret").write_bytes(b"secret")
    answers: list[bytes | Answer] = [fault(random) for fault in faults]
    server.answers = {"/file.gz": [*answers, whole(CONTENT)]}
    patience = Patience(TIMEOUT, random.randint(1, 3), 0, 5, 4 * len(CONTENT))
    for _ in range(len(faults) + 2):
        fault = _attempt(server, target, patience)
        found = target.read_bytes() if target.exists() else None
        if found not in (None, CONTENT):
            fault = f"the final name holds {len(found or b'')} wrong bytes"
        if {path.name for path in target.parent.iterdir()} - {"file.gz", "file.gz.part"}:
            fault = "it left something behind"
        if sorted(path.name for path in folder.iterdir()) != ["downloads", "secret"]:
            fault = "it wrote outside its folder"
        if fault or found:
            break
    else:
        fault = f"it never works again; asked {server.asked}"
    server.asked.clear()
    for path in target.parent.iterdir():
        if path.name != "file.gz" and not fault:
            fault = "a part is left of a file that is whole"
        path.unlink()
    return fault


def _attempt(server: Server, target: Path, patience: Patience) -> str | None:
    check: Callable[[Path], str] = lambda path: "" if path.read_bytes() == CONTENT else "not it"  # noqa: E731
    try:
        fetch([f"{server.url}/file.gz"], target, check, patience=patience)
    except RunError as error:
        told = str(error)
        if not told.startswith("file.gz: cannot be downloaded\n  http://127.0.0.1:"):
            return f"an unclear message: {told!a}"
        if len(told) > 1000 or not all(line.isprintable() for line in told.splitlines()):
            return f"an unprintable message: {told!a}"
    except Exception as error:  # what is not ours ends in a traceback
        return f"{type(error).__name__}: {error}"
    return None
