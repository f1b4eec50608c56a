"""A run folder: create, find, list, lock, read.

runs/20261122-091500-linear-s0/
    config.toml          every setting, with its origin
    metrics.csv          epoch,train_loss,valid_loss,accuracy,seconds
    model.safetensors    last weights       best.safetensors   best weights
    resume.safetensors   the run's whole state
    run.json             versions, device, data fingerprint, command line, result
"""

import contextlib
import difflib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mnistlab.errors import ConfigError, DamagedFileError, LockedError, RunError
from mnistlab.files import (
    flush_folder,
    is_temporary,
    remove,
    remove_leftovers,
    temporary_beside,
    write_whole,
)
from mnistlab.locks import held, holder, is_held
from mnistlab.names import nearest, printable
from mnistlab.records import METRICS, parse_record

DEFAULT_FOLDER = Path("runs")
_STAMP = "%Y%m%d-%H%M%S"
OWN_FILES = {
    *("config.toml", "metrics.csv", "run.json", "report.html", ".lock"),
    *("model.safetensors", "best.safetensors", "resume.safetensors"),
}


@dataclass(frozen=True)
class Run:
    """One run folder and the files in it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def reference(self) -> str:
        """How a command line names this run, quoted for a shell: its name where that is enough."""
        return shlex.quote(self.name if self.path.parent == DEFAULT_FOLDER else str(self.path))

    @property
    def model_file(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def best_file(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def state_file(self) -> Path:
        return self.path / "resume.safetensors"

    @property
    def config_file(self) -> Path:
        return self.path / "config.toml"

    @property
    def info_file(self) -> Path:
        return self.path / "run.json"

    def info(self) -> dict[str, Any]:
        """The content of `run.json`. Raises DamagedFileError, FileNotFoundError."""
        try:
            return parse_record(self.info_file.read_bytes())
        except ValueError as error:
            raise DamagedFileError(f"{printable(self.info_file)}: {error}") from error

    def is_complete(self) -> bool:
        """Whether the last save was the final one and all its files are there."""
        files = (self.state_file, self.model_file, self.best_file, self.path / "metrics.csv")
        with contextlib.suppress(OSError, DamagedFileError):
            return self.info().get("status") == "done" and all(map(Path.exists, files))
        return False

    @property
    def threads(self) -> int:
        """With how many CPU threads it was trained; 1 if it does not say."""
        with contextlib.suppress(OSError, DamagedFileError, KeyError, TypeError, ValueError):
            return min(max(int(self.info()["environment"]["threads"]), 1), 4096)
        return 1

    @property
    def is_study(self) -> bool:
        """Whether several seeds were trained in it."""
        with contextlib.suppress(OSError, DamagedFileError, KeyError, TypeError):
            return int(self.info()["config"].get("seeds", 1)) > 1
        return False

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Replace `run.json`. Raises OSError."""
        text = json.dumps({"schema_version": 1, **info}, indent=2)
        write_whole(self.info_file, (text + "\n").encode())

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Replace `metrics.csv` by one row an epoch, of each seed if rows say one.

        Raises OSError.
        """
        columns = ("seed", *METRICS) if any("seed" in row for row in history) else METRICS
        lines = [",".join(columns)]
        lines += [",".join(repr(row[key]) for key in columns) for row in history]
        write_whole(self.path / "metrics.csv", ("\n".join(lines) + "\n").encode())

    def is_held(self) -> bool:
        """Whether a process is working on it right now."""
        return is_held(self.path / ".lock")

    def foreign_files(self) -> list[str]:
        """What lies in the folder and is none of a run's own files."""
        return sorted(
            path.name
            for path in self.path.iterdir()
            if path.name not in OWN_FILES and not is_temporary(path.name)
        )

    def delete(self) -> None:
        """Delete the whole folder. Raises LockedError if it is being trained, RunError.

        It vanishes from the list in one step, then its files go: a run is never seen in part.
        """
        whole = self.path.resolve()  # `.` has no name to put another one beside
        with self.locked():
            doomed = temporary_beside(whole)
            try:
                os.rename(whole, doomed)
            except OSError as error:
                raise RunError(
                    f"{printable(self.path)}: cannot be deleted: {error.strerror or error}"
                ) from error
        remove(doomed)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing; the system frees it even after a kill.

        Raises LockedError at once if another process holds it, RunError if it cannot be written.
        """
        lock = self.path / ".lock"
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(held(lock))
            except TimeoutError as error:
                number = holder(lock)
                by = f" (process {number})" if number else ""
                raise LockedError(
                    f"{printable(self.path)}: another process is training it{by}; wait for it or "
                    "stop it"
                ) from error
            except OSError as error:
                raise unwritable(self.path, error) from error
            remove_leftovers(self.path)
            yield


def create_run(
    folder: Path, model: str, seed: int, fill: Callable[[Run], None] = lambda run: None
) -> Run:
    """Make a new run folder below `folder`; never an existing one.

    `fill` writes its first files; only then the folder appears under its name, in one step, so
    that a run is never seen in part. Raises RunError where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, older_than=600)
        draft = temporary_beside(folder / model)
        try:
            draft.mkdir()
            fill(Run(draft))
            run = _appear(draft, folder / f"{datetime.now(UTC).strftime(_STAMP)}-{model}-s{seed}")
        except BaseException:
            remove(draft)
            raise
        flush_folder(folder)
        return run
    except OSError as error:
        raise unwritable(folder, error) from error


def _appear(draft: Path, base: Path) -> Run:
    for attempt in range(1, 10_000):
        path = base if attempt == 1 else base.with_name(f"{base.name}-{attempt}")
        if os.path.lexists(path):
            continue
        try:
            # Two processes may take the same name: only one gets it, as a folder with files in it
            # is never replaced.
            os.rename(draft, path)
        except OSError:
            if not os.path.lexists(path):
                raise
        else:
            return Run(path)
    raise RunError(f"{printable(base)}: too many runs in one second")


def list_runs(folder: Path) -> list[Run]:
    """Every run in `folder`, oldest first: a run is a folder with a `run.json` or a model."""
    try:
        with os.scandir(folder) as entries:
            found = [
                Run(Path(entry.path))
                for entry in entries
                if entry.is_dir() and not is_temporary(entry.name)
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{printable(folder)}: cannot be listed: {error.strerror}") from error
    return sorted(
        (run for run in found if run.info_file.exists() or run.model_file.exists()),
        key=lambda run: (_created(run), run.name),
    )


def find_run(name: str, folder: Path) -> Run:
    """`latest`, the name of a run in `folder`, or the path of a run folder.

    Raises ConfigError with the nearest name where there is none.
    """
    if name == "latest":
        runs = list_runs(folder)
        if not runs:
            raise ConfigError(f"{printable(folder)}: no runs yet; make one with: mnistlab train")
        return runs[-1]
    for path in (folder / name, Path(name)):
        try:
            if (path / "run.json").is_file() or (path / "model.safetensors").is_file():
                return Run(path)
        except (OSError, ValueError):
            continue
    if os.path.isdir(name):  # Path.is_dir raises for a name that is too long
        raise ConfigError(f"{printable(name)}: not a run folder (no run.json in it)")
    names = [run.name for run in list_runs(folder)]
    near = difflib.get_close_matches(name, [*names, "latest"], n=1)
    told = "; there are no runs yet"
    if names:
        told = nearest(name, near or ["latest", *names[:-6:-1]])  # the last five of perhaps many
    raise ConfigError(f"{printable(name)}: no such run in {printable(folder)}{told}")


def _created(run: Run) -> str:
    # from run.json, as the user may have renamed the folder
    with contextlib.suppress(OSError, DamagedFileError):
        if created := run.info().get("created"):
            return str(created)
    with contextlib.suppress(ValueError):
        return datetime.strptime(run.name[:15], _STAMP).replace(tzinfo=UTC).isoformat()
    return ""


def unwritable(path: Path, error: OSError) -> RunError:
    """The error for a run folder that cannot be written."""
    return RunError(
        f"{printable(path)}: cannot be written: {error.strerror or error}; "
        "name another folder with --run-dir"
    )
