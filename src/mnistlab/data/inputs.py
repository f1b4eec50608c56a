"""The images that a command line names: files, folders, globs, `-` for an image on stdin."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mnistlab.names import natural_key

# Endings of images in a folder; a file that is named by itself is read whatever its name is.
SUFFIXES = {
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg"),
    *(".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}
STDIN = "-"


@dataclass
class Inputs:
    """The images that were named.

    names: one for each image, as the user wrote it or below the folder that was named. faults:
    what was named and cannot be used, and why. left_out: files of folders that are no images.
    """

    names: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def find_inputs(arguments: Sequence[str]) -> Inputs:
    """Every image that the arguments name, in their order; a folder's or a glob's in natural order.

    Folders include all that is below them, except hidden files and folders. A name that exists is
    never a glob. Never raises: a folder or a glob without images is in `faults`. A file is not
    looked at: the one who reads it says why it cannot be used.
    """
    inputs = Inputs()
    for argument in arguments:
        is_glob = glob.has_magic(argument) and not os.path.lexists(argument)
        if not (is_glob or os.path.isdir(argument)):
            inputs.names.append(argument)
            continue
        files: set[str] = set()  # a pattern may match a folder and also the files in it
        for match in glob.glob(argument, recursive=True) if is_glob else [argument]:
            below = _files_below(match, inputs.faults) if os.path.isdir(match) else [match]
            files |= {*map(os.path.normpath, below)}
        ordered = sorted(files, key=lambda name: [natural_key(part) for part in Path(name).parts])
        images = [name for name in ordered if looks_like_image(name)]
        inputs.names += images
        inputs.left_out += [name for name in ordered if not looks_like_image(name)]
        if not images:
            inputs.faults[argument] = "matches no image" if is_glob else "no images in it"
    return inputs


def looks_like_image(name: str) -> bool:
    """Whether a name ends as an image's does, or is that of stdin."""
    return name == STDIN or os.path.splitext(name)[1].lower() in SUFFIXES


def _files_below(folder: str, faults: dict[str, str]) -> Iterator[str]:
    """All files below `folder` but hidden ones; folders that cannot be listed go to `faults`."""

    def unlisted(error: OSError) -> None:
        faults[str(error.filename)] = f"cannot be listed: {error.strerror}"

    for parent, folders, names in os.walk(folder, onerror=unlisted):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield os.path.join(parent, name)
