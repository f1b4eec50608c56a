"""Every kind of image file against pixels worked out by hand, or refused by name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistlab.data import images
from mnistlab.data.images import (
    UndecodableError,
    UnreadableError,
    decode,
    decode_bytes,
    quiet_pillow,
)
from tests import needs
from tests.encoders import chunk, saved

# Upright, 2 rows of 3; and what each EXIF orientation says how it was stored, after the EXIF
# standard: the visual position of row 0 and column 0 of what is stored.
UPRIGHT = np.array([[0, 40, 80], [120, 160, 200]], dtype=np.uint8)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],  # row 0 top, column 0 right
    3: UPRIGHT[::-1, ::-1],  # bottom, right
    4: UPRIGHT[::-1],  # bottom, left
    5: UPRIGHT.T,  # left, top
    6: UPRIGHT.T[::-1],  # right, top
    7: UPRIGHT[::-1, ::-1].T,  # right, bottom
    8: UPRIGHT.T[:, ::-1],  # left, bottom
}


def pixels(content: bytes) -> list[list[int]]:
    image = decode_bytes(content).grey
    assert image.mode == "L"
    rows: list[list[int]] = np.asarray(image).tolist()
    return rows


def png(width: int, height: int, depth: int, color: int, rows: list[bytes], *extra: bytes) -> bytes:
    """A PNG file by the specification, without Pillow."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(bits: int, photometric: int, data: bytes, *, sample_format: int = 1) -> bytes:
    """An uncompressed little-endian TIFF file of two pixels in one row, without Pillow."""
    tags = [(256, 2), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1)]
    tags += [(278, 1), (279, len(data)), (339, sample_format)]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, start if tag == 273 else v) for tag, v in tags]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + b"".join(entries) + struct.pack("<I", 0) + data


def luma(red: int, green: int, blue: int) -> float:
    return 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R 601


def colours(*values: tuple[int, int, int]) -> bytes:
    return bytes(level for colour in values for level in colour)


def clear(*level: int) -> bytes:
    """The part of a PNG file that says which level or colour is transparent."""
    return chunk(b"tRNS", struct.pack(f">{len(level)}H", *level))


ALL = bytes(range(256))
BLACK_INK = bytes([0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 128])
WHITE_INK = bytes([255, 255, 255, 255, 255, 255, 255, 0, 255, 255, 255, 128])
PALETTE = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255, 7, 7, 7]))
BLACK_PALETTE = chunk(b"PLTE", bytes([0, 0, 0, 90, 90, 90]))
# to the nearest of 256 levels: 65535 / 255 = 257
DEEP = {0: 0, 128: 0, 129: 1, 257: 1, 0x7FFF: 127, 0x8000: 128, 65406: 254, 65407: 255, 65535: 255}
ROWS: dict[str, tuple[bytes, list[int]]] = {  # files of one row, and its levels
    "8 bits": (png(256, 1, 8, 0, [ALL]), list(ALL)),
    "1 bit": (png(4, 1, 1, 0, [b"\x50"]), [0, 255, 0, 255]),
    "2 bits": (png(4, 1, 2, 0, [b"\x1b"]), [0, 85, 170, 255]),
    "4 bits": (png(4, 1, 4, 0, [b"\x01\xef"]), [0, 17, 238, 255]),
    "1 bit of TIFF": (saved(Image.new("1", (1, 1), 1), "TIFF"), [255]),
    "16 bits": (png(9, 1, 16, 0, [struct.pack(">9H", *DEEP)]), list(DEEP.values())),
    "16 bits of colour": (png(2, 1, 16, 2, [struct.pack(">6H", *[65535] * 3, 0, 0, 0)]), [255, 0]),
    "16 bits and alpha": (png(1, 1, 16, 4, [struct.pack(">2H", 65535, 32768)]), [128]),
    "a palette": (png(3, 1, 8, 3, [b"\0\1\2"], PALETTE), [76, 29, 7]),
    # transparent parts are laid on white where the ink is dark, on black where it is light
    "a clear entry of the palette": (
        png(2, 1, 8, 3, [b"\0\1"], BLACK_PALETTE, chunk(b"tRNS", b"\xff\0")),
        [0, 255],
    ),
    # opaque black, transparent black, half black: 255 x (1 - 128 / 255) = 127
    "black ink": (
        png(3, 1, 8, 6, [bytes([0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 128])]),
        [0, 255, 127],
    ),
    "black ink, grey": (png(2, 1, 8, 4, [bytes([0, 255, 0, 0])]), [0, 255]),
    "white ink": (png(3, 1, 8, 6, [WHITE_INK]), [255, 0, 128]),
    "white ink, grey": (png(2, 1, 8, 4, [bytes([255, 255, 255, 0])]), [255, 0]),
    "opaque": (png(2, 1, 8, 6, [bytes([5, 5, 5, 255, 9, 9, 9, 255])]), [5, 9]),
    "no ink at all": (png(2, 1, 8, 4, [bytes([9, 0, 200, 0])]), [255, 255]),
    # mean ink (0 + 170 + 255) / 3 = 142: on black; (0 + 85 + 255) / 3 = 113: on white
    "a clear level of 2 bits": (png(4, 1, 2, 0, [b"\x1b"], clear(1)), [0, 0, 170, 255]),
    "another": (png(4, 1, 2, 0, [b"\x1b"], clear(2)), [0, 85, 255, 255]),
    "a clear level of 4 bits": (png(4, 1, 4, 0, [b"\x0f\x11"], clear(1)), [0, 255, 255, 255]),
    "a clear level of 8 bits": (
        png(4, 1, 8, 0, [bytes([0, 100, 200, 50])], clear(200)),
        [0, 100, 255, 50],
    ),
    "a clear colour": (
        png(3, 1, 8, 2, [colours((0, 0, 0), (255, 0, 0), (10, 10, 10))], clear(255, 0, 0)),
        [0, 255, 10],
    ),
    "PGM": (b"P5 2 1 255\n\x07\xfa", [7, 250]),
    "PBM": (b"P4 8 1\n\xf0", [0] * 4 + [255] * 4),  # 1 is black there
    "PPM": (b"P6 1 1 255\n\xff\x00\x00", [76]),
    "PGM of 16 bits": (b"P5 3 1 65535\n" + struct.pack(">3H", 0, 16384, 65535), [0, 64, 255]),
    "PGM up to 1000": (b"P5 3 1 1000\n" + struct.pack(">3H", 0, 250, 1000), [0, 64, 255]),
    "PGM in text": (b"P2 3 1 1000\n0 250 1000", [0, 64, 255]),
    # TIFF: one fifth, and all, of each range; 0 may be white
    "TIFF of 8 bits": (tiff(8, 1, b"\x33\xff"), [0x33, 0xFF]),
    "TIFF of 8 bits, white is 0": (tiff(8, 0, b"\x33\xff"), [0xCC, 0]),
    "TIFF of 12 bits": (tiff(12, 1, b"\x33\x3f\xff"), [0x33, 0xFF]),
    "TIFF of 16 bits": (tiff(16, 1, struct.pack("<2H", 0x3333, 0xFFFF)), [0x33, 0xFF]),
    "TIFF of 16 bits, white is 0": (tiff(16, 0, struct.pack("<2H", 0x3333, 0xFFFF)), [0xCC, 0]),
    "GIF": (saved(Image.new("L", (2, 1), 200), "GIF"), [200, 200]),
}


@pytest.mark.parametrize(("content", "expected"), ROWS.values(), ids=ROWS)
def test_a_file_has_the_levels_that_its_format_says(content: bytes, expected: list[int]) -> None:
    assert pixels(content) == [expected]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_grey_pixels_come_out_as_they_went_in(kind: str) -> None:
    everything = np.arange(256, dtype=np.uint8).reshape(16, 16)
    options = {"lossless": True} if kind == "WEBP" else {}
    assert pixels(saved(Image.fromarray(everything), kind, **options)) == everything.tolist()


def test_colour_becomes_luma() -> None:
    some = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 200, 90), (255, 255, 255)]
    [levels] = pixels(png(5, 1, 8, 2, [colours(*some)]))
    assert levels == [pytest.approx(luma(*colour), abs=0.51) for colour in some]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (tiff(32, 1, struct.pack("<2f", 0, 1), sample_format=3), "mode F has no fixed range"),
        (tiff(32, 1, struct.pack("<2I", 0, 1)), "32-bit integers have no fixed range"),
        (b"Pf 1 1\n-1.0\n\0\0\0\0", "mode F has no fixed range"),
        (
            png(1, 1, 16, 0, [b"\0\0"], clear(0)),
            "16-bit grey with a transparent level",
        ),
        (
            png(1, 1, 16, 2, [b"\0" * 6], clear(0, 0, 0)),
            "16-bit colour with a transparent colour",
        ),
        (tiff(12, 0, b"\x33\x3f\xff"), "not an image"),  # 12 bits, white is zero
        (b"", "empty file"),
        (b"P5 0 0 255\n", "not an image"),
        (b"name,label\n", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (png(65_536, 1, 1, 0, [bytes(8193)]), "absurdly large: 65536 x 1 pixels"),
        (png(1, 65_536, 1, 0, [b"\0"] * 65_536), "absurdly large: 1 x 65536 pixels"),
        (png(11_001, 10_000, 1, 0, []), r"absurdly large: 11001 x 10000 pixels \(at most 110 mega"),
        (png(60_000, 60_000, 1, 0, []), "absurdly large"),
        (png(4, 4, 8, 0, [b"abcd"] * 4)[:-20], "damaged or truncated"),
        (png(4, 4, 8, 0, [b"abcd"] * 4).replace(b"IDAT", b"IDOT"), "not an image"),
    ],
)
def test_what_has_no_right_reading_is_refused_by_name(content: bytes, why: str) -> None:
    with pytest.raises(UndecodableError, match=why) as fault, quiet_pillow():
        decode_bytes(content)
    assert not isinstance(fault.value, UnreadableError)


def test_cmyk_jpeg_is_ink_not_light() -> None:
    inks = [(0, 0, 0, 0), (0, 0, 0, 255), (255, 255, 255, 0), (0, 0, 0, 128), (255, 0, 0, 0)]
    image = Image.new("CMYK", (8 * len(inks), 8))
    for place, ink in enumerate(inks):
        image.paste(ink, (8 * place, 0, 8 * place + 8, 8))
    found = decode_bytes(saved(image, "JPEG", quality=100, subsampling=0)).grey
    # what light is left: (255 - c)(255 - k) / 255 of each
    for place, (c, m, y, k) in enumerate(inks):
        expected = luma(*(round((255 - ink) * (255 - k) / 255) for ink in (c, m, y)))
        assert found.getpixel((8 * place + 4, 4)) == pytest.approx(expected, abs=3)


def test_a_grey_and_a_colour_jpeg_are_read() -> None:
    assert decode_bytes(saved(Image.new("L", (8, 8), 77), "JPEG")).grey.getpixel((3, 3)) == 77
    red = decode_bytes(saved(Image.new("RGB", (8, 8), (255, 0, 0)), "JPEG", quality=100)).grey
    assert red.getpixel((3, 3)) == pytest.approx(76, abs=2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    assert pixels(saved(stored, kind, exif=exif, **options)) == UPRIGHT.tolist()


def test_photographs_are_turned_upright_and_16_bits_keep_their_range() -> None:
    exif = Image.Exif()
    exif[274] = 6
    blocks = np.kron(STORED[6], np.ones((8, 8), dtype=np.uint8))
    turned = np.asarray(decode_bytes(saved(Image.fromarray(blocks), "JPEG", exif=exif)).grey)
    assert np.abs(turned[4::8, 4::8].astype(int) - UPRIGHT).max() <= 2
    exif[274] = 3
    values = np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16)
    assert pixels(saved(Image.fromarray(values), "PNG", exif=exif)) == [[255, 128, 0]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_an_animation_is_refused(kind: str) -> None:
    frames = [Image.new("L", (3, 3), level) for level in (0, 128, 255)]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(UndecodableError, match="3 frames; save the one that is meant"):
        decode_bytes(content)


def test_a_stereo_photograph_gives_its_first_picture() -> None:
    left, right = Image.new("L", (8, 8), 40), Image.new("L", (8, 8), 220)
    content = saved(left, "MPO", save_all=True, append_images=[right])
    assert decode_bytes(content).grey.getpixel((4, 4)) == 40


def test_only_formats_with_a_signature_are_tried() -> None:
    grey = Image.new("L", (4, 4), 9)
    for kind in ("TGA", "PCX", "ICO", "EPS"):
        with pytest.raises(UndecodableError, match="not an image in a known format"):
            decode_bytes(saved(grey, kind))


def test_a_file_that_cannot_be_read_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="cannot be read: No such file or directory"):
        decode(tmp_path / "nothing.png")
    why = "Permission denied" if needs.WINDOWS else "Is a directory"
    with pytest.raises(UnreadableError, match=f"cannot be read: {why}"):
        decode(tmp_path)


def test_a_huge_file_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 2**20)
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(2**20 + 1)
    with pytest.raises(UndecodableError, match="larger than 1 MiB"):
        decode(path)
    with path.open("wb") as file:
        file.truncate(2**20)
    with pytest.raises(UndecodableError, match="not an image"):
        decode(path)


def test_too_little_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(image: Image.Image, content: bytes, by: int) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(images, "_to_grey", starve)
    with pytest.raises(UnreadableError, match="not enough memory"):
        decode_bytes(png(1, 1, 8, 0, [b"\0"]))
