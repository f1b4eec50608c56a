"""A run folder: create, find, list, lock, read. No torch.

runs/20261122-091500-linear-s0/
    config.toml          every setting, with its origin
    metrics.csv          epoch,train_loss,valid_loss,accuracy,seconds
    model.safetensors    last weights       best.safetensors   best weights
    resume.safetensors   the complete state of the run
    calibration.safetensors   of `mnistlab calibrate`: how sure the model may be
    folds.csv            with --folds: every image, predicted by the model that has not seen it
    models/              of several seeds or folds those that are done, until all are
    run.json             versions, device, data fingerprint, command line, result
"""

import contextlib
import difflib
import errno
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistlab import system
from mnistlab.config import MODEL_SETTINGS, PIN
from mnistlab.errors import ConfigError, DamagedFileError, LockedError, RunError
from mnistlab.files import (
    building,
    is_temporary,
    remove,
    remove_leftovers,
    user_path,
    write_whole,
)
from mnistlab.names import nearest, printable
from mnistlab.system import flush_folder, move, quoted

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from mnistlab.records import EpochRow, RunRecord

DEFAULT_FOLDER = Path("runs")
OWN_FILES = {
    *("config.toml", "metrics.csv", "folds.csv", "run.json", "report.html", ".lock"),
    *("models", "model.safetensors", "best.safetensors", "resume.safetensors"),
    *("calibration.safetensors", "model.onnx", "model.onnx.md"),
}


def _file(name: str) -> "cached_property[Path]":
    return cached_property(lambda run: run.path / name)


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
        return quoted(self.name if self.path.parent == DEFAULT_FOLDER else self.path)

    model_file = _file("model.safetensors")
    best_file = _file("best.safetensors")
    state_file = _file("resume.safetensors")
    calibration_file = _file("calibration.safetensors")
    config_file = _file("config.toml")
    metrics_file = _file("metrics.csv")
    folds_file = _file("folds.csv")
    models_folder = _file("models")
    record_file = _file("run.json")

    def exists(self) -> bool:
        """Whether the folder is that of a run: it holds a `run.json` or a model."""
        return self.record_file.is_file() or self.model_file.is_file()

    def record(self) -> "RunRecord":
        """The content of `run.json`. Raises DamagedFileError where it cannot be read."""
        from mnistlab.records import read_record  # it brings pydantic, which --help does without

        return read_record(self.record_file)

    def known_record(self) -> "RunRecord | None":
        """The record, or None where there is none that can be read."""
        with contextlib.suppress(DamagedFileError):
            return self.record()
        return None

    @property
    def threads(self) -> int:
        """With how many CPU threads it was trained; 1 if it does not say."""
        record = self.known_record()
        threads = record.environment.get("threads") if record else None
        return min(max(threads, 1), 4096) if isinstance(threads, int) else 1

    @property
    def is_study(self) -> bool:
        """Whether several models were trained in it."""
        record = self.known_record()
        return record is not None and record.config.is_study

    def write_record(self, record: "RunRecord") -> None:
        """Replace `run.json`. Raises OSError."""
        text = json.dumps(record.as_dict(), indent=2)
        write_whole(self.record_file, (text + "\n").encode())

    def write_metrics(self, rows: "Sequence[tuple[int | None, EpochRow]]") -> None:
        """Replace `metrics.csv`: one row per epoch, each with its seed where it has one.

        Raises OSError.
        """
        from mnistlab.records import EpochRow

        keys, with_seed = [*EpochRow.model_fields], any(seed is not None for seed, _ in rows)
        lines = [",".join(["seed", *keys] if with_seed else keys)]
        for seed, row in rows:
            values = [getattr(row, key) for key in keys]
            lines.append(",".join(map(repr, [seed, *values] if with_seed else values)))
        write_whole(self.metrics_file, ("\n".join(lines) + "\n").encode())

    def foreign_files(self) -> list[str]:
        """What lies in the folder and is none of a run's own files."""
        return sorted(
            path.name
            for path in self.path.iterdir()
            if path.name not in OWN_FILES and not is_temporary(path.name)
        )

    def delete(self) -> None:
        """Delete the folder. Raises LockedError if it is being trained, RunError.

        It leaves the list in one step, then its files go: a run is never seen in part.
        """
        folder = self.path.resolve()  # `.` has no name to put another one beside
        with building(folder) as doomed, self.locked() as lock:
            if system.WINDOWS:  # no folder is renamed there while a file in it is open
                lock.release()
            try:
                move(folder, doomed)
            except OSError as error:
                why = f"cannot be deleted: {error.strerror or error}"
                raise RunError(f"{printable(self.path)}: {why}") from error

    def is_locked(self) -> bool:
        """Whether a process is working on it right now."""
        from filelock import FileLock, Timeout  # here and below: --help shall be quick

        path = self.path / ".lock"
        try:
            with FileLock(path, timeout=0.02) if path.exists() else contextlib.nullcontext():
                return False
        except Timeout:
            return True
        except OSError:  # a folder that cannot be written: nobody can be working in it
            return False

    @contextlib.contextmanager
    def locked(self) -> "Iterator[BaseFileLock]":
        """Hold the run for writing; the system frees it even after a kill.

        Raises LockedError at once if another process holds it, RunError if it cannot be written.
        """
        from filelock import FileLock, Timeout

        path = self.path / ".lock"
        lock = FileLock(path, timeout=0.1)  # who only looks at it holds it for some microseconds
        try:
            lock.acquire()
            if not self.exists():  # deleted a moment ago; the lock made the folder anew
                lock.release()
                remove(path)
                with contextlib.suppress(OSError):
                    self.path.rmdir()
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            with contextlib.suppress(OSError):  # a full disk; Windows, where a lock forbids it
                path.write_bytes(b"%d" % os.getpid())  # run.json has the number of the last one
        except Timeout as error:
            by = ""
            with contextlib.suppress(OSError, ValueError):
                by = f" (process {int(path.read_bytes())})"
            why = f"another process is training it{by}; wait for it or stop it"
            raise LockedError(f"{printable(self.path)}: {why}") from error
        except OSError as error:
            raise unwritable(self.path, error) from error
        try:
            remove_leftovers(self.path)
            yield lock
        finally:
            lock.release()


def create_run(folder: Path, model: str, seed: int, fill: Callable[[Run], None]) -> Run:
    """Make a new run folder below `folder`; never an existing one.

    `fill` writes its first files; only then the folder appears under its name, in one step, so
    that a run is never seen in part. Raises RunError where it cannot be made.
    """
    # of an own model the letters and digits of its class: a name on every system
    model = re.sub(r"[^a-z0-9-]", "", model.rpartition(":")[2].lower())[:40] or "own"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, older_than=600)
        with building(folder / model) as draft:
            draft.mkdir()
            fill(Run(draft))
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            for number in itertools.count(1):
                path = folder / f"{stamp}-{model}-s{seed}{f'-{number}' if number > 1 else ''}"
                if os.path.lexists(path):
                    continue
                try:  # of two processes one gets it: a folder with files in it is never replaced
                    move(draft, path)
                    break
                except OSError:
                    if not os.path.lexists(path):
                        raise
        flush_folder(folder)
        return Run(path)
    except OSError as error:
        raise unwritable(folder, error) from error


def list_runs(folder: Path) -> list[Run]:
    """Every run in `folder`, oldest first."""
    try:
        runs = [
            run for run in map(Run, folder.iterdir()) if run.exists() and not is_temporary(run.name)
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{printable(folder)}: cannot be listed: {error.strerror}") from error

    def created(run: Run) -> tuple[str, str]:
        # from run.json, as the user may have renamed the folder
        record = run.known_record()
        return re.sub(r"\D", "", (record and record.created) or run.name[:15]), run.name

    return sorted(runs, key=created)


def find_run(name: str, folder: Path) -> Run:
    """`latest`, the name of a run in `folder`, or the path of a run folder.

    Raises ConfigError with the nearest name where there is none.
    """
    if name == "latest":
        runs = list_runs(folder)
        if not runs:
            raise ConfigError(f"{printable(folder)}: no runs yet; make one with: mnistlab train")
        return runs[-1]
    for place in (folder / name, name):
        with contextlib.suppress(OSError, ValueError):
            run = Run(user_path(place))
            if run.exists():
                return run
    if os.path.isdir(name):  # Path.is_dir raises for a name that is too long
        raise ConfigError(f"{printable(name)}: not a run folder (no run.json in it)")
    names = [run.name for run in list_runs(folder)]
    near = difflib.get_close_matches(name, [*names, "latest"], n=1)
    hint = "; there are no runs yet"
    if names:
        hint = nearest(name, near or ["latest", *names[:-6:-1]])  # the last five of perhaps many
    raise ConfigError(f"{printable(name)}: no such run in {printable(folder)}{hint}")


def source(name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Where the run is that `from_run` names, and its model's settings, if it says so.

    Raises ConfigError where there is none.
    """
    name, pin, sha = name.partition(PIN)
    try:
        run = find_run(name, folder)
    except ConfigError as error:
        raise ConfigError(f"--from {error}") from error
    record = run.known_record()
    settings = record.config.applicable() if record else {}
    keys = ("model", "model_set", *MODEL_SETTINGS)
    return f"{run.path.absolute()}{pin}{sha}", {k: v for k, v in settings.items() if k in keys}


def unwritable(path: Path, error: OSError) -> RunError:
    """The error for a run folder that cannot be written."""
    return RunError(
        f"{printable(path)}: cannot be written: {error.strerror or error}; "
        "name another folder with --run-dir"
    )
