"""Whether an image file holds all of the picture that it promises.

Pillow leaves black what a file does not have, in several formats without a word.
"""

import contextlib
import functools
import io
import re
import struct
import zlib

from PIL import Image

# The parts of one picture without those that any reader may pass over, in their order; fcTL is what
# an animation of one frame has.
_PNG_PARTS = re.compile(rb"IHDR(PLTE)?(tRNS)?(fcTL)?(IDAT)+")
_PNG_NOT_PASSED = {b"tRNS", b"fcTL", b"fdAT"}  # beside those whose first letter is large
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Adam7: first column, first row, columns and rows from one pixel of a pass to the next
_PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
               (0, 1, 1, 2))  # fmt: skip
_PIECE = 2**20
_TIFF_STRIP_BYTES, _TIFF_TILE_BYTES, _TIFF_SAMPLE_FORMAT, _TIFF_BITS = 279, 325, 339, 258
_TIFF_SIGNED = 2
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA


def load_pixels(image: Image.Image, content: bytes, least: tuple[int, int] | None) -> str:
    """Decode the pixels of an opened image; returns what is missing in the file, "" if nothing.

    least: the width and height that are enough of a JPEG; None for all that it has. Damage that
    Pillow sees by itself ends in its own errors.
    """
    fault = _area_fault(image)
    if image.format == "PNG":
        fault = fault or _png_fault(content)
    elif image.format == "TIFF":
        fault = fault or _tiff_fault(image)
    if fault:
        return fault
    if least:
        image.draft(None, least)  # only a JPEG can
    image.load()
    if image.format in ("JPEG", "MPO"):  # a phone's: a JPEG with more behind it
        return _jpeg_fault(image, content, least)
    return _palette_fault(image)


def _area_fault(image: Image.Image) -> str:
    """Of an opened file of any format: whether what it holds covers the picture."""
    parts = {part.extents for part in getattr(image, "tile", ()) if part.extents}
    covered = sum((right - left) * (lower - upper) for left, upper, right, lower in parts)
    if not parts or covered >= image.width * image.height:
        return ""
    if image.format == "GIF" and "transparency" in image.info:
        return ""  # the rest is transparent
    return "parts of it are missing"


def _palette_fault(image: Image.Image) -> str:
    """Of a loaded picture in mode P: whether its palette has every colour that it uses."""
    if image.mode != "P" or image.palette is None:
        return ""
    colors = len(image.palette.palette) // len(image.palette.mode)
    used = image.histogram()[colors:]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and transparent >= colors:
        used[transparent - colors] = 0
    return "uses colours that its palette does not have" if any(used) else ""


def _png_fault(content: bytes) -> str:
    """Of an opened file: its parts in their order, its rows all there."""
    kinds, packed, header, at = bytearray(), bytearray(), b"", 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IDAT":
            packed += body
        elif kind == b"IHDR":
            header = body
        elif kind == b"IEND":
            break
        if kind[:1].isupper() or kind in _PNG_NOT_PASSED:
            kinds += kind
    width, height, depth, color, packing, filtering, interlaced = struct.unpack(">IIBBBBB", header)
    if not _PNG_PARTS.fullmatch(kinds):
        return "its parts are not those of one picture, in their order"
    if packing or filtering or interlaced > 1:
        return "packed in an unknown way"
    bits = depth * _PNG_CHANNELS[color]
    sizes = [(width, height)]
    if interlaced:
        sizes = [(-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in _PNG_PASSES]
    promised = sum(h * (1 + (w * bits + 7) // 8) for w, h in sizes if w > 0)
    unpacker, left, unpacked = zlib.decompressobj(), bytes(packed), 0
    # To its end, where its checksum is; what follows the last row does no harm, but has a limit.
    while unpacked <= 2 * promised + _PIECE and (piece := unpacker.decompress(left, _PIECE)):
        unpacked += len(piece)
        left = unpacker.unconsumed_tail
    if unpacked < promised:
        return "its rows end early"
    return "" if unpacker.eof else "its rows do not end"


def _jpeg_fault(image: Image.Image, content: bytes, least: tuple[int, int] | None) -> str:
    """Of a loaded file: whether its decoder had run out of data before the last block.

    The decoder then makes up the rest and says nothing. More data before the end mark is passed
    over where the picture is complete, and makes another picture of one that is not.
    """
    # The end mark of the first picture: parts before it may hold a thumbnail with one of their
    # own, and a phone's file goes on with another picture behind it.
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at : at + 2] != _JPEG_END:
        scan = content[at + 1] == _JPEG_SCAN
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        # within a scan, a mark follows an FF, and is neither stuffing nor a restart
        if scan and (mark := re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(content, at)):
            at = mark.start()
    if content[at : at + 2] != _JPEG_END:
        at = content.rfind(_JPEG_END)
    longer = content[:at] + b"\x55" * 64 + content[at:]
    with Image.open(io.BytesIO(longer), formats=("JPEG",)) as other:
        if least:
            other.draft(None, least)
        return "" if other.tobytes() == image.tobytes() else "its data ends early"


def _tiff_fault(image: Image.Image) -> str:
    """Of an opened file: whether every strip or tile is there, in levels from zero up."""
    _quiet_libtiff()
    tags = image.tag_v2  # type: ignore[attr-defined]

    def values(*names: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        value = next((tags[name] for name in names if name in tags), default)
        return value if isinstance(value, tuple) else (value,)

    counts = values(_TIFF_STRIP_BYTES, _TIFF_TILE_BYTES)
    needed = image.width * image.height * sum(values(_TIFF_BITS, default=(1,)))
    raw = all(part.codec_name == "raw" for part in image.tile)  # type: ignore[attr-defined]
    if 0 in counts or (raw and counts and 8 * sum(counts) < needed):
        return "parts of it are missing"
    if _TIFF_SIGNED in values(_TIFF_SAMPLE_FORMAT):
        return "levels below zero, which have no agreed black"
    return ""


@functools.cache
def _quiet_libtiff() -> None:
    # It writes what it finds wrong straight to stderr, without the name of the file; the user gets
    # that from us. Pillow has no way to say so, the library itself has, where it can be reached.
    import ctypes

    from PIL import _imaging

    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
