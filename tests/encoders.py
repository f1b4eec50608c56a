"""Image files written byte by byte from their specifications, so that any part can be wrong."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

Rows = list[list[int]]
END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A part of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


def header(width: int, height: int, depth: int = 8, color: int = 0, *ways: int) -> bytes:
    """IHDR; `ways` are compression, filter and interlace."""
    ways = ways or (0, 0, 0)
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, *ways))


def png(*parts: bytes) -> bytes:
    """A PNG file of `parts`, ended."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + END


def rows_of(rows: Sequence[Sequence[int]]) -> bytes:
    """The bytes of `rows`, each behind filter 0."""
    return b"".join(b"\0" + bytes(row) for row in rows)


def idat(raw: bytes) -> bytes:
    """A whole IDAT of `raw`."""
    return chunk(b"IDAT", zlib.compress(raw))


def grey(rows: Sequence[Sequence[int]], *between: bytes) -> bytes:
    """An ordinary 8-bit grey PNG file, with `between` before its pixels."""
    return png(header(len(rows[0]), len(rows)), *between, idat(rows_of(rows)))


def filtered(rows: Rows, kind: int) -> bytes:
    """`rows` of 8-bit grey behind one of PNG's filters 0-4."""
    out = bytearray()
    for y, row in enumerate(rows):
        out.append(kind)
        for x, value in enumerate(row):
            left = row[x - 1] if x else 0
            above = rows[y - 1][x] if y else 0
            corner = rows[y - 1][x - 1] if x and y else 0
            guess = left + above - corner
            paeth = min((left, above, corner), key=lambda one: abs(guess - one))
            predicted = (0, left, above, (left + above) // 2, paeth)[kind]
            out.append((value - predicted) % 256)
    return bytes(out)


def interlaced(rows: Rows) -> bytes:
    """`rows` in the seven passes of Adam7."""
    passes = ([row[x0::dx] for row in rows[y0::dy] if row[x0::dx]] for x0, y0, dx, dy in PASSES)
    return b"".join(map(rows_of, passes))


def frame(number: int, width: int, height: int, left: int = 0, top: int = 0) -> bytes:
    """APNG's fcTL."""
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, left, top, 1, 1, 0, 0))


TIFF_DATA = 600  # where the pixels of `tiff` begin


def tiff(rows: Rows, data: bytes | None = None, **tags: tuple[int, ...] | None) -> bytes:
    """A little-endian grey TIFF file in strips of two rows; `tags` as `t259=(8,)` are changed or,
    where None, left out."""
    width, height = len(rows[0]), len(rows)
    data = b"".join(map(bytes, rows)) if data is None else data
    strips = range(0, height, 2)
    entries: dict[int, tuple[int, ...] | None] = {
        256: (width,), 257: (height,), 258: (8,), 259: (1,), 262: (1,), 277: (1,), 278: (2,),
        273: tuple(TIFF_DATA + top * width for top in strips),
        279: tuple(min(2, height - top) * width for top in strips),
    }  # fmt: skip
    entries |= {int(key[1:]): value for key, value in tags.items()}
    listed = sorted((tag, value) for tag, value in entries.items() if value is not None)
    more_at = 8 + 2 + 12 * len(listed) + 4
    more = table = b""
    for tag, values in listed:
        packed = struct.pack(f"<{len(values)}I", *values)
        place = packed if len(values) == 1 else struct.pack("<I", more_at + len(more))
        more += b"" if len(values) == 1 else packed
        table += struct.pack("<HHI", tag, 4, len(values)) + place
    head = b"II*\0" + struct.pack("<IH", 8, len(listed)) + table + bytes(4) + more
    assert len(head) <= TIFF_DATA
    return head.ljust(TIFF_DATA, b"\0") + data


def bmp(rows: Rows, data: bytes | None = None, colors: int = 256, packed: int = 0) -> bytes:
    """A BMP file of 8 bits with a grey palette of `colors` entries, rows from the bottom up."""
    width, height = len(rows[0]), len(rows)
    if data is None:
        data = b"".join(bytes(row) + bytes(-width % 4) for row in rows[::-1])
    palette = b"".join(bytes((level, level, level, 0)) for level in range(colors))
    start = 54 + len(palette)
    head = struct.pack("<2sIIIIiiHH", b"BM", start + len(data), 0, start, 40, width, height, 1, 8)
    return head + struct.pack("<IIiiII", packed, len(data), 0, 0, colors, 0) + palette + data


def gif(
    rows: Rows, palette: Sequence[int], *, canvas: tuple[int, int] | None = None,
    transparent: int | None = None, end: bool = True,
) -> bytes:  # fmt: skip
    """A GIF file of one frame: `rows` of indices 0-3 into grey levels; every code behind a clear,
    so that all have three bits. `canvas`: width and height of the whole, where it is larger."""
    codes = [code for row in rows for index in row for code in (4, index)] + [5] * end
    bits = "".join(f"{code:03b}" for code in reversed(codes))
    data = int(bits, 2).to_bytes(-(-len(bits) // 8), "little")
    colors = bytes(level for level in palette for _ in range(3))
    size = (len(rows[0]), len(rows))
    depth = len(palette).bit_length() - 2
    out = b"GIF89a" + struct.pack("<HHBBB", *(canvas or size), 0x80 | depth, 0, 0) + colors
    if transparent is not None:
        out += b"!\xf9\x04\x01\0\0" + bytes((transparent,)) + b"\0"
    out += b"," + struct.pack("<HHHHBB", 0, 0, *size, 0, 2)
    return out + bytes((len(data),)) + data + b"\0;"


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file as Pillow writes it, of an image whose values are known."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
