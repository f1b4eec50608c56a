"""An image file shows what it holds or is refused by name; none is shown wrongly in silence.

What each must show is known beforehand: the files are written byte by byte from levels in hand
(`encoders.py`), the lossy ones from flat squares. Where a file is damaged at a place of its own
choosing, it may show what it showed before, or be refused.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from campaign.forked import LOADED, Told, in_child
from campaign.images import make_folders
from campaign.odd_pictures import odd_pictures
from campaign.odd_pngs import Odd
from campaign.tally import Tally
from mnistlab.data.folders import load_folders
from mnistlab.data.images import UndecodableError, UnreadableError, decode_grey_bytes, quiet_pillow
from mnistlab.errors import DataError

MEGABYTES = 250.0
SECONDS = 20.0


def quick(folder: Path) -> Tally:
    """Every odd file; a few cuts and flips of those that are sound."""
    return _campaign(folder, cuts=6, flips=1)


def full(folder: Path) -> Tally:
    """Every odd file; the sound ones cut at every length, all bits of the PNGs flipped."""
    return _campaign(folder, cuts=0, flips=8)


def _campaign(folder: Path, cuts: int, flips: int) -> Tally:
    tally = Tally()
    odd = list(odd_pictures())
    largest = 0.0
    for one in odd:
        if "of 100 MB" in one.name or "bomb" in one.name or "4096" in one.name:
            told = in_child(partial(_told, one))
            largest = max(largest, told.growth)
            fault = _cost_fault(told)
        else:
            fault = _fault(one)
        tally.check(not fault, f"{one.name}: {fault}")
    refused = [one for one in odd if one.rows is None]
    tally.add(_by_name(folder, refused))
    sound = [one for one in odd if one.rows and len(one.content) < 3000 and len(one.rows) < 99]
    damaged = Tally()
    for one in sound:
        for name, content in _damaged(one, cuts, flips):
            fault = _fault(Odd(one.name, content, one.rows, one.slack), or_refused=True)
            damaged.check(not fault, f"{one.name}, {name}: {fault}")
    tally.add(damaged)
    tally.notes.append(
        f"{len(odd)} odd files, {len(refused)} of them to be refused; {damaged.tried:,} cut or "
        f"with a bit flipped; the bombs took {largest:.0f} MB at most"
    )
    return tally


def _fault(one: Odd, *, or_refused: bool = False) -> str:
    """What is wrong with how a file was met; empty if nothing is."""
    try:
        with quiet_pillow():
            image = decode_grey_bytes(one.content)
    except UnreadableError as error:
        return f"laid to the disk: {error}"
    except UndecodableError as error:
        message = str(error)
        if one.rows is not None and not or_refused:
            return f"refused: {message}"
        return "" if message and message.isprintable() else f"no message: {message!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    if one.rows is None:
        return f"shown as {np.asarray(image).tolist()!r:.200}"
    shown, expected = np.asarray(image, np.int16), np.asarray(one.rows, np.int16)
    if shown.shape != expected.shape:
        return f"shown with a shape of {shown.shape}"
    off = int(np.abs(shown - expected).max())
    return f"off by {off} levels" if off > one.slack else ""


def _told(one: Odd) -> None:
    print(_fault(one), end="")


def _cost_fault(told: Told) -> str:
    if told.code != LOADED or told.text:
        return f"exit {told.code}: {told.text[-300:]}"
    if told.growth > MEGABYTES or told.seconds > SECONDS:
        return f"{told.growth:.0f} MB and {told.seconds:.0f} s"
    return ""


def _damaged(one: Odd, cuts: int, flips: int) -> Iterator[tuple[str, bytes]]:
    """The file cut at `cuts` places, or at every one, and a PNG with bits of every byte flipped."""
    whole = one.content
    for length in range(0, len(whole), len(whole) // cuts if cuts else 1):
        yield f"cut to {length}", whole[:length]
    # the others have no checksum: what a flipped bit makes of them is another picture
    if one.content.startswith(b"\x89PNG") and "one pixel" not in one.name:
        for bit in range(flips):
            for place in range(len(whole)) if flips > 1 else range(0, len(whole), 9):
                flipped = bytearray(whole)
                flipped[place] ^= 1 << bit
                yield f"bit {bit} of byte {place} flipped", bytes(flipped)


def _by_name(folder: Path, refused: list[Odd]) -> Tally:
    """Whether a folder with all of them is refused with the name of every one."""
    tally = Tally()
    data = make_folders(folder / "data", side=8)
    for number, one in enumerate(refused):
        (data / "train" / "dark" / f"odd{number}.png").write_bytes(one.content)
    faults: list[str] = []
    try:
        load_folders(data)
    except DataError as error:
        faults = error.faults
    for number, one in enumerate(refused):
        told = any(f"odd{number}.png: " in fault for fault in faults)
        tally.check(told, f"{one.name}: not named where a folder has it")
    skipped = load_folders(data, skip_bad=True).skipped
    tally.check(len(skipped) == len(refused), f"{len(skipped)} files skipped, not {len(refused)}")
    return tally
