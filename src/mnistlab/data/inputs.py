"""The images that a command line names: files, folders, globs, `-` for what comes on stdin."""

import glob
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mnistlab.names import natural_key

# What is taken for an image in a folder; a file that is named is looked at whatever its name is.
SUFFIXES = {
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}
STDIN = "-"
_NO_IMAGES = "no images in it"


@dataclass
class Inputs:
    """What was found.

    names: one for each image, as the user wrote it or below the folder that was named. faults:
    what was named and cannot be used, and why. left_out: files of folders that are no images.
    """

    names: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def find_inputs(arguments: Sequence[str]) -> Inputs:
    """Every image that the arguments name, in their order; a folder's or a glob's in natural order.

    Folders are taken with all that is below them, but hidden files and folders. A name that is
    there is never a glob. Never raises: what cannot be used is in `faults`.
    """
    found = Inputs()
    for argument in arguments:
        if argument == STDIN:
            if STDIN in found.names:
                found.faults[STDIN] = "stdin holds one image; name it once"
            else:
                found.names.append(STDIN)
        elif glob.has_magic(argument) and not _is_there(argument):
            _take_pattern(argument, found)
        else:
            _take(argument, found)
    return found


def looks_like_image(name: str) -> bool:
    """Whether a name ends as an image's does, or is that of stdin."""
    return name == STDIN or os.path.splitext(name)[1].lower() in SUFFIXES


def _is_there(name: str) -> bool:
    try:
        return os.path.lexists(name)
    except ValueError:
        return False


def _take(name: str, found: Inputs) -> None:
    """One name that is no pattern."""
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError) as error:
        link = _is_there(name)
        why = "a link to what is not there" if link else getattr(error, "strerror", None)
        found.faults[name] = (why or str(error)).lower().replace("or directory", "or folder")
        return
    if stat.S_ISDIR(mode):
        _take_folder(name, found)
    elif stat.S_ISREG(mode) or stat.S_ISFIFO(mode):  # a pipe is what <(command) of a shell names
        found.names.append(name)
    else:
        found.faults[name] = "not a file"


def _take_folder(folder: str, found: Inputs) -> None:
    files: list[str] = []
    troubles: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=troubles.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [os.path.join(place, name) for name in names if not name.startswith(".")]
    for trouble in troubles:
        found.faults[str(trouble.filename)] = f"cannot be listed: {trouble.strerror}"
    if not _take_files(files, found) and not troubles:
        found.faults[folder] = _NO_IMAGES


def _take_pattern(pattern: str, found: Inputs) -> None:
    matches = glob.glob(pattern, recursive=True)
    below: dict[str, None] = {}  # a pattern may match a folder and what is in it
    for match in matches:
        if os.path.isdir(match):
            inside = Inputs()
            _take_folder(match, inside)
            below.update(dict.fromkeys([*inside.names, *inside.left_out]))
        else:
            below[os.path.normpath(match) if match.startswith("./") else match] = None
    if not _take_files(below, found):
        found.faults[pattern] = "matches no image" if matches else "matches no file"


def _take_files(files: Iterable[str], found: Inputs) -> int:
    """Sort files of a folder into images and others; how many images there are."""
    images = [file for file in files if looks_like_image(file)]
    others = [file for file in files if not looks_like_image(file)]
    found.names += sorted(images, key=_natural_path)
    found.left_out += sorted(others, key=_natural_path)
    return len(images)


def _natural_path(name: str) -> list[tuple[tuple[int, int, str, str], ...]]:
    return [natural_key(part) for part in Path(name).parts]
