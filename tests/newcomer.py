"""The pages for users, command by command, as somebody new meets them: `make newcomer`.

A quarter of an hour for README.md, docs/install.md and docs/tour.md.

A clean clone, a wheel of it in an empty environment, an empty home, and a user without rights
where this is started as root. Each command of a console block runs, and each that a comment
names; what it prints is held against what the pages say:

- The exit code is 0, or the one that PROMISES below names.
- A block of output is there line by line. Times, names of runs and checksums are compared by
  their form, figures with decimals within TOLERANCE; `...` stands for lines left out.
- A figure in a comment is printed, rounded as there. Rows of a table of epochs do not count,
  but their number does; the settings of a training may be those that `-n` prints.
- A file that is promised is there and can be used; `--json` prints one document.
- A figure with a comma in the prose was printed by some command.

Times and sizes (`2 s`, `12 MB`) are not compared. Installations that may choose a CUDA build are
resolved and not carried out (`--dry-run`); what is for Windows, or needs PyTorch's own index, is
named; so is what ends only with Ctrl-C. The folder of MNIST's own files is named by
MNISTLAB_MNIST, as for the tests; without it they are downloaded, and where that fails the
commands that need them are left out.
"""

import argparse
import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mnistlab.data.named import mnist_sample
from tests.command import Result
from tests.drawn import draw
from tests.originals import idx_bytes
from tests.pages import ROOT, Page

PAGES = ("README.md", "docs/install.md", "docs/tour.md")
TOLERANCE = 0.001  # two images of 2,038: another processor rounds otherwise
TIMES_AND_SIZES = r"(?:about )?\d[\d,.]* (?:s|seconds|MB|GB)\b"
FIGURE = r"\d+(?:,\d{3})*(?:\.\d+)?"
NAME_OF_RUN = r"\d{8}-\d{6}-"
DOWNLOAD = "mnistlab data download mnist"
EPOCH = re.compile(r"^ *\d+ .* \d+\.\d+s$", re.MULTILINE)
# What differs from one training to the next.
FORMS = [r"\d+\.\d\ds", r"[0-9a-f]{16}"]
TOUCHED = "import re; from pathlib import Path; file = max(Path('runs').iterdir()) / 'config.toml'"
TOUCHED += "; file.write_text(re.sub('(?m)^lr = .*', 'lr = 0.5', file.read_text()))"
# What is said of exit codes: after a command, or at the end.
PROMISES = {
    "mnistlab runs verify latest": [
        (f"python -c {shlex.quote(TOUCHED)}", 0),
        ("mnistlab runs verify latest", 3),
    ],
    "": [
        ("mnistlab train -h", 0),
        ("mnistlab train --lr 0.0001 --epochs 1 --min-accuracy 0.97", 3),
        ("mnistlab train --lr nothing", 2),
    ],
}


def not_here(line: str) -> str:
    """Why a command is not followed here; empty if it is."""
    if "\\" in line or line.startswith("py "):
        return "" if os.name == "nt" else "for Windows"
    if ("$CPU_INDEX" in line or "--torch-backend" in line) and "CPU_INDEX" not in os.environ:
        return "needs PyTorch's CPU index: name it in CPU_INDEX"
    return "ends only with Ctrl-C" if line.startswith("mnistlab exercise watch") else ""


@dataclass
class Step:
    """A command of the pages, its comment, the output that is shown, and the exit code."""

    line: str
    comment: str = ""
    shown: list[str] = field(default_factory=list)
    code: int = 0
    place: str = "env"  # the environment that its programs are taken from


def read_pages() -> list[tuple[str, str]]:
    """The blocks of the pages, one page after the other."""
    return [block for name in PAGES for block in Page(name).blocks]


def steps_of(blocks: list[tuple[str, str]]) -> list[Step]:
    """What blocks have one do, in their order; what was said word by word before, only once."""
    steps: list[Step] = []
    before = 0  # where the steps of the block before begin
    for language, block in blocks:
        if not language and steps:
            steps[before].shown = block.splitlines()
        before = len(steps)
        if language == "python":
            steps.append(Step("python example.py"))
        for match in re.finditer(r"^\$ ([^#\n]*)#? *(.*)", block, re.MULTILINE):
            line, comment = match[1].strip(), match[2]
            place = "own" if line.startswith(("pip ", "uv ")) else "env"
            steps.append(Step(line, comment, place=place))
            named = re.findall(r"\b((?:mnistlab|make) [^,;:()]+)", comment)
            steps += [Step(other.strip(), place=place) for other in named]
            steps += [Step(other, code=code) for other, code in PROMISES.get(line, ())]
    steps += [Step(line, code=code) for line, code in PROMISES[""]]
    return [step for number, step in enumerate(steps) if step not in steps[:number]]


def alike(shown: str, printed: str) -> bool:
    """Whether two words of output differ in nothing but the machine and the moment."""
    if any(re.fullmatch(form, shown) and re.fullmatch(form, printed) for form in FORMS):
        return True
    if re.fullmatch(r"\d+\.\d+", shown) and re.fullmatch(r"\d+\.\d+", printed):
        return len(shown) == len(printed) and abs(float(shown) - float(printed)) <= TOLERANCE
    return re.sub(NAME_OF_RUN, "", shown) == re.sub(NAME_OF_RUN, "", printed)


def difference(shown: list[str], printed: list[str]) -> str | None:
    """The first shown line that is not printed where it should be; None if all are.

    Other lines may come before the first, and in place of `...`; none after the last.
    """
    place, anywhere = 0, True
    for line in shown:
        if line.strip() == "...":
            anywhere = True
            continue
        while place < len(printed):
            words, others = line.split(), printed[place].split()
            found = len(words) == len(others) and all(map(alike, words, others))
            if found or not anywhere:
                break
            place += 1
        if place == len(printed):
            return f"not printed: {line.strip()}"
        if not found:
            return f"the page has: {line.strip()}; printed: {printed[place].strip()}"
        place, anywhere = place + 1, False
    return None if anywhere or place == len(printed) else f"also printed: {printed[place].strip()}"


def figures(text: str) -> list[float]:
    """The numbers that a command prints, without the rows of epochs and what is no figure."""
    text, epochs = EPOCH.subn("", text)
    text = re.sub(rf"{NAME_OF_RUN}\S*|\b[0-9a-f]{{12,}}\b", "", text)
    return [epochs, *(float(found.replace(",", "")) for found in re.findall(FIGURE, text))]


def unprinted(said: str, texts: list[str]) -> list[str]:
    """The figures in `said` that are not in `texts`."""
    printed = [figure for text in texts for figure in figures(text)]
    said = re.sub(rf"{TIMES_AND_SIZES}|\bexit \d+", "", said)
    missing = []
    for figure in re.findall(rf"(?<![\w.]){FIGURE}(?![\w]|\.\w)", said):
        decimals = len(figure.partition(".")[2])
        room = TOLERANCE + 0.5 * 10**-decimals if decimals else 0
        value = float(figure.replace(",", ""))
        if not any(abs(value - other) <= room for other in printed):
            missing.append(figure)
    return missing


def promised_files(step: Step) -> list[str]:
    """The files and folders that a command is said to write."""
    found: list[str] = re.findall(r"(?:-o|--plot|--save-prepared) (\S+)", step.line)
    return found + re.findall(r"-> (\w+\.\w+)", step.comment)


def fault_of_file(name: str, folder: Path) -> str | None:
    """Why a promised file, or a folder of pictures, cannot be used; None if it can."""
    matching = [path for path in folder.rglob(Path(name).name) if str(path).endswith(name)]
    paths = matching if not name.endswith("/") else [*(folder / name).glob("*.png")]
    if not paths:
        return f"no {name}"
    for path in paths:
        if path.suffix == ".png":
            try:
                Image.open(path).verify()
            except OSError:
                return f"{name} is no picture"
        elif path.suffix == ".html" and not path.read_text("utf-8").startswith("<!doctype html>"):
            return f"{name} is no page"
    return None


def faults(step: Step, result: Result, folder: Path) -> list[str]:
    """What a page says of a command and the command does not hold, but for its figures."""
    found = []
    if result.code != step.code:
        found.append(f"exit {result.code}, not {step.code}")
    if step.shown and (fault := difference(step.shown, result.out.splitlines())):
        found.append(fault)
    found += filter(None, (fault_of_file(name, folder) for name in promised_files(step)))
    if "--json" in step.line.split():
        try:
            json.loads(result.out)
        except ValueError:
            found.append("not one JSON document")
    return found


class Newcomer:
    """A user with an empty home, a clone, two environments and a folder to work in."""

    def __init__(self, base: Path, mnist: Path | None) -> None:
        self.base, self.mnist = base, mnist
        self.clone, self.work = base / "mnistlab", base / "work"
        base.chmod(0o755)
        for name in ("home", "work", "wheel"):
            (base / name).mkdir()
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, self.clone], check=True)
        self.prepare()
        self.rights: dict[str, Any] = {}
        path = os.environ.get("PATH", os.defpath)
        if os.geteuid() == 0:
            import pwd  # Windows has none

            nobody = pwd.getpwnam("nobody")
            self.rights = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            path = "/usr/local/bin:/usr/bin:/bin"
            for place in [base, *base.rglob("*")]:
                os.chown(place, nobody.pw_uid, nobody.pw_gid)
        kept = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        proxies = ("http_proxy", "https_proxy", "no_proxy")
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(kept) or name.lower() in proxies
        }
        self.environment |= {"HOME": str(base / "home"), "LANG": "C.UTF-8", "PATH": path}
        self.environment["PYTHONUNBUFFERED"] = "1"  # so that lines come in their order
        self.environment["PYTHON"] = self.python()

    def prepare(self) -> None:
        """What the pages take as given: images, small files in MNIST's format, a class."""
        digits = shutil.copytree(mnist_sample(), self.work / "digits")
        shutil.copy(min(digits.glob("valid/3/*.png")), self.work / "three.png")
        photo = draw("3", "felt", "photo", dark=True, effect="plain", seed=0)
        photo.image.save(self.work / "photo.jpg")
        (self.work / "SRC").mkdir()
        (self.work / "class" / "ann").mkdir(parents=True)
        for split, count in (("train", 60), ("t10k", 20)):
            random = np.random.default_rng(count)
            images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            labels = np.arange(count, dtype=np.uint8) % 10
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                file = self.work / "SRC" / f"{split}-{kind}-ubyte.gz"
                file.write_bytes(gzip.compress(idx_bytes(array)))
        if self.mnist:
            shutil.copytree(self.mnist, self.base / "mnist")
        [example] = [block for language, block in read_pages() if language == "python"]
        (self.work / "example.py").write_text(example)

    def python(self) -> str:
        """A Python that this user can start, and that makes environments."""
        check = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
        names = [os.environ.get("PYTHON", "python3"), "python3"]
        for name in [*names, *(f"python3.{minor}" for minor in range(14, 10, -1))]:
            found = shutil.which(name, path=self.environment["PATH"])
            if found and self.run([found, "-c", check]).code == 0:
                return found
        sys.exit("no Python 3.11 or newer that this user can start; name one: make PYTHON=...")

    def run(self, words: list[str], place: str = "", cwd: Path | None = None) -> Result:
        """Run a command, its output in one as on a terminal, but for --json.

        Its programs are taken from the environment `place` first.
        """
        path = f"{self.base / place / 'bin'}:{self.environment['PATH']}"
        program = shutil.which(words[0], path=path)
        if program is None:
            return Result(127, "", f"no command {words[0]}")
        start = time.perf_counter()
        try:
            done = subprocess.run(
                [program, *words[1:]],
                cwd=cwd or self.work,
                env=self.environment | {"PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if "--json" in words else subprocess.STDOUT,
                text=True,
                **self.rights,
            )
        except PermissionError as error:
            return Result(126, "", str(error))
        return Result(done.returncode, done.stdout, done.stderr or "", time.perf_counter() - start)

    def install(self) -> Iterator[tuple[str, Result]]:
        """Build the wheel and install it, with the locked versions where there are some."""
        python = self.environment["PYTHON"]
        for name in ("own", "env"):
            yield f"{name}: an empty environment", self.run([python, "-m", "venv", f"../{name}"])
        wheel = ["pip", "wheel", "--no-deps", "--quiet", "-w", str(self.base / "wheel"), "."]
        yield "the wheel, built", self.run(wheel, "own", self.clone)
        [built] = (self.base / "wheel").glob("*.whl")
        lock = self.clone / "requirements.lock"
        given = ["-c", str(lock)] if lock.exists() else []
        words = ["pip", "install", "--quiet", f"{built}[plot,onnx,tensorboard]", *given]
        yield "the wheel, installed", self.run(words, "env")

    def words(self, line: str) -> list[str]:
        """A command with real runs in place of RUN."""
        words = shlex.split(line)
        if "RUN" in words:
            listed = self.run(["mnistlab", "runs", "list", "--json"], "env").ok().json["runs"]
            runs = [
                run["name"]
                for run in listed
                if run["data"] == "mnist_sample" and run["lr"] and run["seeds"] == 1
            ]
            chosen = iter(runs if words.count("RUN") == 1 else runs[-2:])
            words = [next(chosen) if word == "RUN" else word for word in words]
        if line == DOWNLOAD and self.mnist:
            words += ["--from", str(self.base / "mnist")]
        if line == "mnistlab runs rm RUN":
            words.append("--force")  # nobody is there to be asked
        if words[0] == "uv" or line == "pip install .":
            words.append("--dry-run")  # they may choose a CUDA build, of gigabytes
        return [word.replace("$CPU_INDEX", os.environ.get("CPU_INDEX", "")) for word in words]

    def follow(self, step: Step) -> tuple[Result, list[str]]:
        """Do what a line says; what came of it, and its faults."""
        words = self.words(step.line)
        here = self.clone if words[0] in ("make", "pip", "uv") else self.work
        if words[0] == "uv":
            self.run(["pip", "install", "-q", "-c", "requirements.lock", "uv"], "own", here).ok()
            self.environment["VIRTUAL_ENV"] = str(self.base / step.place)
        result = self.run(words, step.place, here)
        found = faults(step, result, self.work)
        texts = [result.out]
        missing = unprinted(step.comment, texts)
        if missing and words[:2] == ["mnistlab", "train"]:
            texts.append(self.run([*words, "-n"], step.place).out)
            missing = unprinted(step.comment, texts)
        found += [f"{figure} is not printed" for figure in missing]
        if words[1] == "eject" and result.code == 0:
            advice = shlex.split(result.out.partition("run it with: ")[2])
            trained = self.run(advice, step.place)
            weights = (trained.out.split() or ["none"])[-1]
            if weights not in self.run(["mnistlab", "runs", "show", words[2]], step.place).out:
                found.append(f"{shlex.join(advice)} gives other weights: {weights}")
        return result, found


def main() -> None:
    """Go through the pages; exit 1 if a command does not hold what it says."""
    parser = argparse.ArgumentParser(prog="python -m tests.newcomer", description=main.__doc__)
    parser.add_argument("--without", action="append", default=[], metavar="COMMAND")
    left_out = parser.parse_args().without
    given = Path(os.environ.get("MNISTLAB_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
    steps = steps_of(read_pages())
    printed: list[str] = []
    good = ran = elsewhere = 0
    start = time.perf_counter()
    print(f"{'command':<66}{'seconds':>7}  verdict")
    with tempfile.TemporaryDirectory() as folder:
        newcomer = Newcomer(Path(folder), given if given.is_dir() else None)
        for name, result in newcomer.install():
            print(f"({name})".ljust(66) + f"{result.seconds:7.1f}", flush=True)
            result.ok()
        for step in steps:
            if reason := "left out" if step.line in left_out else not_here(step.line):
                print(f"{step.line:<66}{'':>7}  {reason}", flush=True)
                elsewhere += reason != "left out"
                continue
            result, found = newcomer.follow(step)
            if found and step.line == DOWNLOAD and newcomer.mnist is None:
                print("no network here, and MNISTLAB_MNIST names no folder with the files")
                needing = r"mnist-cnn|(--data|download) mnist$"
                left_out += [step.line for step in steps if re.search(needing, step.line)]
                continue
            printed.append(result.out)
            ran, good = ran + 1, good + (not found)
            line = re.sub(r"(?<=-c ).*", "...", step.line)
            print(f"{line:<66}{result.seconds:7.1f}  {'; '.join(found) or 'holds'}", flush=True)
            if found:
                print(result.out[-4000:], result.err[-4000:], flush=True)
    prose = " ".join(Page(name).prose for name in PAGES)
    missing = unprinted(" ".join(re.findall(r"\b\d+,\d{3}\b", prose)), printed)
    if missing:
        print("in the prose, but never printed:", ", ".join(missing))
    unchecked = re.findall(TIMES_AND_SIZES, " ".join(step.comment for step in steps))
    print("not compared, times and sizes:", ", ".join(unchecked))
    mine = len(steps) - elsewhere
    print(f"{good} of {mine} commands hold what the pages say: {good / mine:.0%}", end="")
    print(f" ({mine - ran} left out, {elsewhere} not followed here)", end="")
    print(f", {time.perf_counter() - start:.0f} s")
    sys.exit(bool(good < ran or missing))


if __name__ == "__main__":
    main()
