"""Run the lines of a case and keep what must not change: exit codes, figures, content of files."""

import hashlib
import json
import math
import os
import platform
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mnistlab.data.named import mnist_sample
from tests.command import run_in_process, run_script

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"

# What another moment, folder or version changes, and texts, which may be worded anew.
_MASKED = {
    *("seconds", "created", "saved", "pid", "path", "bytes", "mnistlab", "python", "platform"),
    *("command", "here", "text", "reason", "notes", "about", "script"),
}
_RUN_NAME = re.compile(r"\d{8}-\d{6}-([a-z0-9-]+-s\d+?)(-\d+)?\b")
_LONG = 40  # numbers; a longer list is kept as its SHA-256
_WIDTH = 160  # characters of a line of expected.json


def machine() -> dict[str, str]:
    """All of this machine that changes the last bits of a result."""
    vendor = re.search(r"vendor_id\s*: (\S+)", _read("/proc/cpuinfo"))
    return {
        "torch": str(torch.__version__),
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "vendor": vendor[1] if vendor else platform.processor(),
    }


def play(lines: list[str], folder: Path, originals: Path | None = None) -> list[dict[str, Any]]:
    """Run `lines` in the new `folder`; one entry a line."""
    folder.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        for name in ("digits", "spoiled"):
            if any(name in line for line in lines):
                make_images(Path(name))
        if Path("spoiled").exists():
            Path("spoiled/train/3/0.png").write_bytes(b"no image")
        made: list[str] = []
        results = []
        for line in lines:
            told = line
            for number, name in enumerate(made, 1):
                told = told.replace(f"RUN{number}", name)
            words = [str(originals) if word == "ORIGINALS" else word for word in shlex.split(told)]
            results.append({"line": line, **_step(words)})
            made += sorted({path.name for path in Path("runs").glob("*")} - {*made})
        return results
    finally:
        os.chdir(before)


def _step(words: list[str]) -> dict[str, Any]:
    match words:
        case ["copy", name]:
            shutil.copytree(HERE / "runs" / name, Path("runs", name))
            return {}
        case ["edit", file, old, new]:
            text = Path(file).read_text(encoding="utf-8")
            assert old in text
            Path(file).write_text(text.replace(old, new), encoding="utf-8")
            return {}
        case ["damage", file]:
            content = bytearray(Path(file).read_bytes())
            content[len(content) // 2] ^= 255
            Path(file).write_bytes(content)
            return {}
        case ["hash", path]:
            return {"sha256": _content(Path(path))}
        case ["page", file]:
            text = Path(file).read_text(encoding="utf-8").lower()
            return {"one page": text.startswith("<!doctype html>") and text.count("</html>") == 1}
        case ["script", file]:
            return {"exit": 0, "last line": run_script(file, mnist_sample())[-1:]}
    done = run_in_process(*words)
    document = masked(json.loads(done.out)) if "--json" in words and done.out else None
    return {"exit": done.code, "document": document}


def help_of(*command: str) -> dict[str, list[str]]:
    """The flags of `command` and of all commands below it, as `--help` tells them."""
    text = run_in_process(*command, "--help").ok().out
    columns = [line[2:].split("  ")[0] for line in text.splitlines() if line.startswith("  -")]
    flags = {flag for column in columns for flag in re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", column)}
    found = {" ".join(("mnistlab", *command)): sorted(flags)}
    for name in re.findall(r"^  ([a-z-]+)  ", text.partition("Commands:")[2], re.MULTILINE):
        found |= help_of(*command, name)
    return found


def make_images(root: Path) -> None:
    """Ten classes of made images of 28 x 28, drawn from fixed seeds: a blot, each class its own."""
    rows, columns = np.mgrid[:28, :28]
    for split, count in (("train", 12), ("valid", 4)):
        random = np.random.default_rng(len(split) + count)
        for k in range(10):
            folder = root / split / str(k)
            folder.mkdir(parents=True)
            for i in range(count):
                row, column = 6 + 2 * k + random.normal(0, 1.5), 6 + (7 * k) % 17
                blot = 255 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 12)
                noisy = blot + random.integers(0, 40, (28, 28))
                Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")


def masked(value: Any) -> Any:
    """A JSON document without times, paths and wording; long lists of numbers as a hash."""
    if isinstance(value, dict):
        if value.get("kind") == "images":
            return {key: masked(value[key]) for key in ("kind", "title")}
        if isinstance(value.get("files"), dict):  # of a run: sizes depend on the times in them
            value = {**value, "files": sorted(value["files"])}
        if isinstance(value.get("changed"), dict):  # neither changes the bits
            changed = {k: v for k, v in value["changed"].items() if k not in ("python", "mnistlab")}
            value = {**value, "changed": changed}
        return {k: "masked" if k in _MASKED else masked(v) for k, v in value.items()}
    if isinstance(value, list):
        numbers = list(_numbers(value))
        if len(numbers) > _LONG and None not in numbers:
            return {"numbers": len(numbers), "sha256": _sha256(json.dumps(value).encode())}
        return [masked(part) for part in value]
    if isinstance(value, str):
        return _RUN_NAME.sub(r"TIME-\1", value.replace(os.getcwd(), "FOLDER"))
    return value


def _numbers(value: Any) -> Iterator[float | None]:
    """The numbers of nested lists; None for anything else in them."""
    if isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    else:
        yield value if isinstance(value, int | float) else None


def dump(value: Any, indent: str = "") -> str:
    """JSON with sorted keys that differs in few lines: what fits into a line is not broken up."""
    line = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if len(indent + line) <= _WIDTH or not isinstance(value, dict | list):
        return line
    inner = indent + " "
    if isinstance(value, list):
        parts = [dump(part, inner) for part in value]
    else:
        parts = [f"{json.dumps(key)}: {dump(value[key], inner)}" for key in sorted(value)]
    body = ",\n".join(inner + part for part in parts)
    opening, closing = "[]" if isinstance(value, list) else "{}"
    return f"{opening}\n{body}\n{indent}{closing}"


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every figure of nested lists and dicts by its path, as in `[0].document.accuracy`."""
    if not isinstance(value, dict | list) or not value:
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {
        where: figure
        for key, part in items
        for where, figure in flat(part, f"{path}/{key}").items()
    }


def differences(expected: Any, found: Any, *, bits: bool) -> list[str]:
    """What differs, one line a figure.

    Without `bits`, on another machine or torch, only what must be near: accuracies and losses; and
    exit codes, but for `verify`, which then rightly says that the weights are others.
    """
    before, now = flat(expected), flat(found)
    paths = sorted(before.keys() | now.keys() if bits else before.keys() & now.keys())
    return [
        f"{path}: {before.get(path, 'absent')} is now {now.get(path, 'absent')}"
        for path in paths
        if not (_same if bits else _near)(
            path.split("/")[-1], before.get(path, "absent"), now.get(path, "absent")
        )
        and (bits or "verify" not in str(before.get(path.removesuffix("exit") + "line")))
    ]


def _same(name: str, a: Any, b: Any) -> bool:
    # The linear algebra of a lesson is in float64; where in memory its numbers lie changes their
    # last bit. Everything else is float32, and any other figure of it is further away than this.
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)
    return type(a) is type(b) and bool(a == b)


def _near(name: str, a: Any, b: Any) -> bool:
    if name == "exit":
        return bool(a == b)
    if not isinstance(a, float) or not isinstance(b, float):
        return True
    if name.endswith("accuracy"):
        return abs(a - b) <= 0.01
    return name not in ("train_loss", "valid_loss") or abs(a - b) <= 0.05 * abs(a)


def _content(path: Path) -> str:
    if path.is_dir():
        parts = [f"{file.name} {_content(file)}" for file in sorted(path.iterdir())]
        return _sha256("\n".join(parts).encode())
    if path.suffix == ".png":
        with Image.open(path) as image:
            return _sha256(f"{image.mode} {image.size} ".encode() + image.tobytes())
    return _sha256(path.read_bytes())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8") if os.path.exists(path) else ""
