"""Hostile archives put nothing outside their folder, take little memory and are told plainly.

Every reader of archives: the bundled .tar.gz, the zip of EMNIST, gzipped IDX files, the bzip2 of
USPS, and the look into a gzip file for its checksum.
"""

import contextlib
import shutil
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType

import numpy as np

from campaign.archives_packed import hostile_gzips, hostile_texts, hostile_zips
from campaign.archives_tar import GOOD, MEBI, PLAIN, hostile_tars, zipped
from campaign.tally import Tally
from mnistlab.data import bundled
from mnistlab.data.bundled import extract_checked
from mnistlab.data.datasets import DATASETS, Dataset
from mnistlab.data.idx import import_idx
from mnistlab.data.originals import read_originals
from mnistlab.data.published import Found, Published, check_file
from mnistlab.errors import MnistlabError

SECONDS = 30
MEMORY = 160 * MEBI
_ALLOWED = (GOOD, PLAIN, "mnist_sample/train/7/8.png", "mnist_sample/labels.csv")


def quick(folder: Path) -> Tally:
    """One in nine of the archives."""
    return _row(folder, every=9, mangled=9)


def full(folder: Path) -> Tally:
    """All archives, and a thousand tar files with random bytes."""
    tally = _row(folder, every=1, mangled=500)
    bomb = folder / "bomb.gz"
    bomb.write_bytes(zipped(b"", 400 * MEBI))
    known = Published("bomb.gz", "0" * 32, (), "1" * 64)
    tally.check(check_file(bomb, known)[0].checked == "no", "a bomb has the known content")
    return tally


def _row(folder: Path, every: int, mangled: int) -> Tally:
    tally = Tally()
    most = 0
    for read in (_tars(folder / "tars", every, mangled), _originals(folder / "originals", every)):
        for what, fault, memory in read:
            tally.check(fault is None, f"{what}: {fault}")
            most = max(most, memory)
    tally.notes.append(f"at most {most / MEBI:.0f} MiB of memory")
    return tally


# the trials, each with its fault, if any, and its memory

Trials = Iterator[tuple[str, str | None, int]]


def _tars(folder: Path, every: int, mangled: int) -> Trials:
    outside, target = folder / "outside", folder / "a" / "b" / "target"
    outside.mkdir(parents=True)
    (outside / "sentinel").write_bytes(b"untouched")
    for number, (what, content) in enumerate(hostile_tars(Random(8), str(outside), mangled)):
        if number % every:
            continue
        target.mkdir(parents=True)
        fault, memory = _told(partial(extract_checked, content, target, bundled._MEMBER))
        found = {path: path.is_file() and not path.is_symlink() for path in target.rglob("*")}
        files = {path.relative_to(target).as_posix() for path, file in found.items() if file}
        if fault == ACCEPTED and (what.startswith(("mangled", "cut")) or files <= set(_ALLOWED)):
            fault = None
        if any(not bundled._MEMBER.fullmatch(name) for name in files):
            fault = f"wrote {sorted(files)}"
        if any(path.is_symlink() or not (file or path.is_dir()) for path, file in found.items()):
            fault = "made something that is no file"
        if sorted(path.name for path in folder.iterdir()) != ["a", "outside"] or [
            (path.name, path.read_bytes()) for path in outside.rglob("*")
        ] != [("sentinel", b"untouched")]:
            fault = "wrote outside its folder"
        shutil.rmtree(folder / "a")
        yield f"tar, {what}", fault, memory


def _originals(folder: Path, every: int) -> Trials:
    folder.mkdir()
    images, labels = _idx_bytes((10, 28, 28)), _idx_bytes((10,), bytes(range(10)))
    emnist, mnist, usps = (
        replace(DATASETS[name], images=(10, 10), contents={})
        for name in ("emnist-digits", "mnist", "usps")
    )
    pairs = list(emnist.files.values())
    right = {f"gzip/{a}": zipped(images) for a, _ in pairs}
    right |= {f"gzip/{b}": zipped(labels) for _, b in pairs}
    text = b"".join(b"%d 1:0.5 256:-1\n" % label for label in usps.labels.values())
    one, two = mnist.files["train"]
    for split in ("train", "t10k"):
        (folder / one.replace("train", split)).write_bytes(zipped(images))
        (folder / two.replace("train", split)).write_bytes(zipped(labels))
    for path in (folder / "usps.bz2", folder / "usps.t.bz2"):
        path.write_bytes(text)
    many: list[tuple[Dataset, str, Iterator[tuple[str, bytes]]]] = [
        (emnist, emnist.archive, hostile_zips(right)),
        (mnist, one, hostile_gzips(images)),
        (usps, "usps.bz2", hostile_texts(text)),
    ]
    for dataset, name, archives in many:
        for number, (what, content) in enumerate(archives):
            if number % every:
                continue
            good = (folder / name).read_bytes() if (folder / name).exists() else b""
            (folder / name).write_bytes(content)
            before = sorted(folder.parent.rglob("*"))
            found = [Found(file, folder / file, 0, "", "no") for file in dataset.published]
            fault, memory = _told(partial(read_originals, dataset, found))
            if dataset is mnist and fault in (None, ACCEPTED):
                importing = partial(_import, folder, folder.parent / "tree")
                fault, _ = _told(importing, 400 * MEBI)  # it takes files of any size
            if sorted(folder.parent.rglob("*")) != before:
                fault = "left something behind"
            (folder / name).write_bytes(good)
            yield f"{name}, {what}", None if fault == ACCEPTED else fault, memory


def _import(folder: Path, tree: Path) -> None:
    try:
        import_idx(folder, tree)
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _idx_bytes(sizes: tuple[int, ...], values: bytes = b"") -> bytes:
    count = int(np.prod(sizes))
    head = b"\0\0\x08" + bytes([len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)
    return head + (values or bytes(i % 251 for i in range(count)))


ACCEPTED = "was accepted"


def _told(read: Callable[[], object], most: int = MEMORY) -> tuple[str | None, int]:
    """What is wrong with how `read` refuses, and the memory that it took, which is limited."""
    tracemalloc.start()
    try:
        with _at_most(SECONDS):
            read()
        fault: str | None = ACCEPTED
    except MnistlabError as error:
        lines = str(error).splitlines()
        fault = None if all(line.isprintable() for line in lines) else f"unprintable: {error!a}"
    except Exception as error:  # what is not ours ends in a traceback
        fault = f"{type(error).__name__}: {error}"
    finally:
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if memory > most:
        fault = f"took {memory / MEBI:.0f} MiB"
    return fault, memory


@contextlib.contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
