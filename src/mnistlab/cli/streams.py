"""Where output goes: results to stdout, progress and notices to stderr; any pipe may break.

rich is imported only when something is drawn with it: off a terminal a training run needs none.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mnistlab.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from mnistlab.data.folders import Progress

_UNLIMITED = 10_000  # columns off a terminal, where nothing may be folded or cut


class Streams:
    """Output of one command, as its flags ask for it."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, color: str = "auto") -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.color = color
        self._consoles: dict[str, Console] = {}

    @property
    def live(self) -> bool:
        """Whether there is a terminal to redraw on."""
        dumb = os.environ.get("TERM") in ("dumb", "unknown")
        return not self.quiet and not dumb and sys.stderr.isatty()

    def console(self, name: str) -> "Console":
        """The rich console for `stdout` or `stderr`."""
        if name not in self._consoles:
            from rich.console import Console

            file = getattr(sys, name)
            self._consoles[name] = Console(
                file=file,
                force_terminal=True if self.color == "always" else None,
                no_color=True if self.color == "never" else None,
                color_system=None if self.color == "never" else "auto",
                width=None if file.isatty() else _UNLIMITED,
                highlight=False,
                markup=False,
                emoji=False,
                soft_wrap=False,
            )
        return self._consoles[name]

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

    def _print(self, name: str, lines: "tuple[RenderableType, ...]") -> None:
        stream = getattr(sys, name)
        with surviving(stream):
            for line in lines:
                if isinstance(line, str):
                    stream.write(line + "\n")
                else:
                    self.console(name).print(line)
            stream.flush()

    @contextlib.contextmanager
    def decoding(self) -> "Iterator[Progress]":
        """Progress for whatever reads many images: a bar on a terminal, else one line a split."""
        if self.live:
            with self._bar() as progress:
                yield progress
            return
        told: set[str] = set()

        def tell(split: str, done: int, total: int) -> None:
            if split not in told and total > 2000:
                told.add(split)
                self.notice(f"reading {total:,} images of {split}")

        yield tell

    @contextlib.contextmanager
    def _bar(self) -> "Iterator[Progress]":
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        with Progress(
            TextColumn("reading {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=self.console("stderr"),
            transient=True,
        ) as bar:
            tasks: dict[str, Any] = {}

            def update(split: str, done: int, total: int) -> None:
                if split not in tasks:
                    tasks[split] = bar.add_task(split, total=total)
                bar.update(tasks[split], completed=done)

            yield update


@contextlib.contextmanager
def surviving(stream: Any) -> Iterator[None]:
    """Let a broken pipe pass in silence: what reads the output has gone, the work goes on.

    Raises RunError for any other failure to write (a full disk).
    """
    try:
        yield
    except BrokenPipeError:
        silence(stream)
    except OSError as error:
        silence(stream)
        raise RunError(f"cannot write the output: {error.strerror or error}") from error


def silence(stream: Any) -> None:
    """Send all further output of `stream` nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
