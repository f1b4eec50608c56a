"""Files and folders that were asked for, where they cannot be written; caches that cannot."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from campaign.ground import Ground, make_idx, wrongly_told
from campaign.sabotage import fill, mount_again, plain_folder, small_disk, take_inodes

Fault = str | None
Trials = Iterable[tuple[str, Callable[[], Fault]]]

_BEFORE = b"what was there before"
_REASONS = "No space left|File too large|Read-only file system|Permission denied|cannot be written"


def _commands(ground: Ground) -> list[tuple[str, tuple[str | Path, ...], bool]]:
    """What is made, by which command (the name goes last), and whether it replaces a file."""
    run, image = ground.done, next((ground.tree / "valid" / "dark").iterdir())
    idx = ground.folder / "idx"
    if not idx.exists():
        make_idx(idx)
    data = ("--data", ground.tree)
    return [
        ("made.csv", ("eval", run, "--csv"), True),
        ("made.html", ("report", run, "-o"), True),
        ("made.png", ("plot", run, "-o"), True),
        ("made.py", ("eject", run, "-o"), False),
        ("runs", ("baseline", "pixel-similarity", *data, "--run-dir"), False),
        ("images", ("data", "import-idx", idx), False),
        ("seen", ("predict", run, image, "--save-prepared"), False),
        ("told.csv", ("predict", run, image, "--csv"), True),
        ("made.svg", ("plot", run, "--what", "weights", "-o"), True),
        ("made.pdf", ("lr-find", *data, "--steps", "20", "--plot"), True),
        ("seeds", ("train", *ground.settings, "--seeds", "3", "--run-dir"), False),
    ]


def _ways(own_disks: bool) -> list[tuple[str, bool, Callable[[Path], object], dict[str, Any]]]:
    """How a place cannot be written: in words, on a disk of its own or not, what to do to it, and
    the surroundings of the command."""
    ways: list[tuple[str, bool, Callable[[Path], object], dict[str, Any]]] = [
        ("a folder that may not be written", False, lambda top: top.chmod(0o555),
         {"powerless": True}),
        *((f"files of {limit} bytes at most", False, lambda top: None, {"file_bytes": limit})
          for limit in (0, 20, 60)),
    ]  # fmt: skip
    if own_disks:
        full: list[tuple[str, bool, Callable[[Path], object], dict[str, Any]]] = [
            ("a full disk", True, fill, {}),
            ("a read-only disk", True, partial(mount_again, options="ro"), {}),
            ("a disk without room for a file", True, take_inodes, {}),
        ]  # fmt: skip
        ways = [*full, *ways]
    return ways


def results(ground: Ground, own_disks: bool, whole: bool) -> Trials:
    """Every result in every place that cannot be written; or each in one place, in turn."""
    commands, ways = _commands(ground), _ways(own_disks)
    chosen = itertools.product(commands, ways)
    if not whole:
        chosen = zip(commands, itertools.cycle(ways), strict=False)  # type: ignore[assignment]
    for number, (made, (told, on_disk, spoil, surroundings)) in enumerate(chosen):
        place = (small_disk if on_disk else plain_folder)(ground.folder / "results" / str(number))
        trial = partial(_result, ground, place, made, spoil, surroundings)
        yield f"{' '.join(map(str, made[1]))} in {told}", trial


def _result(
    ground: Ground,
    place: Any,
    made: tuple[str, tuple[str | Path, ...], bool],
    spoil: Callable[[Path], object],
    surroundings: dict[str, Any],
) -> Fault:
    name, command, replaces = made
    with place as top:
        target = top / name
        if replaces:
            target.write_bytes(_BEFORE)
        spoil(top)
        ended = ground.run(*command, target, **surroundings)
        if fault := wrongly_told(ended, 1, _REASONS):
            return fault
        if replaces and target.read_bytes() != _BEFORE:
            return "what was there before has changed"
        if not replaces and target.is_file():
            return "a part of it is there"
        if left := [path for path in top.rglob("*") if path.name.endswith("-tmp")]:
            return f"left over: {left[0].name}"
        if name in ("images", "seen") and target.exists():
            return "a part of it is there"
        return None


def caches(ground: Ground, own_disks: bool) -> Trials:
    """A cache that cannot be written is done without: the weights are the same."""
    ways = [(told, on_disk, spoil, more) for told, on_disk, spoil, more in _ways(own_disks)
            if "file_bytes" not in more]  # fmt: skip
    for number, (told, on_disk, spoil, surroundings) in enumerate(ways):
        place = (small_disk if on_disk else plain_folder)(ground.folder / "caches" / str(number))
        yield f"a cache in {told}", partial(_without_cache, ground, place, spoil, surroundings)


def _without_cache(
    ground: Ground, place: Any, spoil: Callable[[Path], object], surroundings: dict[str, Any]
) -> Fault:
    with place as cache:
        spoil(cache)
        env = {**ground.env, "MNISTLAB_CACHE": str(cache)}
        runs = ground.folder / "uncached" / cache.name
        arguments = (*ground.settings, "--run-dir", runs, "--json")
        ended = ground.run("train", *arguments, env=env, **surroundings)
        if fault := wrongly_told(ended, 0):
            return fault
        same = json.loads(ended.out)["weights_sha256"] == ground.sha256
        return None if same else "without a cache it ends with other weights"


def large(ground: Ground) -> Trials:
    """Whole datasets that do not fit: from files into the cache, and the bundled one."""
    published = make_idx(ground.folder / "published", 60_000, 10_000)
    download = ("data", "download", "mnist", "--from", published, "--unchecked")
    bundled = ("train", "--epochs", "1")
    for command, megabytes in ((download, (1, 20, 50)), (bundled, (1, 20))):
        for size in megabytes:
            place = small_disk(ground.folder / f"{command[0]}-{size}", size * 2**20)
            yield (
                f"{command[0]} with a cache of {size} MiB",
                partial(_too_large, ground, place, command),
            )
    place = _closed(ground.folder / "closed")
    yield (
        "train with the bundled data and a read-only cache",
        partial(_unpacked_elsewhere, ground, place),
    )


@contextmanager
def _closed(folder: Path) -> Iterator[Path]:
    with small_disk(folder) as cache:
        mount_again(cache, "ro")
        yield cache


def _too_large(ground: Ground, place: Any, command: tuple[str | Path, ...]) -> Fault:
    with place as cache:
        env = {**ground.env, "MNISTLAB_CACHE": str(cache)}
        ended = ground.run(*command, env=env)
        left = [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
        told = wrongly_told(ended, 1, "No space left.*set MNISTLAB_CACHE")
        return told or (f"left over: {left[0].name}" if left else None)


def _unpacked_elsewhere(ground: Ground, place: Any) -> Fault:
    with place as cache:
        env = {**ground.env, "MNISTLAB_CACHE": str(cache)}
        runs = ground.folder / "elsewhere"
        return wrongly_told(ground.run("train", "--epochs", "1", "--run-dir", runs, env=env), 0)
