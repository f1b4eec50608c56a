"""The application as a whole: help, errors, completion, and what it imports."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mnistlab import __version__
from mnistlab.cli import app as module
from mnistlab.cli import evaluate as evaluate_module
from mnistlab.cli.app import app
from mnistlab.config import (
    MODEL_DEFAULTS,
    MODEL_NAMES,
    SETTINGS,
    TYPES,
    TrainConfig,
    choices_of,
    flag_of,
)
from mnistlab.devices import choose_device, environment
from mnistlab.errors import RunError
from tests.command import Result
from tests.conftest import CHECKOUT

Mnistlab = Callable[..., Result]


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group below `command`, itself first, as the Typer app has them."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


EVERY = dict(walk(typer.main.get_command(app)))
LEAVES = {path: command for path, command in EVERY.items() if not hasattr(command, "commands")}


def flags_of(command: Any) -> dict[str, Any]:
    return {flag: option for option in command.params for flag in option.opts}


# help


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_has_help(mnistlab: Mnistlab, path: tuple[str, ...]) -> None:
    told = mnistlab(*path, "-h").ok()  # `--help` of every command: tests/golden
    assert told.err == ""
    assert told.out.startswith(f"Usage: {' '.join(('mnistlab', *path))} [OPTIONS]")
    assert told.out.isascii()
    assert max(map(len, told.out.splitlines())) <= 80
    described = told.out.split("\n\n")[1]
    assert described.strip().endswith(".")


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_option_has_help(path: tuple[str, ...]) -> None:
    for option in EVERY[path].params:
        assert option.help, option.name


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_is_in_the_readme_or_the_docs(path: tuple[str, ...]) -> None:
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("**/*.md")]
    written = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert re.search(rf"mnistlab {' '.join(path)}\b", written)


@pytest.mark.parametrize("arguments", [(), ("baseline",), ("data",)], ids=" ".join)
def test_without_a_command_there_is_help_and_exit_2(
    mnistlab: Mnistlab, arguments: tuple[str, ...]
) -> None:
    told = mnistlab(*arguments)
    assert told.code == 2
    assert "Commands:" in told.out + told.err


# the version


def test_the_version_says_what_runs_here_in_lines_of_a_name_and_a_value(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_commit", lambda: "0123456789abcdef")
    here = environment(choose_device("auto"))
    assert mnistlab("--version").ok().out.splitlines() == [
        f"mnistlab {__version__}",  # scripts read this line
        "commit 0123456789ab",
        f"python {here['python']} on {here['platform']}",
        f"torch {here['torch']}",
        f"device {here['device']} on {here['processor']}",
    ]
    assert importlib.metadata.version("mnistlab") == __version__
    monkeypatch.setattr(module, "_commit", lambda: None)
    assert "commit" not in mnistlab("--version").ok().out


def test_the_version_is_told_also_where_torch_cannot_be_imported(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mnistlab.devices", None)
    told = mnistlab("--version")
    assert told.code == 1
    assert re.match(rf"mnistlab {__version__}\n(.*\n)*torch \d.*\n\Z", told.out)
    assert "mnistlab.devices" in told.err


def test_the_commit_is_the_one_that_git_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("git"):
        pytest.skip("no git here")
    clone, tree = tmp_path / "clone", tmp_path / "tree"

    def git(*words: str | Path) -> str:
        name = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        command = ["git", "-C", clone, *name, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit_in(folder: Path) -> str | None:
        monkeypatch.setattr(module, "__file__", str(folder / "src" / "mnistlab" / "cli" / "app.py"))
        return module._commit()

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Installed("{}"))
    clone.mkdir()
    assert commit_in(clone) is None
    git("init", "--initial-branch", "a.b/c")
    assert commit_in(clone) is None  # nothing is committed yet
    git("commit", "--allow-empty", "--message", "1")
    first = commit_in(clone)
    assert first == git("rev-parse", "HEAD")
    git("branch", "axb/c")
    git("commit", "--allow-empty", "--message", "2")
    git("worktree", "add", tree, "axb/c")
    for _ in "loose", "packed":
        assert commit_in(clone) == git("rev-parse", "HEAD") != first
        assert commit_in(tree) == first
        git("pack-refs", "--all")
    git("checkout", "--detach", "HEAD~")
    assert commit_in(clone) == first


@dataclass
class Installed:
    """A distribution whose `direct_url.json` has this text."""

    text: str | None

    def read_text(self, name: str) -> str | None:
        return self.text if name == "direct_url.json" else None


@pytest.mark.parametrize(
    ("text", "commit"),
    [
        ('{"url": "https://example.org", "vcs_info": {"vcs": "git", "commit_id": "123"}}', "123"),
        ('{"url": "file:///x", "dir_info": {"editable": true}}', None),
        (None, None),
        ("{", None),
    ],
)
def test_the_commit_of_an_installation_is_what_pip_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, commit: str | None
) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "lib" / "a" / "mnistlab" / "cli" / "b"))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Installed(text))
    assert module._commit() == commit


# the flags that mean the same everywhere

SHARED = (
    *("--json", "--quiet", "-q", "--debug", "--color"),
    *("--data", "--device", "--threads", "--skip-bad", "--run-dir", "--seed", "--min-accuracy"),
)


@pytest.mark.parametrize("flag", SHARED)
def test_a_shared_flag_is_the_same_in_every_command(flag: str) -> None:
    found = [flags_of(command)[flag] for command in LEAVES.values() if flag in flags_of(command)]
    assert len({(option.metavar, tuple(option.opts)) for option in found}) == 1
    if flag not in ("--min-accuracy", "--seed"):
        assert len({option.help for option in found}) == 1


def test_every_setting_is_a_flag_of_train_with_its_true_default() -> None:
    flags = flags_of(LEAVES["train",])
    assert {flag_of(key) for key in SETTINGS if key != "distance"} <= flags.keys()
    for key, setting in SETTINGS.items():
        if key == "distance":  # of the baseline
            assert "--distance" in flags_of(LEAVES["baseline", "pixel-similarity"])
            continue
        option = flags[flag_of(key)]
        assert option.default is None, key  # else a config file could never win
        assert option.help.startswith(setting.help.removesuffix(".")), key
        if TYPES[key] not in (int, float, str, bool) and choices_of(key) and key != "order_seed":
            assert option.metavar == "|".join(choices_of(key)), key
        value = getattr(TrainConfig(), key)
        if key not in MODEL_DEFAULTS["linear"] and value != "" and TYPES[key] is not bool:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            assert f"[default: {text}" in option.help, key
        for model, own in MODEL_DEFAULTS.items():
            if key in own and model != "pixel-similarity":
                assert f"{model} {own[key]}" in option.help, key


# what is imported

IMPORTS = """
import contextlib, io, json, os, sys
from unittest import mock
from mnistlab.__main__ import main
calls = json.loads(sys.argv[1])
told = []
for arguments, variables in calls:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with mock.patch.dict(os.environ, variables), contextlib.redirect_stdout(out), \\
            contextlib.redirect_stderr(err), mock.patch.object(sys, "argv", ["-", *arguments]):
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code
    heavy = sorted({"torch", "torchvision", "rich", "matplotlib", "numpy"} & set(sys.modules))
    told.append({"code": code, "out": out.getvalue(), "err": err.getvalue(), "heavy": heavy})
print(json.dumps(told))
"""


def completion(*words: str, shell: str = "bash") -> tuple[list[str], dict[str, str]]:
    line = " ".join(words)
    if shell == "bash":
        cursor = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    else:
        cursor = {"_TYPER_COMPLETE_ARGS": line}
    return [], {"_MNISTLAB_COMPLETE": f"complete_{shell}", **cursor}


def alone(*calls: tuple[list[str], dict[str, str]]) -> list[dict[str, Any]]:
    """Run all calls in one new process: what they printed, and what they imported."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, json.dumps(calls)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_help_completion_and_typos_import_nothing_heavy(tmp_path: Path) -> None:
    for name, day in (("20261121-120000-linear-s0", 21), ("20261122-120000-two-layer-s1", 22)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        created = json.dumps({"created": f"2026-11-{day}T12:00:00+00:00"})
        (tmp_path / "runs" / name / "run.json").write_text(created)
    (tmp_path / "other" / "mine").mkdir(parents=True)
    (tmp_path / "other" / "mine" / "run.json").write_text("{}")
    (tmp_path / "file").write_text("")
    helped: list[tuple[list[str], dict[str, str]]] = [([*path, "--help"], {}) for path in EVERY]
    typos: list[list[str]] = [
        ["train", "--model", "linaer"],
        ["train", "--config", "liner"],
        ["eval", "nope"],
        ["trian"],
        ["data", "download", "mnits"],
    ]
    runs = ["latest", "20261122-120000-two-layer-s1", "20261121-120000-linear-s0"]
    completed: list[tuple[tuple[list[str], dict[str, str]], list[str]]] = [
        (completion("mnistlab", "train", "--config", ""), [
            "book-linear", "book-two-layer", "cnn", "linear", "mnist-best", "mnist-cnn",
            "resnet18", "two-layer",
        ]),
        (completion("mnistlab", "train", "--config", "book-t"), ["book-two-layer"]),
        (completion("mnistlab", "train", "--model", ""), list(MODEL_NAMES)),
        (completion("mnistlab", "train", "--model", "t"), ["two-layer"]),
        (completion("mnistlab", "train", "--resume", ""), runs),
        (completion("mnistlab", "eval", ""), runs),
        (completion("mnistlab", "eval", "20261122"), runs[1:2]),
        (completion("mnistlab", "eval", "--run-dir", "other", ""), ["latest", "mine"]),
        (completion("mnistlab", "eval", "--run-dir", "file", ""), ["latest"]),
        (completion("mnistlab", "eval", "--color", ""), ["auto", "always", "never"]),
        (completion("mnistlab", "baseline", ""), ["pixel-similarity"]),
        (completion("mnistlab", "train", "--data", "mn"), ["mnist_sample", "mnist"]),
        (completion("mnistlab", "data", "download", "emn"), ["emnist-digits", "emnist-letters"]),
        (completion("mnistlab", "data", "download", "mn"), ["mnist"]),
    ]  # fmt: skip
    zsh = completion("mnistlab", "train", "--config", "book-l", shell="zsh")
    answers = alone(*helped, *((typo, {}) for typo in typos), *(call for call, _ in completed), zsh)
    assert [answer["heavy"] for answer in answers[:-1]] == [[]] * (len(answers) - 1)
    for call, answer in zip(helped, answers, strict=False):
        assert answer["code"] == 0, call
        assert answer["out"].startswith("Usage: mnistlab")
    told = answers[len(helped) :]
    assert [answer["code"] for answer in told[: len(typos)]] == [2, 2, 2, 2, 2]
    for (call, expected), answer in zip(completed, told[len(typos) :], strict=False):
        assert answer["out"].split() == expected, call
        assert answer["err"] == "", call
    assert "book-linear" in answers[-1]["out"]
    assert not {"torch", "torchvision"} & set(answers[-1]["heavy"])


# errors


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("trian",), "Did you mean 'train'?"),
        (("train", "--epocs", "3"), "--epochs"),
        (("reproduce", "--seeds", "many"), "Invalid value for '--seeds'"),
        (("train", "extra"), "unexpected extra argument"),
        (("train", "--color", "red"), "'auto', 'always', 'never'"),
        (("train", "--min-accuracy", "1.5"), "less than or equal to 1"),
        (("train", "--min-accuracy", "nan"), "Invalid value for '--min-accuracy'"),
        (("eval", "--min-accuracy", "-1"), "greater than or equal to 0"),
        (("eval", "a", "b"), "unexpected extra argument"),
        (("data", "check"), "Missing argument 'DIR'"),
        (("data", "import-idx", "a"), "Missing argument 'DST'"),
    ],
)
@pytest.mark.parametrize("colors", [{}, {"FORCE_COLOR": "1"}])
def test_wrong_usage_is_plain_lines_and_exit_2(
    mnistlab: Mnistlab,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
    colors: dict[str, str],
) -> None:
    for name, value in colors.items():
        monkeypatch.setenv(name, value)
    result = mnistlab(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert told in result.err
    assert result.err.startswith("Usage: mnistlab")
    assert all(c.isprintable() and c.isascii() for line in result.err.splitlines() for c in line)


def test_an_error_is_plain_lines_and_debug_adds_the_traceback(mnistlab: Mnistlab) -> None:
    plain = mnistlab("eval", "nope", "--json")
    assert (plain.code, plain.out) == (2, "")
    assert plain.err == "error: nope: no such run in runs; there are no runs yet\n"
    debugged = mnistlab("eval", "nope", "--json", "--debug")
    assert (debugged.code, debugged.out) == (2, "")
    assert debugged.err.startswith("Traceback (most recent call last):\n")
    assert debugged.err.endswith(f"\n{plain.err}")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (RunError("x: broken\ntry y"), 1, "error: x: broken\ntry y\n"),
        (MemoryError(), 1, "error: out of memory; try a smaller --batch-size or --hidden, smaller"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), 1, "error: out of mem"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), 1, "error: out of mem"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "error: out of memory; try a "),
        (RuntimeError("could not create a primitive"), 1, "error: out of memory; try a smaller"),
        (OSError(12, "Cannot allocate memory"), 1, "error: out of memory; try a smaller --batch"),
        (PermissionError(13, "Permission denied", "a\nb"), 1, "error: a\\nb: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "error: input or output: No space left on "),
        (ValueError("a\x1bb"), 1, "error: unexpected ValueError: a\\x1bb\nthis is a fault of "),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_whatever_goes_wrong_there_is_no_traceback(
    mnistlab: Mnistlab,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    told: str,
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(evaluate_module, "find_run", fails)
    result = mnistlab("eval")
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(told)
    assert "Traceback" not in result.err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit("text"), SystemExit(5)])
def test_an_end_outside_any_command_is_quiet_too(
    mnistlab: Mnistlab, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(module, "app", fails)
    result = mnistlab("eval")
    assert result.code == {"KeyboardInterrupt": 130}.get(
        type(error).__name__, 5 if error.args == (5,) else 1
    )
    assert (result.out, result.err) == ("", "")
