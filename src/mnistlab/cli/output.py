"""Where output goes: results to stdout, progress and notices to stderr; any pipe may break.

rich is imported only when something is drawn with it: off a terminal a training run needs none.
"""

import contextlib
import errno
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mnistlab.names import printable
from mnistlab.system import is_closed_pipe

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from mnistlab.data.store import ImageData, Progress

_UNLIMITED = 10_000  # columns: a table is never folded or cut; a narrow terminal wraps its lines
_DUMB = ("dumb", "unknown")  # values of TERM: a terminal without colours and cursor


class Output:
    """Output of one command, as its flags ask for it."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, color: str = "auto") -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.color = color

    @property
    def live(self) -> bool:
        """Whether stderr is a terminal on which lines can be redrawn."""
        return not self.quiet and os.environ.get("TERM") not in _DUMB and sys.stderr.isatty()

    @property
    def width(self) -> int:
        """The columns of stdout: those of its terminal, or 80."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80

    @property
    def tables(self) -> bool:
        """Whether stdout shows tables: with neither --json nor --quiet."""
        return not self.as_json and not self.quiet

    def result(self, *lines: "RenderableType") -> None:
        """Print to stdout, unless JSON was asked for."""
        if not self.as_json:
            self._print("stdout", lines)

    def notice(self, *lines: "RenderableType") -> None:
        """Print to stderr, unless --quiet."""
        if not self.quiet:
            self._print("stderr", lines)

    def document(self, content: dict[str, Any]) -> None:
        """Print the one JSON document, if it was asked for."""
        if self.as_json:
            text = json.dumps({"schema_version": 1, **content}, indent=2, allow_nan=False)
            self._print("stdout", (text,))

    def read(self, data: "ImageData") -> None:
        """How the images were read, where that needs a word, and what was left out."""
        for note in data.notes:
            self.notice(note)
        self.skipped(data.skipped)

    def skipped(self, files: dict[str, str]) -> None:
        """A notice for each file of the data that was left out, with the reason."""
        for file, why in files.items():
            self.notice(f"skipped {printable(file)}: {why}")

    @contextlib.contextmanager
    def loading(self, verb: str = "reading", *, in_bytes: bool = False) -> "Iterator[Progress]":
        """Progress of what takes long: a bar on a terminal, else one line per split or file."""
        tasks: dict[str, Any] = {}

        def print_once(name: str, done: int, total: int) -> None:
            if name in tasks or (total <= 2000 and not in_bytes):
                return  # of a few images nobody needs to be told
            tasks[name] = None
            size = f", {total / 1e6:.1f} MB" if total else ""
            what = f"{name}{size}" if in_bytes else f"{total:,} images of {name}"
            self.notice(f"{verb} {what}")

        if not self.live:
            yield print_once
            return
        from rich import progress

        bar = progress.Progress(
            progress.TextColumn(f"{verb} {{task.description}}"),
            progress.BarColumn(bar_width=16),
            progress.DownloadColumn() if in_bytes else progress.MofNCompleteColumn(),
            console=self.console("stderr"),
            transient=True,
        )

        def update(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=None)
            bar.update(tasks[name], completed=done, total=total or None)
            if bar.finished:
                bar.stop()  # another bar may follow, and there is room for one
            else:
                bar.start()  # not before: with a warm cache there is nothing to show

        try:
            yield update
        finally:
            if tasks:
                bar.stop()

    def console(self, name: str, *, width: int | None = None) -> "Console":
        """A rich console on `stdout` or `stderr`, as wide as the terminal unless `width` is given.

        `--color` goes before NO_COLOR, that before FORCE_COLOR, that before what the stream is.
        """
        from rich.console import Console

        no_color = bool(os.environ.get("NO_COLOR")) and self.color == "auto"
        colorless, always = no_color or self.color == "never", self.color == "always"
        dumb = os.environ.get("TERM") in _DUMB  # where rich expects no colour
        return Console(
            file=getattr(sys, name),
            force_terminal=True if always else None,
            no_color=colorless,
            color_system=None if colorless else "standard" if always and dumb else "auto",
            width=width,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def _print(self, name: str, lines: "Sequence[RenderableType]") -> None:
        texts = []
        for line in lines:
            if not isinstance(line, str):
                console = self.console(name, width=_UNLIMITED)
                with console.capture() as captured:
                    console.print(line)
                line = "\n".join(map(str.rstrip, captured.get().rstrip("\n").split("\n")))
            texts.append(line)
        getattr(sys, name).write("".join(f"{text}\n" for text in texts))


class Lasting:
    """stdout or stderr, which outlives its reader: work goes on, whatever becomes of its output.

    What goes to a broken pipe or a closed terminal is lost without a word. `failure` is any other
    reason for which something could not be written (a full disk).
    """

    failure: OSError | None = None

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write `text` at once; if that fails, this and all that follows goes nowhere."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError as error:
            reader_gone = is_closed_pipe(error)
            if error.errno == errno.EIO:  # a closed terminal; on a disk it is a real failure
                reader_gone = stat.S_ISCHR(os.fstat(self.stream.fileno()).st_mode)
            self.failure = None if reader_gone else error
            with contextlib.suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)
        return len(text)

    def flush(self) -> None:
        """Each write flushes already."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
