"""Stale or damaged caches and data are never used: what is loaded is what the files hold.

What is loaded is compared with the same files loaded with an empty cache.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from mnistlab import MnistlabError, load_folders
from mnistlab.data import scan
from tests.command import run_in_process
from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.reliability.processes import Server
from tests.reliability.runs import environment, make_folders, make_idx

YOUNG = 2.1  # seconds; of a file that is younger nothing is kept
PADDED = 160  # bytes: all files of one size, whatever they show; what follows IEND is ignored


def make_padded(root: Path) -> Path:
    """A small tree of images of which all files have the same size and the same mtime."""
    make_folders(root, images=6, side=4)
    for path in root.rglob("*.png"):
        path.write_bytes(path.read_bytes().ljust(PADDED, b"\0"))
        os.utime(path, ns=(1_600_000_000_123_456_789,) * 2)
    return root


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch, examples: Examples) -> Callable[[], None]:
    """Waits until no file is young any more; outside a campaign they grow up sooner."""
    seconds = YOUNG if examples(0, 1) else 0.03
    monkeypatch.setattr(scan, "YOUNG_NS", int(seconds / YOUNG * scan.YOUNG_NS))
    return lambda: time.sleep(seconds)


def loaded(root: Path, cache: Path) -> object:
    """All that loading `root` gives, or all that is wrong with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNISTLAB_CACHE", str(cache))
        try:
            data = load_folders(root, skip_bad=True)
        except MnistlabError as error:
            return str(error)
    return [
        [split.classes, split.files, split.skipped, split.fingerprint]
        + [tensor.tolist() for tensor in split.ds.tensors]
        for split in (data.train, data.valid)
    ]


# How a tree changes; `one` and `two` are files of one class.


def rewrite(one: Path, chance: Random) -> None:
    """Another image of as many bytes."""
    image = Image.new("L", (4, 4), chance.randrange(256))
    image.putpixel((chance.randrange(4), 0), chance.randrange(256))
    image.save(one, "PNG")
    one.write_bytes(one.read_bytes().ljust(PADDED, b"\0"))


def restoring_time(path: Path, change: Callable[[], object]) -> None:
    """As `cp -p`, rsync, unzip and `touch -r` do."""
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(one: Path, chance: Random) -> None:
    new = one.with_name("new")
    rewrite(new, chance)
    shutil.copystat(one, new)
    os.replace(new, one)


def exchange(one: Path, two: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    two.rename(one)
    between.rename(two)


def edited_copy(folder: Path, chance: Random, linked: bool) -> None:
    """In place of a class, a copy of it or a link to one, in which an image is another."""
    copy = Path(shutil.copytree(folder, folder.parents[1] / "copy"))  # times as well
    changed = copy / "0001.png"
    restoring_time(changed, lambda: rewrite(changed, chance))
    folder.rename(folder.parents[1] / "away")
    folder.symlink_to(copy) if linked else copy.rename(folder)


CHANGES: dict[str, Callable[[Path, Path, Random], object]] = {
    "edited": lambda one, _, chance: rewrite(one, chance),
    "edited, its time restored": lambda one, _, chance: restoring_time(
        one, lambda: rewrite(one, chance)
    ),
    "replaced, its time restored": lambda one, _, chance: replace(one, chance),
    "broken, its time restored": lambda one, _, chance: restoring_time(
        one, lambda: one.write_bytes(chance.randbytes(PADDED))
    ),
    "another copied over it": lambda one, two, _: shutil.copy2(two, one),
    "exchanged with another": lambda one, two, _: exchange(one, two),
    "added": lambda one, two, _: shutil.copy2(two, one.with_name("new.png")),
    "deleted": lambda one, *_: one.unlink(),
    "renamed": lambda one, *_: one.rename(one.with_name("renamed.png")),
    "made a link": lambda one, two, _: exchanged_for(one, target=two.name),
    "in the other class": lambda one, *_: one.rename(one.parents[1] / "light" / "moved.png"),
    "its class renamed": lambda one, *_: [
        (split / "dark").rename(split / "dusk") for split in one.parents[2].iterdir()
    ],
    "the classes exchanged": lambda one, *_: exchange(one.parent, one.parents[1] / "light"),
    "the splits exchanged": lambda one, *_: exchange(
        one.parents[1], one.parents[1].with_name("valid")
    ),
    "its class a link": lambda one, _, chance: edited_copy(one.parent, chance, linked=True),
    "its class a copy": lambda one, _, chance: edited_copy(one.parent, chance, linked=False),
}


def exchanged_for(path: Path, content: bytes | None = None, target: str = "") -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    elif target:
        path.symlink_to(target)


def test_a_tree_that_changed_is_loaded_anew(
    tally: Tally, examples: Examples, wait: Callable[[], None], tmp_path: Path
) -> None:
    chance, cache = Random(4), tmp_path / "cache"
    names = list(CHANGES) * examples(1, 12)
    roots = [make_padded(tmp_path / f"tree{number}" / "data") for number in range(len(names))]
    wait()
    before = [loaded(root, cache) for root in roots]
    kept = [path for path in cache.rglob("*.*") if path.suffix != ".lock"]
    tally.check("what is loaded is kept", "" if len(kept) >= len(roots) else f"{len(kept)} files")
    for name, root, first in zip(names, roots, before, strict=True):
        fault = "" if loaded(root, cache) == first else "unchanged, it is another"
        one, two = chance.sample(sorted((root / "train" / "dark").iterdir()), 2)
        CHANGES[name](one, two, chance)
        truth = loaded(root, root.with_name("empty"))
        for look in ("first", "second"):
            if loaded(root, cache) != truth:
                fault = f"stale at the {look} look"
        tally.check(name, fault)


@pytest.mark.trials(0, 40)
def test_a_tree_that_changes_while_it_is_loaded_is_loaded_anew(
    trial: int, server: Server, tmp_path: Path
) -> None:
    root, env, chance = make_padded(tmp_path / "data"), environment(tmp_path), Random(trial)
    for number in range(300):
        shutil.copy2(root / "train/dark/0000.png", root / f"train/dark/more{number}.png")
    time.sleep(YOUNG)
    loading = server.start("train", "--dry-run", "--data", root, cwd=tmp_path, env=env)
    time.sleep(chance.random() * 0.15)
    one = chance.choice(sorted((root / "train" / "dark").iterdir()))
    restoring_time(one, lambda: rewrite(one, chance))
    result = loading.finish()
    # read just while it was written, it is refused by its name
    assert result.code == 0 or (result.code == 2 and one.name in result.err)
    assert loaded(root, tmp_path / "cache") == loaded(root, tmp_path / "empty")


def flip(path: Path, content: bytes, _: Path, chance: Random) -> None:
    flipped = bytearray(content)
    flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    exchanged_for(path, bytes(flipped))


DAMAGES: dict[str, Callable[[Path, bytes, Path, Random], object]] = {
    "a bit flipped": flip,
    "cut off": lambda path, content, _, chance: os.truncate(path, chance.randrange(len(content))),
    "all zeros": lambda path, content, *_: exchanged_for(path, bytes(len(content))),
    "longer": lambda path, content, *_: exchanged_for(path, content + b"more"),
    "something else": lambda path, content, _, chance: exchanged_for(path, chance.randbytes(999)),
    "another's": lambda path, _, other, __: exchanged_for(path, other.read_bytes()),
    "a link to another's": lambda path, _, other, __: exchanged_for(path, target=str(other)),
    "a link to nowhere": lambda path, *_: exchanged_for(path, target="nowhere"),
    "gone": lambda path, *_: exchanged_for(path),
}


def kept_files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*.*") if path.is_file() and path.suffix != ".lock")


def test_a_damaged_file_of_the_cache_is_not_used(
    tally: Tally, examples: Examples, wait: Callable[[], None], tmp_path: Path
) -> None:
    chance, cache, theirs = Random(5), tmp_path / "cache", tmp_path / "theirs"
    root = make_padded(tmp_path / "data")
    other = make_padded(tmp_path / "other")
    rewrite(other / "train" / "dark" / "0001.png", chance)
    wait()
    truth = loaded(root, cache)
    loaded(other, theirs)
    for what, damage in [*DAMAGES.items(), *[("a bit flipped", flip)] * examples(0, 400)]:
        for path in kept_files(cache):
            damage(path, path.read_bytes(), chance.choice(kept_files(theirs)), chance)
            fault = "" if loaded(root, cache) == truth else "it was used"
            if loaded(root, cache) != truth:
                fault = "not made again"
            tally.check(f"{path.name}, {what}", fault)


@pytest.mark.trials(0, 40)
def test_a_damaged_dataset_with_a_name_is_refused_or_made_again(
    trial: int, own_cache: Path, tmp_path: Path
) -> None:
    make_idx(tmp_path / "idx", 60_000, 10_000)
    run_in_process("data", "download", "mnist", "--from", tmp_path / "idx", "--unchecked").ok()
    look = ("train", "--dry-run", "--json", "--data", "mnist")
    truth, chance = run_in_process(*look).json["data"], Random(trial)
    path = chance.choice(kept_files(own_cache))
    what, damage = [*DAMAGES.items()][trial % len(DAMAGES)]
    damage(path, path.read_bytes(), tmp_path / "idx" / "t10k-labels-idx1-ubyte", chance)
    result = run_in_process(*look)
    if result.code == 0:
        assert result.json["data"] == truth, what
    else:
        assert "data download mnist" in result.err, what


@pytest.mark.trials(0, 16)
def test_bundled_data_that_somebody_changed_are_unpacked_again(trial: int, own_cache: Path) -> None:
    look = ("train", "--dry-run", "--json")
    truth, chance = run_in_process(*look).ok().json["data"], Random(trial)
    [folder] = {path.parents[2] for path in own_cache.rglob("*.png")}
    images = sorted((folder / "train" / "3").iterdir())
    one = chance.choice(images)
    tampers: list[Callable[[], object]] = [
        lambda: one.write_bytes(chance.randbytes(99)),
        lambda: restoring_time(one, lambda: Image.new("L", (28, 28), 9).save(one)),
        one.unlink,
        lambda: shutil.copy(one, one.with_name("999999.png")),
        lambda: exchange(one.parent, one.parents[1] / "7"),
        lambda: shutil.rmtree(folder / "valid"),
        lambda: shutil.rmtree(folder),
        lambda: shutil.copytree(one.parent, one.parents[1] / "5"),
    ]
    tampers[trial % len(tampers)]()
    assert run_in_process(*look).ok().json["data"] == truth
