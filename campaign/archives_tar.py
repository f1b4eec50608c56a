"""Hostile tar files, and what is common to hostile archives.

`OUTSIDE` in a name or a link stands for an absolute path to a folder of the trial.
"""

import gzip
import io
import tarfile
from collections.abc import Iterator
from random import Random

GOOD = "mnist_sample/train/3/7.png"
PLAIN = "mnist_sample/train/3/1.png"
MEBI = 2**20

NAMES = (
    *(
        "OUTSIDE/x",
        "/OUTSIDE/x",
        "OUTSIDE/mnist_sample/train/3/1.png",
        "C:\\x",
        "C:/x",
        "\\\\host\\x",
    ),
    *(
        "../x",
        "../../../x",
        "mnist_sample/../../x",
        "mnist_sample/train/3/../../../../x",
        "..",
        ".",
    ),
    *("", "mnist_sample", "mnist_sample/train/3/./1.png", "mnist_sample//train/3/1.png"),
    *("mnist_sample\\train\\3\\1.png", "~/x", "$HOME/x", "-rf", "mnist_sample/train/3/1.png/x"),
    *("mnist_sample/train/3/1.png\n", "mnist_sample/train/3/\x1b[2J.png", "a\rb\tc\x07", "\x7f"),
    *("mnist_sample/train/3/\u202egnp.1", "mnist_sample/train/3/\udcff\udcfe.png", "\udc80"),
    *("x" * 4000, "mnist_sample/" + "y/" * 900 + "z", "mnist_sample/train/3/" + "9" * 300 + ".png"),
    *("mnist_sample/TRAIN/3/1.png", "MNIST_SAMPLE/train/3/1.png", "mnist_sample/train/3/1.PNG"),
    *("mnist_sample/train/3/1.png.", "mnist_sample/train/3./1.png", "mnist_sample/train/3/1.png "),
    *(
        "mnist_sample/train/3/CON",
        "NUL",
        "mnist_sample/train/3/1.png:stream",
        "mnist_sample/labels",
    ),
    *(
        "mnist_sample/train/3/01.png",
        "mnist_sample/train/3/\u0661.png",
        "mnist_sample/train/8/1.png",
    ),
    *("mnist_sample/.labels.csv", "mnist_sample/labels.csv/", ".mnist_sample.lock"),
)
TYPES = (
    *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE),
    *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, b"Z"),
)
LINKS = (
    "OUTSIDE/sentinel",
    "../../../outside/sentinel",
    "/dev/zero",
    "mnist_sample/labels.csv",
    ".",
)


def zipped(content: bytes, zeros: int = 0) -> bytes:
    """Gzipped, with so many bytes of zero behind it; these are made once."""
    return gzip.compress(content, 1, mtime=0) + (_zeros(MEBI) * (zeros // MEBI) if zeros else b"")


def _zeros(size: int) -> bytes:
    return gzip.compress(bytes(size), 9, mtime=0)


def member(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """One member of a tar file."""
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    made.size = len(content)
    return made, content


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """The bytes of a tar file, in one of the three formats."""
    unzipped = io.BytesIO()
    with tarfile.open(fileobj=unzipped, mode="w", format=form, errors="surrogateescape") as made:
        for one, content in members:
            made.addfile(one, io.BytesIO(content))
    return unzipped.getvalue()


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with any bytes in its fields, and a checksum that is right."""
    fields = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size.ljust(12, b"\0")
    fields += b"00000000000\0" + b" " * 8 + kind
    block = bytearray(fields.ljust(512, b"\0"))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def hostile_tars(random: Random, outside: str, mangled: int) -> Iterator[tuple[str, bytes]]:
    """(what it is, a .tar.gz): good members stand before and after the hostile one."""
    good, after = member(GOOD, b"seven"), member("mnist_sample/train/7/8.png", b"eight")
    forms = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
    for name in (name.replace("OUTSIDE", outside) for name in NAMES):
        for form in forms:
            yield f"name {name[:60]!a}", zipped(tar(good, member(name), after, form=form))
        yield (
            f"pax {name[:60]!a}",
            zipped(tar(good, member(PLAIN, pax_headers={"path": name}), after)),
        )
    for kind in TYPES:
        for link in (link.replace("OUTSIDE", outside) for link in LINKS):
            made = member(PLAIN, b"", type=kind, linkname=link)
            yield f"type {kind!a} to {link}", zipped(tar(good, made, after))
    through = member("mnist_sample/train/3", b"", type=tarfile.SYMTYPE, linkname="../../../outside")
    yield "a file through a link", zipped(tar(good, through, member(PLAIN), after))
    yield "twice", zipped(tar(good, good))
    yield from _bombs(tar(good))
    whole = bytearray(tar(good, member(PLAIN, b"1" * 700), after))
    for number in range(mangled):
        content = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            content[random.randrange(len(content))] = random.randrange(256)
        yield f"mangled {number}", zipped(bytes(content))
        yield f"cut {number}", zipped(bytes(whole))[: random.randrange(200)]


def _bombs(good: bytes) -> Iterator[tuple[str, bytes]]:
    start = good[:1024]  # one member; no end of the archive yet
    sizes = {
        "8 GB": b"77777777777\0",
        "2**60": b"\x80" + (2**60).to_bytes(11, "big"),
        "below nothing": b"\xff" + (2**88 - 512).to_bytes(11, "big"),
        "no number": b"99999999999\0",
    }
    for name, size in sizes.items():
        for kind in (b"0", b"5", b"x", b"g", b"L", b"K", b"S", b"Z"):
            yield f"claims {name} in {kind!a}", zipped(start + header(PLAIN.encode(), size, kind))
    for claim in (str(2**63), "-512", "nan", "9" * 5000):
        claims = {"size": claim, "GNU.sparse.major": "1", "GNU.sparse.realsize": claim}
        for keys in (("size",), tuple(claims)):
            headers = {key: claims[key] for key in keys}
            yield f"pax claims {claim[:20]}", zipped(tar(member(PLAIN, pax_headers=headers)))
    yield "headers of headers", zipped(header(b"x", b"0\0", b"L") * 5000)
    yield "folders without end", zipped(header(b"x/", b"0\0", b"5") * 20000)
    yield "a megabyte too large", zipped(tar(member(PLAIN, bytes(MEBI))))
    yield "a header of 300 MiB", zipped(start + header(b"x", b"02260000000\0", b"x"), 300 * MEBI)
    yield "300 MiB after the end", zipped(good, 300 * MEBI)
