"""`mnistlab eject RUN`: a run as one plain PyTorch script."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import ConfigError
from mnistlab.files import require_file, write_file
from mnistlab.names import printable
from mnistlab.runs import DEFAULT_FOLDER, find_run
from mnistlab.system import quoted


def eject(
    out: Output,
    settings: dict[str, Any],
    run: flags.RunArgument = "latest",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it there; must be a new file."),
    ] = None,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
) -> None:
    """Write a run as one plain PyTorch script.

    It trains the same weights, to the bit, and needs no mnistlab.
    """
    chosen = find_run(run, run_dir)
    if output is not None:
        require_file(output, (), "-o")
        if output.exists():
            raise ConfigError(f"-o {printable(output)}: exists already; name a new file")
    from mnistlab.eject import eject as write_script

    script, folder = write_script(chosen, settings["data"])
    if output is None:
        out.result(script.rstrip("\n"))
    else:
        write_file(output, script.encode())
        out.notice(f"run it with: python {printable(quoted(output, *filter(None, [folder])))}")
    file = None if output is None else str(output)
    out.document({"run": str(chosen.path), "file": file, "script": script})
