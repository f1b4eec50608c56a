"""Images of a picture as PNG, small enough to stand inside a page."""

import base64
import io
from collections.abc import Iterator

import torch
from PIL import Image

from mnistlab.report.pictures import Images, levels, shrunk

# red and blue of ColorBrewer's RdBu: told apart by colour-blind readers too
_MINUS, _ZERO, _PLUS = (33, 102, 172), (247, 247, 247), (178, 24, 43)


def data_uris(picture: Images, pixels: int = 240_000) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Each image as (name, data URI, (height, width) of the PNG).

    One pixel of the image is one of the PNG, its level the same, unless all of them together would
    have more than `pixels`; then each is made smaller by averaging.
    """
    side = max(8, int((pixels / max(len(picture.images), 1)) ** 0.5))
    for name, image in levels(picture).items():
        small = shrunk(image, side, side)
        content = base64.b64encode(png(small, signed=picture.signed)).decode()
        yield name, f"data:image/png;base64,{content}", (small.shape[0], small.shape[1])


def png(image: torch.Tensor, *, signed: bool = False) -> bytes:
    """Levels 0…1 (H, W) as a PNG of 8 bits a pixel: grey, or from blue over white to red."""
    height, width = image.shape
    pixels = (image * 255).round().to(torch.uint8).contiguous()
    made = Image.frombytes("P" if signed else "L", (width, height), pixels.numpy().tobytes())
    if signed:
        made.putpalette([part for level in range(256) for part in _diverging(level / 255)])
    content = io.BytesIO()
    made.save(content, "PNG", optimize=True)
    return content.getvalue()


def _diverging(level: float) -> tuple[int, ...]:
    end, share = (_PLUS, 2 * level - 1) if level >= 0.5 else (_MINUS, 1 - 2 * level)
    return tuple(round(z + (e - z) * share) for z, e in zip(_ZERO, end, strict=True))
