"""What the cache holds: `mnistlab data where` and `mnistlab data clear`."""

import contextlib
import os
from pathlib import Path
from typing import Any

from mnistlab.data.store import read_description
from mnistlab.errors import DamagedFileError
from mnistlab.files import cache_folder, remove, remove_leftovers

_KINDS = {"decoded": "decoded", "unpacked": "unpacked", "data": "bundled", "datasets": "download"}


def list_cache() -> list[dict[str, Any]]:
    """What the cache holds: stores of folders, the bundled data, datasets that were downloaded.

    Of each entry its kind (decoded, unpacked, bundled, download), what it is about, its path and
    its bytes on the disk. Raises RunError where there is no place for a cache.
    """
    entries = []
    for folder, kind in _KINDS.items():
        with contextlib.suppress(OSError):  # not there, or not to be listed
            for path in sorted((cache_folder() / folder).iterdir()):
                if path.name.startswith("."):  # a lock, or what is being written
                    continue
                about = ""
                with contextlib.suppress(OSError, DamagedFileError), open(path, "rb") as file:
                    about = read_description(file)["about"]
                size = sum(each.lstat().st_size for each in [path, *path.rglob("*")])
                entries.append({"kind": kind, "about": about, "path": str(path), "bytes": size})
    return entries


def clear(*, downloads: bool = False) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Remove what can be made again without a network; also `downloads` if that is asked for.

    Who works with some of it keeps what is open. Returns what is gone, and what is left. Raises
    RunError where there is no place for a cache.
    """
    entries = list_cache()
    for folder in _KINDS:
        remove_leftovers(cache_folder() / folder, older_than=3600)
    for entry in entries:
        if downloads or entry["kind"] != "download":
            remove(Path(entry["path"]))
    left = [entry for entry in entries if os.path.lexists(entry["path"])]
    return [entry for entry in entries if entry not in left], left
