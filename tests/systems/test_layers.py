"""The layers refuse what the other systems refuse, and mnistlab works on top of each of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs
from tests.conftest import CHECKOUT
from tests.systems import environment

pytestmark = needs.linux

REFUSED = {
    "windows": {
        "os.open(folder, os.O_RDONLY)": "PermissionError",
        "open(folder)": "PermissionError",
        "os.listdir(3)": "TypeError",
        "os.scandir(3)": "TypeError",
        "os.stat('x', dir_fd=3)": "NotImplementedError",
        "os.lstat(file).st_blocks": "AttributeError",
        "os.O_DIRECTORY, os.O_NOFOLLOW": "AttributeError",
        "os.fork()": "AttributeError",
        "os.mkfifo(folder / 'pipe')": "AttributeError",
        "signal.SIGHUP": "AttributeError",
        "import fcntl": "ModuleNotFoundError",
        "os.symlink(file, folder / 'link')": "OSError 1314",
        "(folder / 'A').rmdir()": "",  # it is there as a
        "(folder / 'other').write_text('é☃')": "UnicodeEncodeError",
        "mmap.mmap(held.fileno(), 3, flags=mmap.MAP_PRIVATE)": "TypeError",
        "held.close(), os.rename(file, folder / 'moved')": "PermissionError 32",  # mapped
        "os.replace(folder / 'other', file)": "PermissionError 32",
        "os.unlink(file)": "PermissionError 32",
        "shutil.rmtree(folder)": "PermissionError 32",
        "mapped.close(), os.unlink(file)": "",
        "(folder / 'a').mkdir(), os.replace(folder / 'a', folder / 'b')": "PermissionError 5",
        "os.rename(folder / 'other', folder / 'b')": "FileExistsError 183",
        "os.chdir(folder), os.rename(folder, folder.with_name('x'))": "PermissionError 32",
        "locked.acquire(), (folder / '.lock').read_text()": "PermissionError",
        "locked.release(), os.stat(folder / '.lock')": "FileNotFoundError",
        "os.chmod(folder / 'other', 0o400), os.unlink(folder / 'other')": "PermissionError 5",
        "os.chmod(folder, 0), os.access(folder, os.W_OK) or 1 / 0": "",
        **{f"(folder / {name!r}).touch()": "OSError" for name in ("a:b", "x.", "NUL.txt")},
        "(folder / 'a:b').mkdir()": "OSError 123",
        "(folder / ('x' * 250)).touch()": "FileNotFoundError",
        "(folder / ('x' * 250)).mkdir()": "FileNotFoundError 206",
    },
    "macos": {
        "os.fsync(os.open(folder, os.O_RDONLY))": "OSError",
        "os.sched_getaffinity(0)": "AttributeError",
        "mmap.MAP_NORESERVE": "AttributeError",
        "open(folder)": "IsADirectoryError",
        "fcntl.fcntl(held, fcntl.F_FULLFSYNC)": "",
        "(folder / 'A').mkdir()": "FileExistsError",
        "(folder / 'é').touch(), os.listdir(folder).index('e\\u0301')": "",
        "(folder / 'e\\u0301').touch(exist_ok=False)": "FileExistsError",
        "os.unlink(file)": "",  # although it is open
    },
}
ASK = """
import importlib, json, mmap, os, shutil, signal, sys
from pathlib import Path
import filelock
if os.environ["MNISTLAB_TEST_SYSTEM"] == "macos": import fcntl
folder = Path(sys.argv[1])
(folder / "a").mkdir(), (folder / "b").mkdir()
file = folder / "file"
file.write_bytes(b"abc")
held = open(file, "r+b")
mapped = mmap.mmap(held.fileno(), 3, access=mmap.ACCESS_COPY)
locked = filelock.FileLock(folder / ".lock")
answers = {}
for statement in json.load(sys.stdin):
    answers[statement] = ""
    try:
        exec(statement)
    except Exception as error:
        name = type(error).__name__
        answers[statement] = f"{name} {getattr(error, 'winerror', '')}".strip()
print(json.dumps(answers))
"""


def run(system: str, code: str, folder: Path, given: str = "") -> str:
    """What a Python process on `system` prints that runs `code` with `folder` as its argument."""
    variables = os.environ | environment(system) | {"MNISTLAB_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(
        command, input=given, env=variables, cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("system", REFUSED)
def test_a_layer_refuses_what_the_system_refuses(tmp_path: Path, system: str) -> None:
    answers = run(system, ASK, tmp_path, json.dumps([*REFUSED[system]]))
    assert json.loads(answers) == REFUSED[system]


JOURNEY = """
import gc, os, sys
from pathlib import Path
os.chdir(sys.argv[1])
from mnistlab.data import scan
from tests.command import run_in_process as mnistlab
from tests.conftest import make_tree
make_tree(Path("tiny"))
scan.YOUNG_NS = 0  # so that it is stored at once
settings = ("--data", "tiny", "--seed", "3", "--json")
whole = mnistlab("train", *settings, "--epochs", "3", "--run-dir", "whole").ok().json
run = mnistlab("train", *settings, "--epochs", "2").ok().json["run"]
assert len(mnistlab("data", "where", "--json").ok().json["entries"]) == 2
again = mnistlab("train", "--resume", run, "--epochs", "3", "--json").ok().json
assert again["weights_sha256"] == whole["weights_sha256"]
mnistlab("runs", "verify", run).ok()
mnistlab("predict", run, "tiny/valid/dark/0.png").ok()
mnistlab("report", run).ok()
assert len(mnistlab("runs", "list", "--json").ok().json["runs"]) == 1
mnistlab("runs", "rm", run, "-f").ok()
assert not os.path.exists(run)
gc.collect()
assert not mnistlab("data", "clear", "--json").ok().json["left"]
assert not [path for path in Path().rglob("*") if path.name.endswith("-tmp")]
"""


@pytest.mark.parametrize("system", REFUSED)
def test_a_run_is_trained_resumed_verified_and_deleted_on(tmp_path: Path, system: str) -> None:
    run(system, JOURNEY, tmp_path)
