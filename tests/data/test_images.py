"""Every kind of image file against pixels worked out by hand, or refused by name."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mnistlab.data import images
from mnistlab.data.images import (
    UndecodableError,
    UnreadableError,
    decode_grey,
    decode_grey_bytes,
    quiet_pillow,
)

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
    image = decode_grey_bytes(content)
    assert image.mode == "L"
    rows: list[list[int]] = np.asarray(image).tolist()
    return rows


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


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


def test_grey_pixels_come_out_as_they_went_in() -> None:
    everything = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for kind in ("PNG", "BMP", "TIFF", "PPM", "GIF"):
        assert pixels(saved(Image.fromarray(everything), kind)) == everything.tolist(), kind
    assert pixels(png(256, 1, 8, 0, [bytes(range(256))])) == [list(range(256))]


def test_lossless_webp_is_grey_again() -> None:
    grey = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    assert pixels(saved(Image.fromarray(grey), "WEBP", lossless=True)) == grey.tolist()


def test_one_two_and_four_bits_use_the_whole_range() -> None:
    assert pixels(png(4, 1, 1, 0, [b"\x50"])) == [[0, 255, 0, 255]]
    assert pixels(png(4, 1, 2, 0, [b"\x1b"])) == [[0, 85, 170, 255]]
    assert pixels(png(4, 1, 4, 0, [b"\x01\xef"])) == [[0, 17, 238, 255]]
    assert pixels(saved(Image.new("1", (1, 1), 1), "TIFF")) == [[255]]


def test_colour_becomes_luma() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 200, 90), (255, 255, 255)]
    row = bytes(value for colour in colours for value in colour)
    [found] = pixels(png(5, 1, 8, 2, [row]))
    assert found == [pytest.approx(luma(*colour), abs=0.51) for colour in colours]


def test_a_palette_is_looked_up() -> None:
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255, 7, 7, 7]))
    assert pixels(png(3, 1, 8, 3, [b"\0\1\2"], palette)) == [[76, 29, 7]]


def test_black_ink_on_a_transparent_palette_stays_black_on_white() -> None:
    palette = chunk(b"PLTE", bytes([0, 0, 0, 90, 90, 90]))
    # entry 0 is opaque black, entry 1 fully transparent
    content = png(2, 1, 8, 3, [b"\0\1"], palette, chunk(b"tRNS", b"\xff\0"))
    assert pixels(content) == [[0, 255]]


def test_black_ink_on_transparent_is_black_on_white() -> None:
    # RGBA: opaque black, transparent black, half black: 255 x (1 - 128 / 255) = 127
    assert pixels(png(3, 1, 8, 6, [bytes([0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 128])])) == [
        [0, 255, 127]
    ]
    assert pixels(png(2, 1, 8, 4, [bytes([0, 255, 0, 0])])) == [[0, 255]]  # grey + alpha


def test_white_ink_on_transparent_is_white_on_black() -> None:
    row = bytes([255, 255, 255, 255, 255, 255, 255, 0, 255, 255, 255, 128])
    assert pixels(png(3, 1, 8, 6, [row])) == [[255, 0, 128]]
    assert pixels(png(2, 1, 8, 4, [bytes([255, 255, 255, 0])])) == [[255, 0]]


def test_opaque_alpha_changes_nothing() -> None:
    row = bytes(value for level in range(0, 256, 5) for value in (level, level, level, 255))
    assert pixels(png(52, 1, 8, 6, [row])) == [list(range(0, 256, 5))]


def test_a_wholly_transparent_image_is_blank() -> None:
    assert pixels(png(2, 1, 8, 4, [bytes([9, 0, 200, 0])])) == [[255, 255]]


@pytest.mark.parametrize(
    ("depth", "row", "level", "expected"),
    [
        (2, b"\x1b", 1, [0, 0, 170, 255]),  # mean ink (0 + 170 + 255) / 3 = 142: on black
        (2, b"\x1b", 2, [0, 85, 255, 255]),  # (0 + 85 + 255) / 3 = 113: on white
        (4, b"\x0f\x11", 1, [0, 255, 255, 255]),  # 0 and 255 are left, mean 127.5: on white
        (8, bytes([0, 100, 200, 50]), 200, [0, 100, 255, 50]),
    ],
)
def test_a_transparent_grey_level_shows_the_ground(
    depth: int, row: bytes, level: int, expected: list[int]
) -> None:
    content = png(4, 1, depth, 0, [row], chunk(b"tRNS", struct.pack(">H", level)))
    assert pixels(content) == [expected]


def test_a_transparent_colour_shows_the_ground() -> None:
    row = bytes([0, 0, 0, 255, 0, 0, 10, 10, 10])
    content = png(3, 1, 8, 2, [row], chunk(b"tRNS", struct.pack(">HHH", 255, 0, 0)))
    assert pixels(content) == [[0, 255, 10]]


def test_16_bit_png_is_scaled_to_the_nearest_level() -> None:
    values = [0, 128, 129, 257, 0x7FFF, 0x8000, 65406, 65407, 65535]
    # by 257 = 65535 / 255, to the nearest
    expected = [0, 0, 1, 1, 127, 128, 254, 255, 255]
    assert [round(v / 257) for v in values] == expected
    assert pixels(png(9, 1, 16, 0, [struct.pack(">9H", *values)])) == [expected]


def test_16_bit_colour_and_alpha_keep_their_high_byte() -> None:
    white, black, half = 65535, 0, 32768
    assert pixels(png(2, 1, 16, 2, [struct.pack(">6H", *[white] * 3, *[black] * 3)])) == [[255, 0]]
    assert pixels(png(1, 1, 16, 4, [struct.pack(">2H", white, half)])) == [[128]]


@pytest.mark.parametrize("maximum", [65535, 1000])
def test_16_bit_pgm_is_scaled_by_its_own_maximum(maximum: int) -> None:
    values = [0, maximum // 4, maximum]
    body = b"P5 3 1 %d\n" % maximum + struct.pack(">3H", *values)
    plain = b"P2 3 1 %d\n%d %d %d\n" % (maximum, *values)
    expected = [0, round(255 * values[1] / maximum), 255]
    assert pixels(body) == [expected]
    assert pixels(plain) == [expected]


def test_8_bit_pgm_and_bitmap_are_read() -> None:
    assert pixels(b"P5 2 1 255\n\x07\xfa") == [[7, 250]]
    assert pixels(b"P4 8 1\n\xf0") == [[0] * 4 + [255] * 4]  # 1 is black there
    assert pixels(b"P6 1 1 255\n\xff\x00\x00") == [[76]]


@pytest.mark.parametrize(
    ("bits", "inverted"), [(8, False), (8, True), (12, False), (16, False), (16, True)]
)
def test_tiff_heeds_its_bits_and_whether_white_is_zero(bits: int, inverted: bool) -> None:
    data = {8: b"\x33\xff", 12: b"\x33\x3f\xff", 16: struct.pack("<2H", 0x3333, 0xFFFF)}[bits]
    expected = [0x33, 0xFF]  # one fifth, and all, of each range
    if inverted:
        expected = [0xFF - value for value in expected]
    assert pixels(tiff(bits, 0 if inverted else 1, data)) == [expected]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (tiff(32, 1, struct.pack("<2f", 0, 1), sample_format=3), "mode F has no fixed range"),
        (tiff(32, 1, struct.pack("<2I", 0, 1)), "32-bit integers have no fixed range"),
        (b"Pf 1 1\n-1.0\n\0\0\0\0", "mode F has no fixed range"),
        (
            png(1, 1, 16, 0, [b"\0\0"], chunk(b"tRNS", b"\0\0")),
            "16-bit grey with a transparent level",
        ),
        (
            png(1, 1, 16, 2, [b"\0" * 6], chunk(b"tRNS", b"\0" * 6)),
            "16-bit colour with a transparent colour",
        ),
        (tiff(12, 0, b"\x33\x3f\xff"), "not an image"),  # 12 bits, white is zero
        (b"", "empty file"),
        (b"P5 0 0 255\n", "not an image"),
        (b"name,label\n", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (png(4097, 1, 1, 0, [bytes(513)]), "absurdly large: 4097 x 1 pixels"),
        (png(1, 4097, 1, 0, [b"\0"] * 4097), "absurdly large: 1 x 4097 pixels"),
        (png(10_000, 10_000, 1, 0, []), "absurdly large: 10000 x 10000"),
        (png(60_000, 60_000, 1, 0, []), "absurdly large"),
        (png(4, 4, 8, 0, [b"abcd"] * 4)[:-20], "damaged or truncated"),
        (png(4, 4, 8, 0, [b"abcd"] * 4).replace(b"IDAT", b"IDOT"), "not an image"),
    ],
)
def test_what_has_no_right_reading_is_refused_by_name(content: bytes, why: str) -> None:
    with pytest.raises(UndecodableError, match=why) as fault, quiet_pillow():
        decode_grey_bytes(content)
    assert not isinstance(fault.value, UnreadableError)


def test_an_image_of_the_largest_size_is_read() -> None:
    assert decode_grey_bytes(png(4096, 1, 1, 0, [bytes(512)])).size == (4096, 1)


def test_nothing_is_warned_about(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    with quiet_pillow(), pytest.raises(UndecodableError):
        decode_grey_bytes(png(10_000, 10_000, 1, 0, []))  # Pillow itself warns of a bomb
    assert not recwarn.list


def test_cmyk_jpeg_is_ink_not_light() -> None:
    inks = [(0, 0, 0, 0), (0, 0, 0, 255), (255, 255, 255, 0), (0, 0, 0, 128), (255, 0, 0, 0)]
    image = Image.new("CMYK", (8 * len(inks), 8))
    for place, ink in enumerate(inks):
        image.paste(ink, (8 * place, 0, 8 * place + 8, 8))
    found = decode_grey_bytes(saved(image, "JPEG", quality=100, subsampling=0))
    # what light is left: (255 - c)(255 - k) / 255 of each
    for place, (c, m, y, k) in enumerate(inks):
        expected = luma(*(round((255 - ink) * (255 - k) / 255) for ink in (c, m, y)))
        assert found.getpixel((8 * place + 4, 4)) == pytest.approx(expected, abs=3)


def test_a_grey_and_a_colour_jpeg_are_read() -> None:
    assert decode_grey_bytes(saved(Image.new("L", (8, 8), 77), "JPEG")).getpixel((3, 3)) == 77
    red = decode_grey_bytes(saved(Image.new("RGB", (8, 8), (255, 0, 0)), "JPEG", quality=100))
    assert red.getpixel((3, 3)) == pytest.approx(76, abs=2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    assert pixels(saved(stored, kind, exif=exif, **options)) == UPRIGHT.tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    blocks = np.kron(STORED[orientation], np.ones((8, 8), dtype=np.uint8))
    found = np.asarray(decode_grey_bytes(saved(Image.fromarray(blocks), "JPEG", exif=exif)))
    assert np.abs(found[4::8, 4::8].astype(int) - UPRIGHT).max() <= 2


def test_a_turned_16_bit_pgm_like_file_keeps_its_range() -> None:
    exif = Image.Exif()
    exif[274] = 3
    values = np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16)
    assert pixels(saved(Image.fromarray(values), "PNG", exif=exif)) == [[255, 128, 0]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_an_animation_is_refused(kind: str) -> None:
    frames = [Image.new("L", (3, 3), level) for level in (0, 128, 255)]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(UndecodableError, match="3 frames; save the one that is meant"):
        decode_grey_bytes(content)


def test_a_single_gif_frame_is_read() -> None:
    assert pixels(saved(Image.new("L", (2, 1), 200), "GIF")) == [[200, 200]]


def test_a_stereo_photograph_gives_its_first_picture() -> None:
    left, right = Image.new("L", (8, 8), 40), Image.new("L", (8, 8), 220)
    content = saved(left, "MPO", save_all=True, append_images=[right])
    assert decode_grey_bytes(content).getpixel((4, 4)) == 40


def test_only_formats_with_a_signature_are_tried() -> None:
    grey = Image.new("L", (4, 4), 9)
    for kind in ("TGA", "PCX", "ICO", "EPS"):
        with pytest.raises(UndecodableError, match="not an image in a known format"):
            decode_grey_bytes(saved(grey, kind))


def test_a_file_that_cannot_be_read_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="cannot be read: No such file or directory"):
        decode_grey(tmp_path / "nothing.png")
    with pytest.raises(UnreadableError, match="cannot be read: Is a directory"):
        decode_grey(tmp_path)


def test_a_huge_file_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 2**20)
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(2**20 + 1)
    with pytest.raises(UndecodableError, match="larger than 1 MiB"):
        decode_grey(path)
    with path.open("wb") as file:
        file.truncate(2**20)
    with pytest.raises(UndecodableError, match="not an image"):
        decode_grey(path)


def test_too_little_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(image: Image.Image, content: bytes) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(images, "_to_grey", starve)
    with pytest.raises(UnreadableError, match="not enough memory"):
        decode_grey_bytes(png(1, 1, 8, 0, [b"\0"]))


NOISE = np.random.default_rng(3).integers(0, 256, (7, 9), dtype=np.uint8)
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("JPEG", {}),
    ("BMP", {}),
    ("GIF", {}),
    ("TIFF", {"compression": "tiff_deflate"}),
    ("WEBP", {"lossless": True}),
    ("PPM", {}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_file_cut_anywhere_is_refused_or_complete(
    kind: str, options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    content = saved(Image.fromarray(NOISE), kind, **options)
    whole = pixels(content)
    refused = 0
    with quiet_pillow():
        for length in range(len(content)):
            try:
                assert pixels(content[:length]) == whole, length
            except UndecodableError:
                refused += 1
    capfd.readouterr()  # libtiff talks
    assert refused > 0.85 * len(content)


@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_in_a_png_is_never_seen_as_another_picture(bit: int) -> None:
    content = saved(Image.fromarray(NOISE), "PNG")
    with quiet_pillow():
        for place in range(len(content)):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            try:
                assert pixels(bytes(flipped)) == NOISE.tolist(), place
            except UndecodableError:
                continue


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(range(len(KINDS))),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 400),
)
def test_damage_raises_nothing_but_undecodable(
    kind: int, edits: list[tuple[int, int]], cut: int
) -> None:
    name, options = KINDS[kind]
    content = bytearray(saved(Image.fromarray(NOISE), name, **options))
    for place, value in edits:
        content[place % len(content)] = value
    try:
        with quiet_pillow():
            image = decode_grey_bytes(bytes(content[: max(1, len(content) - cut // 4)]))
    except UndecodableError:
        return
    assert image.mode == "L"


@settings(max_examples=100, deadline=None)
@given(
    start=st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM", b"P5 ", b"\xff\xd8\xff"]
    ),
    rest=st.binary(max_size=200),
)
def test_noise_raises_nothing_but_undecodable(start: bytes, rest: bytes) -> None:
    try:
        with quiet_pillow():
            image = decode_grey_bytes(start + rest)
    except UndecodableError:
        return
    assert image.mode == "L"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_early_is_refused_also_before_another_picture(progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    thumbnail = saved(Image.new("L", (4, 4), 9), "JPEG")
    exif = Image.Exif()
    exif[0x010E] = "a thumbnail: " + thumbnail.decode("latin-1")  # an end mark in a part before
    whole = saved(Image.fromarray(noise), "JPEG", progressive=progressive, exif=exif)
    cut = whole[: len(whole) // 2] + b"\xff\xd9"
    for behind in (b"", whole, b"made by a phone \xff\xd9"):
        expected = np.asarray(decode_grey_bytes(whole))
        assert np.array_equal(np.asarray(decode_grey_bytes(whole + behind)), expected)
        with pytest.raises(UndecodableError, match="damaged or truncated"):
            decode_grey_bytes(cut + behind)
