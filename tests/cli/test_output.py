"""Pipes that break, disks that are full, terminals of any width, any encoding."""

import contextlib
import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from rich.table import Table

from mnistlab.cli.output import Lasting, Output
from mnistlab.data import download
from mnistlab.report.rows import HEADER
from tests import needs
from tests.command import Result, run, run_in_process, terminal
from tests.conftest import make_tree
from tests.originals import publish
from tests.webserver import serving

if TYPE_CHECKING:
    from tests.reliability.processes import Server

Mnistlab = Callable[..., Result]


@dataclass
class Screen:
    """What a terminal of `width` columns shows: the few codes that rich sends, and no others."""

    width: int
    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0
    wrapped: set[int] = field(default_factory=set)  # rows that go on in the next one

    def feed(self, text: str) -> "Screen":
        for code, char in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|([^\x1b])", text):
            if code:
                self.control(code)
            elif char == "\r":
                self.column = 0
            elif char == "\n":
                self.move(self.row + 1)
            else:
                self.put(char)
        assert text.count("\x1b") == len(re.findall(r"\x1b\[", text)), "an unknown code"
        return self

    def control(self, code: str) -> None:
        number, kind = code[:-1], code[-1]
        if kind == "A":
            self.move(self.row - int(number or 1))
        elif code == "2K":
            self.lines[self.row] = ""
            self.wrapped.discard(self.row)
        else:
            assert kind in "mhl", f"an unknown code {code!r}"

    def move(self, row: int) -> None:
        assert row >= 0, "above the screen"
        self.row = row
        self.lines += [""] * (row + 1 - len(self.lines))

    def put(self, char: str) -> None:
        if self.column == self.width:
            self.wrapped.add(self.row)
            self.move(self.row + 1)
            self.column = 0
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
        self.column += 1

    @property
    def text(self) -> str:
        """All lines as one string, wrapped lines joined again."""
        return "".join(
            line if row in self.wrapped else f"{line}\n" for row, line in enumerate(self.lines)
        )


def on_terminal(
    columns: int, *arguments: str | Path, encoding: str = "utf-8", only: str = ""
) -> tuple[int, str]:
    """Run a command here with stdout and stderr (or `only` one) on a terminal of `columns`."""
    with (
        terminal(columns) as (slave, got),
        open(os.dup(slave), "w", encoding=encoding) as tty,
        # rich asks the descriptors 0 to 2 for the width, and those are not the terminal here
        mock.patch.dict(os.environ, {"COLUMNS": str(columns)}),
    ):
        out, err = (None if only == other else tty for other in ("stderr", "stdout"))
        code = run_in_process(*arguments, out=out, err=err).code
    return code, b"".join(got).decode(encoding)


# on a terminal


@pytest.mark.parametrize("columns", [30, 40, 80])
@pytest.mark.usefixtures("own_cache")
def test_the_live_table_leaves_whole_rows_and_nothing_else(columns: int, tiny: Path) -> None:
    settings = ("train", "--data", tiny, "--epochs", "12", "--batch-size", "5")
    code, written = on_terminal(columns, *settings)
    assert code == 0
    assert "\x1b[?25l" in written  # something was live
    assert "%" in written
    text = Screen(columns).feed(written).text
    [run_folder] = Path("runs").iterdir()
    rows = json.loads((run_folder / "run.json").read_text())["result"]["epochs"]
    lines = text.splitlines()
    start = lines.index(HEADER)
    assert len(rows) == 12
    for line, row in zip(lines[start + 1 :], rows, strict=False):
        assert re.fullmatch(
            rf" +{row['epoch']} +{row['train_loss']:.6f} +{row['valid_loss']:.6f} +"
            rf"{row['accuracy']:.6f} +{row['seconds']:.2f}s",
            line,
        )
    assert lines[start + 13] == f"run     {run_folder}"
    assert "%" not in text
    assert "reading" not in text
    assert "━" not in text


def test_a_process_on_a_real_terminal(server: "Server", tiny: Path) -> None:
    settings = ("train", "--data", tiny, "--epochs", "3")
    with terminal(40) as (slave, got):
        server.run(*settings, cwd=Path.cwd(), env=os.environ, terminal=slave).ok()
    lines = Screen(40).feed(b"".join(got).decode()).text.splitlines()
    start = lines.index(HEADER)
    assert [line.split()[0] for line in lines[start + 1 : start + 4]] == ["0", "1", "2"]
    assert lines[start + 4].startswith(f"run     runs{os.sep}")


def test_the_best_row_is_bold_and_no_color_makes_all_plain(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("train", "--data", tiny, "--epochs", "2")
    styled = re.compile(r"\x1b\[[0-9;]*m")
    assert "\x1b[1m    0 " in on_terminal(80, *settings)[1]
    assert not styled.search(on_terminal(80, *settings, "--color", "never")[1])
    monkeypatch.setenv("NO_COLOR", "1")
    assert not styled.search(on_terminal(80, *settings)[1])
    assert styled.search(on_terminal(80, *settings, "--color", "always")[1])
    monkeypatch.setenv("NO_COLOR", "")  # empty means not set
    assert styled.search(on_terminal(80, *settings)[1])


def test_a_dumb_terminal_gets_plain_lines(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    for arguments in (("train", "--data", tiny, "--epochs", "2"), ("eval",)):
        code, written = on_terminal(80, *arguments)
        assert code == 0
        assert "\x1b" not in written
        assert written.replace("\r\n", "\n").isascii()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.usefixtures("own_cache")
def test_a_terminal_of_another_encoding_gets_what_it_can_show(
    encoding: str, tmp_path: Path
) -> None:
    tree = make_tree(tmp_path / "t", ("žluť", "日本"))
    for arguments in (("train", "--data", tree, "--epochs", "2"), ("eval",)):
        code, written = on_terminal(80, *arguments, encoding=encoding)
        assert code == 0
        assert "\\u65e5\\u672c" in written
        assert "━" not in written


def test_rows_go_to_a_file_while_the_bar_is_on_the_terminal(tiny: Path) -> None:
    code, written = on_terminal(80, "train", "--data", tiny, "--epochs", "2", only="stderr")
    assert code == 0
    assert HEADER not in written
    assert ", batch 0 of 1" in written
    screen = Screen(80).feed(written).text
    assert "batch" not in screen
    code, written = on_terminal(80, "train", "--data", tiny, "--epochs", "2", only="stdout")
    assert code == 0
    assert "\x1b" not in written  # stderr is no terminal: nothing is redrawn
    assert len(written.splitlines()) == 3


def test_a_table_is_never_folded_on_a_narrow_terminal(mnistlab: Mnistlab, tiny: Path) -> None:
    code, written = on_terminal(40, "train", "-n", "--data", tiny)
    plain = mnistlab("train", "-n", "--data", tiny).ok().out
    assert code == 0
    shown = Screen(40).feed(written).text
    for line in plain.splitlines():
        assert line.rstrip() in shown


def test_the_tables_of_eval_are_bold_on_a_terminal_and_the_same_text(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    mnistlab("baseline", "pixel-similarity", "--data", tiny).ok()
    code, written = on_terminal(80, "eval", only="stdout")
    assert code == 0
    assert written.startswith("\x1b[1maccuracy")
    shown = [line.rstrip() for line in Screen(80).feed(written).text.splitlines()]
    assert shown[: len(shown) - 1] == mnistlab("eval").ok().out.splitlines()[: len(shown) - 1]


# off a terminal


@pytest.mark.parametrize(
    ("color", "variables", "styled"),
    [
        ("auto", {}, False),
        ("never", {"FORCE_COLOR": "1"}, False),
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("always", {"NO_COLOR": "1"}, True),
        ("always", {"TERM": "dumb"}, True),
        ("ALWAYS", {}, True),
    ],
)
def test_color_off_a_terminal_is_as_asked(
    mnistlab: Mnistlab,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    color: str,
    variables: dict[str, str],
    styled: bool,
) -> None:
    mnistlab("baseline", "pixel-similarity", "--data", tiny).ok()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = mnistlab("eval", "--color", color).ok()
    assert ("\x1b[1m" in result.out) is styled
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", result.out)  # no redraws ever
    assert "\x1b" not in result.err
    document = mnistlab("eval", "--color", color, "--json").ok()
    assert "\x1b" not in document.out


def test_without_a_terminal_there_is_no_code_and_one_line_an_epoch(
    mnistlab: Mnistlab, tiny: Path
) -> None:
    data = ("--data", tiny)
    for arguments in (("train", *data, "--epochs", "3"), ("train", "-n", *data), ("eval",)):
        result = mnistlab(*arguments).ok()
        assert "\x1b" not in result.out + result.err
        assert "\r" not in result.out + result.err
        assert not any(line.endswith(" ") for line in result.out.splitlines())


def test_reading_many_images_is_told_once_a_split() -> None:
    err = io.StringIO()
    with contextlib.redirect_stderr(err), Output().loading() as progress:
        for done in (0, 2000, 4000):
            progress("train", done, 4000)
            progress("valid", done // 4, 1000)
    assert err.getvalue() == "reading 4,000 images of train\n"


def test_a_download_is_told_once_a_file() -> None:
    err = io.StringIO()
    bar = Output().loading("downloading", in_bytes=True)
    with contextlib.redirect_stderr(err), bar as progress:
        for done in (0, 2_000_000, 4_560_000):
            progress("a.gz", done, 4_560_000)
            progress("b.gz", done, 0)
    assert err.getvalue() == "downloading a.gz, 4.6 MB\ndownloading b.gz\n"


def test_a_download_and_what_is_made_of_it_leave_nothing_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    made = publish(monkeypatch, "usps", tmp_path / "from")
    monkeypatch.setattr(download, "_PIECE", 500)
    with serving() as server:
        for path in made.folder.iterdir():
            server.answers[f"/{path.name}"] = path.read_bytes()
        flags = ("--from", server.url, "--to", "made")
        code, written = on_terminal(80, "data", "download", "usps", *flags, only="stderr")
    assert code == 0
    assert "usps.t.bz2" in written
    assert "reading train" in written
    # the one bar is gone before the other one is drawn
    assert written.rindex("usps.t.bz2") < written.index("reading train")
    assert Screen(80).feed(written).text.rstrip() == "next   mnistlab train --data made"


@needs.accents
def test_a_stream_of_another_encoding_escapes_what_it_lacks(
    mnistlab: Mnistlab, tmp_path: Path
) -> None:
    tree = make_tree(tmp_path / "t", ("žluť", "日本"))
    stream = io.TextIOWrapper(io.BytesIO(), "cp1252")
    mnistlab("data", "check", tree, out=stream).ok()
    stream.seek(0)
    names = [line.split()[0] for line in stream.read().splitlines()[2:4]]
    assert names == ["žlu\\u0165", "\\u65e5\\u672c"]


@needs.real_linux
def test_a_process_in_the_c_locale_escapes_all_but_ascii() -> None:
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = run("train", "--config", "日", env=env)
    assert (result.code, result.out) == (2, "")
    assert result.err.isascii()
    assert result.err.startswith("error: --config \\udce6\\udc97\\udca5: no such file or preset")


# readers that go away, disks that are full


def broken(number: int) -> Any:
    class Broken(io.StringIO):
        def flush(self) -> None:
            raise OSError(number, os.strerror(number))

    return Broken()


def test_a_broken_pipe_passes_in_silence_and_a_full_disk_is_told() -> None:
    gone, full = Lasting(broken(errno.EPIPE)), Lasting(broken(errno.ENOSPC))
    assert gone.write("x") == full.write("x") == 1
    assert gone.failure is None
    assert "No space left on device" in str(full.failure)


def test_a_lost_terminal_passes_in_silence_and_a_failing_disk_does_not(tmp_path: Path) -> None:
    master, slave = pytest.importorskip("pty").openpty()
    os.close(master)
    with open(slave, "w", encoding="utf-8") as stream:
        lost = Lasting(stream)
        lost.write("x")
        assert lost.failure is None
        stream.write("goes nowhere")
    with (tmp_path / "file").open("w") as disk:
        failing = broken(errno.EIO)
        failing.fileno = disk.fileno
        lasting = Lasting(failing)
        lasting.write("x")
        assert lasting.failure is not None


def test_what_rich_draws_outlives_its_reader() -> None:
    gone: Any = Lasting(broken(errno.EPIPE))
    with contextlib.redirect_stderr(gone):
        console = Output(color="always").console("stderr", width=40)
        console.print(Table("a"))
        console.print("b")
    full: Any = Lasting(broken(errno.ENOSPC))
    with contextlib.redirect_stderr(full):
        Output().console("stderr").print("b")
    assert "b" in full.getvalue()


def test_a_reader_that_leaves_early_does_not_end_the_run(server: "Server", tiny: Path) -> None:
    reader, writer = os.pipe()
    settings = ("train", "--data", tiny, "--epochs", "100")
    process = server.start(*settings, cwd=Path.cwd(), env=os.environ, out=writer)
    os.close(writer)
    with open(reader, encoding="utf-8") as stream:
        assert stream.readline() == HEADER + "\n"
    err = process.finish().ok().err
    assert "Traceback" not in err
    assert "Exception" not in err
    [run_folder] = Path("runs").iterdir()
    info = json.loads((run_folder / "run.json").read_text())
    assert info["status"] == "done"
    assert len(info["result"]["epochs"]) == 100


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_that_nobody_reads_is_no_failure(flag: str) -> None:
    result = run_in_process(flag, out=broken(errno.EPIPE))
    assert (result.code, result.err) == (0, "")


# of the command itself; tests/reliability/test_terminals.py has every command in such places
SHELLS = """
m="{python} -m mnistlab"
$m train --data tiny --epochs 2 >&- 2>&-; echo "closed $?" >&2
$m --version >/dev/full; echo "version $?" >&2
$m eval nope 2>/dev/full; echo "stderr $?" >&2
$m eval nope 2>&-; echo "no stderr $?" >&2
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_closed_and_full_outputs_end_without_a_traceback(tiny: Path, server: "Server") -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        settings = ("train", "--data", tiny, "--run-dir", "full")
        ended = server.run(*settings, cwd=Path.cwd(), env=os.environ, out=full.fileno())
    assert ended.code == 1
    assert ended.err.endswith("error: cannot write the output: No space left on device\n")
    done = subprocess.run(
        ["sh", "-c", SHELLS.format(python=sys.executable)],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    codes = re.findall(r"^([a-z ]+) (\d)$", done.stderr, re.M)
    assert codes == [("closed", "0"), ("version", "1"), ("stderr", "2"), ("no stderr", "2")]
    assert "Traceback" not in done.stderr + ended.err
    assert "Exception" not in done.stderr + ended.err
    for folder in ("full", "runs"):  # a run that nobody can watch is a run all the same
        [run] = Path(folder).iterdir()
        assert json.loads((run / "run.json").read_text())["status"] == "done"
