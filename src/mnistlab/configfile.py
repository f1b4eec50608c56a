"""Config files and presets: which file is meant, and what it says. No torch."""

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mnistlab.errors import ConfigError
from mnistlab.names import nearest, printable
from mnistlab.places import packaged

_MAX_CONFIG_BYTES = 1_000_000


class UnknownSettingsError(ConfigError):
    """A file has settings that nobody knows; `known` are the others."""

    def __init__(self, message: str, known: dict[str, Any]) -> None:
        super().__init__(message)
        self.known = known


def find_config(source: str) -> Path:
    """The file meant by `--config`: a path, or the name of a preset in `configs/`.

    Raises ConfigError with the nearest preset where there is neither.
    """
    path = Path(source)
    try:
        if path.suffix == ".toml" or path.is_file():
            return path
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {printable(source)}: {error}") from error
    known = presets()
    if source in known:
        return known[source]
    raise ConfigError(
        f"--config {printable(source)}: no such file or preset{nearest(source, known)}"
    )


def presets() -> dict[str, Path]:
    """Every preset: its name and its file, in order of name."""
    return {path.stem: path for path in sorted(packaged("configs").glob("*.toml"))}


def read_toml(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The settings in one TOML file, whose names must be among `known`; values as they stand.

    Raises ConfigError for what cannot be read or is not TOML, UnknownSettingsError for other names
    (all are told).
    """
    where = printable(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_CONFIG_BYTES + 1)  # /dev/zero has no end
        if len(content) > _MAX_CONFIG_BYTES:
            raise ConfigError(f"{where}: larger than {_MAX_CONFIG_BYTES:,} bytes; not a config")
        # some editors put a byte order mark in front
        values = tomllib.loads(content.decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"{where}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not UTF-8 text; configs are TOML files") from error
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid TOML: {printable(error)}") from error
    unknown = [key for key in values if key not in known]
    if unknown:
        told = [
            f"{where}: unknown setting {printable(key)}{nearest(key, known)}" for key in unknown
        ]
        raise UnknownSettingsError(
            "\n".join(told), {k: values[k] for k in values if k not in unknown}
        )
    return values
