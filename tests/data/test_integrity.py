"""What Pillow would fill with black in silence is refused in words."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mnistlab.data.images import UndecodableError, decode_bytes
from tests.encoders import bmp, chunk, frame, gif, header, idat, png, rows_of, saved, tiff

ROWS = [[10 * y + x for x in range(4)] for y in range(4)]
HEAD, RAW = header(4, 4), rows_of(ROWS)
PALETTE = chunk(b"PLTE", bytes(9))
PARTS = "its parts are not those of one picture, in their order"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (png(HEAD, idat(RAW[:10])), "its rows end early"),
        (png(HEAD, chunk(b"IDAT", zlib.compress(RAW)[:-4])), "its rows do not end"),
        (png(HEAD, idat(RAW + bytes(2**22))), "its rows do not end"),
        (png(HEAD, HEAD, idat(RAW)), PARTS),
        (png(HEAD, idat(RAW), chunk(b"tRNS", b"\0\1")), PARTS),
        (png(header(3, 1, 8, 3), chunk(b"tRNS", b"\0"), PALETTE, idat(bytes(4))), PARTS),
        (png(header(4, 4, 8, 0, 1, 0, 0), idat(RAW)), "packed in an unknown way"),
        (png(HEAD, chunk(b"XYZW"), idat(RAW)), PARTS),
        (png(HEAD, frame(0, 2, 2, 1, 1), idat(RAW[:10])), "parts of it are missing"),
        (png(header(4, 1, 8, 3), PALETTE, idat(b"\0\0\1\2\3")), "its palette does not have"),
        (bmp([[0, 1, 2, 3]], colors=2), "its palette does not have"),
        (gif([[0, 1]], (1, 2, 3, 4), canvas=(3, 1)), "parts of it are missing"),
        (tiff(ROWS, t273=(600,), t279=(8,)), "parts of it are missing"),
        (tiff(ROWS, t279=(8, 3)), "parts of it are missing"),
        (tiff(ROWS, t339=(2,)), "no agreed black"),
    ],
)
def test_a_picture_that_is_not_all_there_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(UndecodableError, match=why):
        decode_bytes(content)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_early_is_refused_also_before_another_picture(progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    thumbnail = saved(Image.new("L", (4, 4), 9), "JPEG")
    exif = Image.Exif()
    exif[0x010E] = "a thumbnail: " + thumbnail.decode("latin-1")  # an end mark in a part before
    whole = saved(Image.fromarray(noise), "JPEG", progressive=progressive, exif=exif)
    cut = whole[: len(whole) // 2] + b"\xff\xd9"
    for behind in (b"", whole, b"made by a phone \xff\xd9"):
        expected = np.asarray(decode_bytes(whole).grey)
        assert np.array_equal(np.asarray(decode_bytes(whole + behind).grey), expected)
        with pytest.raises(UndecodableError, match="damaged or truncated"):
            decode_bytes(cut + behind)


def test_a_transparent_index_beyond_the_palette_is_no_fault() -> None:
    levels = (200, 200, 200, 200)  # light ink: the clear rest is black
    shown = decode_bytes(gif([[0, 1, 3]], levels[:2], transparent=3)).grey
    assert np.asarray(shown).tolist() == [[200, 200, 0]]


def test_the_tiff_library_says_nothing_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UndecodableError):
        decode_bytes(tiff(ROWS, zlib.compress(b"\1\2"), t259=(8,), t278=(4,), t273=(600,),
                          t279=(10,)))  # fmt: skip
    assert capfd.readouterr().err == ""


def test_a_file_that_says_more_behind_its_pixels_is_read() -> None:
    content = png(
        HEAD, idat(RAW), chunk(b"tEXt", b"k\0v"), chunk(b"tIME", struct.pack(">7B", *[1] * 7))
    )
    assert np.asarray(decode_bytes(content + b"junk").grey).tolist() == ROWS
    with Image.open(io.BytesIO(content)) as image:
        assert np.asarray(image).tolist() == ROWS
