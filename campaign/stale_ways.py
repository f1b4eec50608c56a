"""Ways in which a folder of images changes behind the back of the cache."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from PIL import Image

from campaign.images import make_folders

PADDED = 160  # bytes: all files of one size, whatever their pixels; what follows IEND is ignored


def make_padded(root: Path) -> Path:
    """A small folder of images of which all files have the same size and the same mtime."""
    make_folders(root, images=6, side=4)
    for path in root.rglob("*.png"):
        path.write_bytes(path.read_bytes().ljust(PADDED, b"\0"))
        os.utime(path, ns=(1_600_000_000_123_456_789,) * 2)
    return root


def _one(root: Path, random: Random) -> Path:
    return random.choice(sorted(root.glob("*/*/*.png")))


def _two(root: Path, random: Random) -> list[Path]:
    folder = random.choice(sorted(root.glob("*/*")))
    return random.sample(sorted(folder.glob("*.png")), 2)


def _write(path: Path, random: Random) -> None:
    """Another image of the same size in bytes."""
    image = Image.new("L", (4, 4), random.randrange(256))
    for place in range(4):
        image.putpixel((place, random.randrange(4)), random.randrange(256))
    image.save(path, "PNG")
    with path.open("r+b") as file:
        file.truncate(PADDED)


def _keeping_times(path: Path, change: Callable[[], object]) -> None:
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def edit(root: Path, random: Random) -> None:
    _write(_one(root, random), random)


def edit_keeping_size_and_time(root: Path, random: Random) -> None:
    path = _one(root, random)
    _keeping_times(path, lambda: _write(path, random))


def edit_with_the_clock_set_back(root: Path, random: Random) -> None:
    path = _one(root, random)
    _write(path, random)
    os.utime(path, (random.randrange(1_600_000_000),) * 2)


def edit_with_the_clock_ahead(root: Path, random: Random) -> None:
    path = _one(root, random)
    _write(path, random)
    os.utime(path, (4_000_000_000 + random.random(),) * 2)


def replace_by_rename(root: Path, random: Random) -> None:
    path, new = _one(root, random), root / "new"
    _write(new, random)
    before = path.stat()
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(new, path)


def copy_over_keeping_times(root: Path, random: Random) -> None:
    one, two = _two(root, random)
    shutil.copy2(one, two)


def swap_by_rename(root: Path, random: Random) -> None:
    one, two = _two(root, random)
    one.rename(root / "x")
    two.rename(one)
    (root / "x").rename(two)


def swap_by_copying(root: Path, random: Random) -> None:
    one, two = _two(root, random)
    shutil.copy2(one, root / "x")
    shutil.copy2(two, one)
    shutil.copy2(root / "x", two)


def add(root: Path, random: Random) -> None:
    path = _one(root, random)
    shutil.copy2(path, path.with_name(f"{random.randrange(9999)}-new.png"))


def delete(root: Path, random: Random) -> None:
    _one(root, random).unlink()


def rename(root: Path, random: Random) -> None:
    path = _one(root, random)
    path.rename(path.with_name(f"{random.randrange(9999)}-renamed.png"))


def move_to_the_other_class(root: Path, random: Random) -> None:
    path = _one(root, random)
    path.rename(path.parent.parent / {"dark": "light", "light": "dark"}[path.parent.name] / "m.png")


def rename_a_class(root: Path, random: Random) -> None:
    for split in ("train", "valid"):
        (root / split / "dark").rename(root / split / "dusk")  # it stays before the other


def exchange_classes(root: Path, random: Random) -> None:
    split = root / random.choice(("train", "valid"))
    (split / "dark").rename(root / "x")
    (split / "light").rename(split / "dark")
    (root / "x").rename(split / "light")


def exchange_splits(root: Path, random: Random) -> None:
    (root / "train").rename(root / "x")
    (root / "valid").rename(root / "train")
    (root / "x").rename(root / "valid")


def become_a_link(root: Path, random: Random) -> None:
    one, two = _two(root, random)
    one.unlink()
    one.symlink_to(two.name)


def become_a_hard_link(root: Path, random: Random) -> None:
    one, two = _two(root, random)
    one.unlink()
    one.hardlink_to(two)


def become_a_link_to_nowhere(root: Path, random: Random) -> None:
    path = _one(root, random)
    path.unlink()
    path.symlink_to("nowhere")


def become_a_folder(root: Path, random: Random) -> None:
    path = _one(root, random)
    path.unlink()
    path.mkdir()


def become_a_pipe(root: Path, random: Random) -> None:
    path = _one(root, random)
    path.unlink()
    os.mkfifo(path)


def break_the_image(root: Path, random: Random) -> None:
    path = _one(root, random)
    _keeping_times(path, lambda: path.write_bytes(random.randbytes(PADDED)))


def class_becomes_a_link(root: Path, random: Random) -> None:
    folder = root / random.choice(("train", "valid")) / "dark"
    folder.rename(root / "away")
    shutil.copytree(root / "away", root / "copy")
    edit_keeping_size_and_time(_as_tree(root / "copy"), random)
    folder.symlink_to(root / "copy")


def _as_tree(folder: Path) -> Path:
    """`folder` as the only class of a tree, for the ways that want one."""
    tree = folder.with_name("tree")
    (tree / "only").mkdir(parents=True)
    (tree / "only" / "class").symlink_to(folder)
    return tree


def copy_in_place_of_the_original(root: Path, random: Random) -> None:
    split = root / random.choice(("train", "valid"))
    shutil.copytree(split, root / "copy")  # copies times as well
    split.rename(root / "gone")
    (root / "copy").rename(split)
    edit_keeping_size_and_time(root, random)
    shutil.rmtree(root / "gone")


def another_tree_of_the_same_names(root: Path, random: Random) -> None:
    make_padded(root / "new")
    for path in sorted((root / "new").rglob("*.png")):
        _keeping_times(path, partial(_write, path, random))
    split = random.choice(("train", "valid"))
    shutil.rmtree(root / split)
    (root / "new" / split).rename(root / split)
    shutil.rmtree(root / "new")


STALE: tuple[Callable[[Path, Random], None], ...] = (
    edit,
    edit_keeping_size_and_time,
    edit_with_the_clock_set_back,
    edit_with_the_clock_ahead,
    replace_by_rename,
    copy_over_keeping_times,
    swap_by_rename,
    swap_by_copying,
    add,
    delete,
    rename,
    move_to_the_other_class,
    rename_a_class,
    exchange_classes,
    exchange_splits,
    become_a_link,
    become_a_hard_link,
    become_a_link_to_nowhere,
    become_a_folder,
    become_a_pipe,
    break_the_image,
    class_becomes_a_link,
    copy_in_place_of_the_original,
    another_tree_of_the_same_names,
)
