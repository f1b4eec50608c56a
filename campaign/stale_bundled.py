"""The unpacked copy of the bundled data, tampered with."""

import contextlib
import gzip
import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from unittest import mock

from PIL import Image

from campaign.commands import begin, finish, surroundings
from campaign.stale_ways import edit_keeping_size_and_time
from campaign.tally import Tally
from mnistlab.data import bundled
from mnistlab.data.bundled import load_sample, mnist_sample
from mnistlab.data.folders import load_folders
from mnistlab.errors import MnistlabError

THREADS = 4


def _image(path: Path, level: int) -> None:
    Image.new("L", (4, 4), level).save(path, "PNG")


def _one(copy: Path, random: Random) -> Path:
    return random.choice(sorted(copy.glob("*/*/*.png")))


def _exchange(copy: Path) -> None:
    (copy / "train" / "3").rename(copy / "x")
    (copy / "train" / "7").rename(copy / "train" / "3")
    (copy / "x").rename(copy / "train" / "7")


def _empty(copy: Path) -> None:
    shutil.rmtree(copy)
    copy.mkdir()


def _file(copy: Path) -> None:
    shutil.rmtree(copy)
    copy.write_bytes(b"")


def _link(copy: Path) -> None:
    away = copy.with_name("away")
    shutil.rmtree(away, ignore_errors=True)
    copy.rename(away)
    copy.symlink_to("away")
    _image(copy / "train" / "3" / "0.png", 222)


TAMPER: dict[str, Callable[[Path, Random], object]] = {
    "a file edited": lambda copy, random: _image(_one(copy, random), random.randrange(222, 256)),
    "a file edited, size and time kept": edit_keeping_size_and_time,
    "a file damaged": lambda copy, random: _one(copy, random).write_bytes(random.randbytes(99)),
    "a file empty": lambda copy, random: _one(copy, random).write_bytes(b""),
    "a file deleted": lambda copy, random: _one(copy, random).unlink(),
    "a file added": lambda copy, random: _image(_one(copy, random).with_name("999.png"), 9),
    "a file renamed": lambda copy, random: (path := _one(copy, random)).rename(
        path.with_name("999.png")
    ),
    "a class added": lambda copy, _: shutil.copytree(copy / "train" / "3", copy / "train" / "5"),
    "a class deleted": lambda copy, _: shutil.rmtree(copy / "valid" / "7"),
    "the classes exchanged": lambda copy, _: _exchange(copy),
    "a split deleted": lambda copy, _: shutil.rmtree(copy / "valid"),
    "an empty folder": lambda copy, _: _empty(copy),
    "a file in its place": lambda copy, _: _file(copy),
    "a link in its place": lambda copy, _: _link(copy),
}


@contextlib.contextmanager
def _small_archive(folder: Path) -> Iterator[None]:
    """A few images in place of the shipped archive, so that unpacking takes no time."""
    folder.mkdir(exist_ok=True)
    unzipped = io.BytesIO()
    with tarfile.open(fileobj=unzipped, mode="w") as tar:
        for place in range(12):
            png = io.BytesIO()
            Image.new("L", (4, 4), 10 * place).save(png, "PNG")
            split, label = ("train", "valid")[place % 2], (3, 7)[place // 6]
            member = tarfile.TarInfo(f"mnist_sample/{split}/{label}/{place}.png")
            member.size = len(png.getvalue())
            tar.addfile(member, io.BytesIO(png.getvalue()))
    content = gzip.compress(unzipped.getvalue(), 1, mtime=0)
    (folder / bundled.ARCHIVE).write_bytes(content)
    with (
        mock.patch.object(bundled, "packaged", return_value=folder),
        mock.patch.object(bundled, "ARCHIVE_SHA256", hashlib.sha256(content).hexdigest()),
    ):
        known = load_folders(mnist_sample()).fingerprint
        with mock.patch.object(bundled, "FINGERPRINT", known):
            yield


def _pixels() -> list[object]:
    """What is loaded, and what the files of the copy hold then."""
    data = load_sample()
    return [
        [data.train.ds.tensors[0].tolist(), data.valid.ds.tensors[0].tolist()],
        [load_folders(data.root).fingerprint, data.fingerprint],
    ]


def tampered(folder: Path, times: int, random: Random) -> Tally:
    """A copy that somebody changed is never what is loaded."""
    tally = Tally()
    with _small_archive(folder):
        good = _pixels()
        for _ in range(times):
            for name, tamper in TAMPER.items():
                tamper(mnist_sample(), random)
                found = _pixels()
                tally.check(found == good, f"the bundled data, {name}: wrong data")
    return tally


def renewed_at_once(folder: Path, rounds: int, random: Random) -> Tally:
    """Several that find the copy changed at the same moment: all of them get the right data."""
    tally = Tally()
    with _small_archive(folder):
        good = load_sample().fingerprint
        for _ in range(rounds):
            random.choice(list(TAMPER.values()))(mnist_sample(), random)
            together, found = threading.Barrier(THREADS), list[str]()

            def load(together: threading.Barrier = together, found: list[str] = found) -> None:
                together.wait()
                try:
                    found.append(load_sample().fingerprint)
                except MnistlabError as error:
                    found.append(str(error))

            threads = [threading.Thread(target=load) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            tally.check(found == [good] * THREADS, f"renewed at once: {set(found) - {good}}")
    return tally


def renewed_by_processes(folder: Path, rounds: int) -> Tally:
    """The same with commands, and the data that is shipped."""
    tally = Tally()
    folder.mkdir()
    env = surroundings(folder)
    command = ("baseline", "pixel-similarity", "--json")
    with mock.patch.dict("os.environ", MNISTLAB_CACHE=env["MNISTLAB_CACHE"]):
        for _ in range(rounds):
            (mnist_sample() / "train" / "7" / "1.png").unlink(missing_ok=True)
            shutil.rmtree(mnist_sample() / "valid" / "3")
            started = [begin(*command, cwd=folder, env=env) for _ in range(THREADS)]
            for process in started:
                with process:
                    outcome = finish(process)
                right = outcome.code == 0 and '"correct": 1939' in outcome.out
                tally.check(right, f"a command beside others: {outcome}")
    return tally
