"""Odd PNG files: what each must decode to, or that it must be refused."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from campaign import encoders
from campaign.encoders import Rows, chunk, frame, grey, header, idat, png, rows_of, saved

PICTURE: Rows = [[(37 * x + 91 * y) % 256 for x in range(5)] for y in range(4)]
WIDE, HIGH = len(PICTURE[0]), len(PICTURE)
RAW = rows_of(PICTURE)
ROW_BYTES = WIDE + 1


@dataclass(frozen=True)
class Odd:
    """A file; `rows` is what it shows, None where it must be refused. `slack`: by how many levels
    a lossy format may be off."""

    name: str
    content: bytes
    rows: Rows | None = None
    slack: int = 0


def odd_pngs() -> Iterator[Odd]:
    """All of them, and the animations and colours of other formats."""
    for group in (_pngs, _broken, _animations, _colours):
        yield from group()


def _pngs() -> Iterator[Odd]:
    packed = zlib.compress(RAW)
    yield Odd("an ordinary PNG", grey(PICTURE), PICTURE)
    yield Odd("1 x 1", grey([[77]]), [[77]])
    head, seven = header(WIDE, HIGH), header(WIDE, HIGH, 8, 0, 0, 0, 1)
    for kind in range(5):
        raw = encoders.filtered(PICTURE, kind)
        yield Odd(f"filter {kind}", png(head, idat(raw)), PICTURE)
    yield Odd("interlaced", png(seven, idat(encoders.interlaced(PICTURE))), PICTURE)
    dot = png(header(1, 1, 8, 0, 0, 0, 1), idat(b"\0\x4d"))
    yield Odd("one pixel interlaced", dot, [[77]])
    pieces = [chunk(b"IDAT", packed[i : i + 1]) for i in range(len(packed))]
    yield Odd("an IDAT for every byte", png(header(WIDE, HIGH), *pieces), PICTURE)
    empty = chunk(b"IDAT")
    yield Odd("empty IDATs", png(header(WIDE, HIGH), empty, idat(RAW), empty), PICTURE)
    yield Odd("trailing bytes", grey(PICTURE) + b"junk" * 99, PICTURE)
    yield Odd("another image behind it", grey(PICTURE) + grey([[1]]), PICTURE)
    yield Odd("more rows than promised", png(header(WIDE, HIGH), idat(RAW + RAW)), PICTURE)
    profile = chunk(b"iCCP", b"odd\0\0" + zlib.compress(b"no profile at all"))
    yield Odd("a profile that is none", grey(PICTURE, profile), PICTURE)
    yield Odd("a gamma of 1/5", grey(PICTURE, chunk(b"gAMA", struct.pack(">I", 20_000))), PICTURE)
    yield Odd("text in it", grey(PICTURE, chunk(b"tEXt", b"k\0\x1b[2J")), PICTURE)
    yield Odd(
        "a palette that grey has no use for", grey(PICTURE, chunk(b"PLTE", b"\7" * 9)), PICTURE
    )


def _broken() -> Iterator[Odd]:
    head, packed = header(WIDE, HIGH), zlib.compress(RAW)

    def part(raw: bytes, *more: bytes) -> bytes:
        return png(head, idat(raw), *more)

    for rows in range(HIGH):
        yield Odd(f"a sound stream of {rows} rows", part(RAW[: rows * ROW_BYTES]))
        yield Odd(f"a sound stream of {rows} rows and a half", part(RAW[: rows * ROW_BYTES + 3]))
    seven = header(WIDE, HIGH, 8, 0, 0, 0, 1)
    for left in (1, 6, 12):
        short = idat(encoders.interlaced(PICTURE)[:-left])
        yield Odd(f"interlaced, {left} bytes less", png(seven, short))
    for cut in (1, 4, 5, 9):
        yield Odd(f"a stream cut by {cut}", png(head, chunk(b"IDAT", packed[:-cut])))
    yield Odd("a wrong checksum of the pixels", png(head, chunk(b"IDAT", packed[:-4] + b"abcd")))
    wrong = header(WIDE, HIGH)[:-1] + b"\0"
    yield Odd("a wrong checksum of the header", png(wrong, idat(RAW)))
    yield Odd("two headers", png(head, head, idat(RAW)))
    yield Odd("two headers that differ", png(head, header(2, 2), idat(RAW)))
    yield Odd("a header behind the pixels", part(RAW, header(2, 2)))
    yield Odd("no header", png(idat(RAW)))
    yield Odd("no pixels", png(head))
    two = chunk(b"IDAT", packed[:9]), chunk(b"IDAT", packed[9:])
    yield Odd("pixels in two places", png(head, two[0], chunk(b"tEXt", b"a\0b"), two[1]))
    yield Odd("a part that must be known", png(head, chunk(b"XYZW", b"?"), idat(RAW)))
    yield Odd("Apple's own PNG", png(chunk(b"CgBI", b"P\0 \2"), head, chunk(b"IDAT", packed[2:-4])))
    for place, ways in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 2))):
        yield Odd(f"an unknown way, {place}", png(header(WIDE, HIGH, 8, 0, *ways), idat(RAW)))
    for depth, color in ((3, 0), (16, 3), (8, 1), (4, 2), (0, 0), (8, 7)):
        yield Odd(f"{depth} bits of type {color}", png(header(WIDE, HIGH, depth, color), idat(RAW)))
    yield Odd("filter 5", png(head, idat(b"".join(b"\5" + bytes(row) for row in PICTURE))))
    yield Odd("0 x 4", png(header(0, 4), idat(b"\0" * 4)))
    yield Odd("4 x 2**31", png(header(4, 2**31), idat(RAW)))
    for size in ((20_000, 20_000), (4097, 1), (2**31 - 1, 2**31 - 1)):
        yield Odd("{} x {}".format(*size), png(header(*size, 1), idat(b"")))
    late = chunk(b"tRNS", b"\0\0")
    yield Odd("transparency behind the pixels", part(RAW, late))
    yield Odd("transparency twice", png(head, late, late, idat(RAW)))


def _animations() -> Iterator[Odd]:
    frames = [Image.new("L", (3, 3), level) for level in (0, 128, 255)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        yield Odd(f"three frames of {kind}", content)
    head, first = header(WIDE, HIGH), frame(0, WIDE, HIGH)
    one, none = (chunk(b"acTL", struct.pack(">II", n, 0)) for n in (1, 0))
    yield Odd("an animation of one frame", png(head, one, first, idat(RAW)), PICTURE)
    yield Odd("an animation of none", png(head, none, idat(RAW)), PICTURE)
    second = chunk(b"fdAT", bytes((0, 0, 0, 2)) + zlib.compress(RAW))
    told = png(head, one, first, idat(RAW), frame(1, WIDE, HIGH), second)
    yield Odd("two frames that say one", told)
    small = idat(rows_of([[1, 2], [3, 4]]))
    yield Odd("a frame smaller than the picture", png(head, one, frame(0, 2, 2, 1, 1), small))
    yield Odd("the same without an animation", png(head, frame(0, 2, 2, 1, 1), small))


def _colours() -> Iterator[Odd]:
    plte = chunk(b"PLTE", bytes((255, 0, 0, 0, 0, 255, 7, 7, 7)))
    three = rows_of([[0, 1, 2]])
    clear = chunk(b"tRNS", b"\xff\0\xff")
    indexed = header(3, 1, 8, 3)
    # ITU-R 601: 0.299 of 255 and 0.114 of 255
    yield Odd("a palette", png(indexed, plte, idat(three)), [[76, 29, 7]])
    yield Odd(
        "a palette with a clear colour", png(indexed, plte, clear, idat(three)), [[76, 255, 7]]
    )
    yield Odd("a colour that the palette lacks", png(indexed, plte, idat(rows_of([[0, 1, 3]]))))
    yield Odd("half a colour in the palette", png(indexed, chunk(b"PLTE", b"\7" * 8), idat(three)))
    yield Odd("no palette", png(indexed, idat(three)))
    yield Odd("a palette behind the pixels", png(indexed, idat(three), plte))
    yield Odd("two palettes", png(indexed, plte, plte, idat(three)))
    yield Odd("transparency before the palette", png(indexed, clear, plte, idat(three)))
    for bits, raw, rows in ((1, b"\0\x50", [[0, 255, 0, 255]]), (2, b"\0\x1b", [[0, 85, 170, 255]]),
                            (4, b"\0\x01\xef", [[0, 17, 238, 255]])):  # fmt: skip
        yield Odd(f"{bits} bits", png(header(4, 1, bits), idat(raw)), rows)
    ink = bytes((0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 128))
    yield Odd("black on clear", png(header(3, 1, 8, 6), idat(b"\0" + ink)), [[0, 255, 127]])
    yield Odd("grey with alpha", png(header(2, 1, 8, 4), idat(b"\0\0\xff\0\0")), [[0, 255]])
    yield Odd("all clear", png(header(2, 1, 8, 4), idat(b"\0\x09\0\xc8\0")), [[255, 255]])
    yield Odd("colour", png(header(2, 1, 8, 2), idat(b"\0\0\xff\0\0\0\xff")), [[150, 29]])
    light = saved(Image.new("CMYK", (8, 8), (0, 0, 0, 128)), "JPEG", quality=100)
    yield Odd("CMYK", light, [[127] * 8] * 8, slack=3)
    yield Odd(
        "CMYK in a TIFF", saved(Image.new("CMYK", (2, 1), (0, 0, 0, 55)), "TIFF"), [[200] * 2]
    )
    yield Odd("Lab", saved(Image.new("LAB", (2, 2), (50, 0, 0)), "TIFF"))
