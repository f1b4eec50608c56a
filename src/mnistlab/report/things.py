"""What `show` draws that is no run: image files, folders of images, datasets."""

from collections.abc import Sequence
from pathlib import Path

import torch

from mnistlab.data.batches import augment, to_float
from mnistlab.data.folders import Progress
from mnistlab.data.images import UndecodableError, decode_grey, quiet_pillow
from mnistlab.data.named import NAMED, load_split
from mnistlab.data.tree import EXPECTED, SPLITS
from mnistlab.errors import ConfigError, DataError
from mnistlab.names import natural_key, nearest, printable
from mnistlab.report.gallery import mean_images, sample_images
from mnistlab.report.pictures import Images
from mnistlab.runs import list_runs


def kind_of(thing: str, runs: Path) -> str:
    """`run`, `data`, `folder` (of images) or `image`: what `thing` names.

    A run in `runs` goes before a dataset, that before a path. Raises ConfigError, with the nearest
    name, where it is none of them.
    """
    try:
        if not thing:
            raise ConfigError("an empty name; name an image, a run or a folder")
        if thing == "latest" or any(_is_run(path) for path in (runs / thing, Path(thing))):
            return "run"
        path = Path(thing)
        if thing in NAMED or any((path / split).is_dir() for split in SPLITS):
            return "data"
        if path.is_dir():
            return "folder"
        if path.exists():
            return "image"
    except (OSError, ValueError):
        pass  # a name that no file can have
    told = ""
    if Path(thing).name == thing:  # not one that is meant as a path
        known = ["latest", *NAMED, *(run.name for run in list_runs(runs)[:-6:-1])]
        told = nearest(thing, known)
    raise ConfigError(f"{printable(thing)}: no such image, run or folder{told}")


def _is_run(path: Path) -> bool:
    return (path / "run.json").is_file() or (path / "model.safetensors").is_file()


def image_files(paths: Sequence[Path]) -> Images:
    """Image files as a model sees them: grey, turned as the camera says.

    Raises DataError with every file that is no image.
    """
    shown, faults = _decoded(paths)
    if faults:
        told = [f"{printable(path)}: {why}" for path, why in faults.items()]
        raise DataError("images", told)
    title = "Images" if len(paths) > 1 else f"Image, {_size(next(iter(shown.values())))}"
    whole = len({path.name for path in shown}) < len(shown)  # names that are not enough
    named = {str(path if whole else path.name): image for path, image in shown.items()}
    return Images(title, named, limits=(0, 255))


def folder_of_images(folder: Path, count: int) -> tuple[Images, dict[Path, str]]:
    """The first `count` images that lie in `folder` itself, and why others were left out.

    Raises DataError where there is none.
    """
    try:
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(
            printable(folder), [f"{printable(folder)}: cannot be listed: {error.strerror}"]
        ) from error
    files = sorted(
        (path for path in files if path.is_file()), key=lambda path: natural_key(path.name)
    )
    shown: dict[Path, torch.Tensor] = {}
    faults: dict[Path, str] = {}
    for path in files:
        if len(shown) == count:
            break
        found, wrong = _decoded([path])
        shown |= found
        faults |= wrong
    if not shown:
        raise DataError(
            printable(folder),
            [f"{printable(folder)}: no images in it; expected image files, or {EXPECTED}"],
        )
    title = f"{folder.name or folder}, {len(shown)} of {len(files)} files"
    named = {path.name: image for path, image in shown.items()}
    return Images(printable(title), named, limits=(0, 255)), faults


def dataset(
    name: str,
    split: str,
    count: int,
    *,
    augmented: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> list[Images]:
    """The mean image of each class of a dataset, and about `count` of its images.

    With `augmented` also these as a training with `augment` first sees them. Raises DataError.
    """
    loaded = load_split(name, split, skip_bad=skip_bad, progress=progress)
    each = max(1, count // len(loaded.classes))
    samples = sample_images(loaded, split, each)
    shown = [mean_images(loaded, split), samples]
    if augmented:
        xb = to_float(torch.stack(list(samples.images.values())))
        moved = (augment(xb, seed=0, epoch=0, batch=0).squeeze(1) * 255).round()
        images = dict(zip(samples.images, moved, strict=True))
        shown.append(Images("The same, augmented", images, limits=(0, 255)))
    return shown


def enlarged(picture: Images, side: int = 12) -> Images:
    """`picture` with its tiny images made larger, a whole number of times, up to about `side`."""
    grown = {}
    for name, image in picture.images.items():
        times = max(1, side // max(image.shape))
        grown[name] = image.repeat_interleave(times, 0).repeat_interleave(times, 1)
    return Images(picture.title, grown, picture.signed, picture.limits)


def _decoded(paths: Sequence[Path]) -> tuple[dict[Path, torch.Tensor], dict[Path, str]]:
    shown: dict[Path, torch.Tensor] = {}
    faults: dict[Path, str] = {}
    with quiet_pillow():
        for path in paths:
            try:
                image = decode_grey(path)
            except UndecodableError as fault:
                faults[path] = str(fault)
                continue
            flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
            shown[path] = flat.reshape(image.height, image.width)
    return shown, faults


def _size(image: torch.Tensor) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
