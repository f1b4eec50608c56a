"""What `run.json` says of a run: one typed model, checked once, where it is read. No torch."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from mnistlab.config import TrainConfig
from mnistlab.errors import DamagedFileError
from mnistlab.names import printable


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


class EpochRow(_Record):
    """One epoch, as in `metrics.csv`: losses are means over images, accuracy 0…1."""

    epoch: int
    train_loss: FiniteFloat
    valid_loss: FiniteFloat
    accuracy: FiniteFloat
    seconds: FiniteFloat


class Best(_Record):
    """The best epoch of one run; of several seeds the best seed, with its last epoch."""

    epoch: int
    accuracy: FiniteFloat


class SeedRow(_Record):
    """One seed of several: its last figures, None where it finished no epoch."""

    seed: int
    train_loss: FiniteFloat | None = None
    valid_loss: FiniteFloat | None = None
    accuracy: FiniteFloat | None = None
    best: Best | None = None
    weights_sha256: str | None = None
    diverged: str | None = None


class Result(_Record):
    """What came out: `epochs` and `weights_sha256` of the run's model, of several seeds the median.

    summary, seeds or folds, band: of several models only.
    """

    epochs: list[EpochRow] = []
    accuracy: FiniteFloat | None = None
    best: Best | None = None
    weights_sha256: str | None = None
    summary: dict[str, Any] | None = None
    seeds: list[SeedRow] | None = None
    folds: list[dict[str, Any]] | None = None
    band: list[dict[str, Any]] | None = None

    @property
    def models(self) -> dict[str, str | None]:
        """Of several models: `seed 3` or `fold 3` → the SHA-256 of its weights."""
        own = {f"seed {row.seed}": row.weights_sha256 for row in self.seeds or []}
        return own | {f"fold {row['fold']}": row["weights_sha256"] for row in self.folds or []}

    def as_dict(self) -> dict[str, Any]:
        """As plain data for JSON; the parts of several seeds only where there are several."""
        plain = self.model_dump()
        of_several = ("summary", "seeds", "folds", "band")
        return {k: v for k, v in plain.items() if v is not None or k not in of_several}

    def digest(self) -> str:
        """SHA-256 of all figures; the sealed model file holds it, too."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


class DataRecord(_Record):
    """The data of a run: images by class of each split; `skipped` files with the reasons."""

    path: str = ""
    fingerprint: str = ""
    train: dict[str, int] = {}
    valid: dict[str, int] = {}
    skipped: dict[str, str] = {}


class RunRecord(_Record):
    """All of `run.json`. A part that an older file lacks gets the value that held at its time.

    launch: what torchrun called the launch of several processes; empty for one.
    """

    schema_version: Literal[1] = 1
    status: str
    created: str = ""
    saved: str = ""
    pid: int = 0
    command: list[str] = []
    model: str
    classes: list[str] = []
    seed: int = 0
    config: TrainConfig
    origins: dict[str, str] = {}
    data: DataRecord = DataRecord()
    environment: dict[str, Any] = {}
    mixed: bool = False
    launch: str = ""
    result: Result | None = None
    sources: dict[str, dict[str, str]] = {}

    def as_dict(self) -> dict[str, Any]:
        """As plain data for JSON: of the settings those that apply."""
        plain = self.model_dump(exclude={"config", "result"})
        for key in ("sources", "launch"):
            if not plain[key]:
                del plain[key]
        plain["config"] = self.config.applicable()
        plain["result"] = None if self.result is None else self.result.as_dict()
        return plain


def read_record(path: Path) -> RunRecord:
    """The record in the file `path`. Raises DamagedFileError where it cannot be read."""
    where = printable(path)
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DamagedFileError(f"{where}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        part = ".".join(map(str, error.errors()[0]["loc"]))
        why = f"{printable(part)} cannot be right" if part else "not valid JSON"
        if part == "schema_version":
            why = "of another schema_version than 1: it needs a newer mnistlab"
        raise DamagedFileError(f"{where}: {why}") from error
