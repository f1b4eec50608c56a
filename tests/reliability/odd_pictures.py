"""Odd image files: what each shows, or that it must be refused. Written byte by byte.

More of them, each with its message, in tests/data/test_images.py and test_integrity.py.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from tests.encoders import (
    TIFF_DATA,
    Rows,
    bmp,
    chunk,
    filtered,
    frame,
    gif,
    grey,
    header,
    idat,
    interlaced,
    png,
    rows_of,
    saved,
    tiff,
)

PICTURE: Rows = [[(37 * x + 91 * y) % 256 for x in range(5)] for y in range(4)]
WIDE, HIGH = len(PICTURE[0]), len(PICTURE)
HEAD, RAW = header(WIDE, HIGH), rows_of(PICTURE)
PACKED = zlib.compress(RAW)


@dataclass(frozen=True)
class Odd:
    """A file; `rows` is what it shows, None where it must be refused. `slack`: by how many levels
    a lossy format may be off."""

    name: str
    content: bytes
    rows: Rows | None = None
    slack: int = 0


def odd_pictures() -> Iterator[Odd]:
    """All of them but the bombs."""
    for group in (_pngs, _broken_pngs, _tiffs, _photographs, _others):
        yield from group()


def _pngs() -> Iterator[Odd]:
    empty = chunk(b"IDAT")
    pieces = [chunk(b"IDAT", PACKED[i : i + 1]) for i in range(len(PACKED))]
    one_frame = chunk(b"acTL", struct.pack(">II", 1, 0)), frame(0, WIDE, HIGH)
    for name, content in {
        "an ordinary PNG": grey(PICTURE),
        **{f"filter {kind}": png(HEAD, idat(filtered(PICTURE, kind))) for kind in range(5)},
        "interlaced": png(header(WIDE, HIGH, 8, 0, 0, 0, 1), idat(interlaced(PICTURE))),
        "an IDAT for every byte": png(HEAD, *pieces),
        "empty IDATs": png(HEAD, empty, idat(RAW), empty),
        "another image behind it": grey(PICTURE) + grey([[1]]),
        "more rows than promised": png(HEAD, idat(RAW + RAW)),
        "a profile that is none": grey(PICTURE, chunk(b"iCCP", b"odd\0\0" + zlib.compress(b"no"))),
        "text in it": grey(PICTURE, chunk(b"tEXt", b"k\0\x1b[2J")),
        "a palette that grey has no use for": grey(PICTURE, chunk(b"PLTE", b"\7" * 9)),
        "an animation of one frame": png(HEAD, *one_frame, idat(RAW)),
    }.items():
        yield Odd(name, content, PICTURE)
    palette = chunk(b"PLTE", bytes((255, 0, 0, 0, 0, 255, 7, 7, 7)))
    indexed, indices = header(3, 1, 8, 3), idat(rows_of([[0, 1, 2]]))
    # ITU-R 601: 0.299 of 255 and 0.114 of 255
    yield Odd("a palette", png(indexed, palette, indices), [[76, 29, 7]])
    clear = chunk(b"tRNS", b"\xff\0\xff")
    yield Odd("a clear colour", png(indexed, palette, clear, indices), [[76, 255, 7]])
    yield Odd("no palette", png(indexed, indices))
    yield Odd("a palette behind the pixels", png(indexed, indices, palette))
    yield Odd("two palettes", png(indexed, palette, palette, indices))
    second = frame(1, WIDE, HIGH), chunk(b"fdAT", bytes((0, 0, 0, 2)) + PACKED)
    yield Odd("two frames that say one", png(HEAD, *one_frame, idat(RAW), *second))


def _broken_pngs() -> Iterator[Odd]:
    for length in range(0, len(RAW), 3):
        yield Odd(f"a sound stream of {length} bytes", png(HEAD, idat(RAW[:length])))
    for left in (1, 6, 12):
        short = idat(interlaced(PICTURE)[:-left])
        part = png(header(WIDE, HIGH, 8, 0, 0, 0, 1), short)
        yield Odd(f"interlaced, {left} bytes less", part)
    two = chunk(b"IDAT", PACKED[:9]), chunk(b"IDAT", PACKED[9:])
    yield from (
        Odd("a wrong checksum of the pixels", png(HEAD, chunk(b"IDAT", PACKED[:-4] + b"abcd"))),
        Odd("a wrong checksum of the header", png(HEAD[:-1] + b"\0", idat(RAW))),
        Odd("two headers that differ", png(HEAD, header(2, 2), idat(RAW))),
        Odd("a header behind the pixels", png(HEAD, idat(RAW), header(2, 2))),
        Odd("no header", png(idat(RAW))),
        Odd("no pixels", png(HEAD)),
        Odd("pixels in two places", png(HEAD, two[0], chunk(b"tEXt", b"a\0b"), two[1])),
        Odd("filter 5", png(HEAD, idat(b"".join(b"\5" + bytes(row) for row in PICTURE)))),
    )
    for depth, color in ((3, 0), (16, 3), (8, 1), (4, 2), (0, 0), (8, 7)):
        yield Odd(f"{depth} bits of type {color}", png(header(WIDE, HIGH, depth, color), idat(RAW)))


def _tiffs() -> Iterator[Odd]:
    raw, first = b"".join(map(bytes, PICTURE)), (TIFF_DATA,)
    turned = [*PICTURE[2:], *PICTURE[:2]]
    swapped = tiff(turned, t273=(TIFF_DATA + 2 * WIDE, TIFF_DATA))
    yield Odd("a TIFF", tiff(PICTURE), PICTURE)
    yield Odd("strips in reverse", swapped, PICTURE)
    yield Odd("no counts of bytes", tiff(PICTURE, t279=None), PICTURE)
    for code, packed, short in (
        (8, zlib.compress(raw), zlib.compress(raw[:9])),
        (32773, bytes((19,)) + raw, bytes((8,)) + raw[:9]),
    ):
        for data, rows in ((packed, PICTURE), (short, None)):
            tags = {"t259": (code,), "t278": (HIGH,), "t273": first, "t279": (len(data),)}
            yield Odd(f"packed as {code}, {len(data)} bytes", tiff(PICTURE, data, **tags), rows)
    wrong: dict[str, dict[str, tuple[int, ...]]] = {
        "a strip at the start of the file": {"t273": (*first, 0), "t279": (10, 0)},
        "a strip behind the end": {"t273": (*first, 99_999)},
        "no rows in a strip": {"t278": (0,)},
        "an unknown packing": {"t259": (99,)},
        "two samples, unexplained": {"t277": (2,)},
    }
    for name, changed in wrong.items():
        yield Odd(name, tiff(PICTURE, None, **changed))


def _photographs() -> Iterator[Odd]:
    flat = Image.new("L", (24, 16), 90)
    flat.paste(200, (8, 8, 24, 16))
    rows = [[90] * 24] * 8 + [[90] * 8 + [200] * 16] * 8
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "progressive": {"progressive": True},
        "with restarts": {"restart_marker_blocks": 2},
    }
    for name, options in kinds.items():
        content = saved(flat, "JPEG", quality=100, **options)
        yield Odd(f"a JPEG, {name}, and more", content + b"junk" * 50, rows, slack=2)
        yield Odd(f"a JPEG, {name}, cut", content[: -len(content) // 20])


def _others() -> Iterator[Odd]:
    runs = b"".join(b"\x04" + bytes((level,)) + b"\0\0" for level in (7, 9))
    packed = bmp([[9] * 4, [7] * 4], runs + b"\0\1", packed=1)
    indices, levels = [[0, 1, 2, 3], [3, 2, 1, 0]], (10, 60, 120, 250)
    rows = [[levels[i] for i in row] for row in indices]
    clear = gif([[1, 2]], levels, canvas=(3, 1), transparent=0)  # ink of 90: on white
    webp = Image.new("RGB", (3, 2), (200, 200, 200))
    yield from (
        Odd("a gzipped image", gzip.compress(grey(PICTURE), mtime=0)),
        Odd("a BMP", bmp(PICTURE), PICTURE),
        Odd("a BMP cut", bmp(PICTURE)[:-4]),
        Odd("a packed BMP", packed, [[9] * 4, [7] * 4]),
        Odd("a packed BMP that ends early", bmp([[9] * 4] * 2, runs[:4] + b"\0\1", packed=1)),
        Odd("a GIF", gif(indices, levels), rows),
        Odd("a GIF without an end code", gif(indices, levels, end=False), rows),
        Odd("a GIF with few colours", gif(indices, levels[:2])),
        Odd("a GIF on a clear canvas", clear, [[60, 120, 255]]),
        Odd("a WebP", saved(webp, "WEBP", lossless=True), [[200] * 3] * 2),
        Odd("a PGM cut", b"P5 2 2 255\n\x07\xfa\x01"),
        Odd("a PGM of 0 levels", b"P5 2 1 0\n\x07\xfa"),
        Odd("a TGA named .png", saved(Image.new("RGB", (16, 16), (9, 9, 9)), "TGA")),
    )


def bombs() -> Iterator[Odd]:
    """Files of which a part claims, or unpacks to, a hundred times what they are."""
    bomb = zlib.compress(bytes(10**8))
    yield Odd("100 MB in text", grey(PICTURE, chunk(b"zTXt", b"k\0\0" + bomb)))
    yield Odd("100 MB in a profile", grey(PICTURE, chunk(b"iCCP", b"k\0\0" + bomb)))
    yield Odd("100 MB for pixels", png(HEAD, chunk(b"IDAT", bomb)))
    texts = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**6))) * 99
    yield Odd("a hundred texts of 1 MB", grey(PICTURE, texts))
    claim = tiff([[0] * 4] * 2, t256=(10_000,), t257=(10_000,), t279=None)
    yield Odd("a TIFF of 10,000 from nothing", claim)
