"""One image file → 8-bit grey pixels, right or not at all.

Pillow's `convert("L")` clips 16-bit images to white, drops alpha (black ink on a transparent
background turns blank) and ignores the rotation a camera notes down. Each case is met explicitly
here, and what has no single right reading is refused by name.
"""

import functools
import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mnistlab.data.integrity import load_pixels

# Formats with a signature of their own. EPS is left out since Pillow runs Ghostscript for it, TGA
# since it has no signature and noise can pass for it.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF")
MAX_SIDE = 4096  # pixels; an image this large is a mistake in a folder of small pictures
MAX_FILE_BYTES = 256 * 1024 * 1024
_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
_ORIENTATION = 274  # of EXIF: 1 is upright
_PNG_STEPS = {"L;2": 85, "L;4": 17}  # from one level to the next, by Pillow's name of the bits


class UndecodableError(Exception):
    """Why one file could not be decoded, in a few words."""


class UnreadableError(UndecodableError):
    """The file, not its content, is at fault: another attempt may succeed."""


def decode_grey(path: Path) -> Image.Image:
    """Decode `path` to a mode `L` image: 0 is black, 255 white.

    Colour by ITU-R 601 luma, 16 bits scaled (not clipped), EXIF rotation applied, transparency
    laid on a background that shows the ink. Raises UndecodableError; never anything else.
    """
    return decode_grey_bytes(read_image_file(path))


def read_image_file(path: Path) -> bytes:
    """The bytes of an image file. Raises UndecodableError where there are none or too many."""
    try:
        with path.open("rb") as file:
            # Asked first: read(limit) would set aside that much memory for every small file.
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise UndecodableError(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
            return file.read()
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error


def decode_grey_bytes(content: bytes) -> Image.Image:
    """As `decode_grey`, for the bytes of an image file."""
    if not content:
        raise UndecodableError("empty file (zero bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=_available()) as image:
            return _to_grey(image, content)  # its pixels are loaded: the file is not needed
    except UndecodableError:
        raise
    except Image.DecompressionBombError as error:
        raise UndecodableError(
            f"absurdly large (at most {MAX_SIDE} x {MAX_SIDE} pixels)"
        ) from error
    except UnidentifiedImageError as error:
        raise UndecodableError("not an image in a known format") from error
    except MemoryError as error:
        raise UnreadableError("not enough memory to decode it") from error
    # Pillow's decoders raise whatever the damage leads them to: OSError, SyntaxError, ValueError,
    # struct.error, zlib.error, IndexError and more.
    except Exception as error:
        raise UndecodableError(f"damaged or truncated image ({type(error).__name__})") from error


def grey_of(image: Image.Image) -> Image.Image:
    """As `decode_grey`, for an image in memory, which stays as it is."""
    try:
        return _to_grey(image, None)
    except UndecodableError:
        raise
    except Exception as error:  # it may have been opened, and its file not be read yet
        raise UndecodableError(f"damaged or truncated image ({type(error).__name__})") from error


def quiet_pillow() -> warnings.catch_warnings:
    """Context in which Pillow's own warnings are silent: what matters is raised as a fault.

    It also imports Pillow's formats. To be entered before a temporary file is made: a signal
    during an import ends the process at once, and the file would stay.
    """
    _available()
    return warnings.catch_warnings(action="ignore")


@functools.cache
def _available() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _to_grey(image: Image.Image, content: bytes | None) -> Image.Image:
    width, height = image.size
    if width > MAX_SIDE or height > MAX_SIDE:
        raise UndecodableError(
            f"absurdly large: {width} x {height} pixels (at most {MAX_SIDE} x {MAX_SIDE})"
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
    if content is None:
        image.load()
    elif fault := load_pixels(image, content):
        raise UndecodableError(f"damaged or truncated image: {fault}")
    # Asking for the EXIF block of every small PNG costs more than decoding it.
    noted = " ".join(map(str, image.info)).lower()
    if image.format != "PNG" or "exif" in noted or "xmp" in noted:
        if content is None and image.getexif().get(_ORIENTATION, 1) != 1:  # it is somebody's
            image = ImageOps.exif_transpose(image)
        else:
            ImageOps.exif_transpose(image, in_place=True)  # a copy would forget its format
    if image.mode == "L" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.has_transparency_data:
        return _on_contrasting_background(image.convert("RGBA"))
    if image.mode in ("F", "LAB"):
        raise UndecodableError(
            f"mode {image.mode} has no fixed range; save it as 8-bit grey or colour"
        )
    # CMYK, YCbCr, HSV and palettes have no direct way to grey that keeps the luma weights
    return image.convert("RGB").convert("L") if image.mode not in ("L", "1") else image.convert("L")


def _from_16_bit(image: Image.Image) -> Image.Image:
    # Pillow opens 16-bit grey as I;16 (and 16-bit PGM as I, already scaled to 0-65535). Other
    # 32-bit integers have no agreed white.
    if image.mode == "I" and image.format != "PPM":
        raise UndecodableError("32-bit integers have no fixed range; save it as 8- or 16-bit grey")
    if "transparency" in image.info:
        raise UndecodableError("16-bit grey with a transparent level; save it as 8-bit grey")
    levels = np.asarray(image.convert("I"), dtype=np.int64)
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
    return Image.alpha_composite(canvas, image).convert("RGB").convert("L")
