"""Whether an image file holds all of the picture that it promises.

Pillow leaves black what a file does not have, in several formats without a word. Each function
says in a few words what is wrong, or nothing.
"""

import io
import re
import struct
import zlib

from PIL import Image

_KNOWN = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_ONCE = (b"IHDR", b"PLTE", b"tRNS", b"fcTL")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
_PALETTE = 3
# Adam7: first column, first row, columns and rows from one pixel of a pass to the next
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # fmt: skip
_PIECE = 2**20
_STRIP_BYTES, _TILE_BYTES, _SAMPLE_FORMAT, _BITS = 279, 325, 339, 258
_SIGNED = 2
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA


def png_fault(content: bytes) -> str:
    """Of a PNG file that Pillow has opened: its parts in their order, its rows all there."""
    kinds: list[bytes] = []
    data: list[bytes] = []
    header = b""
    at = 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IDAT":
            data.append(body)
        elif kind == b"IHDR":
            header = body
        elif kind == b"IEND":
            break
        elif kind[:1].isupper() and kind not in _KNOWN:
            return "a part that no reader may pass over"
        kinds.append(kind)
    return _order_fault(kinds, header) or _rows_fault(header, b"".join(data))


def _order_fault(kinds: list[bytes], header: bytes) -> str:
    if kinds[0] != b"IHDR" or any(kinds.count(kind) > 1 for kind in _ONCE) or b"fdAT" in kinds:
        return "parts that may be there once are there twice, or out of place"
    early = [kind for kind in kinds[: kinds.index(b"IDAT")] if kind in (b"PLTE", b"tRNS", b"fcTL")]
    if len(early) < sum(kinds.count(kind) for kind in (b"PLTE", b"tRNS", b"fcTL")):
        return "its colours come after its pixels"
    if header[9] == _PALETTE and early[:1] == [b"tRNS"]:
        return "its colours come after their transparency"
    if header[10] or header[11] or header[12] > 1:
        return "packed in an unknown way"
    return ""


def _rows_fault(header: bytes, packed: bytes) -> str:
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _CHANNELS[color]
    sizes = [(width, height)]
    if interlaced:
        sizes = [(-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in _PASSES]
    promised = sum(h * (1 + (w * bits + 7) // 8) for w, h in sizes if w > 0)
    unpacker, found = zlib.decompressobj(), 0
    # To its end, where its checksum is; what follows the last row does no harm, but has a limit.
    while found <= 2 * promised + _PIECE and (piece := unpacker.decompress(packed, _PIECE)):
        found += len(piece)
        packed = unpacker.unconsumed_tail
    if found < promised:
        return "its rows end early"
    return "" if unpacker.eof else "its rows do not end"


def jpeg_fault(content: bytes, image: Image.Image) -> str:
    """Of a loaded JPEG file: whether its decoder had run out of data before the last block.

    The decoder then makes up the rest and says nothing. More data before the end mark is passed
    over where the picture is complete, and makes another picture of one that is not.
    """
    end = _end_of_jpeg(content)
    longer = content[:end] + b"\x55" * 64 + content[end:]
    with Image.open(io.BytesIO(longer), formats=("JPEG",)) as other:
        return "" if other.tobytes() == image.tobytes() else "its data ends early"


def _end_of_jpeg(content: bytes) -> int:
    """Where the end mark of the first picture is: parts before it may hold a thumbnail with one of
    their own, and a phone's file goes on with another picture behind it."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != _JPEG_END:
        scan = content[at + 1] == _JPEG_SCAN
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        # within a scan, a mark follows an FF, and is neither stuffing nor a restart
        if scan and (mark := re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(content, at)):
            at = mark.start()
    found = content[at : at + 2] == b"\xff\xd9"
    return at if found else content.rfind(b"\xff\xd9")


def tiff_fault(image: Image.Image) -> str:
    """Of an opened TIFF file: whether every strip or tile is there, in levels from zero up."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    counts, signs, bits = (
        value if isinstance(value, tuple) else (value,)
        for value in (
            tags.get(_STRIP_BYTES, tags.get(_TILE_BYTES, ())),
            tags.get(_SAMPLE_FORMAT, ()),
            tags.get(_BITS, (1,)),
        )
    )
    needed = image.width * image.height * sum(bits)
    raw = all(part.codec_name == "raw" for part in image.tile)  # type: ignore[attr-defined]
    if 0 in counts or (raw and counts and 8 * sum(counts) < needed):
        return "parts of it are missing"
    if _SIGNED in signs:
        return "levels below zero, which have no agreed black"
    return ""


def area_fault(image: Image.Image) -> str:
    """Of an opened file of any format: whether what it holds covers the whole picture."""
    parts = {part.extents for part in getattr(image, "tile", ()) if part.extents}
    covered = sum((right - left) * (lower - upper) for left, upper, right, lower in parts)
    if not parts or covered >= image.width * image.height:
        return ""
    if image.format == "GIF" and "transparency" in image.info:
        return ""  # the rest is transparent
    return "parts of it are missing"


def palette_fault(image: Image.Image) -> str:
    """Of a loaded picture in mode P: whether its palette has every colour that it uses."""
    if image.mode != "P" or image.palette is None:
        return ""
    colors = len(image.palette.palette) // len(image.palette.mode)
    used = image.histogram()[colors:]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and transparent >= colors:
        used[transparent - colors] = 0
    return "uses colours that its palette does not have" if any(used) else ""
