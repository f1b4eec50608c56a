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
import errno
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from mnistlab.errors import ConfigError, DamagedFileError, LockedError, RunError
from mnistlab.files import (
    flush_folder,
    is_temporary,
    remove,
    remove_leftovers,
    temporary_beside,
    write_whole,
)
from mnistlab.names import natural_key, nearest, printable

# Seconds. Whoever only looks holds the lock for some microseconds; that is waited out.
_WAIT = 0.1
_LOOK = 0.02
_AGAIN = 0.005
_TRIES = 10


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which says from then on which process does.

    Raises TimeoutError as good as at once if another process holds it, OSError if it cannot be
    written or has vanished meanwhile with its folder.
    """
    for _ in range(_TRIES):
        lock = _acquired(path, _WAIT)
        # who comes or goes this very moment has not said who it is yet, or not any more
        if lock is not None or holder(path):
            break
    if lock is None:
        raise TimeoutError(errno.EAGAIN, "held by another process", str(path))
    try:
        _note(lock, path, str(os.getpid()))
        yield
    finally:
        _note(lock, path, "")
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file `path` right now."""
    if not os.path.exists(path):  # Path.exists raises where the folder may not be searched
        return False
    try:
        lock = _acquired(path, _LOOK)
    except OSError:  # a folder that cannot be written: nobody can be at work in it
        return False
    if lock is None:
        return True
    lock.release()
    return False


def _acquired(path: Path, timeout: float) -> BaseFileLock | None:
    """The lock, taken; None if another process has it. Raises OSError if there is no folder."""
    lock = FileLock(path)
    with _kept(path.parent) as folder:
        try:
            lock.acquire(timeout=timeout, poll_interval=_AGAIN)
        except Timeout:
            return None
        with contextlib.suppress(FileNotFoundError):
            if folder is None or os.path.samestat(os.fstat(folder), path.parent.stat()):
                return lock
        # FileLock makes a folder that is missing: one that was deleted meanwhile came back
        lock.release()
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


@contextlib.contextmanager
def _kept(folder: Path) -> Iterator[int | None]:
    """The folder, opened, so that no other one gets its number; None where that cannot be."""
    if os.name == "nt":  # pragma: no cover - there a folder with an open file is never renamed
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        yield None
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def holder(path: Path) -> str:
    """The number of the process that holds the lock file `path`; empty if it does not say."""
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text(encoding="ascii")
        if text.isdigit() and len(text) < 20:
            return text
    return ""


def _note(lock: BaseFileLock, path: Path, text: str) -> None:
    if isinstance(lock, SoftFileLock):  # a file system without locks: the file itself is the lock
        return
    # Beside the lock itself: where it cannot be written (Windows), only the number is not told.
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)


METRICS = ("epoch", "train_loss", "valid_loss", "accuracy", "seconds")


def parse_record(content: bytes) -> dict[str, Any]:
    """The record in the bytes of a `run.json`.

    Raises ValueError, with the first part that is not what it should be.
    """
    try:
        loaded = json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError("not valid JSON") from error
    if not isinstance(loaded, dict):
        raise ValueError("not a JSON object")
    if wrong := _ill_formed(loaded):
        raise ValueError(f"{wrong} makes no sense")
    return loaded


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


# What the parts of a `run.json` are, as far as others rely on it.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("config", "origins", "data", "environment"), dict),
    **dict.fromkeys(("status", "created", "model"), str),
    **dict.fromkeys(("classes", "command"), list),
    "result": (dict, type(None)),
}


def _ill_formed(info: dict[str, Any]) -> str:
    """The first part of a `run.json` that is not what it should be; empty if all are."""
    for key, kind in _KINDS.items():
        if key in info and not isinstance(info[key], kind):
            return key
    result = info.get("result") or {}
    for key in ("epochs", "band", "seeds"):
        rows = result.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return f"result.{key}"
    for row in result.get("epochs", []):
        if not all(isinstance(row.get(column), int | float) for column in METRICS):
            return "result.epochs"
    if not isinstance(result.get("best", {}), dict | None):
        return "result.best"
    return ""


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


@dataclass(frozen=True)
class RunSummary:
    """What a run was and what came of it; None for what its folder does not say.

    `status`: done, stopped, running, killed (it says running, but nobody holds it), diverged,
    damaged (`run.json` cannot be read). `epochs` are those done; `accuracy` is the last one (of
    several seeds, the median seed's); `best` is that of the best epoch (of several seeds, of the
    best seed); `seconds` is the time of all epochs and seeds.
    """

    name: str
    path: str
    created: str | None
    model: str | None
    seed: int | None
    seeds: int
    status: str
    epochs: int | None
    accuracy: float | None
    best: float | None
    seconds: float | None
    data: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def summarize(run: Run) -> RunSummary:
    """The summary of one run; never fails for what is in its folder."""
    info: dict[str, Any] = {}
    status = "damaged"
    with contextlib.suppress(OSError, DamagedFileError):
        info = run.info()
        status = str(info.get("status", "damaged"))
    if status == "running" and not run.is_held():
        status = "killed"
    result, config = _part(info, "result"), _part(info, "config")
    epochs = result.get("epochs")
    rows = [row for row in epochs if isinstance(row, dict)] if isinstance(epochs, list) else []
    # of several seeds the epochs are one seed's; the band has the time of all
    timed = result.get("band") or rows
    seconds = [row["seconds"] for row in timed if isinstance(row.get("seconds"), int | float)]
    return RunSummary(
        name=run.name,
        path=str(run.path),
        created=_text(info.get("created")),
        model=_text(info.get("model")),
        seed=_whole(config.get("seed")),
        seeds=_whole(config.get("seeds")) or 1,
        status=status,
        epochs=len(rows) if result else None,
        accuracy=_number(result.get("accuracy")),
        best=_number(_part(result, "best").get("accuracy")),
        seconds=round(sum(seconds), 6) if rows else None,
        data=_text(config.get("data")),
    )


SORTABLE = ("created", "name", "model", "status", "epochs", "accuracy", "best", "seconds")


def summaries(
    folder: Path, sort: str = "created", *, reverse: bool = False, limit: int | None = None
) -> list[RunSummary]:
    """Every run in `folder`, sorted; those that have no such value come last.

    `limit` keeps so many of those that have one: the first of a reversed order, else the last.

    Raises ConfigError for an unknown `sort`, RunError if the folder cannot be listed.
    """
    if sort not in SORTABLE:
        raise ConfigError(f"--sort {sort}{nearest(sort, SORTABLE)}")
    found: Sequence[RunSummary] = [summarize(run) for run in list_runs(folder)]
    known = [one for one in found if getattr(one, sort) is not None]
    known.sort(key=lambda one: _sort_key(getattr(one, sort)), reverse=reverse)
    rest = [one for one in found if getattr(one, sort) is None]
    if limit is None:
        return known + rest
    return known[:limit] if reverse else known[-limit:]


def _sort_key(value: Any) -> Any:
    return natural_key(value) if isinstance(value, str) else value


def _part(info: dict[str, Any], key: str) -> dict[str, Any]:
    part = info.get(key)
    return part if isinstance(part, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
