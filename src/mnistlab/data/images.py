"""One image file → 8-bit grey pixels, right or not at all.

Pillow's `convert("L")` clips 16-bit images to white, drops alpha (black ink on a transparent
background turns blank) and ignores the rotation a camera notes down. Each case is met explicitly
here, and what has no single right reading is refused by name.
"""

import contextlib
import functools
import io
import math
import os
import threading
import warnings
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mnistlab.data.colour import Colour, colour_of
from mnistlab.data.integrity import load_pixels
from mnistlab.errors import ConfigError

if TYPE_CHECKING:
    from mnistlab.data.scan import Scan

Array = np.ndarray | torch.Tensor

# Formats with a signature of their own. EPS is left out since Pillow runs Ghostscript for it, TGA
# since it has no signature and noise can pass for it.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "HEIF")
MAX_PIXELS = 110_000_000  # the largest photos of phones have 108 million; Pillow takes 0.4 GB
MAX_SIDE = 65_535  # as in JPEG
WHOLE_PIXELS = 4096 * 4096  # an image of more is reduced: it is a photo, to be scaled down anyway
MAX_FILE_BYTES = 256 * 1024 * 1024
_PHOTO_BYTES = 16 * 1024  # of a file; from here on threads help
_MOST_THREADS = 8  # each may hold a photo of 16 megapixels
_STRIP = 256  # rows
_ONE_LARGE = threading.Lock()  # at a time, whatever the number of threads: they take much memory
_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
_ORIENTATION = 274  # of EXIF: 1 is upright
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_PNG_STEPS = {"L;2": 85, "L;4": 17}  # from one level to the next, by Pillow's name of the bits


class UndecodableError(Exception):
    """Why one file could not be decoded, in a few words."""


class UnreadableError(UndecodableError):
    """The file, not its content, is at fault: another attempt may succeed."""


class Decoded(NamedTuple):
    """A decoded image, mode `L`: 0 is black, 255 white.

    own_size: its height and width in the file, upright; `grey` is smaller if it has more than
    `WHOLE_PIXELS`. colour: what was seen of its colour; None if the file has levels of grey only.
    kind: format and mode of the file, as Pillow calls them.
    """

    grey: Image.Image
    own_size: tuple[int, int]
    colour: Colour | None = None
    kind: str = "array"


def decode(path: Path) -> Decoded:
    """Decode an image file to grey.

    Colour by ITU-R 601 luma, 16 bits scaled (not clipped), EXIF rotation applied, transparency
    laid on a background that shows the ink. Raises UndecodableError; never anything else.
    """
    try:
        with path.open("rb") as file:
            # Asked first: read(limit) would set aside that much memory for every small file.
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise UndecodableError(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
            content = file.read()
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    return decode_bytes(content)


def decode_bytes(content: bytes) -> Decoded:
    """As `decode`, for the bytes of an image file."""
    if not content:
        raise UndecodableError("empty file (zero bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=_available()) as image:
            kind = f"{image.format} {image.mode}"
            # by 2 or 4: a JPEG is decoded at that scale, the pixels of others are averaged
            by = 2 ** math.ceil(math.log(max(image.width * image.height / WHOLE_PIXELS, 1), 4))
            # returned with its pixels loaded: the file is not needed
            with _ONE_LARGE if by > 1 else contextlib.nullcontext():
                return _to_grey(image, content, by)._replace(kind=kind)
    except UndecodableError:
        raise
    except Image.DecompressionBombError as error:
        most = MAX_PIXELS // 10**6
        raise UndecodableError(f"absurdly large (at most {most} megapixels)") from error
    except UnidentifiedImageError as error:
        if content[4:8] == b"ftyp" and content[8:12] in _HEIC and "HEIF" not in _available():
            why = "HEIC: install mnistlab[heif], or save it as JPEG"
            raise UndecodableError(why) from error
        raise UndecodableError("not an image in a known format") from error
    except MemoryError as error:
        raise UnreadableError("not enough memory to decode it") from error
    except Exception as error:  # Pillow's decoders raise whatever the damage leads them to
        raise UndecodableError(f"damaged or truncated image ({type(error).__name__})") from error


def decode_image(image: Image.Image) -> Decoded:
    """As `decode`, for an image in memory, which stays as it is."""
    try:
        return _to_grey(image, None, 1)
    except UndecodableError:
        raise
    except Exception as error:  # it may have been opened, and its file not be read yet
        raise UndecodableError(f"damaged or truncated image ({type(error).__name__})") from error


def read_all(
    scan: "Scan", files: Sequence[str], unusable: Collection[str]
) -> Iterator[tuple[int, Decoded | UndecodableError]]:
    """Every image that is not `unusable` with its position, in order, or why it cannot be decoded.

    Photos are decoded by as many threads as torch uses. Small images are not: Python does most of
    the work on them, and that one thread at a time.
    """

    def read(position: int) -> tuple[int, Decoded | UndecodableError]:
        try:
            return position, scan.read(position) or decode(scan.folder / files[position])
        except UndecodableError as fault:
            return position, fault

    positions = [position for position, file in enumerate(files) if file not in unusable]
    threads = min(torch.get_num_threads(), _MOST_THREADS)
    if threads == 1 or sum(scan.stamps[1::5]) < _PHOTO_BYTES * len(files):
        yield from map(read, positions)
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[tuple[int, Decoded | UndecodableError]]] = deque()
        for position in positions:
            ahead.append(pool.submit(read, position))
            if len(ahead) > 2 * threads:  # not all at once, which would take all memory
                yield ahead.popleft().result()
        for future in ahead:
            yield future.result()


def levels_of(given: Array) -> NDArray[np.uint8]:
    """The images of an array or a tensor as uint8 (n, H, W), or (n, H, W, 3) in colour.

    One image is (H, W), or (H, W, 3); n of them are (n, H, W), (n, 1, H, W), (n, 3, H, W),
    (n, H, W, 1) or (n, H, W, 3). Levels are integers 0…255 or floats 0…1. Raises ConfigError.
    """
    if isinstance(given, torch.Tensor):
        tensor = given.detach().cpu()
        levels = (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    else:
        levels = given
    if levels.ndim == 4 and levels.shape[1] in (1, 3) and levels.shape[3] not in (1, 3):
        levels = np.moveaxis(levels, 1, 3)
    elif levels.ndim == 2 or (levels.ndim == 3 and levels.shape[2] == 3):
        levels = levels[None]
    if levels.ndim == 4 and levels.shape[3] == 1:
        levels = levels[..., 0]
    if not levels.size or levels.ndim not in (3, 4) or levels.shape[3:] not in ((), (3,)):
        raise ConfigError(
            f"an array of the shape {tuple(given.shape)} holds no images; expected (H, W), "
            "(H, W, 3), or n of them: (n, H, W), (n, 1, H, W), (n, 3, H, W), (n, H, W, 3)"
        )
    if levels.dtype.kind not in "buif":
        raise ConfigError(f"an array of {levels.dtype} holds no images; expected uint8 or floats")
    low, high = float(levels.min()), float(levels.max())
    white = 1 if levels.dtype.kind in "bf" else 255
    if not (low >= 0 and high <= white):  # nor is NaN
        raise ConfigError(f"levels from {low:g} to {high:g}; they are from 0 to {white}")
    if white == 1:
        levels = (levels.astype(np.float64) * 255).round()
    return levels.astype(np.uint8)


def quiet_pillow() -> warnings.catch_warnings:
    """Context in which Pillow's own warnings are silent: what matters is raised as a fault.

    It also imports Pillow's formats: a signal during an import ends the process at once, and a
    temporary file would stay if there was one already.
    """
    _available()
    return warnings.catch_warnings(action="ignore")


@functools.cache
def _available() -> tuple[str, ...]:
    Image.init()
    with contextlib.suppress(ImportError):  # an extra: Pillow itself has no HEIC
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _to_grey(image: Image.Image, content: bytes | None, by: int) -> Decoded:
    width, height = image.size
    if width * height > MAX_PIXELS or width > MAX_SIDE or height > MAX_SIDE:
        raise UndecodableError(
            f"absurdly large: {width} x {height} pixels (at most {MAX_PIXELS // 10**6} megapixels)"
        )
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise UndecodableError(f"has {image.n_frames} frames; save the one that is meant")  # type: ignore[attr-defined]
    if image.format == "PNG" and "transparency" in image.info:
        # Its level counts in the bits of the file, which Pillow scales for the pixels only: levels
        # 0-3 or 0-15 of grey become 0-255, 16 bits of colour become 8.
        stored = "".join(str(part.args) for part in getattr(image, "tile", []))
        if stored == "RGB;16B":
            raise UndecodableError(
                "16-bit colour with a transparent colour; save it as 8-bit colour"
            )
        if stored in _PNG_STEPS:
            image.info["transparency"] *= _PNG_STEPS[stored]
    least = (width // by, height // by) if by > 1 else None
    if content is None:
        image.load()
    elif fault := load_pixels(image, content, least):
        raise UndecodableError(f"damaged or truncated image: {fault}")
    by, loaded = by if image.size == (width, height) else 1, image.size
    # Asking every small image for an EXIF block that is not there costs more than decoding it.
    noted = " ".join(map(str, image.info)).lower()
    if image.format == "TIFF" or "exif" in noted or "xmp" in noted:  # a TIFF has it in its tags
        if content is None and image.getexif().get(_ORIENTATION, 1) != 1:  # it is somebody's
            image = ImageOps.exif_transpose(image)
        else:
            ImageOps.exif_transpose(image, in_place=True)  # a copy would forget its format
    own_size = (height, width) if image.size == loaded else (width, height)  # turned by 90 degrees
    if image.mode == "L" and "transparency" not in image.info:
        return Decoded(image if by == 1 else _reduced(image, by, "L"), own_size)
    if image.mode.startswith("I"):
        return Decoded(_from_16_bit(image, by), own_size)
    if image.has_transparency_data:
        shown = _on_contrasting_background(_reduced(image, by, "RGBA"))
    elif image.mode in ("F", "LAB"):
        raise UndecodableError(
            f"mode {image.mode} has no fixed range; save it as 8-bit grey or colour"
        )
    else:
        # CMYK, YCbCr, HSV and palettes have no direct way to grey that keeps the luma weights
        shown = _reduced(image, by, "L" if image.mode == "1" else "RGB")
    is_grey = image.mode in ("1", "L", "LA")
    return Decoded(shown.convert("L"), own_size, None if is_grey else colour_of(shown))


def _reduced(image: Image.Image, by: int, mode: str) -> Image.Image:
    """`image` in a mode, each side divided by `by`; in strips, as a copy of a photo is large."""
    if by == 1:
        return image if image.mode == mode else image.convert(mode)
    width, height = image.size
    small = Image.new(mode, (-(-width // by), -(-height // by)))
    for top in range(0, height, _STRIP):
        strip = image.crop((0, top, width, min(top + _STRIP, height)))
        small.paste(strip.convert(mode).reduce(by), (0, top // by))
    return small


def _from_16_bit(image: Image.Image, by: int) -> Image.Image:
    # Pillow opens 16-bit grey as I;16 (and 16-bit PGM as I, already scaled to 0-65535). Other
    # 32-bit integers have no agreed white.
    if image.mode == "I" and image.format != "PPM":
        raise UndecodableError("32-bit integers have no fixed range; save it as 8- or 16-bit grey")
    if "transparency" in image.info:
        raise UndecodableError("16-bit grey with a transparent level; save it as 8-bit grey")
    levels = np.asarray(_reduced(image, by, "I"), dtype=np.int64)
    white = 65535
    tags = getattr(image, "tag_v2", {})  # TIFF only
    if tags.get(_TIFF_BITS) == (12,):
        white = 4095
    if tags.get(_TIFF_PHOTOMETRIC) == 0:  # white is zero, which Pillow heeds for 8 bits only
        levels = white - levels
    scaled = (levels * 255 + white // 2) // white  # to the nearest of 256 levels
    return Image.fromarray(scaled.astype(np.uint8))


def _on_contrasting_background(image: Image.Image) -> Image.Image:
    # Paper is the opposite of the ink: dark ink goes on white as every viewer shows it, light ink
    # on black, since on white it would vanish.
    alpha = np.asarray(image.getchannel("A"), dtype=np.float64)
    luma = np.asarray(image.convert("RGB").convert("L"), dtype=np.float64)
    covered = alpha.sum()
    ink = (luma * alpha).sum() / covered if covered else 0.0
    paper = (0, 0, 0, 255) if ink >= 128 else (255, 255, 255, 255)
    canvas = Image.new("RGBA", image.size, paper)
    return Image.alpha_composite(canvas, image).convert("RGB")
