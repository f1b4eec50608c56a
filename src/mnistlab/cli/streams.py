"""Where output goes: results to stdout, progress and notices to stderr; any pipe may break.

rich is imported only when something is drawn with it: off a terminal a training run needs none.
It lays out; what it made is written here, so that one place knows what a broken pipe means.
"""

import contextlib
import errno
import json
import os
import stat
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mnistlab.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from mnistlab.data.folders import Progress

_UNLIMITED = 10_000  # columns: a table is never folded or cut; a narrow terminal wraps its lines


class Streams:
    """Output of one command, as its flags ask for it."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, color: str = "auto") -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.color = color
        self._unwritten: RunError | None = None

    @property
    def live(self) -> bool:
        """Whether there is a terminal to redraw on."""
        dumb = os.environ.get("TERM") in ("dumb", "unknown")
        return not self.quiet and not dumb and sys.stderr.isatty()

    def console(self, name: str, *, width: int | None = None) -> "Console":
        """A rich console on `stdout` or `stderr`, as wide as the terminal unless `width` is given.

        `--color` goes before NO_COLOR, that before FORCE_COLOR, that before what the stream is.
        """
        from rich.console import Console

        colorless = self.color == "never" or (
            self.color == "auto" and os.environ.get("NO_COLOR", "") != ""
        )
        always = self.color == "always"
        dumb = os.environ.get("TERM") in ("dumb", "unknown")  # of which rich expects no colour
        return Console(
            file=_Lasting(getattr(sys, name)),  # type: ignore[arg-type]
            force_terminal=True if always else None,
            no_color=colorless,
            color_system=None if colorless else "standard" if always and dumb else "auto",
            width=width,
            highlight=False,
            markup=False,
            emoji=False,
        )

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

    def progress(self, stream: Any, line: str) -> None:
        """Print one line of work under way; a failure is kept for `settle`, as it must not end it.

        `stream` is stdout or stderr as it was before anything drew on the terminal.
        """
        try:
            with surviving(stream):
                stream.write(line + "\n")
                stream.flush()
        except RunError as error:
            self._unwritten = error

    def settle(self) -> None:
        """Raise the RunError of a line that `progress` could not write."""
        if self._unwritten is not None:
            raise self._unwritten

    def _print(self, name: str, lines: "tuple[RenderableType, ...]") -> None:
        stream = getattr(sys, name)
        texts = [line if isinstance(line, str) else self._laid_out(name, line) for line in lines]
        with surviving(stream):
            stream.write("".join(f"{text}\n" for text in texts))
            stream.flush()

    def _laid_out(self, name: str, drawn: "RenderableType") -> str:
        console = self.console(name, width=_UNLIMITED)
        with console.capture() as captured:
            console.print(drawn)
        return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))

    @contextlib.contextmanager
    def decoding(self) -> "Iterator[Progress]":
        """Progress for whatever reads many images: a bar on a terminal, else one line a split."""
        if self.live:
            with self._bar("reading {task.description}") as progress:
                yield progress
            return
        told: set[str] = set()

        def tell(split: str, done: int, total: int) -> None:
            if split not in told and total > 2000:
                told.add(split)
                self.notice(f"reading {total:,} images of {split}")

        yield tell

    @contextlib.contextmanager
    def downloading(self) -> "Iterator[Progress]":
        """Progress for files from the network: a bar on a terminal, else one line a file."""
        if self.live:
            with self._bar("{task.description}", in_bytes=True) as progress:
                yield progress
            return
        told: set[str] = set()

        def tell(file: str, done: int, total: int) -> None:
            if file not in told:
                told.add(file)
                self.notice(f"downloading {file}" + (f", {total / 1e6:.1f} MB" if total else ""))

        yield tell

    @contextlib.contextmanager
    def _bar(self, text: str, *, in_bytes: bool = False) -> "Iterator[Progress]":
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
        )

        bar = Progress(
            TextColumn(text),
            BarColumn(bar_width=16),
            DownloadColumn() if in_bytes else MofNCompleteColumn(),
            console=self.console("stderr"),
            transient=True,
        )
        tasks: dict[str, Any] = {}

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


class _Lasting:
    """A stream for rich that outlives its reader: a bar must not end the work it shows."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        if text:  # of what is only laid out, rich writes nothing, and even that can fail
            with contextlib.suppress(RunError), surviving(self.stream):
                self.stream.write(text)
                self.stream.flush()
        return len(text)

    def flush(self) -> None:
        """Each write flushes already."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def surviving(stream: Any) -> Iterator[None]:
    """Let a broken pipe or a lost terminal pass in silence: the reader has gone, work goes on.

    Raises RunError for any other failure to write (a full disk).
    """
    try:
        yield
    except OSError as error:
        gone = _reader_gone(stream, error)
        silence(stream)
        if not gone:
            raise RunError(f"cannot write the output: {error.strerror or error}") from error


def _reader_gone(stream: Any, error: OSError) -> bool:
    if error.errno != errno.EIO:
        return isinstance(error, BrokenPipeError)
    # a terminal that was closed; on a disk it is a real failure
    return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)


def silence(stream: Any) -> None:
    """Send all further output of `stream` nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
