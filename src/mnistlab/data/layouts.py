"""How a folder is laid out: which files belong to which split and class. From names alone.

What is understood: the table in docs/data.md.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Literal

from mnistlab.config import Fit, TrainConfig
from mnistlab.data.archives import is_archive
from mnistlab.data.inputs import SUFFIXES
from mnistlab.data.scan import ROLES, SPLITS, fault_in, is_hidden
from mnistlab.errors import DataError
from mnistlab.names import listed, printable
from mnistlab.system import quoted

LayoutName = Literal["auto", "splits", "classes", "table"]
_LOOKED_AT = 100  # entries of a folder, to see whether there are images in it
_IDX = ("-images-idx3-ubyte", "-images.idx3-ubyte")


@dataclass(frozen=True)
class LoadOptions:
    """How images are read; each is a setting of a run, and `TrainConfig` says what it means.

    valid_fraction: between 0 and 1. image_size: (H, W), None for the images' own.
    """

    valid: str = ""
    valid_fraction: float = 0.2
    layout: LayoutName = "auto"
    image_size: tuple[int, int] | None = None
    fit: Fit = "pad"
    transpose: bool = False
    skip_bad: bool = False
    exclude: str = ""


def options_of(config: TrainConfig) -> LoadOptions:
    """What the settings of a run say of its images."""
    size = None
    if config.image_size != "own":  # N or HxW: height and width
        sides = [int(side) for side in config.image_size.split("x")]
        size = (sides[0], sides[-1])
    own = {each.name: getattr(config, each.name) for each in fields(LoadOptions)}
    return LoadOptions(**{**own, "image_size": size})


class TwoWaysError(DataError):
    """A folder that can be read in several ways: `readings` are names for `LoadOptions.layout`."""

    readings: tuple[LayoutName, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Where the images are.

    sources: split → the folder of its class folders, or the table or file of arrays that it is in;
    only train where that has all, or is to be split here. line: how it was read, for a person;
    empty where there is nothing to explain.
    """

    sources: Mapping[str, Path]
    line: str = ""


def find_layout(root: Path, options: LoadOptions = LoadOptions()) -> Layout:
    """Find out how `root` is laid out.

    Raises DataError where it is nothing that is understood, or can be read in two ways.
    """
    if options.valid:
        train, valid = (_class_root(path) for path in (root, Path(options.valid)))
        return Layout({"train": train, "valid": valid}, f"valid is {printable(valid)}")
    if root.is_file():
        return Layout({"train": root}, printable(root.name))
    top = _entered(root)
    folders, files = _listed(top)
    where = "" if top == root else f"{printable(top.relative_to(root).as_posix())}/: "
    roles = _roles(top, folders)
    full = {role: name for role, name in roles.items() if _listed(top / name)[0]}
    readings: dict[LayoutName, Layout] = {}
    if "train" in full or "valid" in full:
        readings["splits"] = _of_splits(top, roles, full, where)
        if ("valid" in full or len(full) > 1) and options.layout == "auto":
            return readings["splits"]  # whatever stands beside them, as fast.ai's labels.csv
    classes = [name for name in folders if _has_images(top / name)]
    if len(classes) > 1 and {*classes} - {*roles.values()}:
        named = listed(Counter(map(printable, classes)), "{}/")
        readings["classes"] = Layout({"train": top}, f"{where}class folders {named}")
    if found := _tables(top, files):
        named = " and ".join(printable(path.name) for path in found.values())
        readings["table"] = Layout(found, where + named)
    if options.layout != "auto":
        if options.layout not in readings:
            raise fault_in(top, f"--layout {options.layout} does not fit what is in it")
        return readings[options.layout]
    if len(readings) > 1:
        fault = f"{printable(top)}: can be read in {len(readings)} ways; say which is meant"
        ways = [f"  --layout {name:<8}{reading.line}" for name, reading in readings.items()]
        refused = TwoWaysError(printable(root), [fault, *ways])
        refused.readings = (*readings,)
        raise refused
    for reading in readings.values():
        return reading
    raise fault_in(top, _not_understood(top, folders, files))


def _of_splits(top: Path, roles: Mapping[str, str], full: Mapping[str, str], where: str) -> Layout:
    """train/ with valid/ or test/ beside it; or train/ alone, to be split here."""
    used = {**full, **{role: roles[role] for role in ("train", "valid") if role in roles}}
    line = where + ", ".join(f"{printable(name)}/" for name in used.values())
    if "valid" in used:
        used.setdefault("train", "train")  # it is missing: the scan says so
        line = "" if line == "train/, valid/" else line
    elif "test" in used:
        used["valid"] = used.pop("test")
        line += f"; {printable(used['valid'])}/ scores, as there is no valid/"
    return Layout({role: top / name for role, name in used.items()}, line)


def _entered(root: Path) -> Path:
    """`root`, or the only folder in it that is no class and no split, as archives often have."""
    folders, files = _listed(root)
    if len(folders) == 1 and not _tables(root, files) and not _roles(root, folders):
        inner = root / folders[0]
        folders, files = _listed(inner)
        if folders or _tables(inner, files):
            return _entered(inner)
    return root


def _class_root(path: Path) -> Path:
    """The folder of the class folders: `path`, or train/ below it where that stands alone."""
    top = _entered(path)
    roles = _roles(top, _listed(top)[0])
    return top / roles["train"] if [*roles] == ["train"] else top


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """The visible folders and files in `folder`, in order; none where it cannot be listed."""
    _, *both = next(os.walk(folder), ("", [], []))
    folders, files = (sorted(name for name in names if not is_hidden(name)) for names in both)
    return folders, files


def _roles(top: Path, folders: Sequence[str]) -> dict[str, str]:
    """Split → the folder whose name says so. Raises DataError where two have the same role."""
    roles: dict[str, str] = {}
    for role in (*SPLITS, "test"):
        names = [name for name in folders if ROLES.get(name.lower()) == role]
        if len(names) > 1:
            both = f"{names[0]}/ and {names[1]}/ can both be {role}"
            raise fault_in(top, f"{both}; rename the one that is not meant")
        if names:
            roles[role] = names[0]
    return roles


def _tables(top: Path, files: Sequence[str]) -> dict[str, Path]:
    """Split → the table or array file of it; one alone is train, and split here."""
    from mnistlab.data.tables import has_labels

    images = [name for name in files if any(part in name for part in _IDX)]
    tables = images or [
        name
        for name in files
        if name.endswith(".npz") or (name.lower().endswith(".csv") and has_labels(top / name))
    ]
    if len(tables) == 1:
        return {"train": top / tables[0]}
    found: dict[str, Path] = {}
    for name in tables:
        stem = name.lower().replace("t10k", "test")
        roles = {role for alias, role in ROLES.items() if alias in stem}
        if len(roles) != 1 or (role := roles.pop()) in found:
            which = listed(Counter(map(printable, tables)), "{}")
            raise fault_in(top, f"which of {which} is the table? --data {quoted(top / tables[0])}")
        found[role] = top / name
    return found


def _has_images(folder: Path, depth: int = 2) -> bool:
    """Whether one of the first files in `folder`, or in folders in it, is an image by its name."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, _LOOKED_AT):
            if os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                return True
            below = depth > 1 and entry.is_dir() and not is_hidden(entry.name)
            if below and _has_images(Path(entry), depth - 1):
                return True
    return False


def _not_understood(top: Path, folders: Sequence[str], files: Sequence[str]) -> str:
    """Why nothing can be trained on here, and what to name instead where that can be seen."""
    try:
        os.listdir(top)
    except OSError as error:
        return f"cannot be listed: {error.strerror}"
    if any(os.path.splitext(name)[1].lower() in SUFFIXES for name in files):
        if not folders and len(_listed(top.parent)[0]) > 1:
            return (
                f"images of one class; did you mean {top.parent}? a classifier needs a folder for "
                "each class"
            )
        return "images without classes; put each class into a folder, or add labels.csv"
    for name in (*folders, *files):
        if is_archive(top / name) or (name in folders and _listed(top / name)[0]):
            return f"no class folders; did you mean {top / name}?"
    return (
        "no images that can be trained on; expected train/<class>/*.png and valid/<class>/*.png, "
        "class folders alone, or labels.csv beside the images"
    )
