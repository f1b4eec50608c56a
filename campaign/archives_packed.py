"""Hostile zip, gzip and bzip2 files in place of published ones."""

import bz2
import io
import struct
import warnings
import zipfile
from collections.abc import Iterator

from campaign.archives_tar import MEBI, NAMES, zipped


def hostile_zips(right: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """(what it is, a .zip) that has `right` for names, and something hostile beside or in them."""
    first = next(iter(right))
    for name in NAMES:
        yield f"beside {name[:60]!a}", _zip({**right, name or "x": b"x"})
        yield f"instead {name[:60]!a}", _zip({name or "x": right[first], **_but(right, first)})
    whole = _zip(right)
    for kind in (0o120777, 0o40755, 0o60644, 0o20644, 0o10644):
        yield f"mode {kind:o}", _zip(right, mode=kind)
    yield "twice", _zip(right, twice=first)
    for at, value, what in (
        *((8, 1, "locked"), (10, 99, "another method"), (10, 93, "another method")),
        *((20, 2**32 - 2, "claims its packed size"), (24, 2**32 - 2, "claims its size")),
        *(
            (24, 2**29 + 1, "claims its size"),
            (42, 2**31, "an offset beyond"),
            (16, 1, "a checksum"),
        ),
        *((28, 65535, "a long name"), (30, 65535, "a long extra"), (32, 65535, "a long comment")),
    ):
        yield what, _directory_field(whole, at, value)
    far = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 2**64 - 1, 2**64 - 1)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(whole), 1)
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    yield "a directory beyond all", whole + far + locator + end
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        bomb = bytes(16 * MEBI)
        yield f"a bomb, method {method}", _zip({**right, first: bomb}, method)
        damaged = bytearray(_zip({**right, first: right[first] * 20}, method))
        damaged[120:300] = b"\xff" * 180
        yield f"damaged, method {method}", bytes(damaged)
    yield "a bomb in a bomb", _zip({**right, first: zipped(b"", 64 * MEBI)})
    yield "many members", _zip({**right, **{f"{i}": b"" for i in range(3000)}})
    for size in (0, 1, 21, 22, len(whole) // 2, len(whole) - 1):
        yield f"cut at {size}", whole[:size]


def _but(right: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {key: value for key, value in right.items() if key != name}


def _zip(
    members: dict[str, bytes], method: int = zipfile.ZIP_STORED, mode: int = 0, twice: str = ""
) -> bytes:
    packed = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(packed, "w", method) as made:
        for name, content in members.items():
            info = zipfile.ZipInfo("placeholder")
            info.filename = name.encode("utf-8", "replace").decode()
            info.compress_type, info.external_attr = method, mode << 16
            made.writestr(info, content)
        if twice:
            made.writestr(twice, b"another")
    return packed.getvalue()


def _directory_field(whole: bytes, at: int, value: int) -> bytes:
    """A number in the first entry of the directory, and where it has one in the file's header."""
    content = bytearray(whole)
    place = content.index(b"PK\1\2") + at
    width = 4 if at in (16, 20, 24, 42) else 2
    content[place : place + width] = value.to_bytes(width, "little")
    if at == 8:
        content[6] |= 1
    return bytes(content)


def hostile_gzips(right: bytes) -> Iterator[tuple[str, bytes]]:
    """(what it is, a .gz file) where `right` is an IDX file of bytes in three dimensions."""
    good = zipped(right)
    named = good[:3] + b"\x08" + good[4:10]
    for called in (b"../../x\0", b"/x\0", b"x" * 5000 + b"\0", b"\x1b[2J\0", b"never ends"):
        yield f"a name {called[:20]!a}", named + called + good[10:]
    for sizes in ((2**32 - 1,) * 3, (2**31, 1, 1), (0, 0, 0), (10, 2**16, 2**16), (11, 28, 28)):
        yield f"claims {sizes}", zipped(right[:4] + struct.pack(">3I", *sizes) + right[16:])
    for magic in (b"\0\0\x08\xff", b"\0\0\x0e\x03", b"\xff" * 4, b"\0" * 4):
        yield f"begins with {magic!a}", zipped(magic + right[4:])
    yield "300 MiB behind it", zipped(right, 300 * MEBI)
    yield "300 MiB in it", zipped(right[:4] + struct.pack(">3I", 3 * 10**5, 32, 32), 300 * MEBI)
    yield "another member", good + zipped(b"more")
    yield "garbage behind it", good + b"garbage"
    yield "another checksum", good[:-8] + b"\0\0\0\0" + good[-4:]
    yield "another length", good[:-4] + b"\xff\xff\xff\xff"
    yield "not packed", right
    yield "packed twice", zipped(good)
    for size in (0, 1, 9, 10, len(good) // 2, len(good) - 1):
        yield f"cut at {size}", good[:size]


def hostile_texts(right: bytes) -> Iterator[tuple[str, bytes]]:
    """(what it is, a .bz2 file) where `right` is the text of USPS."""
    line = right.split(b"\n", 1)[0] + b"\n"
    for what, lines in {
        "no line ends": b"1" * 8 * MEBI,
        "zeros": bytes(64 * MEBI),
        "lines without end": line * 4000,
        "empty lines": b"\n" * MEBI,
        "a number without end": b"1 1:" + b"9" * 9000 + b"\n",
        "an index without end": b"1 " + b"9" * 9000 + b":1\n",
        "a label without end": b"9" * 9000 + b" 1:1\n",
        "an index beyond": b"1 99999999999999999999:1\n",
        "an index below": b"1 -9999:1\n",
        "no number": b"1 1:\xff\xfe\n",
        "one too many": b"1 " + b" ".join(b"%d:0" % i for i in range(1, 300)) + b"\n",
        "control characters": b"\x1b[2J 1:1\n",
    }.items():
        yield what, bz2.compress(lines)
    good = bz2.compress(right)
    yield "another stream", good + bz2.compress(line * 99)
    yield "garbage behind it", good + b"garbage"
    for size in (0, 3, 4, len(good) // 2, len(good) - 1):
        yield f"cut at {size}", good[:size]
