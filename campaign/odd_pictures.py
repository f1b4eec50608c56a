"""Odd image files of every format: what each must decode to, or that it must be refused."""

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from campaign.encoders import TIFF_DATA as START
from campaign.encoders import bmp, chunk, gif, grey, header, idat, png, saved, tiff
from campaign.odd_pngs import HIGH, PICTURE, WIDE, Odd, odd_pngs


def odd_pictures() -> Iterator[Odd]:
    """All of them."""
    yield from odd_pngs()
    for group in (_no_images, _deep, _turned, _tiffs, _others, _photographs, _bombs):
        yield from group()


def _no_images() -> Iterator[Odd]:
    yield Odd("zero bytes", b"")
    yield Odd("one byte", b"\x89")
    yield Odd("only a signature", b"\x89PNG\r\n\x1a\n")
    yield Odd("text", b"name,label\n" * 9)
    yield Odd("zeros", bytes(999))
    yield Odd(
        "a pickle", b"\x80\x04\x95\x0f\0\0\0\0\0\0\0\x8c\x02os\x94\x8c\x06system\x94\x93\x94."
    )
    yield Odd("a gzipped image", gzip.compress(grey(PICTURE), mtime=0))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("x.png"))
    yield Odd("an archive", archive.getvalue())
    yield Odd("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    yield Odd("SVG", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    for kind in ("ICO", "PCX", "TGA", "DDS"):
        yield Odd(f"{kind} named .png", saved(Image.new("RGB", (16, 16), (9, 9, 9)), kind))


def _deep() -> Iterator[Odd]:
    values = (0, 128, 129, 0x8000, 65406, 65407, 65535)
    expected = [0, 0, 1, 128, 254, 255, 255]  # a 257th of each, to the nearest
    deep = png(header(7, 1, 16), idat(b"\0" + struct.pack(">7H", *values)))
    yield Odd("16 bits", deep, [expected])
    clear = chunk(b"tRNS", b"\0\0")
    yield Odd("16 bits with a clear level", png(header(1, 1, 16), clear, idat(b"\0\0\0")))
    raw = struct.pack("<7H", *values)
    yield Odd("16 bits in a TIFF", tiff([[0] * 7], raw, t258=(16,), t279=(14,)), [expected])
    floats = struct.pack("<2f", 0, 1)
    yield Odd("32-bit floats", tiff([[0, 0]], floats, t258=(32,), t279=(8,), t339=(3,)))
    yield Odd("32-bit integers", tiff([[0, 0]], floats, t258=(32,), t279=(8,)))
    yield Odd("signed bytes", tiff(PICTURE, t339=(2,)))
    yield Odd("a float map", b"Pf 1 1\n-1.0\n\0\0\0\0")


def _turned() -> Iterator[Odd]:
    across = [list(column) for column in zip(*PICTURE, strict=True)]
    back = [list(column) for column in zip(*(row[::-1] for row in PICTURE[::-1]), strict=True)]
    # how a camera stores PICTURE under each orientation, after the EXIF standard
    stored = {1: PICTURE, 2: [row[::-1] for row in PICTURE],
              3: [row[::-1] for row in PICTURE[::-1]], 4: PICTURE[::-1], 5: across,
              6: across[::-1], 7: back, 8: [row[::-1] for row in across]}  # fmt: skip
    for way, rows in stored.items():
        exif = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, way, 0, 0)
        yield Odd(f"a PNG turned {way}", grey(rows, chunk(b"eXIf", exif)), PICTURE)
        yield Odd(f"a TIFF turned {way}", tiff(rows, t274=(way,)), PICTURE)
        blocks = Image.new("L", (8 * len(rows[0]), 8 * len(rows)))
        for y, row in enumerate(rows):
            for x, level in enumerate(row):
                blocks.paste(level, (8 * x, 8 * y, 8 * x + 8, 8 * y + 8))
        photograph = saved(blocks, "JPEG", quality=95, exif=b"Exif\0\0" + exif)
        large = [[level for level in row for _ in range(8)] for row in PICTURE for _ in range(8)]
        yield Odd(f"a JPEG turned {way}", photograph, large, slack=3)


def _tiffs() -> Iterator[Odd]:
    raw = b"".join(map(bytes, PICTURE))
    yield Odd("a TIFF", tiff(PICTURE), PICTURE)
    yield Odd(
        "white is zero", tiff([[255 - v for v in row] for row in PICTURE], t262=(0,)), PICTURE
    )
    yield Odd("strips in reverse", tiff([*PICTURE[2:], *PICTURE[:2]],
              t273=(START + 2 * WIDE, START)), PICTURE)  # fmt: skip
    yield Odd("no counts of bytes", tiff(PICTURE, t279=None), PICTURE)
    for code, packed, short in ((8, zlib.compress(raw), zlib.compress(raw[:9])),
                                (32773, bytes((19,)) + raw, bytes((8,)) + raw[:9])):  # fmt: skip
        for data, rows in ((packed, PICTURE), (short, None)):
            tags = {"t259": (code,), "t278": (HIGH,), "t273": (START,), "t279": (len(data),)}
            yield Odd(f"packed as {code}, {len(data)} bytes", tiff(PICTURE, data, **tags), rows)
    first = (START,)
    yield Odd("a strip that is not there", tiff(PICTURE, t273=first, t279=(2 * WIDE,)))
    yield Odd("a strip at the start of the file", tiff(PICTURE, t273=(*first, 0), t279=(10, 0)))
    yield Odd("a strip behind the end", tiff(PICTURE, t273=(*first, 99_999)))
    yield Odd("a strip with too few bytes", tiff(PICTURE, t279=(2 * WIDE, 3)))
    yield Odd("no rows in a strip", tiff(PICTURE, t278=(0,)))
    yield Odd("an unknown packing", tiff(PICTURE, t259=(99,)))
    yield Odd("two samples, unexplained", tiff(PICTURE, t277=(2,)))


def _others() -> Iterator[Odd]:
    yield Odd("a BMP", bmp(PICTURE), PICTURE)
    yield Odd("a BMP cut", bmp(PICTURE)[:-4])
    yield Odd("a BMP with few colours", bmp([[0, 1, 2, 3]], colors=2))
    runs = b"".join(b"\x04" + bytes((level,)) + b"\0\0" for level in (7, 9))
    packed = bmp([[9] * 4, [7] * 4], runs + b"\0\1", packed=1)
    yield Odd("a packed BMP", packed, [[9] * 4, [7] * 4])
    yield Odd("a packed BMP that ends early", bmp([[9] * 4, [7] * 4], runs[:4] + b"\0\1", packed=1))
    indices, levels = [[0, 1, 2, 3], [3, 2, 1, 0]], (10, 60, 120, 250)
    shown = [[levels[i] for i in row] for row in indices]
    yield Odd("a GIF", gif(indices, levels), shown)
    yield Odd("a GIF without an end code", gif(indices, levels, end=False), shown)
    short = gif(indices[:1], levels).replace(
        struct.pack("<HHHH", 0, 0, 4, 1), struct.pack("<HHHH", 0, 0, 4, 2)
    )
    yield Odd(
        "a GIF that ends early",
        short.replace(struct.pack("<HH", 4, 1), struct.pack("<HH", 4, 2), 1),
    )
    yield Odd("a GIF with few colours", gif(indices, levels[:2]))
    yield Odd("a GIF on a larger canvas", gif(indices, levels, canvas=(4, 3)))
    clear = gif([[1, 2]], levels, canvas=(3, 1), transparent=0)  # ink of 90: on white
    yield Odd("the same, the rest clear", clear, [[60, 120, 255]])
    webp = Image.new("RGB", (3, 2), (200, 200, 200))
    yield Odd("a WebP", saved(webp, "WEBP", lossless=True), [[200] * 3] * 2)
    yield Odd("a PGM", b"P5 2 1 255\n\x07\xfa", [[7, 250]])
    yield Odd(
        "a PGM of 1000 levels", b"P5 2 1 1000\n" + struct.pack(">2H", 500, 1000), [[128, 255]]
    )
    yield Odd("a bitmap", b"P4 8 1\n\xf0", [[0] * 4 + [255] * 4])
    yield Odd("a PGM cut", b"P5 2 2 255\n\x07\xfa\x01")
    yield Odd("a PGM of 0 levels", b"P5 2 1 0\n\x07\xfa")


def _photographs() -> Iterator[Odd]:
    flat = Image.new("L", (24, 16), 90)
    flat.paste(200, (8, 8, 24, 16))
    shown = [[90] * 24] * 8 + [[90] * 8 + [200] * 16] * 8
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "progressive": {"progressive": True},
        "with restarts": {"restart_marker_blocks": 2},
    }
    for name, options in kinds.items():
        whole = saved(flat, "JPEG", quality=100, **options)
        yield Odd(f"a JPEG, {name}", whole, shown, slack=2)
        yield Odd(f"a JPEG, {name}, and more", whole + b"junk" * 50, shown, slack=2)
        yield Odd(f"a JPEG, {name}, cut", whole[: -len(whole) // 20])
    noise = Image.frombytes("L", (32, 32), zlib.compress(bytes(range(256)) * 9, 0)[:1024])
    ended = saved(noise, "JPEG", quality=95)
    for left in (20, 200, 700):
        yield Odd(f"a JPEG ended {left} bytes early", ended[: -2 - left] + b"\xff\xd9")
    two = saved(flat, "MPO", save_all=True, append_images=[Image.new("L", (24, 16), 9)])
    yield Odd("a stereo photograph", two, shown, slack=25)


def _bombs() -> Iterator[Odd]:
    bomb = zlib.compress(bytes(10**8))
    for kind in (b"zTXt", b"iTXt", b"iCCP"):
        body = b"k\0\1\0\0\0" + bomb if kind == b"iTXt" else b"k\0\0" + bomb
        yield Odd(f"a bomb of 100 MB in {kind.decode()}", grey(PICTURE, chunk(kind, body)))
    yield Odd("a bomb of 100 MB for pixels", png(header(WIDE, HIGH), chunk(b"IDAT", bomb)))
    many = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**6))) * 99
    yield Odd("a hundred texts of 1 MB", grey(PICTURE, many))
    yield Odd("a black square of 4096", png(header(4096, 4096, 1), idat(bytes(513) * 4096)),
              [[0] * 4096] * 4096)  # fmt: skip
    yield Odd("a gzip bomb", gzip.compress(bytes(10**8), mtime=0))
    yield Odd(
        "a TIFF of 4096 from nothing", tiff([[0] * 4] * 2, t256=(4096,), t257=(4096,), t279=None)
    )
