"""How a script reads images: two functions that are tried here on every file of the run."""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageOps

from mnistlab.data.folders import ImageData
from mnistlab.eject.borrowed import source
from mnistlab.errors import ConfigError
from mnistlab.names import printable


def reader_for(data: ImageData) -> list[str]:
    """The shortest functions, the last one `read(path)`, that give every image as training saw it.

    Raises ConfigError, which names the file, where no such function is short.
    """
    # the folder that can be made of a dataset by name holds plain PNG
    if not (data.root / "train").is_dir() or _first_wrong(data, _read_plain) is None:
        return [source(_read_plain, {"_read_plain": "read"})]
    if (wrong := _first_wrong(data, _read_full)) is not None:
        raise ConfigError(
            f"{printable(wrong)}: a kind of image that the script's short reader gets wrong; save "
            "it as 8-bit grey first"
        )
    names = {"_read_full": "read", "_values": "values"}
    return [source(_values, names), source(_read_full, names)]


def _first_wrong(data: ImageData, read: Callable[[Path], torch.Tensor]) -> Path | None:
    """The first file that `read` does not turn into the pixels that training saw."""
    for split, name in ((data.train, "train"), (data.valid, "valid")):
        for file, image in zip(split.files, split.ds.tensors[0], strict=True):
            path = data.root / name / file
            if not torch.equal(read(path), image):
                return path
    return None


def _read_plain(path: Path) -> torch.Tensor:
    image = Image.open(path).convert("L")
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, -1)


def _values(image: Image.Image, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.frombuffer(bytearray(image.tobytes()), dtype=dtype)


def _read_full(path: Path) -> torch.Tensor:
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # 16 bits, to the nearest of 256 levels
        levels = _values(image.convert("I"), torch.int32).long()
        return ((levels * 255 + 32767) // 65535).to(torch.uint8).view(image.height, -1)
    if image.has_transparency_data:  # on the ground that shows the ink
        image = image.convert("RGBA")
        alpha = _values(image.getchannel("A")).double()
        luma = _values(image.convert("RGB").convert("L")).double()
        light = alpha.sum() > 0 and (luma * alpha).sum() / alpha.sum() >= 128
        ground = Image.new("RGBA", image.size, (0, 0, 0, 255) if light else (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return _values(image.convert("RGB").convert("L")).view(image.height, -1)
